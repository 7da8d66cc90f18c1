package capture

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	macFrom = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x0a}
	macTo   = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x0b}
)

// flow are the endpoints of a made-up packet.
type flow struct {
	from, to         netip.Addr
	sport, dport     uint16
	payload          int
	tags             []uint16 // VLAN identifiers, outermost first
	tcp              string   // flags, as "S", "SA", "R", "A", "SEC"; empty: UDP unless icmp
	icmp             bool
	ipv6Extensions   []byte // protocol numbers of extension headers of 8 bytes
	fragmentOffset   uint16 // in units of 8 bytes
	moreFragments    bool
	protocolOverride int // an IP protocol that is none of the above; 0: none
}

// serialize writes the layers from the outermost to the payload.
func (f flow) serialize() ([]byte, error) {
	v6 := f.from.Is6()
	etherType := layers.EthernetTypeIPv4
	if v6 {
		etherType = layers.EthernetTypeIPv6
	}
	stack, next := f.link(etherType)
	protocol, transport := f.transport(next)
	network, extensions := f.network(protocol)
	if checked, ok := transport.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		if err := checked.SetNetworkLayerForChecksum(network); err != nil {
			return nil, fmt.Errorf("making a frame: %w", err)
		}
	}
	stack = append(stack, network.(gopacket.SerializableLayer)) //nolint:forcetypeassert // both IP layers can be written
	if len(extensions) > 0 {
		stack = append(stack, gopacket.Payload(extensions))
	}
	if f.fragmentOffset == 0 {
		stack = append(stack, transport)
	}
	stack = append(stack, gopacket.Payload(make([]byte, f.payload)))
	buffer := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...)
	if err != nil {
		return nil, fmt.Errorf("making a frame: %w", err)
	}
	return buffer.Bytes(), nil
}

func (f flow) link(inner layers.EthernetType) ([]gopacket.SerializableLayer, layers.EthernetType) {
	ethernet := &layers.Ethernet{SrcMAC: macFrom, DstMAC: macTo, EthernetType: inner}
	stack := []gopacket.SerializableLayer{ethernet}
	for i, id := range f.tags {
		tag := &layers.Dot1Q{VLANIdentifier: id, Type: inner}
		if i == 0 {
			ethernet.EthernetType = layers.EthernetTypeDot1Q
			if len(f.tags) > 1 {
				ethernet.EthernetType = layers.EthernetTypeQinQ
			}
		}
		if i+1 < len(f.tags) {
			tag.Type = layers.EthernetTypeDot1Q
		}
		stack = append(stack, tag)
	}
	return stack, inner
}

func (f flow) transport(inner layers.EthernetType) (layers.IPProtocol, gopacket.SerializableLayer) {
	switch {
	case f.protocolOverride != 0:
		return layers.IPProtocol(f.protocolOverride), gopacket.Payload(nil)
	case f.icmp && inner == layers.EthernetTypeIPv6:
		return layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
	case f.icmp:
		return layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}
	case f.tcp == "":
		return layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(f.sport), DstPort: layers.UDPPort(f.dport)}
	}
	t := &layers.TCP{SrcPort: layers.TCPPort(f.sport), DstPort: layers.TCPPort(f.dport), Window: 1024}
	for _, c := range f.tcp {
		switch c {
		case 'S':
			t.SYN = true
		case 'A':
			t.ACK = true
		case 'R':
			t.RST = true
		case 'F':
			t.FIN = true
		case 'E':
			t.ECE = true
		case 'C':
			t.CWR = true
		}
	}
	return layers.IPProtocolTCP, t
}

// network returns the IP header and, for IPv6, the bytes of its extension
// headers, each of 8 bytes that say nothing.
func (f flow) network(protocol layers.IPProtocol) (gopacket.NetworkLayer, []byte) {
	if f.from.Is4() {
		h := &layers.IPv4{
			Version: 4, TTL: 64, Protocol: protocol, SrcIP: f.from.AsSlice(), DstIP: f.to.AsSlice(),
			FragOffset: f.fragmentOffset, Id: 7,
		}
		if f.moreFragments {
			h.Flags = layers.IPv4MoreFragments
		}
		return h, nil
	}
	h := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: f.from.AsSlice(), DstIP: f.to.AsSlice()}
	kinds := f.ipv6Extensions
	if f.fragmentOffset > 0 || f.moreFragments {
		kinds = append(append([]byte(nil), kinds...), 44)
	}
	var bytes []byte
	for i, kind := range kinds {
		if i == 0 {
			h.NextHeader = layers.IPProtocol(kind)
		}
		follows := byte(protocol)
		if i+1 < len(kinds) {
			follows = kinds[i+1]
		}
		header := []byte{follows, 0, 0, 0, 0, 0, 0, 0}
		if kind == 44 {
			header[2], header[3] = byte(f.fragmentOffset>>5), byte(f.fragmentOffset<<3)
			if f.moreFragments {
				header[3] |= 1
			}
		}
		bytes = append(bytes, header...)
	}
	return h, bytes
}
