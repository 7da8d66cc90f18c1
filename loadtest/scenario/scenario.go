// Package scenario sets the whole loop up in a lab, web server and ordinary
// clients included, and measures what happens to an attack.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/crew"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/loadtest/watch"
)

// Options say what to set up.
type Options struct {
	ID       string // of the lab
	Bin      string
	Brokers  string // separated by commas; empty: an embedded broker; those on the loopback are relayed into the lab
	Keep     bool
	Services []stack.Service // empty: all
	Ports    []uint16        // of the web server; empty: 80
	Env      map[stack.Service][]string
}

// Scenario is a lab with everything running and everything watched.
type Scenario struct {
	Lab   *lab.Lab
	Stack *stack.Stack
	Crew  crew.Crew
	Drops *lab.DropMeter

	Counts    *watch.Counts
	Windows   watch.Log[watch.WindowSeen]
	Rates     watch.Log[watch.Rate]
	Decisions watch.Log[watch.Decision]
	Events    watch.Log[watch.Event]

	reader *watch.Reader
}

// Setup builds the lab and starts everything; the probe observes only.
func Setup(ctx context.Context, o Options) (*Scenario, error) {
	l, err := lab.New(lab.Config{ID: o.ID, Keep: o.Keep})
	if err != nil {
		return nil, err
	}
	s := &Scenario{Lab: l, Crew: crew.Crew{Lab: l, Bin: o.Bin}, Counts: watch.NewCounts(lab.DataInterface)}
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Scenario) start(ctx context.Context, o Options) (err error) {
	for address := range strings.SplitSeq(o.Brokers, ",") {
		if !strings.HasPrefix(address, "127.") {
			continue
		}
		if err := s.Lab.Relay(lab.Victim, address); err != nil {
			return err
		}
	}
	s.Stack, err = stack.Start(ctx, stack.Options{
		Bin: o.Bin, Lab: s.Lab, Brokers: o.Brokers, ProbeIn: lab.Victim, Services: o.Services, Env: o.Env,
	})
	if err != nil {
		return err
	}
	if len(o.Ports) == 0 {
		o.Ports = []uint16{80}
	}
	if _, err = s.Crew.Serve(filepath.Join(s.Stack.Dir, "web.log"), o.Ports...); err != nil {
		return err
	}
	if s.Drops, err = s.Lab.NewDropMeter(); err != nil {
		return err
	}
	s.Counts.OnWindow(func(w watch.Window) {
		s.Windows.Add(watch.WindowSeen{
			BootID: w.BootID, Seq: w.Seq, End: w.End, Timestamp: w.Record.Timestamp, SeenAt: w.Record.SeenAt,
		})
	})
	s.reader, err = watch.Read(ctx, s.Stack.Brokers, map[string]func(watch.Record){
		s.Stack.Topics.Counts:   s.Counts.Handle,
		s.Stack.Topics.Rates:    watch.Rates(&s.Rates),
		s.Stack.Topics.Commands: watch.Decisions(&s.Decisions),
		s.Stack.Topics.Events:   watch.Events(&s.Events),
	})
	return err
}

// Enforce switches every probe from observing to dropping, and waits for it.
func (s *Scenario) Enforce(ctx context.Context) error {
	if out, err := s.Stack.CLI(ctx, "mode", "enforce", "--reason", "loadtest"); err != nil {
		return fmt.Errorf("switching to enforce: %w\n%s", err, out)
	}
	return nil
}

// Server is the web server's first address.
func Server(port uint16) netip.AddrPort { return netip.AddrPortFrom(lab.VictimAddress, port) }

// Ordinary starts the ordinary clients of every scenario: twenty people with
// ten requests a second each, one in ten over a new connection.
func (s *Scenario) Ordinary(port uint16) (*crew.Clients, error) {
	return s.Crew.Ordinary(traffic.OrdinaryClients{
		Server: Server(port), Sources: traffic.SourcesOf(lab.OrdinarySources, 20), Rate: 10, NewEvery: 10,
		Timeout: 3 * time.Second,
	})
}

// Leave ends the watching and leaves everything else running.
func (s *Scenario) Leave() error {
	return errors.Join(s.unwatch(), s.Lab.Leave())
}

// Close takes everything down.
func (s *Scenario) Close() error {
	return errors.Join(s.unwatch(), s.Lab.Close())
}

func (s *Scenario) unwatch() error {
	if s.reader != nil {
		s.reader.Close()
		s.reader = nil
	}
	if s.Drops == nil {
		return nil
	}
	err := s.Drops.Close()
	s.Drops = nil
	return err
}
