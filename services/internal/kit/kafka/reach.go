package kafka

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Reach knows when a broker last answered. A consumer's fetch returns within a
// second (FetchMaxWait), so silence for longer means that nobody is there. Give
// it to a client with kgo.WithHooks.
type Reach struct{ last atomic.Int64 }

var _ kgo.HookBrokerRead = (*Reach)(nil)

// OnBrokerRead implements kgo.HookBrokerRead.
func (r *Reach) OnBrokerRead(_ kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	if err == nil {
		r.last.Store(time.Now().UnixNano())
	}
}

// Within reports whether a broker answered in the last d.
func (r *Reach) Within(d time.Duration) bool {
	return time.Since(time.Unix(0, r.last.Load())) < d
}
