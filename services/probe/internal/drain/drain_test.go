package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// kernel stands in for the data plane: one packet arrives between any two
// drains, and a window stays as it is until it is committed.
type kernel struct {
	mu        sync.Mutex
	open      uint64 // packets in the open window
	pending   *xdp.Drained
	seq       uint64
	arrived   uint64 // packets in all
	committed uint64 // packets of committed windows
}

func (k *kernel) Drain() (xdp.Drained, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open++
	k.arrived++
	if k.pending == nil {
		k.seq++
		now := xdp.BootTime()
		k.pending = &xdp.Drained{Start: now - time.Second, End: now, Windows: []xdp.Window{
			{Ifindex: 2, BootID: "b", Seq: k.seq, Totals: xdp.Counters{Packets: k.open}},
		}}
		k.open = 0
	}
	return *k.pending, nil
}

func (k *kernel) Commit() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.committed += k.pending.Windows[0].Totals.Packets
	k.pending = nil
}

func (k *kernel) state() (arrived, committed, seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.arrived, k.committed, k.seq
}

// rig is a loop at work.
type rig struct {
	*Loop
	kernel *kernel
	cfg    *kafka.Config
	mute   atomic.Bool // another probe has our name
	stop   func()      // ends the loop and waits for it
}

func newRig(t *testing.T, cfg *kafka.Config) *rig {
	t.Helper()
	r := &rig{kernel: &kernel{}, cfg: cfg}
	r.Loop = &Loop{
		Datapath: r.kernel, Client: testkit.Client(t, cfg), Topic: cfg.Topics().Counts, Window: 20 * time.Millisecond,
		MaxSources: 100, IPv6Prefix: 64, Host: "edge", Name: func(int) (string, bool) { return "eth0", true },
		MayPublish: func() bool { return !r.mute.Load() },
		Publish:    func(e events.Record) { t.Errorf("an event: %s", e.Reason) }, Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	r.stop = func() { cancel(); ended.Wait() }
	t.Cleanup(r.stop)
	return r
}

// published reads the packets of each window on the topic.
func (r *rig) published(t *testing.T) map[uint64]uint64 {
	t.Helper()
	client := testkit.Client(t, r.cfg, kgo.ConsumeTopics(r.Topic))
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, r.Topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	out := map[uint64]uint64{}
	for left > 0 && ctx.Err() == nil {
		for _, k := range client.PollFetches(ctx).Records() {
			c, err := counts.Decode(k.Value)
			if err != nil {
				t.Fatal(err)
			}
			left--
			out[c.Seq] = c.Totals.Packets
		}
	}
	return out
}

// whole checks that the windows from first on are there, and that they have
// every packet that was committed.
func whole(t *testing.T, windows map[uint64]uint64, first, last, packets uint64) {
	t.Helper()
	sum := uint64(0)
	for seq := first; seq <= last; seq++ {
		n, ok := windows[seq]
		if !ok {
			t.Errorf("window %d is missing", seq)
		}
		sum += n
	}
	if sum != packets {
		t.Errorf("the windows have %d packets, %d were committed", sum, packets)
	}
}

// allOnce holds what was published against what the kernel gave, once the loop has
// stopped. That may have interrupted the last window before it was published, or
// between that and the commit.
func (r *rig) allOnce(t *testing.T) {
	t.Helper()
	_, published, last := r.kernel.state()
	windows := r.published(t)
	if p := r.kernel.pending; p != nil && windows[last] > 0 {
		published += p.Windows[0].Totals.Packets
	} else if p != nil {
		last--
	}
	whole(t, windows, 1, last, published)
}

func (r *rig) await(t *testing.T, windows uint64) {
	t.Helper()
	from := r.Stats().Windows.Load()
	testkit.Eventually(t, 20*time.Second, fmt.Sprintf("%d more windows", windows), func() bool {
		return r.Stats().Windows.Load() >= from+windows
	})
}

func TestEveryWindowIsPublished(t *testing.T) {
	_, cfg := testkit.Double(t)
	r := newRig(t, cfg)
	r.await(t, 5)
	r.stop()
	r.allOnce(t)
	if r.Seq("eth0") == 0 || r.Ready() != nil {
		t.Errorf("last window %d, ready: %v", r.Seq("eth0"), r.Ready())
	}
}

func TestTopicRecreated(t *testing.T) {
	_, cfg := testkit.Double(t)
	r := newRig(t, cfg)
	r.await(t, 2)
	testkit.Recreate(t, cfg, r.Topic)
	r.await(t, 5)
	windows := r.published(t)
	if len(windows) < 3 {
		t.Errorf("the new topic has %d windows", len(windows))
	}
}

// TestOutage: while nothing is acknowledged the kernel keeps everything in one
// pending and one open window, and nothing is lost or published otherwise.
func TestOutage(t *testing.T) {
	cluster, cfg := testkit.Double(t)
	r := newRig(t, cfg)
	r.await(t, 2)
	var away atomic.Bool
	refused := make(chan struct{}, 1000)
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if !away.Load() {
			return nil, nil, false
		}
		select {
		case refused <- struct{}{}:
		default:
		}
		return nil, net.ErrClosed, true // closes the connection
	})
	away.Store(true)
	<-refused
	_, committed, seq := r.kernel.state()
	<-refused // it has tried again
	if _, c, s := r.kernel.state(); c != committed || s != seq {
		t.Errorf("windows %d, committed %d packets; before the outage %d and %d", s, c, seq, committed)
	}
	if r.Stats().Waiting.Load() != 1 {
		t.Errorf("%d windows wait, want 1", r.Stats().Waiting.Load())
	}
	away.Store(false)
	r.await(t, 3)
	r.stop()
	r.allOnce(t)
}

