package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

func isFull(err error) bool {
	return errors.Is(err, syscall.E2BIG) || errors.Is(err, syscall.ENOSPC)
}

// cost returns what one unit costs a token bucket that earns perSecond units a
// second, in 1/16 ns times scale.
func cost(perSecond uint64, scale uint64) uint64 {
	if perSecond == 0 {
		return 0
	}
	return max(1, 16*scale*uint64(time.Second)/perSecond)
}

// writeLease fills record i; the action comes last, so that the program never
// acts on half a lease.
func (d *Datapath) writeLease(i uint32, e *Entry, k *matchKey, renewal bool) {
	l := &d.leases[i]
	if !renewal { // no packet acts on it before it has an action again
		atomic.StoreUint32(&l.Action, 0)
		*l = weirLease{
			Generation: l.Generation + 1, Interfaces: e.Interfaces, Expires: uint64(e.ExpiresAt),
			PacketCost: cost(e.PPS, 1), ByteCost: cost(e.BPS, byteScale),
		}
	} else {
		d.renewLease(l, e)
	}
	l.setKey(k)
	l.Wanted, l.Offset, l.Pps, l.Bps = uint8(e.Action), uint64(e.Offset)+1, e.PPS, e.BPS
	l.Used = 1
	action := uint32(e.Action)
	if e.Suspended {
		action = 0
	}
	atomic.StoreUint32(&l.Action, action)
}

// byteScale: bytes cost by the bit, with 8 bits of fraction.
const byteScale = 8 * 256

// renewLease changes what packets read of a lease meanwhile.
func (d *Datapath) renewLease(l *weirLease, e *Entry) {
	if l.Pps != e.PPS || l.Bps != e.BPS {
		l.Generation++ // new buckets: nobody waits for what was owed at another rate
		atomic.StoreUint64(&l.PacketTime, 0)
		atomic.StoreUint64(&l.ByteTime, 0)
	}
	atomic.StoreUint64(&l.PacketCost, cost(e.PPS, 1))
	atomic.StoreUint64(&l.ByteCost, cost(e.BPS, byteScale))
	atomic.StoreUint64(&l.Interfaces, e.Interfaces)
	atomic.StoreUint64(&l.Expires, uint64(e.ExpiresAt))
}

func (d *Datapath) entry(l *weirLease) Entry {
	return Entry{
		Match: Match{
			Source:      prefixOf(l.Source.W, l.SourceFamily, l.SourceBits),
			Destination: prefixOf(l.Destination.W, l.DestinationFamily, l.DestinationBits),
			Protocol:    l.Protocol, SourcePort: l.SourcePort, DestinationPort: l.DestinationPort,
			FlagMask: l.FlagMask, FlagValue: l.FlagValue, Fragments: l.Fragments != 0, Variant: l.Variant,
		},
		Interfaces: l.Interfaces, Action: Action(l.Wanted), PPS: l.Pps, BPS: l.Bps,
		ExpiresAt: time.Duration(l.Expires), Offset: int64(l.Offset) - 1, Suspended: l.Action == 0,
	}
}

func prefixOf(w [4]uint32, family, bits uint8) netip.Prefix {
	if family == 0 {
		return netip.Prefix{}
	}
	a := addr16(w)
	if family == 4 {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.PrefixFrom(a, int(bits))
}

func maskWords(p netip.Prefix) (w [4]uint32) {
	if !p.IsValid() {
		return w
	}
	ones := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if p.Addr().Is6() {
		ones = addr16([4]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)})
	}
	return words(netip.PrefixFrom(ones, p.Bits()).Masked().Addr())
}

func signatureOf(m Match, i uint32) weirSignature {
	s := weirSignature{
		SourcePort: m.SourcePort, DestinationPort: m.DestinationPort, Protocol: m.Protocol,
		FlagMask: m.FlagMask, FlagValue: m.FlagValue, Lease: i,
	}
	if m.Protocol == 0 {
		s.AnyProtocol = 1
	}
	if m.Fragments {
		s.Fragments = 1
	}
	s.SourceMask.W, s.DestinationMask.W = maskWords(m.Source), maskWords(m.Destination)
	if m.Source.IsValid() {
		s.Family, s.Source.W = family(m.Source), words(m.Source.Masked().Addr())
	}
	if m.Destination.IsValid() {
		s.Family, s.Destination.W = family(m.Destination), words(m.Destination.Masked().Addr())
	}
	return s
}

func (d *Datapath) writeSignature(at int, m Match, i uint32) error {
	if err := d.maps["signatures"].Put(uint32(at), signatureOf(m, i)); err != nil {
		return fmt.Errorf("writing a signature: %w", err)
	}
	d.writeTargeted()
	atomic.StoreUint32(&d.control.Signatures, uint32(len(d.table.signatures)))
	return nil
}

// writeSignatures writes the dense list anew: after a removal, and at start.
func (d *Datapath) writeSignatures() error {
	for at, m := range d.table.signatures {
		i, ok := d.lease(&m)
		if !ok {
			continue // not possible
		}
		if err := d.maps["signatures"].Put(uint32(at), signatureOf(m, i)); err != nil {
			return fmt.Errorf("writing a signature: %w", err)
		}
	}
	d.writeTargeted()
	atomic.StoreUint32(&d.control.Signatures, uint32(len(d.table.signatures)))
	return nil
}

// SetExempt replaces the prefixes that Config.SourceLimit leaves alone.
func (d *Datapath) SetExempt(prefixes []netip.Prefix) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, wanted := d.maps["exempt"], map[weirPrefixKey]bool{}
	for _, p := range prefixes {
		k := prefixKeyOf(p.Masked(), 0)
		wanted[k] = true
		if err := m.Put(k, uint32(1)); err != nil {
			return fmt.Errorf("exempting %v: %w", p, err)
		}
	}
	return sweepMap(m, func(k weirPrefixKey, _ uint32) bool { return wanted[k] })
}

// Verdicts returns an interface's packets by reason since the filter was first
// loaded. The numbers never go down.
func (d *Datapath) Verdicts(s Slot) (map[string]uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var sums [len(reasonNames)]uint64
	for region := range d.batches {
		for reason := range sums {
			sums[reason] += atomic.LoadUint64(&d.verdicts[region*MaxSlots+int(s)].ByReason[reason])
		}
	}
	// What waits comes last: what is counted meanwhile is missed, not seen twice, and the
	// next time it is there.
	for region := range d.batches {
		for r := range d.batches[region].uncounted(d.seed) {
			if r.slot() == int(s) && r.reason() < len(sums) {
				sums[r.reason()] += volumeOf(r.Volume).packets
			}
		}
	}
	out := map[string]uint64{}
	for reason, name := range reasonNames {
		d.shown[s][reason] = max(d.shown[s][reason], sums[reason])
		if n := d.shown[s][reason]; n > 0 {
			out[name] = n
		}
	}
	return out, nil
}

// reasonNames are the reasons of types.h, in its order; append only.
var reasonNames = [...]string{
	"pass", "pass_non_ip", "pass_allow", "pass_off", "pass_observed", "would_drop",
	"drop_malformed", "drop_non_ip", "drop_source", "drop_prefix", "drop_signature",
	"limit_source", "limit_prefix", "limit_signature", "limit_any_source",
}
