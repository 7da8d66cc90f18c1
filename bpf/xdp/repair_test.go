package xdp

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestDeathBetweenSteps leaves each kind of lease as a process leaves it that dies in
// the middle of a Put or a Delete, and lets another take over.
func TestDeathBetweenSteps(t *testing.T) {
	const address = "203.0.113.7"
	stages := map[stage]Match{
		stageListed:    source(address + "/32"),
		stageExact:     {Source: source(address + "/32").Source, Protocol: 6},
		stagePrefix:    source("203.0.113.0/24"),
		stageSignature: {Source: source(address + "/32").Source, DestinationPort: 80},
	}
	for s, m := range stages {
		e := Entry{Match: m, Action: ActionDrop, Interfaces: 1}
		if got := classify(m, e.Action); got != s {
			t.Fatalf("%v is of stage %d, want %d", m, got, s)
		}
		for _, c := range []struct {
			name          string
			die           func(*rig)
			there, silent bool
		}{
			{"only its record is written", func(r *rig) {
				k := keyOf(&e.Match)
				r.writeLease(7, &e, &k, false)
			}, true, false},
			{"it is silenced", func(r *rig) {
				r.put(e)
				i, _ := r.lease(&e.Match)
				r.leases[i].Action = 0
			}, true, true},
			{"only its record is left", func(r *rig) {
				r.put(e)
				i, _ := r.lease(&e.Match)
				saved := r.leases[i]
				if _, err := r.Delete([]Match{e.Match}); err != nil {
					t.Fatal(err)
				}
				r.leases[i] = saved
			}, true, false},
			{"only its record is gone", func(r *rig) {
				r.put(e)
				i, _ := r.lease(&e.Match)
				r.leases[i] = weirLease{}
			}, false, false},
		} {
			path := fmt.Sprintf("/sys/fs/bpf/weir-test-%d-%s", os.Getpid(), filepath.Base(t.TempDir()))
			t.Cleanup(func() { os.RemoveAll(path) })
			before := newRig(t, Config{PinPath: path})
			c.die(before)
			if err := before.Close(); err != nil {
				t.Fatal(err)
			}
			after := newRig(t, Config{PinPath: path, BootID: "boot-2"})
			n, silent := 0, false
			after.Entries(func(got Entry, _ Drops) bool {
				n++
				silent = got.Suspended
				return true
			})
			if (n == 1) != c.there || n > 1 || silent != c.silent {
				t.Errorf("stage %d, %s: %d leases, silent: %v", s, c.name, n, silent)
			}
			if drops := after.run(0, synFrom(address), 1) == xdpDrop; drops != (c.there && !c.silent) {
				t.Errorf("stage %d, %s: drops: %v", s, c.name, drops)
			}
			// A lease of another takes the free records: what is left of the dead one must not lead there.
			after.put(Entry{Match: source("198.51.100.77/32"), Action: ActionDrop}, Entry{Match: source("198.51.101.0/24"), Action: ActionDrop},
				Entry{Match: Match{Source: source(address + "/32").Source, Protocol: 17}, Action: ActionDrop}) // so that the filter is asked
			if drops := after.run(0, synFrom(address), 1) == xdpDrop; drops != (c.there && !c.silent) {
				t.Errorf("stage %d, %s: drops after another was put: %v", s, c.name, drops)
			}
			after.put(e)
			if after.run(0, synFrom(address), 1) != xdpDrop {
				t.Errorf("stage %d, %s: does not drop once it is put again", s, c.name)
			}
			if _, err := after.Delete([]Match{e.Match}); err != nil {
				t.Fatal(err)
			}
			if after.run(0, synFrom(address), 1) == xdpDrop {
				t.Errorf("stage %d, %s: drops after it was deleted", s, c.name)
			}
			if err := after.Remove(); err != nil {
				t.Error(err)
			}
		}
	}
}
