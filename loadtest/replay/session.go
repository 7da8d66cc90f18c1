package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/watch"
)

// Session is a silent lab with a probe in it, into which captures are played
// one after the other, and a reader of what the probe counts.
type Session struct {
	Lab   *lab.Lab
	Stack *stack.Stack

	reader *watch.Reader
	counts *watch.Counts
}

// SessionOptions say how a session is built.
type SessionOptions struct {
	ID      string
	Bin     string
	Brokers string        // empty: an embedded broker
	Largest int           // bytes of the longest frame that will be played
	Window  time.Duration // of the probe; 0: its default
}

// Open builds a lab, starts a broker and a probe, and begins to count.
func Open(ctx context.Context, o SessionOptions) (*Session, error) {
	l, err := lab.New(lab.Config{ID: o.ID, Silent: true, MTU: max(1500, o.Largest-14)})
	if err != nil {
		return nil, err
	}
	s := &Session{Lab: l}
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Session) start(ctx context.Context, o SessionOptions) (err error) {
	options := stack.Options{
		Bin: o.Bin, Lab: s.Lab, Brokers: o.Brokers, ProbeIn: lab.Victim, Services: []stack.Service{stack.Probe},
		Env: map[stack.Service][]string{},
	}
	if o.Window > 0 {
		options.Env[stack.Probe] = []string{"WEIR_PROBE_WINDOW=" + o.Window.String()}
	}
	if s.Stack, err = stack.Start(ctx, options); err != nil {
		return err
	}
	s.counts = watch.NewCounts(s.Stack.Interface)
	s.reader, err = watch.Read(ctx, s.Stack.Brokers, map[string]func(watch.Record){
		s.Stack.Topics.Counts: s.counts.Handle,
	})
	return err
}

// Play sends the player's frames and waits until the counts topic accounts for
// as many frames. It returns what was counted since the last Play.
func (s *Session) Play(ctx context.Context, p Player) (Result, watch.Sums, error) {
	s.counts.Reset()
	p.Interface = lab.DataInterface
	var result Result
	err := s.Lab.Do(lab.Clients, func() (err error) {
		result, err = p.Run(ctx)
		return err
	})
	if err != nil {
		return result, watch.Sums{}, err
	}
	for deadline := time.Now().Add(10 * time.Second); !s.counts.Accounted(result.Packets); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return result, s.counts.Sums(), fmt.Errorf("sent %d frames, the counts topic accounts for %d", result.Packets, s.counts.Frames())
		}
	}
	return result, s.counts.Sums(), nil
}

// Close takes everything down.
func (s *Session) Close() error {
	if s.reader != nil {
		s.reader.Close()
	}
	return s.Lab.Close()
}

// Compare says in what the counts contradict the frames that were sent once:
// nothing if they are equal to the packet and the byte.
func Compare(sums watch.Sums, frames []capture.Frame) []string {
	want := capture.NewTally(frames, sums.IPv6Prefix)
	var out []string
	differ := func(what string, got, want uint64) {
		if got != want {
			out = append(out, fmt.Sprintf("%s: counted %d, in the capture %d", what, got, want))
		}
	}
	differ("IP packets", sums.Total.Packets, want.IP.Packets)
	differ("IP bytes", sums.Total.Bytes, want.IP.Bytes)
	differ("other frames", sums.NonIP, want.NonIP.Packets)
	differ("bytes of other frames", sums.NonIPBytes, want.NonIP.Bytes)
	differ("malformed frames", sums.Malformed, want.Malformed.Packets)
	differ("bytes of malformed frames", sums.MalformedBytes, want.Malformed.Bytes)
	for class, packets := range want.ByClass {
		differ("packets of class "+classNames[class], sums.Total.ByClass[class], packets)
	}
	if sums.Other.Packets+sums.Tail.Packets == 0 {
		differ("sources", uint64(len(sums.Sources)), uint64(len(want.Sources)))
	}
	wrong := 0
	for source, c := range want.Sources {
		got := sums.Sources[source]
		if (got.Packets != c.Packets || got.Bytes != c.Bytes) && sums.Other.Packets+sums.Tail.Packets == 0 {
			if wrong++; wrong <= 5 {
				out = append(out, fmt.Sprintf("source %s: counted %d packets of %d bytes, in the capture %d of %d",
					source, got.Packets, got.Bytes, c.Packets, c.Bytes))
			}
		}
	}
	if wrong > 5 {
		out = append(out, fmt.Sprintf("and %d more sources", wrong-5))
	}
	return append(out, Consistency(sums)...)
}

// Consistency says in what the counts contradict themselves.
func Consistency(sums watch.Sums) []string {
	var out []string
	sum := sums.Other
	sum.Add(sums.Tail)
	for _, c := range sums.Sources {
		sum.Add(c)
	}
	if sum != sums.Total {
		out = append(out, fmt.Sprintf("sources, tail and other sum to %+v, the totals are %+v", sum, sums.Total))
	}
	var classes uint64
	for _, n := range sums.Total.ByClass {
		classes += n
	}
	if classes != sums.Total.Packets {
		out = append(out, fmt.Sprintf("classes sum to %d, packets are %d", classes, sums.Total.Packets))
	}
	for _, err := range sums.Unreadable {
		out = append(out, err.Error())
	}
	return out
}
