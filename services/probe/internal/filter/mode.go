package filter

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
)

func (f *Filter) applyModes(r *kgo.Record) {
	now := f.Now()
	for _, i := range f.Interfaces() {
		m := f.live.mode(f.Host, i.Name, f.Mode, now)
		f.dp.SetFilterMode(i.Slot, FilterMode(m))
		if r != nil {
			f.Publish(events.Record{Kind: events.KindMode, Interface: i.Name, Key: string(r.Key), Topic: r.Topic, Offset: r.Offset,
				Reason: fmt.Sprintf("mode of %s/%s is %s", f.Host, i.Name, m)})
		}
	}
}

// mode returns how leases are treated on an interface: the live mode command
// with the most specific target, else fallback.
func (s *set) mode(host, ifname string, fallback commands.Mode, now time.Time) commands.Mode {
	var best *commands.Lease
	for _, l := range s.modes {
		if l.Target.Matches(host, ifname) && l.Live(now) && (best == nil || l.OverridesMode(best)) {
			best = l
		}
	}
	if best == nil {
		return fallback
	}
	return best.Mode
}

// FilterMode translates a mode to the data plane's.
func FilterMode(m commands.Mode) xdp.FilterMode {
	switch m {
	case commands.ModeEnforce:
		return xdp.FilterEnforce
	case commands.ModeOff:
		return xdp.FilterOff
	}
	return xdp.FilterObserve
}

// ModeName is the inverse of FilterMode.
func ModeName(m xdp.FilterMode) commands.Mode {
	switch m {
	case xdp.FilterEnforce:
		return commands.ModeEnforce
	case xdp.FilterOff:
		return commands.ModeOff
	}
	return commands.ModeObserve
}
