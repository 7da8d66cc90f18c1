package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
)

// unexplained tells of a class of packets that there is much more of than usual,
// without leases that explain it. It never leads to a lease.
func (t *turn) unexplained() {
	u := &t.w.set.Unexplained
	if u.Off || u.ID == "" || t.w.usual.quiet < t.w.set.Baseline.Warm {
		return
	}
	for c := range schemas.Class(schemas.NumClasses) {
		pps := float64(t.r.Window1s.ByClass[c])
		usual := &t.w.usual.classes[c]
		bar := max(u.Floor, u.Factor*usual.peak())
		if pps < bar {
			continue
		}
		excess := pps - usual.ewma
		if t.explained(c) >= u.Explained*excess {
			continue
		}
		lasted := t.w.unusual[c].held(t.now)
		if lasted < u.Again {
			t.attacked = true // what lasts longer than that becomes usual
		}
		if lasted < u.For {
			continue
		}
		to := "no destination in particular"
		if v := t.heaviest(c); v.IsValid() {
			to = v.String()
		}
		t.alert(Alert, u.ID+" "+c.String(), u.Again, &order{rule: u.ID, measured: pps, threshold: bar, window: time.Second},
			fmt.Sprintf("%s %s: %.0f %s in 1s (≥ %.0f, usually %.0f and up to %.0f), most of it to %s", u.ID, u.Name, pps, c, bar, usual.ewma, usual.peak(), to))
	}
}

// explained counts the packets of a class that live leases are about.
func (t *turn) explained(c schemas.Class) float64 {
	var n float64
	byMatch := t.Engine.held[t.w.target]
	sources, victims := false, false
	for m := range byMatch {
		sources, victims = sources || m.Source.IsValid(), victims || m.Destination.IsValid()
	}
	if sources {
		for i := range t.r.Top {
			s := &t.r.Top[i]
			if s.Window1s.ByClass[c] > 0 && t.isLeased(s.Source) {
				n += float64(s.Window1s.ByClass[c])
			}
		}
	}
	if victims {
		for i := range t.r.Victims {
			v := &t.r.Victims[i]
			if v.Class != c {
				continue
			}
			m, ok := signatureMatch(v)
			any := m
			any.DestinationPort, any.SourcePort = 0, 0
			if ok && (byMatch[m] != nil || byMatch[any] != nil) {
				n += float64(v.Packets1s)
			}
		}
	}
	return n
}

// isLeased reports whether a live lease takes packets of a source.
func (t *turn) isLeased(a netip.Addr) bool {
	for _, m := range leasesOn(a) {
		if t.lookup(t.w.target, m, t.now) != nil {
			return true
		}
	}
	return t.covering(a) != nil
}

func (t *turn) heaviest(c schemas.Class) netip.Addr {
	if v := heaviestVictim(t.r.Victims, c); v != nil {
		return v.Destination
	}
	return netip.Addr{}
}
