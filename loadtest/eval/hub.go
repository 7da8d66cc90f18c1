package eval

import (
	"context"
	"errors"
	"sync"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas"
)

// hub is what all probes have in common: broker, aggregator and policy, one
// reader of the topics, which hands each record to the run of its host, and a
// writer of commands.
type hub struct {
	lab      *lab.Lab
	stack    *stack.Stack
	reader   *watch.Reader
	producer *watch.Producer

	mu   sync.Mutex
	runs map[string]*recorder // by host
}

func startHub(ctx context.Context, id, bin string) (*hub, error) {
	l, err := lab.New(lab.Config{ID: id, Bare: true})
	if err != nil {
		return nil, err
	}
	h := &hub{lab: l, runs: make(map[string]*recorder)}
	if err := h.start(ctx, bin); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *hub) start(ctx context.Context, bin string) (err error) {
	h.stack, err = stack.Start(ctx, stack.Options{Bin: bin, Lab: h.lab, Services: []stack.Service{stack.Aggregator, stack.Policy}})
	if err != nil {
		return err
	}
	if h.producer, err = watch.NewProducer(h.stack.Brokers); err != nil {
		return err
	}
	t := h.stack.Topics
	h.reader, err = watch.Read(ctx, h.stack.Brokers, map[string]func(watch.Record){
		t.Counts: h.byKey((*recorder).counts), t.Rates: h.byKey((*recorder).rates), t.Commands: h.command,
	})
	return err
}

// of returns the run that plays into a host's probe.
func (h *hub) of(host string) *recorder {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.runs[host]
}

// follow hands records of a host to r from now on, unfollow ends it.
func (h *hub) follow(host string, r *recorder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs[host] = r
}

func (h *hub) unfollow(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.runs, host)
}

func (h *hub) byKey(handle func(*recorder, watch.Record)) func(watch.Record) {
	return func(rec watch.Record) {
		host, _, err := schemas.ParseInterfaceKey(string(rec.Key))
		if err != nil {
			return
		}
		if r := h.of(host); r != nil {
			handle(r, rec)
		}
	}
}

func (h *hub) command(rec watch.Record) {
	var log watch.Log[watch.Decision]
	watch.Decisions(&log)(rec)
	for _, d := range log.All() {
		if d.Released || d.Err != nil {
			continue
		}
		if r := h.of(d.Command.Target.Host); r != nil {
			r.decisions.Add(d)
		}
	}
}

func (h *hub) close() error {
	if h.reader != nil {
		h.reader.Close()
	}
	if h.producer != nil {
		h.producer.Close()
	}
	return h.lab.Close()
}
