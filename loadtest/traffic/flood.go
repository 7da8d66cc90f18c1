package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
)

// RawFlood is a flood of raw frames: UDP from real sources, or SYN from
// spoofed ones.
type RawFlood struct {
	Interface   string
	Destination netip.Addr // IPv4
	Port        uint16
	Sources     []netip.Addr
	UDP         bool          // else TCP SYN
	Payload     int           // bytes of a datagram
	PPS         float64       // 0: as fast as possible
	Count       uint64        // stop after so many packets; 0: at Duration
	Duration    time.Duration // 0: until the context ends
	Seed        uint64
}

// Run floods and prints reports to w, the last with Done.
func (r RawFlood) Run(ctx context.Context, w io.Writer) (FloodReport, error) {
	if err := guardLab(r.Destination); err != nil {
		return FloodReport{}, err
	}
	if !r.Destination.Is4() || len(r.Sources) == 0 {
		return FloodReport{}, errors.New("flooding: want an IPv4 destination and at least one source")
	}
	if r.Duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, r.Duration)
		defer stop()
	}
	sender, err := NewSender(r.Interface)
	if err != nil {
		return FloodReport{}, err
	}
	defer sender.Close()

	var mu sync.Mutex // guards sender's counters between the loop and the reports
	out := newReporter(w)
	report := func(done bool) FloodReport {
		mu.Lock()
		defer mu.Unlock()
		return FloodReport{
			At: BootTime(), First: sender.First, Last: sender.Last, Packets: sender.Packets, Bytes: sender.Bytes,
			Sources: min(sender.Packets, uint64(len(r.Sources))), Done: done,
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var printing sync.WaitGroup
	printing.Go(func() {
		every(ctx, 100*time.Millisecond, func() { _ = out.print(report(false)) })
	})
	err = r.send(ctx, sender, &mu)
	stop()
	printing.Wait()
	last := report(true)
	return last, errors.Join(err, out.print(last))
}

func (r RawFlood) send(ctx context.Context, sender *Sender, mu *sync.Mutex) error {
	random := rand.New(rand.NewPCG(r.Seed, 1))
	frames := make([][]byte, batchFrames)
	for i := range frames {
		if r.UDP {
			frames[i] = udpFrame(lab.GatewayMAC, lab.VictimMAC, r.Sources[0], r.Destination, r.Port, r.Payload)
		} else {
			frames[i] = synFrame(lab.GatewayMAC, lab.VictimMAC, r.Sources[0], r.Destination, r.Port)
		}
	}
	pace := newPacer(r.PPS)
	for next := uint64(0); ctx.Err() == nil && (r.Count == 0 || next < r.Count); {
		n := pace.next(ctx, batchFrames)
		if r.Count > 0 {
			n = int(min(uint64(n), r.Count-next))
		}
		for _, f := range frames[:n] {
			// In turn, so that after len(Sources) packets each was used once.
			source := r.Sources[next%uint64(len(r.Sources))]
			setSource(f, source, uint16(1024+random.IntN(64512)), random.Uint32())
			next++
		}
		mu.Lock()
		err := sender.Send(frames[:n])
		mu.Unlock()
		if err != nil {
			return fmt.Errorf("flooding %s: %w", r.Destination, err)
		}
	}
	return nil
}

// SYNs returns what makes the frames of a SYN flood, one after the other; each is
// valid until the next. It is for senders that do without a process of their own.
func SYNs(to netip.AddrPort, sources []netip.Addr, seed uint64) func() []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	frame := synFrame(lab.GatewayMAC, lab.VictimMAC, sources[0], to.Addr(), to.Port())
	next := 0
	return func() []byte {
		setSource(frame, sources[next%len(sources)], uint16(1024+random.IntN(64512)), random.Uint32())
		next++
		return frame
	}
}
