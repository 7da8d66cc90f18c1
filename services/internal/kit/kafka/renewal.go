package kafka

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// renewEvery is how often at most a topic is learnt anew: that fails whatever
// the client has buffered for it.
const renewEvery = time.Second

// Renewal makes a client that produces learn a topic anew after it was deleted
// and created again. The client alone never does: it knows the topic by an id
// that is gone, and fails every record of it from then on.
//
// A promise calls Note. The goroutine that produces calls Renew before it
// produces again; in a promise that would block all other promises of the
// client while it waits for metadata.
type Renewal struct {
	pending atomic.Bool
	last    time.Time
}

// Note looks at the error of a record that was produced.
func (r *Renewal) Note(err error) {
	if IsRecreated(err) {
		r.pending.Store(true)
	}
}

// Renew makes client forget the topic if Note was told that it is another one,
// at most once a second. The next record makes the client ask for it.
func (r *Renewal) Renew(client *kgo.Client, topic string) {
	if !r.pending.Load() || time.Since(r.last) < renewEvery {
		return
	}
	client.PurgeTopicsFromClient(topic)
	r.last = time.Now() // what fails while the topic is purged is no news
	r.pending.Store(false)
}
