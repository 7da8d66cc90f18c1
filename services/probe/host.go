package main

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/probe/internal/guard"
)

// unreachableAfter is the silence after which the brokers count as lost; a fetch
// normally returns each second.
const unreachableAfter = 4 * time.Second

// machine tells the filter about this host. It is a hook of every Kafka client,
// so that it knows the brokers as they are connected, whatever names they have.
type machine struct {
	brokers   []string
	protected []netip.Prefix
	reach     *kafka.Reach

	mu         sync.Mutex
	connected  map[guard.Broker]time.Time
	resolved   []guard.Broker
	resolvedAt time.Time
}

var _ kgo.HookBrokerConnect = (*machine)(nil)

// rememberBroker is how long a broker stays protected after it was last
// connected.
const rememberBroker = time.Hour

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (m *machine) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, conn net.Conn, err error) {
	if err != nil {
		return
	}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ip, _ := netip.AddrFromSlice(a.IP)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.connected[guard.Broker{Address: ip.Unmap(), Port: uint16(a.Port)}] = time.Now()
	}
}

// BrokersReachable reports whether a broker answered lately.
func (m *machine) BrokersReachable() bool { return m.reach.Within(unreachableAfter) }

// Facts reads the host's state.
func (m *machine) Facts() guard.Facts {
	return guard.Facts{
		Own: guard.Own(), Gateways: guard.Gateways("/proc"), Resolvers: guard.Resolvers("/etc/resolv.conf"),
		Brokers: m.allBrokers(), Protected: m.protected,
	}
}

func (m *machine) allBrokers() []guard.Broker {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.resolvedAt) > 30*time.Second {
		m.resolvedAt = time.Now()
		if r := resolve(m.brokers); len(r) > 0 {
			m.resolved = r
		}
	}
	all := slices.Clone(m.resolved)
	for b, at := range m.connected {
		if time.Since(at) > rememberBroker {
			delete(m.connected, b)
			continue
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b guard.Broker) int {
		if c := a.Address.Compare(b.Address); c != 0 {
			return c
		}
		return int(a.Port) - int(b.Port)
	})
	return slices.Compact(all)
}

func resolve(brokers []string) []guard.Broker {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	var out []guard.Broker
	for _, b := range brokers {
		host, port, err := net.SplitHostPort(b)
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			continue
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			out = append(out, guard.Broker{Address: a.Unmap(), Port: uint16(n)})
		}
	}
	return out
}
