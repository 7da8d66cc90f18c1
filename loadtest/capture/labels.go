package capture

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// SourceCount is a source's packets in a labels file, written as a pair.
type SourceCount struct {
	Source  netip.Addr
	Packets uint64
}

// UnmarshalJSON reads ["192.0.2.1", 17].
func (s *SourceCount) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&s.Source, &s.Packets})
}

// MarshalJSON is the inverse of UnmarshalJSON.
func (s SourceCount) MarshalJSON() ([]byte, error) { return json.Marshal([]any{s.Source, s.Packets}) }

// Label is what is known about one capture. Counts are over all its frames,
// except those that say ingress.
type Label struct {
	File           string        `json:"file"`
	Packets        uint64        `json:"packets"`
	BytesWire      uint64        `json:"bytes_wire"`
	IPv4           uint64        `json:"ipv4"`
	IPv6           uint64        `json:"ipv6"`
	NonIP          uint64        `json:"non_ip"`
	Sources        int           `json:"sources"`
	IngressDst     []netip.Addr  `json:"ingress_dst"` // nil: every frame comes in
	IngressPackets uint64        `json:"ingress_packets"`
	TopSources     []SourceCount `json:"top_sources"`
	Expected       string        `json:"expected,omitempty"`
	Category       string        `json:"category,omitempty"`
}

// Labels are the labels of a directory of captures, by the file's name without
// its extension.
type Labels map[string]Label

// ReadLabels reads a labels file.
func ReadLabels(path string) (Labels, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading labels: %w", err)
	}
	var l Labels
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("reading labels %s: %w", path, err)
	}
	return l, nil
}

// Of returns the label of a capture file.
func (l Labels) Of(path string) (Label, error) {
	base := filepath.Base(path)
	label, ok := l[strings.TrimSuffix(base, filepath.Ext(base))]
	if !ok {
		return Label{}, fmt.Errorf("no label for %s", base)
	}
	return label, nil
}

// Differences says in what a tally of whole single addresses (IPv6 by 128
// bits) contradicts the label: nothing if it is as labelled.
func (l Label) Differences(t Tally, ingressOnly bool) []string {
	var out []string
	differ := func(what string, got, want uint64) {
		if got != want {
			out = append(out, fmt.Sprintf("%s: %d, label says %d", what, got, want))
		}
	}
	total := t.IP.Packets + t.NonIP.Packets + t.Malformed.Packets
	if ingressOnly {
		differ("ingress packets", total, l.IngressPackets)
		return out
	}
	differ("packets", total, l.Packets)
	differ("bytes", t.IP.Bytes+t.NonIP.Bytes+t.Malformed.Bytes, l.BytesWire)
	differ("IP packets", t.IP.Packets, l.IPv4+l.IPv6)
	differ("other frames", t.NonIP.Packets, l.NonIP)
	differ("sources", uint64(len(t.Sources)), uint64(l.Sources))
	for _, s := range l.TopSources {
		differ("packets of "+s.Source.String(), t.Sources[s.Source].Packets, s.Packets)
	}
	return out
}

// NewLabel labels frames of our own making.
func NewLabel(file string, frames []Frame) Label {
	t := NewTally(frames, 128)
	l := Label{
		File: file, Packets: uint64(len(frames)), NonIP: t.NonIP.Packets, Sources: len(t.Sources),
		IngressPackets: uint64(len(frames)),
		BytesWire:      t.IP.Bytes + t.NonIP.Bytes + t.Malformed.Bytes,
	}
	for a, c := range t.Sources {
		if a.Is4() {
			l.IPv4 += c.Packets
		} else {
			l.IPv6 += c.Packets
		}
	}
	for _, a := range t.Heaviest(5) {
		l.TopSources = append(l.TopSources, SourceCount{Source: a, Packets: t.Sources[a].Packets})
	}
	return l
}

// OracleRow is what another parser found in one frame.
type OracleRow struct {
	Frame  int
	Length int
	Class  string     // ip4, ip6, ip4-bad, ip4-short, ip6-short, other-<EtherType>
	Source netip.Addr // outer source behind VLAN tags; invalid if there is none
	Tags   int        // VLAN tags
}

// ReadOracle reads a frame-by-frame oracle.
func ReadOracle(path string) ([]OracleRow, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening oracle: %w", err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading oracle %s: %w", path, err)
	}
	want := []string{"frame", "len", "class", "outer_src_after_vlan", "vlan_tags"}
	if len(records) == 0 || len(records[0]) < len(want) || !slices.Equal(records[0][:len(want)], want) {
		return nil, fmt.Errorf("reading oracle %s: its columns do not begin with %v", path, want)
	}
	out := make([]OracleRow, 0, len(records))
	for i, r := range records[1:] {
		row := OracleRow{Class: r[2]}
		var errs [4]error
		row.Frame, errs[0] = strconv.Atoi(r[0])
		row.Length, errs[1] = strconv.Atoi(r[1])
		row.Tags, errs[2] = strconv.Atoi(r[4])
		if r[3] != "" {
			row.Source, errs[3] = netip.ParseAddr(r[3])
		}
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("reading oracle %s: line %d: %w", path, i+2, err)
		}
		out = append(out, row)
	}
	return out, nil
}

// Outcome is what a frame must be counted as.
type Outcome struct {
	Source netip.Addr // valid: an IP packet of this source
	Broken bool       // IP that is too short or contradicts itself: malformed
}

// MaxOracleTags is how many VLAN tags Weir looks behind, as far as the oracle
// is concerned: a frame with more is not an IP packet for it.
const MaxOracleTags = maxTags

// Outcome returns what the row's frame must be counted as.
func (r OracleRow) Outcome() Outcome {
	if r.Tags > MaxOracleTags {
		return Outcome{}
	}
	return Outcome{Source: r.Source, Broken: strings.HasSuffix(r.Class, "-bad") || strings.HasSuffix(r.Class, "-short")}
}

// Accepts reports whether p is that outcome. A frame without a source that is
// not broken IP may be either another EtherType or cut short inside its tags.
func (o Outcome) Accepts(p Packet) bool {
	switch {
	case o.Source.IsValid():
		return p.Kind == IP && p.Source == o.Source
	case o.Broken:
		return p.Kind == Malformed
	}
	return p.Kind != IP
}
