package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/weir-net/weir/schemas"
)

// frame is what the data plane would count of one frame of a capture.
type frame struct {
	at               time.Duration // since the first frame of the file
	source, victim   netip.Addr    // invalid unless IP
	class            schemas.Class
	protocol         uint8
	sport, dport     uint16
	flags            uint8 // of TCP
	length           uint64
	firstOfTransport bool // the transport header was there to be read
}

// readCapture reads a classic pcap file of Ethernet frames: a parser of its own,
// so that the engine is not held against the code that it works with.
func readCapture(path string) ([]frame, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 0xa1b2c3d4 || binary.LittleEndian.Uint32(b[20:]) != 1 {
		return nil, errors.New("not a classic little-endian pcap file of Ethernet frames in microseconds")
	}
	var out []frame
	var start time.Duration
	for b = b[24:]; len(b) >= 16; {
		le := binary.LittleEndian
		at := time.Duration(le.Uint32(b))*time.Second + time.Duration(le.Uint32(b[4:]))*time.Microsecond
		captured, wire := int(le.Uint32(b[8:])), uint64(le.Uint32(b[12:]))
		if captured > len(b)-16 {
			return nil, fmt.Errorf("frame %d is cut short", len(out))
		}
		if len(out) == 0 {
			start = at
		}
		f := parseFrame(b[16 : 16+captured])
		f.at, f.length = max(0, at-start), wire
		out = append(out, f)
		b = b[16+captured:]
	}
	return out, nil
}

func parseFrame(b []byte) frame {
	if len(b) < 14 {
		return frame{}
	}
	ether, b := binary.BigEndian.Uint16(b[12:]), b[14:]
	for tags := 0; tags < 3 && (ether == 0x8100 || ether == 0x88a8 || ether == 0x9100) && len(b) >= 4; tags++ {
		ether, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	switch {
	case ether == 0x0800 && len(b) >= 20 && b[0]>>4 == 4:
		f := frame{source: netip.AddrFrom4([4]byte(b[12:])), victim: netip.AddrFrom4([4]byte(b[16:])), protocol: b[9]}
		header := int(b[0]&15) * 4
		return f.transport(b[min(len(b), header):], binary.BigEndian.Uint16(b[6:])&0x1fff != 0)
	case ether == 0x86dd && len(b) >= 40:
		f := frame{source: netip.AddrFrom16([16]byte(b[8:])), victim: netip.AddrFrom16([16]byte(b[24:]))}
		next, later, rest := extensions(b[6], b[40:])
		f.protocol = next
		if near, err := f.victim.Prefix(64); err == nil && !near.Contains(f.source) && !f.source.IsLinkLocalUnicast() {
			far, err := f.source.Prefix(64) // off-link sources are counted by /64
			if err == nil {
				f.source = far.Addr()
			}
		}
		return f.transport(rest, later)
	}
	return frame{}
}

// extensions walks the headers between IPv6 and the transport, Authentication
// Header included.
func extensions(next uint8, b []byte) (protocol uint8, later bool, rest []byte) {
	for range 6 {
		size := 8
		switch next {
		case 0, 43, 60:
			if len(b) >= 2 {
				size = 8 + int(b[1])*8
			}
		case 44:
			if len(b) >= 4 && binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				return b[0], true, nil
			}
		case 51:
			if len(b) >= 2 {
				size = 8 + int(b[1])*4
			}
		default:
			return next, false, b
		}
		if len(b) < size {
			return next, false, nil
		}
		next, b = b[0], b[size:]
	}
	return next, false, b
}

func (f frame) transport(b []byte, later bool) frame {
	f.class = schemas.ClassOther
	switch {
	case later:
		f.class = schemas.ClassFragLater
	case f.protocol == 1 || f.protocol == 58:
		f.class = schemas.ClassICMP
	case f.protocol == 6 && len(b) >= 14:
		f.class, f.flags = schemas.ClassTCPOther, b[13]
		switch {
		case f.flags&0x12 == 0x02:
			f.class = schemas.ClassSYN
		case f.flags&0x12 == 0x12:
			f.class = schemas.ClassSYNACK
		case f.flags&0x06 == 0x04:
			f.class = schemas.ClassRST
		}
	case f.protocol == 17 && len(b) >= 4:
		f.class = schemas.ClassUDP
	}
	if f.class != schemas.ClassFragLater && (f.protocol == 6 || f.protocol == 17) && len(b) >= 4 {
		f.sport, f.dport, f.firstOfTransport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), true
	}
	return f
}
