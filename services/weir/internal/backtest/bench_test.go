package backtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
)

// BenchmarkRun is one window of 2,000 sources, of which 200 are leased.
func BenchmarkRun(b *testing.B) {
	var all []sends
	for i := range 2000 {
		n := uint64(5)
		if i < 200 {
			n = 200
		}
		all = append(all, sends{fmt.Sprintf("203.%d.%d.%d", i%3, i%250, i/250), schemas.ClassSYN, n})
	}
	f := newFilm(b).play("h/eth0", time.Minute, all...)
	r := New(Options{Old: edited(b), New: edited(b, lessSYN, "{metric: syn, at_least: 200}")})
	b.ResetTimer()
	b.ReportAllocs()
	for i := range b.N {
		x := f.records[i%len(f.records)]
		if i > 0 && i%len(f.records) == 0 {
			r = New(Options{Old: r.old.engine.Rules, New: r.new.engine.Rules})
		}
		r.Counts(&x)
	}
}
