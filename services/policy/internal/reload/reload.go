// Package reload watches the rules file and takes a new one without a restart.
package reload

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// Every is how often the file is looked at. Polling sees what editors, mounted
// volumes and symbolic links do to a file, on every file system.
const Every = time.Second

// Watcher takes the rules file when it changes, or when it is told to. A file
// with an error leaves the rules as they are.
type Watcher struct {
	Path    string
	Current *rules.Rules
	Take    func(*rules.Rules)  // puts new rules into force
	Publish func(events.Record) // tells what changed, or why nothing did
	Signals <-chan os.Signal    // each asks for a look, whatever the file's time; may be nil
	Every   time.Duration       // 0: Every

	taken, refused atomic.Uint64
}

// Counts returns how many files were taken, and how many refused.
func (w *Watcher) Counts() (taken, refused uint64) { return w.taken.Load(), w.refused.Load() }

// stamp tells one version of the file from another.
type stamp struct {
	at   time.Time
	size int64
	err  string
}

func (w *Watcher) stamp() stamp {
	info, err := os.Stat(w.Path)
	if err != nil {
		return stamp{err: err.Error()}
	}
	return stamp{at: info.ModTime(), size: info.Size()}
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	if w.Path == "" {
		<-ctx.Done() // the embedded rules do not change
		return nil
	}
	every := w.Every
	if every == 0 {
		every = Every
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	// What was there before the service read it may have changed since.
	var last stamp
	for {
		if s := w.stamp(); s != last {
			last = s
			w.load(false)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.Signals:
			w.load(true)
			last = w.stamp()
		}
	}
}

// maxChanges bounds how many changes an event lists.
const maxChanges = 20

// load reads the file, and says so if something follows or somebody asked.
func (w *Watcher) load(asked bool) {
	r, err := rules.Load(w.Path)
	if err != nil {
		w.refused.Add(1)
		w.tell(events.Error, fmt.Sprintf("rules file refused, the old rules stay in force: %s", strings.ReplaceAll(err.Error(), "\n", "; ")))
		return
	}
	changes := rules.Diff(w.Current, r)
	if len(changes) == 0 {
		if asked {
			w.tell(events.Info, "rules file read, nothing has changed")
		}
		return
	}
	w.Current = r
	w.Take(r)
	w.taken.Add(1)
	if n := len(changes) - maxChanges; n > 0 {
		changes = append(changes[:maxChanges], fmt.Sprintf("and %d more", n))
	}
	w.tell(events.Info, "new rules in force: "+strings.Join(changes, "; "))
}

func (w *Watcher) tell(severity events.Severity, reason string) {
	w.Publish(events.Record{Kind: events.KindRules, Severity: severity, Reason: reason})
}
