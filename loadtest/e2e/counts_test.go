package e2e_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/replay"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
)

// TestPacketsSentEqualCounts floods as fast as the wire takes it, from few and
// from many sources, and adds the counts topic up.
func TestPacketsSentEqualCounts(t *testing.T) {
	s := setup(t, scenario.Options{Services: []stack.Service{stack.Probe}})
	before := s.Counts.Sums()
	var sent uint64
	for _, f := range []struct {
		flood   traffic.RawFlood
		spoofed int
	}{
		{traffic.RawFlood{Port: 9, UDP: true, Payload: 100, Count: 300_000, Sources: traffic.SourcesOf(lab.UDPAttackers, 7)}, 0},
		{traffic.RawFlood{Port: 81, Count: 300_000}, 50_000},
	} {
		f.flood.Destination = lab.VictimAddress
		flood, err := s.Crew.Raw(f.flood, f.spoofed)
		if err != nil {
			t.Fatal(err)
		}
		last, err := flood.Wait()
		if err != nil {
			t.Fatal(err)
		}
		sent += last.Packets
	}
	if sent != 600_000 {
		t.Fatalf("sent %d packets, want 600000", sent)
	}
	eventually(t, 10*time.Second, "counts", func() error {
		sums := s.Counts.Sums()
		flooded := sums.Total.ByClass[4] - before.Total.ByClass[4] + sums.Total.ByClass[0] - before.Total.ByClass[0]
		if flooded != sent || len(sums.Missing) > 0 {
			return fmt.Errorf("counted %d UDP and SYN of %d sent, missing %v", flooded, sent, sums.Missing)
		}
		return nil
	})
	sums := s.Counts.Sums()
	for _, wrong := range replay.Consistency(sums) {
		t.Error(wrong)
	}
	if got := sums.Of(lab.UDPAttackers).Packets + sums.Tail.Packets + sums.Other.Packets; got < 300_000 {
		t.Errorf("the seven UDP sources have %d packets, tail and other included; want 300000", got)
	}
}

// captures is the directory of real captures if WEIR_CAPTURES names one, else
// one of our own making.
func captures(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("WEIR_CAPTURES"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	if err := capture.Synthesize(dir, uint64(time.Now().UnixNano())); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, o replay.SessionOptions) *replay.Session {
	t.Helper()
	o.Bin, o.ID = bin(t), labID(t)
	s, err := replay.Open(within(t, time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			printLogs(t, s.Stack)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestCapturesEqualCounts replays every labelled capture, whole and filtered to
// what comes in, and compares totals, classes and every source.
func TestCapturesEqualCounts(t *testing.T) {
	dir := captures(t)
	labels, err := capture.ReadLabels(filepath.Join(dir, "labels.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(labels) == 0 {
		t.Fatal("no labels")
	}
	s := open(t, replay.SessionOptions{Largest: 1518})
	for name, label := range labels {
		frames, err := capture.Read(filepath.Join(dir, filepath.Base(label.File)))
		if err != nil {
			t.Fatal(err)
		}
		for _, destinations := range [][]netip.Addr{nil, label.IngressDst} {
			played := capture.Filter(frames, destinations)
			result, sums, err := s.Play(within(t, time.Minute), replay.Player{Frames: played, Pace: replay.Pace{TopSpeed: true}})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			wrong := replay.Compare(sums, played)
			wrong = append(wrong, label.Differences(capture.NewTally(played, 128), destinations != nil)...)
			if result.Packets != uint64(len(played)) {
				wrong = append(wrong, fmt.Sprintf("sent %d of %d frames", result.Packets, len(played)))
			}
			for _, w := range wrong {
				t.Errorf("%s (to %v): %s", name, destinations, w)
			}
		}
	}
}

// TestRobustFrames compares frame by frame with the oracle.
func TestRobustFrames(t *testing.T) {
	dir := captures(t)
	frames, err := capture.Read(filepath.Join(dir, "robust-ethernet.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := capture.ReadOracle(filepath.Join(dir, "robust-ethernet.oracle.csv"))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, replay.SessionOptions{Largest: 1518, Window: 50 * time.Millisecond})
	wrong, err := s.FrameByFrame(within(t, 5*time.Minute), frames, oracle)
	if err != nil {
		t.Fatal(err)
	}
	if len(wrong) > 0 {
		t.Errorf("%d of %d frames:\n%s", len(wrong), len(oracle), strings.Join(wrong, "\n"))
	}
}
