package filter

import (
	"cmp"
	"slices"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/status"
)

// maxDrops bounds the leases listed in one status record.
const maxDrops = 1000

// Status describes the filter of one interface.
func (f *Filter) Status(i Interface) status.Filter {
	out := status.Filter{Rejected: f.rejected.Load()}
	_, out.Capacity = f.dp.Len()
	busiest := f.busiest(i)
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range f.live.owners {
		if o := &f.live.owners[n]; o.target.Matches(f.Host, i.Name) {
			out.Leases += o.applied
			out.Suspended += o.suspended
		}
	}
	out.Drops = f.keyed(busiest)
	return out
}

// busy is a lease and what it dropped.
type busy struct {
	xdp.Entry
	xdp.Drops
}

// busiest returns the leases of an interface that dropped most. It holds a few
// thousand at a time, of a million that may be dropping.
func (f *Filter) busiest(i Interface) []busy {
	var out []busy
	f.dp.Dropping(func(e xdp.Entry, d xdp.Drops) bool {
		if e.Interfaces&(1<<i.Slot) != 0 && !e.Suspended {
			if out = append(out, busy{e, d}); len(out) == 4*maxDrops {
				out = most(out)
			}
		}
		return true
	})
	return most(out)
}

func most(all []busy) []busy {
	slices.SortFunc(all, func(a, b busy) int {
		return cmp.Or(cmp.Compare(b.Packets+b.Would, a.Packets+a.Would), cmp.Compare(a.Offset, b.Offset))
	})
	return all[:min(len(all), maxDrops)]
}

// keyed returns those that are still held, in a stable order.
func (f *Filter) keyed(busiest []busy) []status.LeaseDrops {
	var out []status.LeaseDrops
	now, boot := f.Now(), xdp.BootTime()
	for n := range busiest {
		b := &busiest[n]
		r := f.live.of(&b.Entry)
		if r == 0 {
			continue
		}
		h := f.live.at(r)
		if h.suspended {
			continue
		}
		out = append(out, status.LeaseDrops{Key: f.live.key(h), Offset: b.Offset, Packets: b.Packets, Bytes: b.Bytes,
			Would: b.Would, LastAt: now.Add(b.Last - boot)})
	}
	slices.SortFunc(out, func(a, b status.LeaseDrops) int {
		return cmp.Or(cmp.Compare(b.Packets+b.Would, a.Packets+a.Would), cmp.Compare(a.Key, b.Key))
	})
	return out
}
