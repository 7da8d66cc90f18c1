package eval

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/replay"
	"github.com/weir-net/weir/loadtest/traffic"
)

// job is one run of one capture.
type job struct {
	item *item
	what string // one of the constants below

	backdrop           backdrop // of attacks
	lead, attack, tail time.Duration
	attackFrames       []capture.Frame
	phase              time.Duration // the attack begins so much later than lead
}

// The runs.
const (
	runFull     = "full"     // the protocol's
	runShort    = "short"    // its beginning once more
	runAnswered = "answered" // the attacker needs answers
	runNative   = "native"   // of ordinary traffic, at its own speed
	runFast     = "5×"
)

// play is the traffic of one run.
type play struct {
	*job
	site *site
	rec  *recorder
	base uint64         // what the driver had dropped before the run
	late map[int64]bool // offsets of decisions about the run before

	sent        uint64 // frames, by both senders
	withheld    uint64 // frames that a client without an answer does not send
	drops       uint64 // as the driver counts them
	first       time.Duration
	firstDrop   time.Duration
	before, end mark // when the attack began, and when all was counted
}

// player is a running replay.
type player struct {
	result replay.Result
	err    error
	done   chan struct{}
}

// start plays on a thread of the clients' namespace.
func (p *play) start(run func() (replay.Result, error)) *player {
	out := &player{done: make(chan struct{})}
	go func() {
		defer close(out.done)
		out.err = p.site.lab.Do(lab.Clients, func() (err error) {
			out.result, err = run()
			return err
		})
	}()
	return out
}

// startAttack plays the attack blindly, or as a client that needs an answer.
func (p *play) startAttack(ctx context.Context) (*player, error) {
	if p.what == runAnswered {
		a, err := newAnswering(p.site.lab, p.attackFrames)
		if err != nil {
			return nil, err
		}
		return p.start(func() (replay.Result, error) {
			result, err := a.run(ctx, p.attack)
			p.withheld = a.withheld
			return result, errors.Join(err, a.close())
		}), nil
	}
	loops := 1
	if p.item.kindOf() == kindAttack {
		loops = -1
	}
	return p.start(func() (replay.Result, error) {
		return replay.Player{Frames: p.attackFrames, Interface: lab.DataInterface, Loops: loops, Duration: p.attack}.Run(ctx)
	}), nil
}

// run plays the backdrop, and the attack once lead is over.
func (p *play) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var err error
	if p.base, err = p.site.meter.Drops(); err != nil {
		return err
	}
	var players []*player
	if len(p.backdrop.frames) > 0 {
		players = append(players, p.start(func() (replay.Result, error) {
			return replay.Player{Frames: p.backdrop.frames, Interface: lab.DataInterface, Duration: p.span()}.Run(ctx)
		}))
	}
	if err := p.release(ctx); err != nil {
		return err
	}
	p.before = p.rec.mark()
	before, err := p.site.meter.Drops() // of a policy that drops ordinary traffic
	if err != nil {
		return err
	}
	attack, err := p.startAttack(ctx)
	if err != nil {
		return err
	}
	players = append(players, attack)
	if err := p.watchDrops(ctx, before, attack.done); err != nil {
		return err
	}
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

// settling is how long before the attack the leases of the run before are
// released: what that run sent is then out of every sliding window.
const settling = time.Second

// release waits until the attack is to begin, and ends what is in force.
func (p *play) release(ctx context.Context) error {
	if err := wait(ctx, p.lead-settling); err != nil {
		return err
	}
	var err error
	if p.late, err = p.site.release(ctx, p); err != nil {
		return err
	}
	return wait(ctx, settling+p.phase)
}

// watchDrops notes when the first packet beyond those of before was
// dropped, to a millisecond.
func (p *play) watchDrops(ctx context.Context, before uint64, done <-chan struct{}) error {
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
		drops, err := p.site.meter.Drops()
		if err != nil {
			return err
		}
		if drops > before {
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
	for deadline := time.Now().Add(15 * time.Second); p.rec.sums.Frames() < p.sent; {
		if time.Now().After(deadline) {
			return fmt.Errorf("sent %d frames, the counts topic accounts for %d", p.sent, p.rec.sums.Frames())
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	drops, err := p.site.meter.Drops()
	if err != nil {
		return err
	}
	p.drops, p.end = drops-p.base, p.rec.mark()
	sums := p.rec.sums.Sums()
	if n := sums.Frames(); n != p.sent {
		return fmt.Errorf("sent %d frames, the counts topic accounts for %d", p.sent, n)
	}
	if sums.Total.Dropped != p.drops {
		return fmt.Errorf("the driver dropped %d packets, the counts topic says %d", p.drops, sums.Total.Dropped)
	}
	return errors.Join(sums.Unreadable...)
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