// TestRefused: a record that the broker refuses is sent again for as long as it
// takes, as when somebody withdraws a permission for a while.
func TestRefused(t *testing.T) {
	cluster, cfg := testkit.Double(t)
	var refused atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(k kmsg.Request) (kmsg.Response, error, bool) {
		request, ok := k.(*kmsg.ProduceRequest)
		if !ok || refused.Add(1) > 2 {
			return nil, nil, false
		}
		cluster.KeepControl()
		return refusal(request), nil, true
	})
	r := newRig(t, cfg)
	r.await(t, 3)
	r.stop()
	r.allOnce(t)
	if n := r.Stats().Retries.Load(); n != 2 {
		t.Errorf("%d records were sent again, want 2", n)
	}
}

// refusal answers that the topic may not be written to.
func refusal(request *kmsg.ProduceRequest) *kmsg.ProduceResponse {
	response := kmsg.NewPtrProduceResponse()
	response.Version = request.Version
	for _, t := range request.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition, partition.ErrorCode, partition.BaseOffset = p.Partition, kerr.TopicAuthorizationFailed.Code, -1
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

// TestInterrupted: a window that nobody has acknowledged is not committed when
// the probe stops, and its next life finds it.
func TestInterrupted(t *testing.T) {
	cluster, cfg := testkit.Double(t)
	tried := make(chan struct{}, 1000)
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		tried <- struct{}{}
		return nil, net.ErrClosed, true
	})
	r := newRig(t, cfg)
	<-tried
	r.stop()
	if _, committed, seq := r.kernel.state(); committed != 0 || seq != 1 || r.Ready() == nil {
		t.Errorf("committed %d packets, window %d, ready: %v", committed, seq, r.Ready())
	}
}

// TestAnotherHasTheName: nothing is drained, the kernel keeps it.
func TestAnotherHasTheName(t *testing.T) {
	_, cfg := testkit.Double(t)
	r := newRig(t, cfg)
	r.await(t, 2)
	r.mute.Store(true)
	testkit.Eventually(t, 10*time.Second, "it stops draining", func() bool {
		before, _, _ := r.kernel.state()
		time.Sleep(5 * r.Window)
		after, _, _ := r.kernel.state()
		return before == after
	})
	r.mute.Store(false)
	r.await(t, 2)
}
