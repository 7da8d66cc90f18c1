// Package rules reads the rules of detection: data, embedded with defaults,
// replaceable by a file.
package rules

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

//go:embed rules.yaml
var defaults []byte

// Metrics that conditions may name, of one source in the rule's window.
const (
	SYN          = "syn"            // packets
	SYNShare     = "syn_share"      // of its TCP packets, 0 to 1
	UDP          = "udp"            // packets
	UDPMeanFrame = "udp_mean_frame" // bytes
	PortPairs    = "port_pairs"     // distinct, over 1 s, at most 64
	ICMP         = "icmp"           // packets
	Packets      = "packets"
)

var metrics = map[string]bool{SYN: true, SYNShare: true, UDP: true, UDPMeanFrame: true, PortPairs: true, ICMP: true, Packets: true}

// Condition compares a metric with a bound; exactly one bound is set.
type Condition struct {
	Metric  string   `yaml:"metric"`
	AtLeast *float64 `yaml:"at_least"`
	Below   *float64 `yaml:"below"`
}

// Cover says which packets of a source a lease takes.
type Cover string

// The covers.
const (
	CoverAll  Cover = "all"
	CoverSYN  Cover = "syn"
	CoverICMP Cover = "icmp"
)

// Source is a rule about single sources.
type Source struct {
	ID                string          `yaml:"id"`
	Name              string          `yaml:"name"`
	Window            time.Duration   `yaml:"window"` // 1 s or 10 s
	All               []Condition     `yaml:"all"`
	Any               []Condition     `yaml:"any"`
	Action            commands.Action `yaml:"action"`
	Rate              uint64          `yaml:"rate"` // packets per second, of rate-limit
	Cover             Cover           `yaml:"cover"`
	DropAfterRenewals int             `yaml:"drop_after_renewals"` // 0: never
}

// Signature is a rule about traffic of one class to one victim, whatever its
// sources: they are spoofed or reflect.
type Signature struct {
	ID        string          `yaml:"id"`
	Name      string          `yaml:"name"`
	Window    time.Duration   `yaml:"window"`
	ClassName string          `yaml:"class"`
	Packets   float64         `yaml:"packets"`
	Sources   float64         `yaml:"sources"`
	PerSource float64         `yaml:"per_source"` // at most; 0: any
	Ports     []uint16        `yaml:"ports"`      // source ports; empty: any
	Action    commands.Action `yaml:"action"`
	Rate      uint64          `yaml:"rate"`
	Class     schemas.Class   `yaml:"-"`
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
	PerSecond int `yaml:"per_second"`
	Total     int `yaml:"total"`
}

// Rules is a rules file.
type Rules struct {
	Version    int         `yaml:"version"`
	Sources    []Source    `yaml:"sources"`
	Signatures []Signature `yaml:"signatures"`
	Lease      Lease       `yaml:"lease"`
	Budget     Budget      `yaml:"budget"`
}

// Load reads a rules file; an empty path means the embedded defaults. An error
// names the file, the line and the field.
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

// Parse reads rules from b; name is what errors call it.
func Parse(name string, b []byte) (*Rules, error) {
	var r Rules
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c := checker{name: name, doc: &doc}
	c.check(&r)
	return &r, errors.Join(c.errs...)
}
