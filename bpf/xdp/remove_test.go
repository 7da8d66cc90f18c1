package xdp

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// TestRemovePins takes down what is pinned without knowing its sizes: else who
// changes one could neither start the probe nor remove what it left.
func TestRemovePins(t *testing.T) {
	for _, mode := range []Mode{ModeNative, ModeGeneric, ModeTCX} {
		t.Run(mode.String(), func(t *testing.T) {
			w := newWire(t, 1500)
			cfg := Config{PinPath: pinPath(t), MaxLeases: 1024}
			d, a := w.open(mode, cfg)
			d.SetFilterMode(a.Slot, FilterEnforce)
			w.must(d.Put([]Entry{dropThere(a)}))
			flow := w.udp()
			w.must(d.Close())
			flow.expect(false, "while no process is there")
			_, err := Open(Config{PinPath: cfg.PinPath, MaxLeases: 2048})
			if !errors.Is(err, ebpf.ErrMapIncompatible) || !strings.Contains(err.Error(), "weir-probe -remove") {
				t.Errorf("opening with another size: %v", err)
			}
			w.must(RemovePins(cfg.PinPath))
			flow.expect(true, "after it is removed")
			if _, err := os.Stat(cfg.PinPath); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the pins are still there: %v", err)
			}
			w.must(RemovePins(cfg.PinPath))
		})
	}
}

// TestRemovePinsSparesOthers points at a directory that is not only Weir's.
func TestRemovePinsSparesOthers(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{"leases", "somebodys"} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemovePins(path); err == nil || !strings.Contains(err.Error(), "somebodys") {
		t.Errorf("removing beside a foreign file: %v", err)
	}
	left, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0].Name() != "somebodys" {
		t.Errorf("left: %v, want only what is somebody's", left)
	}
}
