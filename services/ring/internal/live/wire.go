package live

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/ring/internal/attacks"
	"github.com/weir-net/weir/services/ring/internal/fleet"
)

// frame makes one server-sent event. data has no line break: it is JSON.
func frame(event string, data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(event) + len(data) + 16)
	b.WriteString("event: ")
	b.WriteString(event)
	b.WriteString("\ndata: ")
	b.Write(data)
	b.WriteString("\n\n")
	return b.Bytes()
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // only our own types, without functions, cycles or NaN
		return []byte("null")
	}
	return b
}

// object puts the time before members.
func object(now time.Time, members []byte) []byte {
	b := append([]byte(`{"now":`), strconv.FormatInt(now.UnixMilli(), 10)...)
	return append(append(append(b, ','), members...), '}')
}

// Lease is a lease as the page wants it. Times are Unix milliseconds, 0: never.
type Lease struct {
	Key      string         `json:"key"`
	Target   string         `json:"target"`
	Match    string         `json:"match,omitempty"`
	Source   string         `json:"source,omitempty"`
	Action   string         `json:"action"`
	Mode     string         `json:"mode,omitempty"`
	Issuer   string         `json:"issuer"`
	Reason   string         `json:"reason,omitempty"`
	Rate     *commands.Rate `json:"rate,omitempty"`
	Evidence any            `json:"evidence,omitempty"`
	Offset   int64          `json:"offset"`
	Issued   int64          `json:"issued"`
	Expires  int64          `json:"expires,omitempty"`
	Packets  uint64         `json:"packets"`
	Bytes    uint64         `json:"bytes,omitempty"`
	Would    uint64         `json:"would,omitempty"`
}

// Describe turns a lease into what the page wants.
func (h *Hub) Describe(l commands.Lease) Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.describe(&l)
}

func (h *Hub) describe(l *commands.Lease) Lease {
	d := h.drops[l.Key]
	out := Lease{
		Key: l.Key, Target: l.Target.String(), Action: string(l.Action), Mode: string(l.Mode), Issuer: l.Issuer, Reason: l.Reason,
		Rate: l.Rate, Offset: l.Offset, Issued: millis(l.IssuedAt), Expires: millis(l.ExpiresAt),
		Packets: d.Packets, Bytes: d.Bytes, Would: d.Would,
	}
	if l.Evidence != nil {
		out.Evidence = l.Evidence
	}
	if l.Action != commands.SetMode {
		out.Match = l.Match.String()
	}
	if l.Match.Source.IsValid() {
		out.Source = l.Match.Source.String()
	}
	return out
}

func (h *Hub) encodeLeases(now time.Time) []byte {
	live, total := h.leases.Live(now, maxLeases)
	list := make([]Lease, 0, len(live))
	for i := range live {
		list = append(list, h.describe(&live[i]))
	}
	return encode(map[string]any{"total": total, "leases": list})
}

// attack is an attack as the page wants it. Times are Unix milliseconds, 0: not
// yet.
type attack struct {
	Key         string  `json:"key"`
	Host        string  `json:"host"`
	Interface   string  `json:"interface"`
	Rule        string  `json:"rule"`
	Vector      string  `json:"vector"`
	Destination string  `json:"destination,omitempty"`
	Start       int64   `json:"start"`
	End         int64   `json:"end,omitempty"`
	Updated     int64   `json:"updated"`
	PeakPPS     float64 `json:"peak_pps"`
	PeakBPS     float64 `json:"peak_bps"`
	Sources     uint64  `json:"sources"`
	Action      string  `json:"action"`
	Mode        string  `json:"mode,omitempty"`
	Dropped     uint64  `json:"dropped"`
	Would       uint64  `json:"would,omitempty"`
	Leases      int     `json:"leases"`
	Evidence    any     `json:"evidence,omitempty"`
}

// encodeAttacks returns what changed after the version; all is whether that is
// everything.
func (h *Hub) encodeAttacks(version uint64) []byte {
	changed, gone := h.attacks.Since(version)
	list := make([]attack, 0, len(changed))
	for i := range changed {
		list = append(list, describeAttack(&changed[i]))
	}
	return encode(map[string]any{"all": version == 0, "attacks": list, "gone": gone})
}

func describeAttack(e *attacks.Entry) attack {
	a := attack{
		Key: e.Key, Host: e.Host, Interface: e.Interface, Rule: e.Rule, Vector: e.Vector,
		Start: millis(e.Start), End: millis(e.End), Updated: millis(e.UpdatedAt),
		PeakPPS: math.Round(e.PeakPPS), PeakBPS: math.Round(e.PeakBPS), Sources: e.Sources,
		Action: string(e.Action), Mode: e.Mode, Dropped: e.Dropped, Would: e.Would, Leases: e.Leases,
	}
	if e.Destination.IsValid() {
		a.Destination = e.Destination.String()
	}
	if e.Evidence != nil {
		a.Evidence = e.Evidence
	}
	return a
}

