// Package rules reads the rules of detection: data, embedded with defaults,
// replaceable by a file, with numbers of their own for some hosts, interfaces
// and prefixes.
package rules

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

//go:embed rules.yaml
var defaults []byte

// Condition compares a metric with a bound; exactly one bound is set.
type Condition struct {
	Metric  string        `yaml:"metric"`
	AtLeast *float64      `yaml:"at_least"`
	Below   *float64      `yaml:"below"`
	For     time.Duration `yaml:"for"` // it must have held this long; 0: at once
}

// Bound returns the number that the metric is compared with.
func (k *Condition) Bound() float64 {
	if k.AtLeast != nil {
		return *k.AtLeast
	}
	return *k.Below
}

// Cover says which packets of a source a lease takes.
type Cover string

// The covers.
const (
	CoverAll       Cover = "all"
	CoverSYN       Cover = "syn"
	CoverUDP       Cover = "udp"
	CoverICMP      Cover = "icmp"
	CoverFragments Cover = "fragments"
	// CoverDominant is what the source sends most of; if that is the inside of
	// TCP connections, which no lease may take, an alert is all that follows.
	CoverDominant Cover = "dominant"
)

// Source is a rule about single sources. Its threshold is the bound of the first
// condition in All or, if there is none, of the first in Any that holds.
type Source struct {
	ID                string          `yaml:"id"`
	Name              string          `yaml:"name"`
	Off               bool            `yaml:"off"`
	Window            time.Duration   `yaml:"window"` // 1 s or 10 s
	All               []Condition     `yaml:"all"`
	Any               []Condition     `yaml:"any"`
	Unusual           float64         `yaml:"unusual"` // times the interface's usual peak of what the rule counts, of a source that quiet hours did not see; 0: any
	Vote              bool            `yaml:"vote"`    // of a source that quiet hours have seen, the baseline must agree that the interface has more than usual
	Action            commands.Action `yaml:"action"`
	Rate              uint64          `yaml:"rate"` // packets per second of rate-limit, and of a drop that caution softens
	Cover             Cover           `yaml:"cover"`
	DropAfterRenewals int             `yaml:"drop_after_renewals"` // 0: never
	DropAbove         float64         `yaml:"drop_above"`          // packets in 1 s taken by the limit, which it ignores: the source is dropped; 0: never
}

// Signature is a rule about traffic of one class to one victim, whatever its
// sources: they are spoofed or reflect.
type Signature struct {
	ID        string          `yaml:"id"`
	Name      string          `yaml:"name"`
	Off       bool            `yaml:"off"`
	Window    time.Duration   `yaml:"window"`
	ClassName string          `yaml:"class"`
	Packets   float64         `yaml:"packets"`
	Sources   float64         `yaml:"sources"`
	PerSource float64         `yaml:"per_source"` // packets of each, at most, on average; 0: any
	Healthy   float64         `yaml:"healthy"`    // share of the victim's TCP up to which SYN are those of a busy server; 0: any
	Mute      float64         `yaml:"mute"`       // share of the sources, at least, that send nothing else of TCP; 0: any
	Ports     []uint16        `yaml:"ports"`      // source ports; empty: any
	Shared    Shared          `yaml:"shared"`     // besides ports
	Vote      bool            `yaml:"vote"`       // the baseline must agree that there is more than usual
	Fragments LaterFragments  `yaml:"fragments"`
	Also      []Also          `yaml:"also"`
	Action    commands.Action `yaml:"action"`
	Rate      uint64          `yaml:"rate"`
	Class     schemas.Class   `yaml:"-"`
}

// LaterFragments says which later fragments, which have no port, count as packets of
// a signature's port: those of large answers.
type LaterFragments struct {
	PerPacket float64 `yaml:"per_packet"` // at most so many for each packet of the port; 0: none count
	MeanFrame float64 `yaml:"mean_frame"` // bytes, at least, of the port's packets: what is small is not in fragments
	Sources   float64 `yaml:"sources"`    // share of the sources that the rule asks for, at least, from which fragments come
}

// Shared are source ports from which much legitimate traffic of many peers comes,
// so that it takes more sources to call it an attack.
type Shared struct {
	Sources float64  `yaml:"sources"`
	Ports   []uint16 `yaml:"ports"`
}

// SourcesFor returns how many sources make an attack on or from port, and
// whether the rule is about that port at all.
func (s *Signature) SourcesFor(port uint16) (float64, bool) {
	switch {
	case slices.Contains(s.Shared.Ports, port):
		return s.Shared.Sources, true
	case len(s.Ports) == 0 || slices.Contains(s.Ports, port):
		return s.Sources, true
	}
	return 0, false
}

// Also extends a signature to packets of another class to the same victim, if
// there are enough of them in the rule's window.
type Also struct {
	ClassName string          `yaml:"class"`
	Packets   float64         `yaml:"packets"`
	Action    commands.Action `yaml:"action"` // empty: the rule's, with its rate
	Rate      uint64          `yaml:"rate"`
	Class     schemas.Class   `yaml:"-"`
}

// Prefix is a rule about many blocked sources in one network.
type Prefix struct {
	ID                string          `yaml:"id"`
	Name              string          `yaml:"name"`
	Off               bool            `yaml:"off"`
	Window            time.Duration   `yaml:"window"`
	Blocked           float64         `yaml:"blocked"` // sources leased within the window
	Share             float64         `yaml:"share"`   // of the network's active sources
	Bits4             int             `yaml:"bits4"`
	Bits6             int             `yaml:"bits6"`
	Action            commands.Action `yaml:"action"`
	Rate              uint64          `yaml:"rate"`
	DropAfterRenewals int             `yaml:"drop_after_renewals"`
}

