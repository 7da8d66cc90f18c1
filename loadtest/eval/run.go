package eval

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/replay"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas/commands"
)

// job is one run: one capture into one fresh probe under one policy.
type job struct {
	policy *policy
	item   *item
	what   string // "full", "short", "native", "5×"
	host   string // the probe's name, of this run alone

	backdrop           backdrop // of attacks
	lead, attack, tail time.Duration
	attackFrames       []capture.Frame
	phase              time.Duration // the attack begins so much later than lead
}

// tally is packets by what became of them.
type tally struct{ packets, dropped uint64 }

func (t *tally) add(o tally) { t.packets, t.dropped = t.packets+o.packets, t.dropped+o.dropped }

// share is the share of dropped packets in per cent.
func (t tally) share() float64 {
	if t.packets == 0 {
		return 0
	}
	return 100 * float64(t.dropped) / float64(t.packets)
}

// outcome is what became of one run.
type outcome struct {
	job       *job
	first     time.Duration // boot time of the first attack packet
	firstDrop time.Duration // 0: nothing was dropped
	stages    scenario.Stages
	rules     map[string]int // leases by rule

	attack, benign tally
	visitors       tally // of the attacked host, while the attack lasted
	blocked        map[netip.Addr]bool
	perSource      int // leases
	signatures     int
	hit            bool // a lease names a source of the attack, or what it looks like
}

// mitigated is the time from the first attack packet to the first drop; false
// if there was none.
func (o *outcome) mitigated() (time.Duration, bool) {
	return o.firstDrop - o.first, o.firstDrop > 0
}

// recorder keeps what the topics say about one run.
type recorder struct {
	sums      *watch.Counts
	windows   watch.Log[watch.WindowSeen]
	ratesLog  watch.Log[watch.Rate]
	decisions watch.Log[watch.Decision]
}

func newRecorder() *recorder {
	r := &recorder{sums: watch.NewCounts(lab.DataInterface)}
	r.sums.OnWindow(func(w watch.Window) {
		r.windows.Add(watch.WindowSeen{
			BootID: w.BootID, Seq: w.Seq, End: w.End, Timestamp: w.Record.Timestamp, SeenAt: w.Record.SeenAt,
		})
	})
	return r
}

func (r *recorder) counts(rec watch.Record) { r.sums.Handle(rec) }
func (r *recorder) rates(rec watch.Record)  { watch.Rates(&r.ratesLog)(rec) }

// run builds a lab with a probe in it, plays, and takes it down again.
func (j *job) run(ctx context.Context, labID, bin string, mtu int) (_ *outcome, err error) {
	h := j.policy.hub
	l, err := lab.New(lab.Config{ID: labID, Silent: true, MTU: mtu})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.Relay(lab.Victim, h.stack.Brokers); err != nil {
		return nil, err
	}
	rec := newRecorder()
	h.follow(j.host, rec)
	defer h.unfollow(j.host)
	_, err = stack.Start(ctx, stack.Options{
		Bin: bin, Lab: l, Brokers: h.stack.Brokers, ProbeIn: lab.Victim, Host: j.host, Services: []stack.Service{stack.Probe},
		Env: map[stack.Service][]string{stack.Probe: {"WEIR_PROBE_MODE=enforce"}},
	})
	if err != nil {
		return nil, err
	}
	meter, err := l.NewDropMeter()
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	p := &play{job: j, lab: l, meter: meter, rec: rec}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	return p.outcome()
}

// play is the traffic of one run.
type play struct {
	*job
	lab   *lab.Lab
	meter *lab.DropMeter
	rec   *recorder

	sent          uint64 // frames, by both senders
	first         time.Duration
	firstDrop     time.Duration
	before, after watch.Sums // when the attack began and ended
	end           watch.Sums
}

// player is a running replay.
type player struct {
	result replay.Result
	err    error
	done   chan struct{}
}

func (p *play) start(ctx context.Context, frames []capture.Frame, loops int, span time.Duration) *player {
	out := &player{done: make(chan struct{})}
	go func() {
		defer close(out.done)
		out.err = p.lab.Do(lab.Clients, func() (err error) {
			out.result, err = replay.Player{Frames: frames, Interface: lab.DataInterface, Loops: loops, Duration: span}.Run(ctx)
			return err
		})
	}()
	return out
}

