package desk

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// TestThousandInterfacesAreAnsweredAtOnce floods a thousand interfaces
// within the same window, each from other sources, and looks how long after its
// rates every lease is written: the budgets hold, and no decision is made twice.
func TestThousandInterfacesAreAnsweredAtOnce(t *testing.T) {
	const interfaces, sources = 1000, 8
	// On a machine with nothing else to do it is a window, 250 ms, for all of them.
	const usually, atMost = time.Second, 3 * time.Second
	_, cfg := testkit.Double(t)
	d, w := startDesk(t, cfg, "one"), newWriter(t, cfg)
	ordered := follow(t, cfg, cfg.Topics().Commands)
	d.awaitReading(t, w)
	var all []*kgo.Record
	for i := range interfaces {
		var from []string
		for j := range sources {
			from = append(from, fmt.Sprintf("%d.%d.%d.7", 100+j, i/250, i%250)) // each in a network of its own
		}
		all = append(all, w.floodRecord(fmt.Sprintf("h%d/eth0", i), from...))
	}
	start := time.Now()
	if err := w.client.ProduceSync(context.Background(), all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 30*time.Second, "every interface is answered", func() bool { return len(ordered.all()) >= interfaces*sources })
	took := time.Since(start)
	sent := map[string]time.Time{}
	for _, r := range all {
		sent[string(r.Key)] = r.Timestamp
	}
	var lags []time.Duration
	perKey, perInterface := map[string]int{}, map[string]int{}
	for _, r := range ordered.all() {
		c, err := commands.Decode(r.Key, r.Value)
		if err != nil {
			t.Fatal(err)
		}
		name := schemas.InterfaceKey(c.Target.Host, c.Target.Interface)
		perKey[string(r.Key)]++
		perInterface[name]++
		lags = append(lags, r.Timestamp.Sub(sent[name]))
	}
	slices.Sort(lags)
	t.Logf("%d leases in %v; from the rates to the lease p50 %v, p99 %v", len(lags), took.Round(time.Millisecond), lags[len(lags)/2], lags[len(lags)*99/100])
	if len(perKey) != interfaces*sources || len(ordered.all()) != interfaces*sources || len(perInterface) != interfaces {
		t.Errorf("%d records of %d leases on %d interfaces", len(ordered.all()), len(perKey), len(perInterface))
	}
	if lags[len(lags)/2] > usually || lags[len(lags)-1] > atMost {
		t.Errorf("usually after %v and at most %v", lags[len(lags)/2], lags[len(lags)-1])
	}
}

// floodRecord is what flood writes, to be written with others.
func (w *writer) floodRecord(name string, sources ...string) *kgo.Record {
	return kafka.Record(w.topics.Rates, schemas.SchemaRates, []byte(name), w.floodOf(name, sources...))
}