// Unexplained is the rule for what no other rule knows: an alert, never a lease.
type Unexplained struct {
	ID        string        `yaml:"id"`
	Name      string        `yaml:"name"`
	Off       bool          `yaml:"off"`
	Factor    float64       `yaml:"factor"`    // times the class's usual peak
	Floor     float64       `yaml:"floor"`     // packets per second, at least
	For       time.Duration `yaml:"for"`       // without a break
	Explained float64       `yaml:"explained"` // share of the excess that leases cover: then it is known
	Again     time.Duration `yaml:"again"`     // between two alerts about one class of an interface
}

// Baseline says how the usual rates of an interface are learned, class by class.
type Baseline struct {
	Warm   time.Duration `yaml:"warm"`   // of quiet traffic, before it is asked
	Memory time.Duration `yaml:"memory"` // what is older counts half and less
	Thaw   time.Duration `yaml:"thaw"`   // after the last sign of an attack learning goes on
	Factor float64       `yaml:"factor"` // a vote: more than this times the usual peak is unusual
	Limit  float64       `yaml:"limit"`  // above this times a rule's threshold, neither the baseline nor a victim's health has a vote
}

// Caution says which sources are limited and never dropped: many people may be
// behind one address.
type Caution struct {
	PortPairs uint32  `yaml:"port_pairs"` // at once (an estimate that ends at 64), and
	Inside    float64 `yaml:"inside"`     // packets from inside TCP connections in 10 s; or
	SYNShare  float64 `yaml:"syn_share"`  // at most this share of its TCP, and
	TCP       float64 `yaml:"tcp"`        // as many TCP packets in 10 s
	Times     uint64  `yaml:"times"`      // a rule's limit for it is this many times as high
}

// Lease says how long decisions hold.
type Lease struct {
	First      time.Duration `yaml:"first"`
	Longest    time.Duration `yaml:"longest"`
	Relapse    time.Duration `yaml:"relapse"`
	Quiet      time.Duration `yaml:"quiet"`
	RenewShare float64       `yaml:"renew_share"`
}

// Budget bounds what the policy may do.
type Budget struct {
	PerSecond  int     `yaml:"per_second"`
	Total      int     `yaml:"total"`
	KnownShare float64 `yaml:"known_share"` // of the sources seen in the last quiet hour
	KnownFree  int     `yaml:"known_free"`  // so many of them at any rate
	BytesShare float64 `yaml:"bytes_share"` // of the interface's bytes that are no attack
}

// Mode is what becomes of the decisions about an interface.
type Mode string

// The modes.
const (
	ModeEnforce Mode = "enforce" // leases as the rules say (the probe's own mode applies as well)
	ModeObserve Mode = "observe" // leases that only count what they would have taken
	ModeOff     Mode = "off"     // no decisions
)

// Set is every number that decides about an interface: what an override may
// change.
type Set struct {
	Mode        Mode        `yaml:"mode"`
	Link        float64     `yaml:"link"` // bits per second; 0: not known
	Sources     []Source    `yaml:"sources"`
	Signatures  []Signature `yaml:"signatures"`
	Prefixes    []Prefix    `yaml:"prefixes"`
	Unexplained Unexplained `yaml:"unexplained"`
	Baseline    Baseline    `yaml:"baseline"`
	Caution     Caution     `yaml:"caution"`
	Lease       Lease       `yaml:"lease"`
	Budget      Budget      `yaml:"budget"`
}

// InForce reports whether the set has a rule of this id that leads to leases.
func (s *Set) InForce(id string) bool {
	return s.Mode != ModeOff && (slices.ContainsFunc(s.Sources, func(r Source) bool { return r.ID == id && !r.Off }) ||
		slices.ContainsFunc(s.Signatures, func(r Signature) bool { return r.ID == id && !r.Off }) ||
		slices.ContainsFunc(s.Prefixes, func(r Prefix) bool { return r.ID == id && !r.Off }))
}

// Rules is a rules file.
type Rules struct {
	Version   int                 `yaml:"version"`
	Groups    map[string][]string `yaml:"groups"` // prefixes by name, for overrides
	Set       `yaml:",inline"`
	Overrides []Override `yaml:"overrides"`

	text map[string]string // every field by its path, for Diff
}

// Defaults returns the embedded rules, to be read and changed.
func Defaults() []byte { return bytes.Clone(defaults) }

// Load reads a rules file; an empty path means the embedded defaults. An error
// names the file, the line, the field and what was expected.
func Load(path string) (*Rules, error) {
	if path == "" {
		return Parse("the embedded rules", defaults)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	return Parse(path, b)
}

// Parse reads rules from b; name is what errors call it. What b does not name is
// as in the embedded rules; a list of rules that it names takes the place of
// theirs.
func Parse(name string, b []byte) (*Rules, error) {
	var doc yaml.Node
	err := yaml.Unmarshal(b, &doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c := checker{name: name, doc: &doc}
	if c.shape(); len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	var r Rules
	if err := yaml.Unmarshal(defaults, &r); err != nil {
		return nil, fmt.Errorf("reading the embedded rules: %w", err)
	}
	r.Version = 0 // which a file must say itself
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.check(&r)
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	if r.text, err = textOf(&doc); err != nil {
		return nil, err
	}
	return &r, nil
}
