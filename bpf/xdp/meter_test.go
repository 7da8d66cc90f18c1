package xdp

import (
	"net/netip"
	"testing"
)

// TestSourceLimit: a source beyond what any may send loses the rest at once,
// others and those exempt lose nothing.
func TestSourceLimit(t *testing.T) {
	r := newRig(t, Config{SourceLimit: 1000})
	if err := r.SetExempt([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}); err != nil {
		t.Fatal(err)
	}
	r.put(Entry{Match: source("203.0.113.8/32"), Action: ActionAllow})
	reasons := func(src string) map[string]uint64 {
		return reasonsOf(t, r, func() { r.run(0, synFrom(src), 5000) })
	}
	got := reasons("203.0.113.9")
	if got["pass"] < 250 || got["limit_any_source"] < 4000 {
		t.Errorf("of 5000 packets in an instant, with a burst of 250: %v", got)
	}
	if got := reasonsOf(t, r, func() { r.run(0, synFrom("203.0.113.10"), 200) }); got["pass"] != 200 {
		t.Errorf("another source: %v", got)
	}
	if got := reasons("192.0.2.7"); got["pass"] != 5000 {
		t.Errorf("an exempt source: %v", got)
	}
	if got := reasons("203.0.113.8"); got["limit_any_source"] != 0 || got["pass_allow"] == 0 {
		t.Errorf("an allowed source: %v", got)
	}
	if err := r.SetExempt(nil); err != nil {
		t.Fatal(err)
	}
	if got := reasons("192.0.2.7"); got["limit_any_source"] == 0 {
		t.Errorf("exempt no more: %v", got)
	}
	r.SetFilterMode(0, FilterObserve)
	if got := reasons("203.0.113.9"); got["would_drop"] < 4000 || got["limit_any_source"] != 0 {
		t.Errorf("observing: %v", got)
	}
	w := r.drain()
	if w.Totals.Dropped == 0 {
		t.Error("what the limit took is not counted as dropped")
	}
}
