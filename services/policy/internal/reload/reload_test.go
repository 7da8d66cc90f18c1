package reload

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

type rig struct {
	t       *testing.T
	path    string
	taken   chan *rules.Rules
	said    chan events.Record
	signals chan os.Signal
	version int
}

func start(t *testing.T) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "rules.yaml"), taken: make(chan *rules.Rules, 10), said: make(chan events.Record, 10), signals: make(chan os.Signal)}
	r.write("", "")
	current, err := rules.Load(r.path)
	if err != nil {
		t.Fatal(err)
	}
	w := &Watcher{Path: r.path, Current: current, Take: func(x *rules.Rules) { r.taken <- x }, Publish: func(e events.Record) { r.said <- e },
		Signals: r.signals, Every: 5 * time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return r
}

// write replaces the file by the embedded rules with one change, as an editor
// does: by another file of its name.
func (r *rig) write(old, new string) {
	r.t.Helper()
	text := strings.Replace(string(rules.Defaults()), old, new, 1)
	if old != "" && text == string(rules.Defaults()) {
		r.t.Fatalf("%q is not in the rules", old)
	}
	r.version++
	if err := os.WriteFile(r.path+".new", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	at := time.Now().Add(time.Duration(r.version) * time.Second) // times of two files may be too close to tell
	if err := os.Chtimes(r.path+".new", at, at); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.path+".new", r.path); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) event() events.Record {
	r.t.Helper()
	select {
	case e := <-r.said:
		return e
	case <-time.After(20 * time.Second):
		r.t.Fatal("no event")
		panic("not reached")
	}
}

func TestNewRulesAreTaken(t *testing.T) {
	r := start(t)
	r.write("{metric: syn, at_least: 100}", "{metric: syn, at_least: 250}")
	if e := r.event(); e.Kind != events.KindRules || e.Severity != events.Info || !strings.Contains(e.Reason, "sources.R1.all.syn.at_least: 100 → 250") {
		t.Errorf("event %+v", e)
	}
	if x := <-r.taken; *x.Sources[0].All[0].AtLeast != 250 {
		t.Errorf("took %+v", x.Sources[0])
	}
}

func TestABrokenFileLeavesTheRules(t *testing.T) {
	r := start(t)
	r.write("quiet: 30s", "quiet: soon")
	e := r.event()
	if e.Severity != events.Error || !strings.Contains(e.Reason, "lease.quiet: want a duration, such as 10s") || !strings.Contains(e.Reason, r.path+":") {
		t.Errorf("event %+v", e)
	}
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	if e := r.event(); e.Severity != events.Error || !strings.Contains(e.Reason, "no such file") {
		t.Errorf("event %+v", e)
	}
	if len(r.taken) != 0 {
		t.Error("took a broken file")
	}
	r.write("quiet: 30s", "quiet: 40s")
	if e := r.event(); !strings.Contains(e.Reason, "lease.quiet: 30s → 40s") {
		t.Errorf("event %+v", e)
	}
	if x := <-r.taken; x.Lease.Quiet != 40*time.Second {
		t.Errorf("took %+v", x.Lease)
	}
}

func TestASignalAsksForALook(t *testing.T) {
	r := start(t)
	r.signals <- syscall.SIGHUP
	if e := r.event(); !strings.Contains(e.Reason, "nothing has changed") {
		t.Errorf("event %+v", e)
	}
	if len(r.taken) != 0 {
		t.Error("took the same rules again")
	}
}