// run plays the backdrop, and the attack once lead is over.
func (p *play) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var players []*player
	if len(p.backdrop.frames) > 0 {
		players = append(players, p.start(ctx, p.backdrop.frames, 1, p.lead+p.attack+p.tail))
	}
	if err := wait(ctx, p.lead+p.phase); err != nil {
		return err
	}
	p.before = p.rec.sums.Sums()
	base, err := p.meter.Drops() // of a policy that drops ordinary traffic
	if err != nil {
		return err
	}
	loops := 1
	if p.item.kindOf() == kindAttack {
		loops = -1
	}
	attack := p.start(ctx, p.attackFrames, loops, p.attack)
	players = append(players, attack)
	if err := p.watchDrops(ctx, base, attack.done); err != nil {
		return err
	}
	p.after = p.rec.sums.Sums()
	for _, x := range players {
		<-x.done
		if x.err != nil {
			return x.err
		}
		p.sent += x.result.Packets
	}
	p.first = attack.result.First
	return p.account(ctx)
}

// watchDrops notes when the first packet beyond base was dropped, to a
// millisecond.
func (p *play) watchDrops(ctx context.Context, base uint64, done <-chan struct{}) error {
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ticks.C:
		}
		drops, err := p.meter.Drops()
		if err != nil {
			return err
		}
		if drops > base {
			p.firstDrop = traffic.BootTime()
			break
		}
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// account waits until the counts topic accounts for every frame that was sent,
// and holds the drops that it tells of against those that the driver counted.
func (p *play) account(ctx context.Context) error {
	for deadline := time.Now().Add(15 * time.Second); !p.rec.sums.Accounted(p.sent); {
		if time.Now().After(deadline) {
			return fmt.Errorf("sent %d frames, the counts topic accounts for %d", p.sent, p.rec.sums.Frames())
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	p.end = p.rec.sums.Sums()
	drops, err := p.meter.Drops()
	if err != nil {
		return err
	}
	if n := p.end.Frames(); n != p.sent {
		return fmt.Errorf("sent %d frames, the counts topic accounts for %d", p.sent, n)
	}
	if p.end.Total.Dropped != drops {
		return fmt.Errorf("the driver dropped %d packets, the counts topic says %d", drops, p.end.Total.Dropped)
	}
	return nil
}

// outcome sorts what was counted by who sent it.
func (p *play) outcome() (*outcome, error) {
	out := &outcome{job: p.job, first: p.first, firstDrop: p.firstDrop, rules: make(map[string]int), blocked: make(map[netip.Addr]bool)}
	leases := p.leases(out)
	for source, c := range p.end.Sources {
		t := tally{c.Packets, c.Dropped}
		if p.item.kindOf() != kindBenign && p.item.attack[source] {
			out.attack.add(t)
			continue
		}
		out.benign.add(t)
		for _, m := range leases {
			if m.Contains(source) {
				out.blocked[source] = true
			}
		}
		if p.backdrop.visitors[source] {
			a, b := p.after.Sources[source], p.before.Sources[source]
			out.visitors.add(tally{a.Packets - b.Packets, a.Dropped - b.Dropped})
		}
	}
	if sum := out.attack.dropped + out.benign.dropped; sum != p.end.Total.Dropped {
		return nil, fmt.Errorf("%d packets were dropped, %d of sources that are known", p.end.Total.Dropped, sum)
	}
	return out, nil
}

// leases counts what was decided, and returns the prefixes that it blocks.
func (p *play) leases(out *outcome) []netip.Prefix {
	var prefixes []netip.Prefix
	perSource, signatures := make(map[string]bool), make(map[string]bool)
	var firstDecision *watch.Decision
	for _, d := range p.rec.decisions.All() {
		if d.Command.Action != commands.Drop && d.Command.Action != commands.RateLimit {
			continue
		}
		if firstDecision == nil {
			firstDecision = &d
		}
		key, m := string(d.Key), d.Command.Match
		if !perSource[key] && !signatures[key] && d.Command.Evidence != nil {
			out.rules[strings.SplitN(d.Command.Evidence.Rule, " ", 2)[0]]++
		}
		switch {
		case m.Source.IsValid():
			prefixes = append(prefixes, m.Source)
			perSource[key] = true
			for source := range p.item.attack {
				out.hit = out.hit || m.Source.Contains(source)
			}
		case d.Signature():
			signatures[key] = true
			out.hit = out.hit || m.Destination.Contains(p.item.victim)
		}
	}
	out.perSource, out.signatures = len(perSource), len(signatures)
	if firstDecision != nil && p.firstDrop > 0 {
		out.stages = scenario.Split(*firstDecision, p.rec.ratesLog.All(), p.rec.windows.All(), p.first, p.firstDrop)
	}
	return prefixes
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
