// Package status is the record of weir.status.v1: what each probe has applied
// and how it is, per interface.
package status

import "time"

// Component is one part of a probe that applies versions of something: its
// AppliedOffset is the last offset of its topic that is in force.
type Component struct {
	AppliedOffset int64  `json:"applied_offset"` // -1: nothing yet
	Ready         bool   `json:"ready"`          // caught up since start
	Error         string `json:"error,omitempty"`
}

// Filter describes the filter of one interface.
type Filter struct {
	Leases    int               `json:"leases"`          // in force on this interface
	Suspended int               `json:"suspended"`       // kept but not applied: guard or dead-man
	Capacity  int               `json:"capacity"`        // how many the maps hold
	Rejected  uint64            `json:"rejected"`        // commands since start
	Drops     []LeaseDrops      `json:"drops,omitempty"` // leases that dropped or would have, heaviest first, at most 1,000
	Verdicts  map[string]uint64 `json:"verdicts"`        // cumulative packets by reason name
}

// LeaseDrops is what one lease dropped on this interface, cumulative since it
// was applied.
type LeaseDrops struct {
	Key     string    `json:"key"`
	Offset  int64     `json:"offset"`
	Packets uint64    `json:"packets"`
	Bytes   uint64    `json:"bytes"`
	Would   uint64    `json:"would,omitempty"` // packets that enforce would have dropped
	LastAt  time.Time `json:"last_at,omitzero"`
}

// Record is one value of the topic.
type Record struct {
	V               int                  `json:"v"`
	Host            string               `json:"host"`
	Interface       string               `json:"interface"`
	Ifindex         uint32               `json:"ifindex"`
	Direction       string               `json:"direction"` // "ingress"
	BootID          string               `json:"boot_id"`
	At              time.Time            `json:"at"`
	Mode            string               `json:"mode"`       // enforce, observe, off
	XDPMode         string               `json:"xdp_mode"`   // native, generic, offload, tcx
	XDPReason       string               `json:"xdp_reason"` // why that one
	Components      map[string]Component `json:"components"` // "filter": commands
	Filter          Filter               `json:"filter"`
	Seq             uint64               `json:"seq"` // last counts window published
	Buffered        int                  `json:"buffered_windows"`
	ShedSources     uint64               `json:"shed_sources"`
	BrokerReachable bool                 `json:"broker_reachable"` // it answers, and takes the counts
	SkewMillis      int64                `json:"clock_skew_ms"`    // local clock minus the broker's
	MemoryBytes     uint64               `json:"memory_bytes"`     // BPF maps and process together
	Version         string               `json:"version"`
	Stopped         bool                 `json:"stopped,omitempty"` // a last word: the probe ended on purpose
}
