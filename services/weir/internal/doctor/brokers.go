package doctor

import (
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

// Unconfigured judges a configuration that names no usable brokers.
func Unconfigured(err error) Finding {
	return ok("brokers", "%v", err).fail("set WEIR_KAFKA_BROKERS, and what TLS and SASL need, as for the services")
}

// Unreachable judges that no broker answers.
func Unreachable(err error) Finding {
	return ok("brokers", "%v", err).fail("check that they run, that this machine may connect to them, and TLS and SASL settings")
}

// Unreadable judges that brokers answer, but not to what was asked of the topics.
func Unreadable(err error) Finding {
	return ok("topics", "%v", err).fail("all brokers must answer, and this user must be allowed to read Weir's topics (deploy/README.md)")
}

// Brokers judges their number, and each that does not answer.
func Brokers(all []broker.Reached) []Finding {
	found := ok("brokers", "%s", plural(len(all), "broker"))
	if len(all) < 3 {
		found = found.warn("while one is away nothing is published or decided; three brokers bear the loss of one")
	}
	out := []Finding{found}
	for _, b := range all {
		if b.Err != nil {
			out = append(out, ok("broker "+b.Address, "%v", b.Err).
				fail("it advertises this address: check that it runs, advertised.listeners, names and firewalls"))
		}
	}
	return out
}

// Topic judges one topic beside the contract.
func Topic(s broker.TopicState) Finding {
	found := ok("topic "+s.Name, "as it must be")
	switch {
	case s.Missing:
		found.Found = "missing"
		return found.fail("weir topics apply creates it")
	case len(s.Diff) > 0:
		found.Found = strings.ReplaceAll(strings.Join(s.Diff, "; "), s.Name+": ", "")
		return found.fail("weir topics apply sets what can be set; partitions and replication are decided when a topic is made")
	}
	return found
}

// maxSkew is how far clocks may be apart before decisions suffer: windows and
// leases are of the order of seconds.
const maxSkew = time.Second

// BrokerClock judges the clock here against the latest stamp of a broker, zero if
// there is none.
func BrokerClock(newest, now time.Time) Finding {
	ahead := newest.Sub(now)
	if newest.IsZero() || ahead < maxSkew {
		return ok("broker clock", "not ahead of this machine's")
	}
	return ok("broker clock", "%v ahead of this machine's", ahead.Round(time.Millisecond)).
		warn("set the clocks right: run an NTP client here and on the brokers")
}

// Probe judges what a live probe says of itself.
func Probe(s status.Record) Finding {
	found := ok("probe "+s.Key(), "live, %s, %s", s.Mode, s.XDPMode)
	skew := time.Duration(s.SkewMillis) * time.Millisecond
	switch {
	case skew.Abs() > maxSkew:
		found.Found += ", its clock is off by " + skew.String()
		return found.warn("run an NTP client on %s", s.Host)
	case s.XDPMode == "generic":
		found.Found += ": " + s.XDPReason
		return found.warn("generic XDP costs several times as much per dropped packet; weir doctor on %s says what stands in the way", s.Host)
	case s.Filter.Suspended > 0:
		found.Found += ", " + plural(s.Filter.Suspended, "lease") + " suspended"
		return found.warn("they would have cut it off from the brokers: see the events topic")
	}
	return found
}

// Aggregator judges by the newest stamps of counts and rates, zero if there is
// none, whether anything turns the ones into the others.
func Aggregator(counts, rates time.Time) Finding {
	behind := counts.Sub(rates)
	switch {
	case counts.IsZero():
		return ok("aggregator", "there are no counts yet")
	case rates.IsZero():
		return ok("aggregator", "there are counts but no rates").warn("start weir-aggregator: without rates nothing is decided")
	case behind > schemas.StaleAfter:
		return ok("aggregator", "the newest rates are %v older than the newest counts", behind.Round(time.Second)).
			warn("start weir-aggregator, or look at its log: without rates nothing is decided")
	}
	return ok("aggregator", "rates follow counts")
}

// NoProbe says that no probe is live.
func NoProbe() Finding {
	return ok("probes", "none is live").warn("start weir-probe on each host; WEIR_PROBE_INTERFACES names what it watches")
}
