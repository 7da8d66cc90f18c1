package filter

import (
	"cmp"
	"slices"

	"github.com/weir-net/weir/schemas/status"
)

// trim keeps the leases that dropped most, in a stable order.
func trim(f *status.Filter) {
	slices.SortFunc(f.Drops, func(a, b status.LeaseDrops) int {
		return cmp.Or(cmp.Compare(b.Packets+b.Would, a.Packets+a.Would), cmp.Compare(a.Key, b.Key))
	})
	f.Drops = f.Drops[:min(len(f.Drops), maxDrops)]
}
