// Package commands is the record of weir.commands.v1: leases and modes, written
// by the policy, operators and third parties, consumed by every probe. The
// topic is compacted; a tombstone releases.
package commands

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
)

// Action is what a command orders.
type Action string

// The actions.
const (
	Drop      Action = "drop"
	RateLimit Action = "rate-limit"
	Observe   Action = "observe"
	Allow     Action = "allow"
	SetMode   Action = "mode" // not a lease: sets the mode of its target
)

// Mode is how a probe treats leases.
type Mode string

// The modes. The default is ModeObserve.
const (
	ModeEnforce Mode = "enforce" // leases drop and limit
	ModeObserve Mode = "observe" // XDP counts what leases would have dropped
	ModeOff     Mode = "off"     // kill switch: everything passes, counting goes on
)

// Match says which packets a lease covers: the conjunction of the fields that
// are set. At least Source or Destination must be.
type Match struct {
	Source          netip.Prefix // masked; zero means any
	Destination     netip.Prefix // masked; zero means any
	Protocol        uint8        // IP protocol number; 0 means any
	SourcePort      uint16       // 0 means any
	DestinationPort uint16       // 0 means any
	TCPFlags        TCPFlags     // zero means any
	Fragments       bool         // later fragments only: those without a transport header; false means any packet
}

// TCPFlags selects TCP packets with (flags & Mask) == Value. Its text is the
// flags that must be set and, after "!", those that must not, joined by "+":
// "syn+!ack".
type TCPFlags struct{ Mask, Value uint8 }

// Rate limits a lease of action rate-limit; either or both are set.
type Rate struct {
	PPS uint64 `json:"pps,omitempty"` // packets per second
	BPS uint64 `json:"bps,omitempty"` // bits per second
}

// Evidence is what led to the decision, so that it can be traced.
type Evidence struct {
	Rule      string  `json:"rule"`
	Measured  float64 `json:"measured"`
	Threshold float64 `json:"threshold"`
	Window    string  `json:"window"`
	Interface string  `json:"interface,omitempty"` // <host>/<ifname>
	BootID    string  `json:"boot_id,omitempty"`
	Seq       uint64  `json:"seq,omitempty"` // of the counts window
	Topic     string  `json:"topic,omitempty"`
	Partition int32   `json:"partition,omitempty"`
	Offset    int64   `json:"offset,omitempty"`
}

// Command is one value of the topic, decoded and checked.
type Command struct {
	Target   schemas.Target
	Match    Match // zero for SetMode
	Action   Action
	Mode     Mode          // SetMode only
	TTL      time.Duration // of leases: 1 s to 24 h; SetMode: 0 means for good
	Issuer   string
	Reason   string
	Rate     *Rate
	Evidence *Evidence
	Extra    map[string]json.RawMessage // fields of later minor versions, kept
}

// Lease is a command together with where and when the log has it.
type Lease struct {
	Command
	Key       string
	Offset    int64     // its position on the topic, the version of the filter
	IssuedAt  time.Time // the broker's timestamp, clamped to now
	ExpiresAt time.Time // IssuedAt + TTL
}