func (h *Hub) eventsSince(number uint64) any {
	type event struct {
		Number   uint64 `json:"n"`
		At       int64  `json:"at"`
		Service  string `json:"service"`
		Where    string `json:"where,omitempty"`
		Kind     string `json:"kind"`
		Severity string `json:"severity"`
		Reason   string `json:"reason"`
		Key      string `json:"key,omitempty"`
		Rule     string `json:"rule,omitempty"`
	}
	list := []event{}
	for _, e := range h.journal.Since(number) {
		where := e.Host
		if where != "" && e.Interface != "" {
			where = schemas.InterfaceKey(e.Host, e.Interface)
		}
		list = append(list, event{e.Number, millis(e.At), e.Service, where, e.Kind, string(e.Severity), e.Reason, e.Key, e.Rule})
	}
	return list
}

// source is one of an interface's heaviest sources; rates are over 1 s.
type source struct {
	Source  string  `json:"source"`
	PPS     float64 `json:"pps"`
	BPS     float64 `json:"bps"`
	Dropped uint64  `json:"dropped"`
	Pairs   uint32  `json:"pairs,omitempty"`
	Class   string  `json:"class"` // the one with the most packets
	Classes []any   `json:"classes"`
	Last10s uint64  `json:"packets_10s"`
	State   string  `json:"state"`
}

type target struct {
	Destination string  `json:"destination,omitempty"`
	Class       string  `json:"class,omitempty"`
	Protocol    string  `json:"protocol,omitempty"`
	Port        uint16  `json:"port,omitempty"`
	PPS         uint64  `json:"pps"`
	Dropped     uint64  `json:"dropped"`
	BPS         float64 `json:"bps"`
	Sources     uint64  `json:"sources"`
}

func (h *Hub) encodeDetail(i *fleet.Interface, now time.Time) []byte {
	d := i.Detail()
	out := struct {
		ID      uint32   `json:"id"`
		Seq     uint64   `json:"seq"`
		Age     int64    `json:"age_ms"`
		Total   uint64   `json:"total"`
		Sources []source `json:"sources"`
		Ports   []target `json:"ports"`
		// Destinations are the heaviest of the addresses that packets go to.
		Destinations []target `json:"destinations"`
	}{ID: i.ID, Seq: d.Seq, Age: max(0, now.Sub(i.RatesAt).Milliseconds()), Total: i.Rates.Sources, Sources: []source{}}
	for _, s := range d.Sources[:min(len(d.Sources), maxSources)] {
		class, classes := classesOf(&s)
		out.Sources = append(out.Sources, source{
			Source: s.Source.String(), PPS: math.Round(s.PPS), BPS: math.Round(s.BPS), Dropped: s.Window1s.Dropped, Pairs: s.PortPairs,
			Class: class, Classes: classes, Last10s: s.Window10s.Packets, State: h.leases.State(i.Host, i.Interface, s.Source, now),
		})
	}
	out.Ports, out.Destinations = targets(d.Ports), targets(d.Destinations)
	return encode(out)
}

// classesOf names the class with the most packets, over 1 s or else over 10 s,
// and lists those with any as name, packets, name, packets…
func classesOf(s *rates.Source) (string, []any) {
	counts := s.Window1s.ByClass
	if s.Window1s.Packets == 0 {
		counts = s.Window10s.ByClass
	}
	best, list := 0, []any{}
	for c, n := range counts {
		if n > counts[best] {
			best = c
		}
		if n > 0 {
			list = append(list, schemas.ClassNames[c], n)
		}
	}
	if len(list) == 0 {
		return "", list
	}
	return schemas.ClassNames[best], list
}

func targets(list []rates.Target) []target {
	out := []target{}
	for _, t := range list[:min(len(list), maxTargets)] {
		w := target{PPS: t.Packets1s, Dropped: t.Dropped1s, BPS: 8 * float64(t.Bytes1s), Sources: t.Sources1s}
		if t.Destination.IsValid() { // over all classes and ports
			w.Destination = t.Destination.String()
		} else {
			w.Class, w.Port = t.Class.String(), t.Port
		}
		if t.Protocol != 0 {
			w.Protocol = schemas.FormatProtocol(t.Protocol)
		}
		out = append(out, w)
	}
	return out
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
