package fleet

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/status"
)

// The bits of a row's flags.
const (
	FlagStale      = 1 << iota // the aggregator marked it
	FlagIncomplete             // of the last window something is missing
	FlagTruncated              // the probe's source table was full
	FlagNoRates                // only a status was seen
)

// info is what changes seldom: names, and what the probe says of itself.
type info struct {
	ID        uint32 `json:"id"`
	Host      string `json:"host"`
	Interface string `json:"interface"`
	Direction string `json:"direction,omitempty"`
	Mode      string `json:"mode,omitempty"`
	XDPMode   string `json:"xdp_mode,omitempty"`
	XDPReason string `json:"xdp_reason,omitempty"`
	Leases    int    `json:"leases"`
	Suspended int    `json:"suspended,omitempty"`
	Capacity  int    `json:"capacity,omitempty"`
	Rejected  uint64 `json:"rejected,omitempty"`
	Shed      uint64 `json:"shed,omitempty"`
	Buffered  int    `json:"buffered,omitempty"`
	NoBroker  bool   `json:"no_broker,omitempty"`
	NotReady  bool   `json:"not_ready,omitempty"`
	Stopped   bool   `json:"stopped,omitempty"`
	Version   string `json:"version,omitempty"`
}

func (i *Interface) encodeInfo() []byte {
	n := info{ID: i.ID, Host: i.Host, Interface: i.Interface}
	if !i.StatusAt.IsZero() {
		s := &i.Status
		n.Direction, n.Mode, n.XDPMode, n.XDPReason, n.Version = s.Direction, s.Mode, s.XDPMode, s.XDPReason, s.Version
		n.Leases, n.Suspended, n.Capacity, n.Rejected = s.Filter.Leases, s.Filter.Suspended, s.Filter.Capacity, s.Filter.Rejected
		n.Shed, n.Buffered, n.NoBroker, n.Stopped = s.ShedSources, s.Buffered, !s.BrokerReachable, s.Stopped
		n.NotReady = !s.Components[status.ComponentFilter].Ready
	}
	b, err := json.Marshal(n)
	if err != nil { // a struct of strings and numbers
		return []byte("{}")
	}
	return b
}

// appendRow appends what changes always, as a JSON array:
//
//	[id, pps, bps, dropped_pps, baseline_pps (-1: unknown yet), sources, age_ms, flags,
//	 lost_windows, non_ip, malformed, class pps...]
//
// Rates are rounded to whole numbers, and classes end with the last that is not
// zero: a row is some 60 bytes, and a fleet of 1,000 sends four a second.
func (i *Interface) appendRow(b []byte, now time.Time) []byte {
	r := &i.Rates
	flags := 0
	if r.Stale {
		flags |= FlagStale
	}
	if !r.Complete {
		flags |= FlagIncomplete
	}
	if r.Truncated {
		flags |= FlagTruncated
	}
	age := int64(-1)
	if i.RatesAt.IsZero() {
		flags = FlagNoRates
	} else {
		age = max(0, now.Sub(i.RatesAt).Milliseconds())
	}
	b = append(b, '[')
	b = strconv.AppendUint(b, uint64(i.ID), 10)
	for _, v := range [...]float64{r.PPS, r.BPS, r.DroppedPPS, i.baseline, float64(r.Sources), float64(age), float64(flags),
		float64(r.LostWindows), float64(r.NonIP), float64(r.Malformed)} {
		b = append(b, ',')
		b = appendWhole(b, v)
	}
	last := len(r.ByClass)
	for last > 0 && r.ByClass[last-1] == 0 {
		last--
	}
	for c := range last {
		b = append(b, ',')
		b = appendWhole(b, r.ClassPPS(c))
	}
	return append(b, ']')
}

// appendWhole appends v without its fraction. What a browser could not tell from
// its neighbours any more is cut to 1e15.
func appendWhole(b []byte, v float64) []byte {
	if math.IsNaN(v) {
		return append(b, '0')
	}
	return strconv.AppendInt(b, int64(math.Round(min(max(v, -1e15), 1e15))), 10)
}

// Delta returns what changed since the last Delta, as the members
// "info":[…],"rows":[…],"gone":[…] of a JSON object without its braces, and
// whether that is anything at all. Every value is absolute, so a reader may see
// one twice.
func (f *Fleet) Delta(now time.Time) ([]byte, bool) {
	f.version++
	infos, rows := []byte(`"info":[`), []byte(`"rows":[`)
	any := len(f.gone) > 0
	for _, i := range f.order {
		if i.changed != f.version {
			continue
		}
		any = true
		if n := i.encodeInfo(); string(n) != string(i.info) {
			i.info = n
			infos = appendItem(infos, n)
		}
		rows = appendComma(rows)
		rows = i.appendRow(rows, now)
	}
	out := append(append(infos, ']', ','), append(rows, ']')...)
	if len(f.gone) > 0 {
		out = append(out, `,"gone":[`...)
		for n, id := range f.gone {
			if n > 0 {
				out = append(out, ',')
			}
			out = strconv.AppendUint(out, uint64(id), 10)
		}
		out = append(out, ']')
		f.gone = f.gone[:0]
	}
	return out, any
}

// Skip forgets what changed, where nobody wants to know.
func (f *Fleet) Skip() {
	f.version++
	f.gone = f.gone[:0]
}

// Snapshot returns everything in the same form.
func (f *Fleet) Snapshot(now time.Time) []byte {
	infos, rows := []byte(`"info":[`), []byte(`"rows":[`)
	for _, i := range f.order {
		infos = appendItem(infos, i.encodeInfo())
		rows = appendComma(rows)
		rows = i.appendRow(rows, now)
	}
	return append(append(infos, ']', ','), append(rows, ']')...)
}

func appendComma(b []byte) []byte {
	if b[len(b)-1] != '[' {
		b = append(b, ',')
	}
	return b
}

func appendItem(b, item []byte) []byte { return append(appendComma(b), item...) }

// Live reports whether the probe behind i answers: it has said something within
// schemas.StaleAfter and did not say goodbye.
func (i *Interface) Live(now time.Time) bool {
	return !i.StatusAt.IsZero() && !i.Status.Stopped && now.Sub(i.StatusAt) < schemas.StaleAfter
}
