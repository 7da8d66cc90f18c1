package rates

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/weir-net/weir/schemas"
)

// appender writes a record's JSON: what encoding/json makes of wire, to the byte,
// in a fraction of the time. Aggregators write one for every window of every
// interface.
type appender struct {
	b   []byte
	err error // the first
}

func (a *appender) raw(s string)                   { a.b = append(a.b, s...) }
func (a *appender) uint(name string, n uint64)     { a.raw(name); a.b = strconv.AppendUint(a.b, n, 10) }
func (a *appender) float(name string, f float64)   { a.raw(name); a.number(f) }
func (a *appender) text(name, s string)            { a.raw(name); a.quote(s) }
func (a *appender) bool(name string, v bool)       { a.raw(name); a.b = strconv.AppendBool(a.b, v) }
func (a *appender) time(name string, t time.Time)  { a.raw(name); a.moment(t) }
func (a *appender) addr(name string, x netip.Addr) { a.raw(name); a.address(x) }

// some writes a number unless it is zero.
func (a *appender) some(name string, n uint64) {
	if n > 0 {
		a.uint(name, n)
	}
}

func (a *appender) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// number writes a float as ECMAScript does, and so encoding/json.
func (a *appender) number(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		a.fail(schemas.Refuse(schemas.FaultField, "a number is %v", f))
		return
	}
	if n := uint64(max(0, min(f, 1e15))); n > 0 && float64(n) == f {
		a.b = strconv.AppendUint(a.b, n, 10)
		return
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	a.b = strconv.AppendFloat(a.b, f, format, -1, 64)
	// A small exponent has no leading zero: 1e-9, not 1e-09.
	if n := len(a.b); format == 'e' && bytes.HasSuffix(a.b[:n-1], []byte("e-0")) {
		a.b[n-2] = a.b[n-1]
		a.b = a.b[:n-1]
	}
}

func (a *appender) quote(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			a.escape(s)
			return
		}
	}
	a.b = append(a.b, '"')
	a.b = append(a.b, s...)
	a.b = append(a.b, '"')
}

// escape leaves what is rare to encoding/json.
func (a *appender) escape(s string) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		a.fail(err)
	}
	a.b = append(a.b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

func (a *appender) moment(t time.Time) {
	a.b = append(a.b, '"')
	b, err := t.UTC().AppendText(a.b)
	if err != nil {
		a.fail(schemas.Refuse(schemas.FaultField, "a time: %v", err))
		return
	}
	a.b = append(b, '"')
}

func (a *appender) address(x netip.Addr) {
	if x.Zone() != "" {
		a.escape(x.String())
		return
	}
	a.b = append(a.b, '"')
	a.b = x.AppendTo(a.b)
	a.b = append(a.b, '"')
}

func (a *appender) record(r *Record) {
	a.uint(`{"v":`, Version)
	a.text(`,"host":`, r.Host)
	a.text(`,"interface":`, r.Interface)
	a.text(`,"boot_id":`, r.BootID)
	a.uint(`,"seq":`, r.Seq)
	a.time(`,"start":`, r.Start)
	a.time(`,"end":`, r.End)
	a.float(`,"pps":`, r.PPS)
	a.float(`,"bps":`, r.BPS)
	a.float(`,"dropped_pps":`, r.DroppedPPS)
	a.float(`,"pps_ewma":`, r.PPSEWMA)
	rates := spread(r)
	a.float(`,"classes":{"frag_later":`, rates.FragLater)
	a.float(`,"icmp":`, rates.ICMP)
	a.float(`,"other":`, rates.Other)
	a.float(`,"rst":`, rates.RST)
	a.float(`,"syn":`, rates.SYN)
	a.float(`,"synack":`, rates.SYNACK)
	a.float(`,"tcp_other":`, rates.TCPOther)
	a.float(`,"udp":`, rates.UDP)
	a.counts(`},"window_1s":`, &r.Window1s)
	a.counts(`,"window_10s":`, &r.Window10s)
	a.float(`,"covered_seconds":`, r.Covered.Seconds())
	a.uint(`,"non_ip":`, r.NonIP1s)
	a.uint(`,"malformed":`, r.Malformed1s)
	a.uint(`,"sources":`, r.Sources1s)
	a.uint(`,"sources_10s":`, r.Sources10s)
	a.uint(`,"syn_sources":`, r.SYNSources1s)
	a.uint(`,"syn_sources_10s":`, r.SYNSources10s)
	a.uint(`,"synack_sources":`, r.SYNACKSources1s)
	a.uint(`,"synack_sources_10s":`, r.SYNACKSources10s)
	a.bool(`,"complete":`, r.Complete)
	a.bool(`,"truncated":`, r.Truncated)
	a.uint(`,"lost_windows":`, r.LostWindows)
	a.uint(`,"duplicates":`, r.Duplicates)
	a.bool(`,"stale":`, r.Stale)
	a.raw(`,"top":[`)
	for i := range r.Top {
		a.source(&r.Top[i], i > 0)
	}
	a.targets(`],"victims":[`, r.Victims)
	a.targets(`],"ports":[`, r.Ports)
	a.raw(`],"evidence_partition":`)
	a.b = strconv.AppendInt(a.b, int64(r.EvidencePartition), 10)
	a.raw(`,"evidence_offset":`)
	a.b = strconv.AppendInt(a.b, r.EvidenceOffset, 10)
	a.raw(`}`)
}

func (a *appender) source(s *Source, another bool) {
	if another {
		a.raw(`,`)
	}
	a.addr(`{"source":`, s.Source)
	a.float(`,"pps":`, s.PPS)
	a.float(`,"bps":`, s.BPS)
	a.some(`,"port_pairs":`, uint64(s.PortPairs))
	a.counts(`,"window_1s":`, &s.Window1s)
	a.counts(`,"window_10s":`, &s.Window10s)
	a.raw(`}`)
}

func (a *appender) counts(name string, c *Counts) {
	a.raw(name)
	a.uint(`{"packets":`, c.Packets)
	a.uint(`,"bytes":`, c.Bytes)
	a.some(`,"udp_bytes":`, c.UDPBytes)
	a.some(`,"dropped":`, c.Dropped)
	if c.ByClass == ([schemas.NumClasses]uint64{}) {
		a.raw(`}`)
		return
	}
	before := `,"classes":{"`
	for class, n := range c.ByClass {
		if n > 0 {
			a.raw(before)
			a.raw(schemas.ClassNames[class])
			a.uint(`":`, n)
			before = `,"`
		}
	}
	a.raw(`}}`)
}

func (a *appender) targets(name string, all []Target) {
	a.raw(name)
	for i := range all {
		t := &all[i]
		if i > 0 {
			a.raw(`,`)
		}
		a.raw(`{`)
		if t.Destination.IsValid() {
			a.addr(`"destination":`, t.Destination)
			a.raw(`,`)
		}
		a.text(`"class":`, t.Class.String())
		if t.Protocol == 0 {
			a.raw(`,"protocol":""`)
		} else {
			a.text(`,"protocol":`, schemas.FormatProtocol(t.Protocol))
		}
		a.uint(`,"port":`, uint64(t.Port))
		a.uint(`,"packets":`, t.Packets1s)
		a.uint(`,"packets_10s":`, t.Packets10s)
		a.uint(`,"bytes":`, t.Bytes1s)
		a.some(`,"dropped":`, t.Dropped1s)
		a.uint(`,"sources":`, t.Sources1s)
		a.uint(`,"sources_10s":`, t.Sources10s)
		a.raw(`}`)
	}
}
