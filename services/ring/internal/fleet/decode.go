package fleet

import (
	"bytes"
	"math"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
)

// Head is what a rates record says of an interface as a whole. Counts are over
// 1 s.
type Head struct {
	Host, Interface, BootID    string
	Seq                        uint64
	PPS, BPS, DroppedPPS       float64
	Packets                    uint64
	ByClass                    [schemas.NumClasses]uint64
	NonIP, Malformed           uint64
	Sources                    uint64
	LostWindows                uint64
	Covered                    float64 // seconds
	Complete, Truncated, Stale bool
}

// toHead takes from a decoded record what a Head has.
func toHead(r *rates.Record) Head {
	h := Head{
		Host: r.Host, Interface: r.Interface, BootID: r.BootID, Seq: r.Seq, PPS: r.PPS, BPS: r.BPS, DroppedPPS: r.DroppedPPS,
		Packets: r.Window1s.Packets, ByClass: r.Window1s.ByClass, NonIP: r.NonIP1s, Malformed: r.Malformed1s, Sources: r.Sources1s,
		LostWindows: r.LostWindows, Covered: r.Covered.Seconds(), Complete: r.Complete, Truncated: r.Truncated, Stale: r.Stale,
	}
	return h
}

// ClassPPS returns the packets per second of one class: its share of PPS, so
// that the classes add up to it.
func (h *Head) ClassPPS(class int) float64 {
	if h.Packets == 0 {
		return 0
	}
	return h.PPS * float64(h.ByClass[class]) / float64(h.Packets)
}

// The members of a rates value between which the single sources stand, as
// schemas/rates writes them.
var (
	topMember   = []byte(`,"top":[`)
	portsMember = []byte(`,"ports":[`)
)

// decodeHead reads a rates value without its single sources and victims, which
// are nine tenths of it: decoding 4,000 whole records a second takes more than a
// core, and encoding/json takes a fifth of one for what is left. So it walks the
// members itself, and leaves every value that is not as schemas/rates writes it
// to the contract's own decoder. A test holds the two together.
//
// What is broken within the part left out shows only when it is read (Detail).
func decodeHead(value []byte) (Head, error) {
	i := bytes.Index(value, topMember)
	j := bytes.LastIndex(value, portsMember)
	if i > 0 && j > i && len(value) <= rates.MaxValueBytes {
		w := walk{}
		// The end of the first part and the beginning of the last are made
		// whole: a member may not reach over the cut.
		w.object(value[:i], w.member)
		w.object(value[j:], w.member)
		if h, ok := w.result(); ok {
			return h, nil
		}
	}
	r, err := rates.Decode(value)
	if err != nil {
		return Head{}, err
	}
	return toHead(&r), nil
}

// walk gathers a Head from the members of an object.
type walk struct {
	h       Head
	version uint64
	failed  bool
}

func (w *walk) member(name, v []byte) {
	switch string(name) {
	case "v":
		w.version = w.uint(v)
	case "host":
		w.h.Host = w.text(v)
	case "interface":
		w.h.Interface = w.text(v)
	case "boot_id":
		w.h.BootID = w.text(v)
	case "seq":
		w.h.Seq = w.uint(v)
	case "pps":
		w.h.PPS = w.float(v)
	case "bps":
		w.h.BPS = w.float(v)
	case "dropped_pps":
		w.h.DroppedPPS = w.float(v)
	case "window_1s":
		w.object(v, w.window)
	case "covered_seconds":
		w.h.Covered = w.float(v)
	case "non_ip":
		w.h.NonIP = w.uint(v)
	case "malformed":
		w.h.Malformed = w.uint(v)
	case "sources":
		w.h.Sources = w.uint(v)
	case "complete":
		w.h.Complete = w.bool(v)
	case "truncated":
		w.h.Truncated = w.bool(v)
	case "lost_windows":
		w.h.LostWindows = w.uint(v)
	case "stale":
		w.h.Stale = w.bool(v)
	}
}

func (w *walk) window(name, v []byte) {
	switch string(name) {
	case "packets":
		w.h.Packets = w.uint(v)
	case "classes":
		w.object(v, func(name, v []byte) {
			if c, ok := schemas.ParseClass(string(name)); ok {
				w.h.ByClass[c] = w.uint(v)
			}
		})
	}
}

// result returns the Head, or false if something was not as expected.
func (w *walk) result() (Head, bool) {
	h := &w.h
	ok := !w.failed && w.version == rates.Version && h.BootID != "" && schemas.CheckName(h.Host) == nil && schemas.CheckName(h.Interface) == nil
	for _, f := range [...]float64{h.PPS, h.BPS, h.DroppedPPS, h.Covered} {
		ok = ok && f >= 0 && !math.IsInf(f, 0)
	}
	return *h, ok
}
