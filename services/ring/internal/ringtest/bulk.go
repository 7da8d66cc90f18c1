package ringtest

import (
	"context"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Bulk writes one record of rates per interface and tick until ctx ends, from
// values that were encoded before: what is measured is the reader, not this. It
// returns how many records it wrote and how often it was late for a tick.
func (p *Play) Bulk(ctx context.Context, t testing.TB, tick time.Duration, variants int) (records, late int) {
	t.Helper()
	type encoded struct {
		key    []byte
		values [][]byte
	}
	all := make([]encoded, 0, len(p.interfaces))
	for n, i := range p.interfaces {
		e := encoded{}
		for v := range variants {
			i.seq++
			for s := range i.Sources {
				i.Sources[s].PPS = float64(1 + (n*7+s*13+v*17)%60)
			}
			r := p.rates(i)
			e.key = []byte(r.Key())
			value, err := rates.Encode(r)
			if err != nil {
				t.Fatal(err)
			}
			e.values = append(e.values, value)
		}
		all = append(all, e)
	}
	t.Logf("a record has %d bytes", len(all[0].values[0]))
	p.publishStatus(ctx)
	timer := time.NewTicker(tick)
	defer timer.Stop()
	for n := 0; ; n++ {
		began := time.Now()
		for _, e := range all {
			p.client.Produce(ctx, kafka.Record(p.Topics.Rates, schemas.SchemaRates, e.key, e.values[n%variants]), nil)
			records++
		}
		if err := p.client.Flush(ctx); err != nil {
			return records, late
		}
		if time.Since(began) > tick {
			late++
		}
		select {
		case <-ctx.Done():
			return records, late
		case <-timer.C:
		}
	}
}
