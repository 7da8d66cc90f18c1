package engine

import (
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// mayHold reports whether any rule about single sources can hold for any source
// of the record. Most interfaces are quiet most of the time: what all their
// sources send together is below every threshold.
func (t *turn) mayHold() bool {
	if t.r.Window1s.Packets == 0 && t.r.Window10s.Packets == 0 {
		return true // a record without totals
	}
	for i := range t.w.set.Sources {
		if rule := &t.w.set.Sources[i]; !rule.Off && t.isPossible(rule, t.w.set) {
			return true
		}
	}
	return t.Rules.HasFrom() // other numbers may hold for some sources
}

func (t *turn) isPossible(rule *rules.Source, set *rules.Set) bool {
	w := &t.r.Window10s
	if rule.Window == time.Second {
		w = &t.r.Window1s
	}
	for i := range rule.All {
		if !reaches(&rule.All[i], w, set.Link, rule.Window) {
			return false
		}
	}
	for i := range rule.Any {
		if reaches(&rule.Any[i], w, set.Link, rule.Window) {
			return true
		}
	}
	return len(rule.Any) == 0
}

// reaches reports whether all sources together meet a condition on a count; any
// other condition it takes for met.
func reaches(k *rules.Condition, w *rates.Counts, link float64, window time.Duration) bool {
	if k.AtLeast == nil {
		return true
	}
	var n float64
	switch k.Metric {
	case rules.SYN:
		n = float64(w.ByClass[schemas.ClassSYN])
	case rules.TCPInside:
		n = float64(w.ByClass[schemas.ClassTCPOther])
	case rules.UDP:
		n = float64(w.ByClass[schemas.ClassUDP])
	case rules.ICMP:
		n = float64(w.ByClass[schemas.ClassICMP])
	case rules.Fragments:
		n = float64(w.ByClass[schemas.ClassFragLater])
	case rules.Packets:
		n = float64(w.Packets)
	case rules.LinkShare:
		if link == 0 {
			return false
		}
		n = float64(w.Bytes) * 8 / window.Seconds() / link
	default:
		return true
	}
	// The windows of a source and of the interface are rounded apart.
	return n*1.01+16 >= *k.AtLeast
}
