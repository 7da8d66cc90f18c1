// Package attacks is the record of weir.attacks.v1: one attack on one interface,
// from the first decision against it to its end. The topic is compacted; the
// policy writes an attack again as it goes on, under the same key.
package attacks

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas/commands"
)

// Lease is one of the policy's leases against an attack.
type Lease struct {
	Key     string `json:"key"`             // on the commands topic
	Packets uint64 `json:"packets"`         // dropped, since the lease was applied
	Bytes   uint64 `json:"bytes"`           // dropped
	Would   uint64 `json:"would,omitempty"` // packets that enforce would have dropped
}

// Record is one value of the topic.
type Record struct {
	V         int    `json:"v"`
	Host      string `json:"host"`
	Interface string `json:"interface"`
	Rule      string `json:"rule"`   // its id
	Vector    string `json:"vector"` // what kind of attack it is, for people: the rule's name
	// Destination is the victim, of attacks that a signature describes; invalid
	// for those that come from single sources.
	Destination netip.Addr `json:"destination,omitzero"`
	Start       time.Time  `json:"start"`        // end of the window that the first decision was made of
	End         time.Time  `json:"end,omitzero"` // when it was last seen; zero while it goes on
	UpdatedAt   time.Time  `json:"updated_at"`
	PeakPPS     float64    `json:"peak_pps"` // packets per second of the attack, over 1 s
	PeakBPS     float64    `json:"peak_bps"` // bits per second
	// Sources are those that a lease names, or an estimate of those that a
	// signature takes, at its peak.
	Sources uint64          `json:"sources"`
	Action  commands.Action `json:"action"` // the strongest that was ordered
	Mode    string          `json:"mode"`   // of the interface, when last heard of: enforce, observe, off
	Dropped uint64          `json:"dropped_packets"`
	Bytes   uint64          `json:"dropped_bytes"`
	Would   uint64          `json:"would_drop_packets"` // in the modes that only count
	// Leases is how many leases were issued against it, and Top the ones that
	// dropped most, at most MaxTop.
	Leases   int                `json:"leases"`
	Top      []Lease            `json:"top_leases"`
	Evidence *commands.Evidence `json:"evidence,omitempty"` // of the first decision
}

// Ended reports whether the attack is over.
func (r *Record) Ended() bool { return !r.End.IsZero() }
