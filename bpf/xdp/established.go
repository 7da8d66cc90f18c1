package xdp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

const (
	// establishedPackets is how many TCP packets that only come after a
	// handshake make a source established: the ACK of it, a request, and one
	// more. A spoofed source gets no answer to acknowledge.
	establishedPackets = 3
	// establishedRefresh is how often a source is noted again, lest it be the
	// oldest in the kernel's table.
	establishedRefresh = 10 * time.Second
	// maxEstablished bounds what one drain notes, and with it what a flood of
	// ACK from made-up sources can push out per window.
	maxEstablished = 4096
	// maxKnown bounds the memory of what was noted.
	maxKnown = 1 << 16
)

// knownSources remembers when each source was noted.
type knownSources map[netip.Addr]time.Duration

// noteEstablished tells the program which sources were seen to converse until
// now, so that a limit on the SYN of a spoofed flood lets them open connections.
func (d *Datapath) noteEstablished(sources []netip.Addr, now time.Duration) error {
	if d.known == nil || len(d.known) > maxKnown {
		d.known = make(knownSources)
	}
	noted := 0
	for _, a := range sources {
		if noted == maxEstablished {
			break
		}
		if at, ok := d.known[a]; ok && now-at < establishedRefresh {
			continue
		}
		key := establishedKey(a)
		if err := d.maps["established"].Put(&key, uint32(1)); err != nil {
			return fmt.Errorf("noting an established source: %w", err)
		}
		d.known[a] = now
		noted++
	}
	return nil
}

func establishedKey(a netip.Addr) weirExactKey {
	key := weirExactKey{Family: 6}
	if a.Is4() {
		b := a.As4()
		key.Family = 4
		key.Address.W[0] = binary.NativeEndian.Uint32(b[:])
		return key
	}
	b := a.As16()
	for i := range key.Address.W {
		key.Address.W[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return key
}
