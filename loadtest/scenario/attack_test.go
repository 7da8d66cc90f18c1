package scenario_test

import (
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/scenario"
)

func TestMitigatedMeansToTheEnd(t *testing.T) {
	stopped := scenario.Outcome{
		First: time.Second, FirstDrop: 1500 * time.Millisecond, Last: 8 * time.Second,
		Sent: 100_000, Dropped: 95_000, LateSent: 20_000, LatePassed: 10, EarlyPPS: 10_000,
	}
	for name, c := range map[string]struct {
		change func(*scenario.Outcome)
		want   bool
	}{
		"stopped":           {func(*scenario.Outcome) {}, true},
		"never dropped":     {func(o *scenario.Outcome) { o.FirstDrop = 0 }, false},
		"came back":         {func(o *scenario.Outcome) { o.LatePassed = 19_000 }, false},
		"half passes":       {func(o *scenario.Outcome) { o.LateSent, o.LatePassed, o.Dropped = 20_000, 10_000, 50_000 }, false},
		"sends little":      {func(o *scenario.Outcome) { o.LateSent, o.LatePassed = 300, 200 }, true},
		"gave up by itself": {func(o *scenario.Outcome) { o.LateSent, o.LatePassed = 20, 20 }, true},
	} {
		o := stopped
		c.change(&o)
		if got := o.Mitigated(); got != c.want {
			t.Errorf("%s: mitigated %v, want %v", name, got, c.want)
		}
	}
	if got := stopped.TimeToMitigate(); got != 500*time.Millisecond {
		t.Errorf("time to mitigate %v", got)
	}
	if got := stopped.Passed(); got != 5000 {
		t.Errorf("%d passed", got)
	}
}
