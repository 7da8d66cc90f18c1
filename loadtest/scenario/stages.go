package scenario

import (
	"time"

	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/loadtest/watch"
)

// Stages is where the time to mitigate went. They follow one another, so that
// they sum up to it; each is seen from outside, by reading the topics as any
// third party does, and so includes the time that the record took to get here.
type Stages struct {
	Window    time.Duration // first attack packet → end of the window that gave the attack away
	Drain     time.Duration // → that window is on the counts topic, by the broker's clock
	Broker    time.Duration // → it is read from there
	Aggregate time.Duration // → the rates with it are read
	Decide    time.Duration // → the command is read
	Apply     time.Duration // → the first packet is dropped
}

// Names are the stages' names, in the order of Values.
func (Stages) Names() []string {
	return []string{"window wait", "drain", "broker", "aggregate", "decide", "apply"}
}

// Values are the stages in their order.
func (s Stages) Values() []time.Duration {
	return []time.Duration{s.Window, s.Drain, s.Broker, s.Aggregate, s.Decide, s.Apply}
}

// stages splits the time between first and drop by the records that led to d.
func (s *Scenario) stages(d watch.Decision, first, drop time.Duration) Stages {
	return Split(d, s.Rates.All(), s.Windows.All(), first, drop)
}

// Split splits the time between first and drop, both boot times, by the records
// that led to d. A record that cannot be found leaves its stage, and those
// before, zero.
func Split(d watch.Decision, rates []watch.Rate, windows []watch.WindowSeen, first, drop time.Duration) Stages {
	// Wall clock to boot time, as of now: clock steps within a run would show
	// up as absurd stages.
	wall := traffic.BootTime() - time.Duration(time.Now().UnixNano())
	// The probe may have read a command, and dropped by it, before it is seen
	// here: nothing is seen later than what it led to.
	decided := min(d.SeenAt, drop)
	out := Stages{Apply: drop - decided}
	evidence := d.Command.Evidence
	if evidence == nil {
		return out
	}
	var rate *watch.Rate
	for _, r := range rates {
		if r.Err == nil && r.Rates.BootID == evidence.BootID && r.Rates.Seq == evidence.Seq {
			rate = &r
			break
		}
	}
	if rate == nil {
		return out
	}
	aggregated := min(rate.SeenAt, decided)
	out.Decide = decided - aggregated
	for _, w := range windows {
		if w.BootID != evidence.BootID || w.Seq != evidence.Seq {
			continue
		}
		counted := min(w.SeenAt, aggregated)
		end := min(time.Duration(w.End.UnixNano())+wall, counted)
		stamp := min(max(end, time.Duration(w.Timestamp.UnixNano())+wall), counted) // in milliseconds
		out.Aggregate = aggregated - counted
		out.Broker = counted - stamp
		out.Drain = stamp - end
		out.Window = end - first
	}
	return out
}
