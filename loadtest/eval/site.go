package eval

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/schemas"
)

// site is the lab of one capture, with a probe whose name no other capture's
// has. All runs of the capture go on there, one after the other: to start a
// probe for each would cost seconds of verifying its program.
type site struct {
	lab   *lab.Lab
	meter *lab.DropMeter
	hub   *hub
	host  string
	rec   *recorder // of the run before
}

func openSite(ctx context.Context, id, bin, host string, mtu int, h *hub) (_ *site, err error) {
	l, err := lab.New(lab.Config{ID: id, Silent: true, MTU: mtu})
	if err != nil {
		return nil, err
	}
	s := &site{lab: l, hub: h, host: host}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.meter, err = l.NewDropMeter(); err != nil {
		return nil, err
	}
	if err := l.Relay(lab.Victim, h.stack.Brokers); err != nil {
		return nil, err
	}
	probe, err := stack.Start(ctx, stack.Options{
		Bin: bin, Lab: l, Brokers: h.stack.Brokers, ProbeIn: lab.Victim, Host: host, Services: []stack.Service{stack.Probe},
		Env: map[stack.Service][]string{stack.Probe: {"WEIR_PROBE_MODE=enforce"}},
	})
	// The verifier works on the program for seconds, on a busy machine for a
	// minute.
	for range 4 {
		if err == nil || probe == nil || probe.Alive() != nil || ctx.Err() != nil {
			break
		}
		err = probe.AwaitReady(ctx)
	}
	return s, err
}

func (s *site) close() error {
	var err error
	if s.meter != nil {
		err = s.meter.Close()
	}
	return errors.Join(err, s.lab.Close())
}

// run does one job.
func (s *site) run(ctx context.Context, j *job) ([]*outcome, error) {
	rec := newRecorder()
	s.hub.follow(s.host, rec)
	defer s.hub.unfollow(s.host)
	p := &play{job: j, site: s, rec: rec}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	s.rec = rec
	return p.outcomes()
}

// release ends, by tombstones, every lease that the run before led to: what was
// decided then, and what is decided since from the sliding windows that it
// filled. It returns the offsets of the latter, which are none of this run's.
func (s *site) release(ctx context.Context, p *play) (map[int64]bool, error) {
	if s.rec == nil {
		return nil, nil
	}
	decided := s.rec.decisions.All()
	late := make(map[int64]bool)
	for _, d := range p.rec.decisions.All() {
		if p.item.isNamedBy(d.Command.Match) {
			decided = append(decided, d)
			late[d.Offset] = true
		}
	}
	done := make(map[string]bool)
	for _, d := range decided {
		key := string(d.Key)
		if done[key] {
			continue
		}
		done[key] = true
		if _, _, err := s.hub.producer.Put(ctx, s.hub.stack.Topics.Commands, schemas.SchemaCommands, d.Key, nil); err != nil {
			return nil, fmt.Errorf("releasing a lease: %w", err)
		}
	}
	s.rec = nil
	return late, nil
}
