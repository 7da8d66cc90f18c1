package traffic

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Offsets in an IPv4 frame without options.
const (
	offIP        = 14
	offSource    = offIP + 12
	offTransport = offIP + 20
	protoTCP     = 6
	protoUDP     = 17
)

// ipv4Frame returns an Ethernet frame with an IPv4 header and room for
// transport bytes. Its checksums are not yet set.
func ipv4Frame(from, to net.HardwareAddr, protocol byte, source, destination netip.Addr, transport int) []byte {
	f := make([]byte, offTransport+transport)
	copy(f, to)
	copy(f[6:], from)
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	ip := f[offIP:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(20+transport))
	ip[8] = 64
	ip[9] = protocol
	s, d := source.As4(), destination.As4()
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	return f
}

// seal computes the header and transport checksums of a frame of ipv4Frame.
func seal(f []byte) {
	ip := f[offIP:]
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], fold(sum(ip[:20], 0)))
	transport := f[offTransport:]
	at := 16
	if ip[9] == protoUDP {
		at = 6
	}
	transport[at], transport[at+1] = 0, 0
	pseudo := sum(ip[12:20], uint32(ip[9])+uint32(len(transport)))
	c := fold(sum(transport, pseudo))
	if c == 0 && ip[9] == protoUDP {
		c = 0xffff // 0 would mean "no checksum"
	}
	binary.BigEndian.PutUint16(transport[at:], c)
}

func sum(b []byte, acc uint32) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return acc
}

func fold(acc uint32) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return ^uint16(acc)
}

// synFrame is a TCP SYN with the options that a Linux client sends, so that
// nothing but its source gives it away.
func synFrame(from, to net.HardwareAddr, source, destination netip.Addr, port uint16) []byte {
	options := []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}
	f := ipv4Frame(from, to, protoTCP, source, destination, 20+len(options))
	tcp := f[offTransport:]
	binary.BigEndian.PutUint16(tcp[2:], port)
	tcp[12] = byte((20 + len(options)) / 4 << 4)
	tcp[13] = 0x02
	binary.BigEndian.PutUint16(tcp[14:], 64240)
	copy(tcp[20:], options)
	return f
}

// udpFrame is a datagram of payload bytes.
func udpFrame(from, to net.HardwareAddr, source, destination netip.Addr, port uint16, payload int) []byte {
	f := ipv4Frame(from, to, protoUDP, source, destination, 8+payload)
	udp := f[offTransport:]
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+payload))
	return f
}

// setSource rewrites the source address and port of a frame and its sequence
// number or payload start, then seals it.
func setSource(f []byte, source netip.Addr, port uint16, sequence uint32) {
	s := source.As4()
	copy(f[offSource:], s[:])
	binary.BigEndian.PutUint16(f[offTransport:], port)
	switch {
	case f[offIP+9] == protoTCP:
		binary.BigEndian.PutUint32(f[offTransport+4:], sequence)
	case len(f) >= offTransport+12:
		binary.BigEndian.PutUint32(f[offTransport+8:], sequence)
	}
	seal(f)
}
