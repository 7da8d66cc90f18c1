package rates

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
)

// wire is the JSON of a Record. Counts are packets, bytes and numbers over the
// window that the name says; without one, over 1 s.
type wire struct {
	V          int        `json:"v"`
	Host       string     `json:"host"`
	Interface  string     `json:"interface"`
	BootID     string     `json:"boot_id"`
	Seq        uint64     `json:"seq"`
	Start      time.Time  `json:"start"`
	End        time.Time  `json:"end"`
	PPS        float64    `json:"pps"`
	BPS        float64    `json:"bps"`
	DroppedPPS float64    `json:"dropped_pps"`
	PPSEWMA    float64    `json:"pps_ewma"`
	Classes    classRates `json:"classes"` // packets per second, for people; not read back
	Window1s   wireCounts `json:"window_1s"`
	Window10s  wireCounts `json:"window_10s"`
	Covered    float64    `json:"covered_seconds"`
	NonIP      uint64     `json:"non_ip"`
	Malformed  uint64     `json:"malformed"`

	Sources          uint64 `json:"sources"`
	Sources10s       uint64 `json:"sources_10s"`
	SYNSources       uint64 `json:"syn_sources"`
	SYNSources10s    uint64 `json:"syn_sources_10s"`
	SYNACKSources    uint64 `json:"synack_sources"`
	SYNACKSources10s uint64 `json:"synack_sources_10s"`

	Complete    bool         `json:"complete"`
	Truncated   bool         `json:"truncated"`
	LostWindows uint64       `json:"lost_windows"`
	Duplicates  uint64       `json:"duplicates"`
	Stale       bool         `json:"stale"`
	Top         []wireSource `json:"top"`
	Victims     []wireTarget `json:"victims"`
	Ports       []wireTarget `json:"ports"`

	EvidencePartition int32 `json:"evidence_partition"`
	EvidenceOffset    int64 `json:"evidence_offset"`
}

// classRates is packets per second by class, in the order of the names.
type classRates struct {
	FragLater float64 `json:"frag_later"`
	ICMP      float64 `json:"icmp"`
	Other     float64 `json:"other"`
	RST       float64 `json:"rst"`
	SYN       float64 `json:"syn"`
	SYNACK    float64 `json:"synack"`
	TCPOther  float64 `json:"tcp_other"`
	UDP       float64 `json:"udp"`
}

type wireCounts struct {
	Packets  uint64  `json:"packets"`
	Bytes    uint64  `json:"bytes"`
	UDPBytes uint64  `json:"udp_bytes,omitempty"`
	Dropped  uint64  `json:"dropped,omitempty"`
	Classes  classes `json:"classes,omitzero"`
}

// classes is packets by class, as an object with the class names; zeros are
// left out.
type classes struct {
	SYN       uint64 `json:"syn,omitempty"`
	SYNACK    uint64 `json:"synack,omitempty"`
	RST       uint64 `json:"rst,omitempty"`
	TCPOther  uint64 `json:"tcp_other,omitempty"`
	UDP       uint64 `json:"udp,omitempty"`
	ICMP      uint64 `json:"icmp,omitempty"`
	FragLater uint64 `json:"frag_later,omitempty"`
	Other     uint64 `json:"other,omitempty"`
}

type wireSource struct {
	Source    netip.Addr `json:"source"`
	PPS       float64    `json:"pps"`
	BPS       float64    `json:"bps"`
	PortPairs uint32     `json:"port_pairs,omitempty"`
	Window1s  wireCounts `json:"window_1s"`
	Window10s wireCounts `json:"window_10s"`
}

type wireTarget struct {
	Destination *netip.Addr `json:"destination,omitempty"`
	Class       className   `json:"class"`
	Protocol    protocol    `json:"protocol"`
	Port        uint16      `json:"port"`
	Packets     uint64      `json:"packets"`
	Packets10s  uint64      `json:"packets_10s"`
	Bytes       uint64      `json:"bytes"`
	Dropped     uint64      `json:"dropped,omitempty"`
	Sources     uint64      `json:"sources"`
	Sources10s  uint64      `json:"sources_10s"`
}

// className is a class by its name. One that this code does not know reads as
// ClassOther.
type className schemas.Class

// UnmarshalJSON reads the name.
func (c *className) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	class, ok := schemas.ParseClass(s)
	if !ok {
		class = schemas.ClassOther
	}
	*c = className(class)
	return nil
}

// protocol is an IP protocol by its name, as in commands; zero is "".
type protocol uint8

// UnmarshalJSON reads the name.
func (p *protocol) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s == "" {
		return err
	}
	n, err := schemas.ParseProtocol(s)
	*p = protocol(n)
	return err
}

func (w wireCounts) counts() Counts {
	return Counts{
		Packets: w.Packets, Bytes: w.Bytes, UDPBytes: w.UDPBytes, Dropped: w.Dropped,
		ByClass: [schemas.NumClasses]uint64{
			schemas.ClassSYN: w.Classes.SYN, schemas.ClassSYNACK: w.Classes.SYNACK, schemas.ClassRST: w.Classes.RST,
			schemas.ClassTCPOther: w.Classes.TCPOther, schemas.ClassUDP: w.Classes.UDP, schemas.ClassICMP: w.Classes.ICMP,
			schemas.ClassFragLater: w.Classes.FragLater, schemas.ClassOther: w.Classes.Other,
		},
	}
}

func targetsFromWire(targets []wireTarget) []Target {
	if len(targets) == 0 {
		return nil
	}
	out := make([]Target, 0, len(targets))
	for _, w := range targets {
		t := Target{
			Class: schemas.Class(w.Class), Protocol: uint8(w.Protocol), Port: w.Port,
			Packets1s: w.Packets, Packets10s: w.Packets10s, Bytes1s: w.Bytes, Dropped1s: w.Dropped,
			Sources1s: w.Sources, Sources10s: w.Sources10s,
		}
		if w.Destination != nil {
			t.Destination = *w.Destination
		}
		out = append(out, t)
	}
	return out
}
