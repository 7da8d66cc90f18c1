// Package traffic makes the lab's traffic: a web server, ordinary clients, and
// the floods that Weir is there to stop. Every generator counts exactly what
// it sent and refuses to send anywhere but to the loopback or inside a lab.
package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/lab"
)

// BootTime is the clock on which all times of a run are compared: the one that
// XDP reads, the same in every process and namespace.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("reading CLOCK_BOOTTIME: %v", err)) // the vDSO has it on every supported kernel
	}
	return time.Duration(ts.Nano())
}

// ErrRefused says that a generator was pointed outside the lab.
var ErrRefused = errors.New("refused: generators send only to the loopback or inside a lab")

// Guard returns ErrRefused unless to is a loopback address, or this process
// runs in a lab's namespace and to is one of the victim's addresses.
func Guard(to netip.Addr) error {
	if to.IsLoopback() {
		return nil
	}
	return guardLab(to)
}

// guardLab is Guard for raw frames, which the loopback must not carry either.
func guardLab(to netip.Addr) error {
	if err := lab.InLab(); err != nil {
		return fmt.Errorf("sending to %s: %w: %w", to, ErrRefused, err)
	}
	if to != lab.VictimAddress && to != lab.VictimAddress6 {
		return fmt.Errorf("sending to %s: %w: the victim is %s or %s", to, ErrRefused, lab.VictimAddress, lab.VictimAddress6)
	}
	return nil
}

// FloodReport is a line that a flood prints: how far it is.
type FloodReport struct {
	At       time.Duration `json:"at"`       // boot time of the report
	First    time.Duration `json:"first"`    // boot time of the first packet, 0 before it
	Last     time.Duration `json:"last"`     // boot time of the last packet
	Packets  uint64        `json:"packets"`  // frames handed to the kernel, exact; raw floods only
	Bytes    uint64        `json:"bytes"`    // of these
	Sources  uint64        `json:"sources"`  // distinct source addresses used so far
	Requests uint64        `json:"requests"` // connections tried; HTTP only
	Answered uint64        `json:"answered"` // connections that got an answer; HTTP only
	Done     bool          `json:"done"`     // the last line
}

// Request is one request of an ordinary client.
type Request struct {
	At            time.Duration `json:"at"` // boot time of its start
	Latency       time.Duration `json:"latency"`
	NewConnection bool          `json:"new,omitempty"`
	Error         string        `json:"error,omitempty"`
}

// ClientsReport is a line that the ordinary clients print.
type ClientsReport struct {
	At       time.Duration `json:"at"`
	Requests []Request     `json:"requests"`
	Done     bool          `json:"done"`
}

// reporter prints JSON lines, one writer at a time.
type reporter struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newReporter(w io.Writer) *reporter { return &reporter{enc: json.NewEncoder(w)} }

func (r *reporter) print(v any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enc.Encode(v); err != nil {
		return fmt.Errorf("writing a report: %w", err)
	}
	return nil
}

// every calls fn each period until ctx ends, then once more.
func every(ctx context.Context, period time.Duration, fn func()) {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			fn()
			return
		case <-t.C:
			fn()
		}
	}
}
