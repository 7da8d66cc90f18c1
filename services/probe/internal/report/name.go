package report

import (
	"time"

	"github.com/weir-net/weir/schemas"
)

const (
	// silence of a name's holder, after which the name is free.
	silence = schemas.StaleAfter
	// takeover is the silence after which a probe that has yielded takes the name:
	// longer, so that the holder may be restarted, or rebooted.
	takeover = 2 * silence
)

// ledger derives from the status topic alone who holds a name, so that every
// probe that reads it comes to the same answer: who wrote first, until it says
// that it stops or falls silent.
type ledger struct {
	holder string    // boot id; "" if nobody
	at     time.Time // of its last record, by the broker's clock
}

// take is a record of the name, in the order of the log.
func (l *ledger) take(boot string, stopped bool, at time.Time) {
	switch {
	case stopped && boot == l.holder:
		l.holder = ""
	case stopped:
	case l.holder == "" || boot == l.holder || at.Sub(l.at) >= silence:
		l.holder, l.at = boot, at
	}
}

// name is what one probe knows about the name that it goes by. Times are of
// the local clock unless they say otherwise.
type name struct {
	self   string // own boot id
	former string // boot id of the process whose maps this one has adopted; it is dead

	ledger  ledger
	caught  bool      // the ledger has all that was there when reading began
	blind   bool      // the topic cannot be read though brokers answer
	heard   time.Time // when the other was last heard, or might have been without our hearing it
	yielded string    // boot id of the live other that this probe has yielded to
}

// restart is called before the topic is read again from some earlier point.
func (n *name) restart() { n.ledger, n.caught = ledger{}, false }

// take is a record of the name in the order of the log; live says that it was
// written while this probe was reading. It reports whether another probe is
// seen for the first time.
func (n *name) take(boot string, stopped bool, at time.Time, live bool, now time.Time) (duplicate bool) {
	n.ledger.take(boot, stopped, at)
	n.blind = false
	if n.ledger.holder == n.self {
		n.yielded = ""
		return false
	}
	if boot == n.self || boot == n.former {
		return false
	}
	n.heard = now
	if stopped || !live || n.ledger.holder != boot || n.yielded != "" {
		return false
	}
	n.yielded = boot
	return true
}

// mine reports whether counts may be published under the name.
func (n *name) mine() bool {
	return n.caught && n.ledger.holder == n.self || n.blind && n.yielded == ""
}

// claimable reports whether a status may be published under the name; the first
// that is, and comes first, makes the name ours. reachable says that the brokers
// answer: while they do not, silence means nothing.
func (n *name) claimable(reachable bool, now time.Time) bool {
	if n.yielded != "" || n.other() {
		if !reachable {
			n.heard = now
		}
		patience := silence
		if n.yielded != "" {
			patience = takeover
		}
		return n.caught && now.Sub(n.heard) >= patience
	}
	return n.caught || n.blind
}

// other reports whether somebody else holds the name.
func (n *name) other() bool {
	return n.ledger.holder != "" && n.ledger.holder != n.self && n.ledger.holder != n.former
}

// inherits reports whether the name is held by the process whose maps this one
// has adopted: it must be said to have stopped.
func (n *name) inherits() bool { return n.former != "" && n.ledger.holder == n.former }
