package watch_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas/counts"
)

func record(t *testing.T, seq uint64, chunk, chunks uint32, packets uint64) watch.Record {
	t.Helper()
	c := counts.Counters{Packets: packets, Bytes: packets * 60}
	c.ByClass[0] = packets
	r := counts.Record{
		Host: "h", Interface: "eth0", BootID: "boot", Seq: seq, WindowStart: time.Unix(1, 0), WindowEnd: time.Unix(2, 0),
		Duration: time.Second, Chunk: chunk, Chunks: chunks,
		Sources: []counts.Source{{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(chunk)}), Counters: c}},
	}
	if chunk == 0 {
		total := c
		for range chunks - 1 {
			total.Add(c)
		}
		r.Totals = &counts.Totals{Counters: total}
	}
	value, err := new(counts.Encoder).Append(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	return watch.Record{Value: value}
}

func TestCountsKnowWhatIsMissing(t *testing.T) {
	c := watch.NewCounts("eth0")
	c.Handle(record(t, 1, 0, 1, 5))
	if !c.Accounted(5) || c.Accounted(6) {
		t.Error("five packets were counted, no more")
	}
	c.Handle(record(t, 1, 0, 1, 5))
	if s := c.Sums(); s.Duplicates != 1 || s.Total.Packets != 5 {
		t.Errorf("a record twice: %d duplicates, %d packets", s.Duplicates, s.Total.Packets)
	}
	c.Handle(record(t, 3, 0, 2, 7))
	if s := c.Sums(); len(s.Missing) != 2 || c.Accounted(19) {
		t.Errorf("window 2 and a chunk of window 3 are missing, it says %v", s.Missing)
	}
	c.Handle(record(t, 3, 1, 2, 7))
	c.Handle(record(t, 2, 0, 1, 1))
	if s := c.Sums(); len(s.Missing) != 0 || s.Frames() != 20 || !c.Accounted(20) {
		t.Errorf("nothing is missing, it says %v and %d frames", s.Missing, s.Frames())
	}
	if got := c.Sums().Of(netip.MustParsePrefix("192.0.2.0/31")).Packets; got != 20 {
		t.Errorf("both sources have %d packets, want 20", got)
	}
	c.Handle(watch.Record{Value: []byte("garbage")})
	if s := c.Sums(); len(s.Unreadable) != 1 {
		t.Errorf("garbage: %v", s.Unreadable)
	}
	c.Reset()
	if s := c.Sums(); s.Frames() != 0 || len(s.Missing) != 0 {
		t.Errorf("after a reset: %d frames, missing %v", s.Frames(), s.Missing)
	}
}
