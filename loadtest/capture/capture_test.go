package capture_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-net/weir/loadtest/capture"
)

// directory is that of the real captures if WEIR_CAPTURES names one, else one
// of our own making: the same tests run on both.
func directory(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("WEIR_CAPTURES"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	if err := capture.Synthesize(dir, 1); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTalliesEqualLabels(t *testing.T) {
	dir := directory(t)
	labels, err := capture.ReadLabels(filepath.Join(dir, "labels.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(labels) == 0 {
		t.Fatal("no labels")
	}
	for name, label := range labels {
		frames, err := capture.Read(filepath.Join(dir, filepath.Base(label.File)))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, d := range label.Differences(capture.NewTally(frames, 128), false) {
			t.Errorf("%s: %s", name, d)
		}
		ingress := capture.Filter(frames, label.IngressDst)
		for _, d := range label.Differences(capture.NewTally(ingress, 128), true) {
			t.Errorf("%s, ingress: %s", name, d)
		}
	}
}

func TestLabelsNoticeOnePacketMore(t *testing.T) {
	dir := t.TempDir()
	if err := capture.Synthesize(dir, 1); err != nil {
		t.Fatal(err)
	}
	frames, err := capture.Read(filepath.Join(dir, "synthetic-mixed.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	label := capture.NewLabel("x", frames)
	if d := label.Differences(capture.NewTally(frames, 128), false); len(d) > 0 {
		t.Errorf("differences from its own label: %v", d)
	}
	if d := label.Differences(capture.NewTally(append(frames, frames[0]), 128), false); len(d) == 0 {
		t.Error("one packet more makes no difference")
	}
}

// TestClassifyEqualsOracle compares frame by frame. The oracle follows any
// number of VLAN tags; a frame with more than three is no IP packet for Weir.
func TestClassifyEqualsOracle(t *testing.T) {
	dir := directory(t)
	frames, err := capture.Read(filepath.Join(dir, "robust-ethernet.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := capture.ReadOracle(filepath.Join(dir, "robust-ethernet.oracle.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) != len(oracle) || len(frames) == 0 {
		t.Fatalf("%d frames, %d rows", len(frames), len(oracle))
	}
	for i, row := range oracle {
		got := capture.Classify(frames[i].Data)
		if len(frames[i].Data) != row.Length {
			t.Fatalf("frame %d has %d bytes, the oracle says %d", row.Frame, len(frames[i].Data), row.Length)
		}
		if want := row.Outcome(); !want.Accepts(got) {
			t.Errorf("frame %d (%s): %+v, the oracle says %+v", row.Frame, row.Class, got, want)
		}
	}
}
