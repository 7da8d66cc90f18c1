// Package xdp is Weir's data plane: a program for XDP and TCX that counts packets per
// source and enforces leases, and the Go API that loads it, attaches it, ends
// its windows and edits its filter. The API speaks of windows, sources, classes
// and leases; the layout of the maps stays inside this package.
package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Errors that callers branch on.
var (
	ErrForeignProgram = errors.New("another XDP program is attached")
	ErrFull           = errors.New("the filter is full")
	ErrUnsupported    = errors.New("not supported by this kernel")
)

// NumClasses is the number of packet classes; their order is that of schemas.Class.
const NumClasses = 8

// Limits of one datapath.
const (
	MaxSlots      = 64  // interfaces
	MaxSignatures = 256 // leases that are not just a source or an allowed address
)

// Mode is how the program is attached.
type Mode uint8

// The modes. ModeAuto chooses by the kind of interface and tells why: native on
// NICs, TCX on virtual interfaces, and what is left when that is refused.
const (
	ModeAuto Mode = iota
	ModeNative
	ModeGeneric
	ModeOffload
	ModeTCX
)

// String returns the mode's name in status records and configuration.
func (m Mode) String() string {
	switch m {
	case ModeNative:
		return "native"
	case ModeGeneric:
		return "generic"
	case ModeOffload:
		return "offload"
	case ModeTCX:
		return "tcx"
	default:
		return "auto"
	}
}

// ParseMode returns the mode of this name.
func ParseMode(name string) (Mode, error) {
	for m := ModeAuto; m <= ModeTCX; m++ {
		if m.String() == name {
			return m, nil
		}
	}
	return ModeAuto, fmt.Errorf("mode %q: want auto, native, generic, offload or tcx", name)
}

// FilterMode is how leases are treated on one interface.
type FilterMode uint32

// The filter modes.
const (
	FilterObserve FilterMode = iota // count what would have been dropped
	FilterEnforce                   // drop
	FilterOff                       // pass everything
)

// Action is what a lease orders; the order is their strength.
type Action uint32

// The actions.
const (
	ActionObserve Action = iota + 1
	ActionRateLimit
	ActionDrop
	ActionAllow
)

// Slot is the number of an attached interface: bit Slot of Entry.Interfaces.
type Slot uint8

// Config says what to load. Zero values mean the defaults.
type Config struct {
	PinPath                string // directory on a bpffs; empty: nothing outlives the process
	BootID                 string // of this process, at most 32 bytes
	SourceWays             int    // records per CPU and family, a power of two; a source has one per class that it sends
	MaxSources             int    // of a window and interface are listed, about, but the heaviest in any case; 0: all
	MaxLeases              int    // default 131,072 (25 MB)
	MaxPrefixes            int    // default 100,000, within MaxLeases
	Strict                 bool   // also drop what is not IP, when enforcing
	SourceLimit            uint64 // packets per second that any source may send; 0: no limit
	IPv6SourcePrefixLength int    // 64 (default) or 128: how off-link sources are counted
}

// AttachOptions says how to attach.
type AttachOptions struct {
	Mode   Mode
	OnLink []netip.Prefix // IPv6 prefixes of the interface's own link, at most 4 are used
}

// Attachment is one interface with the program on it.
type Attachment struct {
	Ifindex int
	Slot    Slot
	Mode    Mode   // native, generic, offload or TCX
	Reason  string // why that one
	Adopted bool   // it was attached before this process began
}

// Counters are packets and bytes of one source or interface in one window.
type Counters struct {
	Packets  uint64
	Bytes    uint64 // of frames, Ethernet header included
	ByClass  [NumClasses]uint64
	UDPBytes uint64
	Dropped  uint64 // packets
}

// Source is what one remote address sent in a window.
type Source struct {
	Address netip.Addr
	Counters
	PortPairs uint64 // bitmap of a hash of (source port, destination port), from about the 17th packet of UDP and the 129th of another class on
}

// Target is traffic of one class to one destination and port.
type Target struct {
	Destination netip.Addr // invalid: one of more than fit
	Class       uint8
	Protocol    uint8
	Port        uint16 // SYN: destination port; SYN-ACK and UDP: source port; 0: none, or too many
	Packets     uint64
	Bytes       uint64
	Dropped     uint64
	SourceBits  uint64 // bitmap of a hash of the source
}

// Window is what one interface counted.
type Window struct {
	Slot                                         Slot
	Ifindex                                      int
	BootID                                       string // of the process that ended the window
	Seq                                          uint64 // 1, 2, … within BootID
	Totals                                       Counters
	NonIP, NonIPBytes, Malformed, MalformedBytes uint64
	Other                                        Counters // packets whose source found no place in the table
	Truncated                                    bool     // Other is not empty
	NoTarget                                     uint64   // packets whose target found no place
	Sources                                      Sources
	Targets                                      []Target
	// HyperLogLog registers (2^10) of all sources, of those that sent SYN and
	// of those that sent SYN-ACK; nil when there was none.
	SourcesSketch, SYNSketch, SYNACKSketch []byte

	sketches *sketches
}

// Drained is the ended window of every attached interface. Its slices are valid
// until the next Drain.
type Drained struct {
	Windows    []Window
	Start, End time.Duration // boot-time clock
	FlipWait   time.Duration // the grace period
	Scan       time.Duration // reading the tables
}

// Match says which packets a lease covers; zero fields mean any.
type Match struct {
	Source, Destination         netip.Prefix
	Protocol                    uint8
	SourcePort, DestinationPort uint16
	FlagMask, FlagValue         uint8 // TCP packets with flags & FlagMask == FlagValue
	Fragments                   bool  // later fragments only
	// Variant tells leases apart that cover the same packets on different
	// interfaces. One that is not 0 is held as a signature, of which there are few.
	Variant uint8
}

// Entry is one lease as the filter holds it. Its identity is Match.
type Entry struct {
	Match      Match
	Interfaces uint64 // bit per Slot
	Action     Action
	PPS        uint64        // rate-limit: packets per second, 0 for none
	BPS        uint64        // rate-limit: bits per second, 0 for none
	ExpiresAt  time.Duration // boot-time clock; 0: never
	Offset     int64         // of the command; 0 and up
	Suspended  bool          // kept, also over a restart, but never matched
}

// Drops is what a lease has done since it was put.
type Drops struct {
	Packets, Bytes    uint64        // dropped
	Would, WouldBytes uint64        // would have been dropped: mode observe or action observe
	Last              time.Duration // boot-time clock; 0: never
}
