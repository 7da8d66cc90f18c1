// Package lab builds the network in which Weir is tried out: a victim and its
// clients in two network namespaces of one machine, joined by a veth pair.
//
//	root namespace                 victim                      clients
//	┌───────────────┐  management  ┌────────────────┐   data   ┌───────────────────┐
//	│ broker, CLI,  │──────────────│ probe, server  │──────────│ ordinary clients, │
//	│ aggregator, … │ 198.19.x/30  │                │ 198.18/24│ attackers, replay │
//	└───────────────┘              └────────────────┘          └───────────────────┘
//
// The clients' namespace owns every remote address; whatever is answered to an
// address that nobody has ends in its blackhole route. Nothing in a lab can
// leave the machine: the management link has no route but its own.
//
// Everything is made through netlink, so that no tool needs to be installed,
// and recorded in a state file before it is made, so that what a kill -9 left
// behind can be taken down by the next lab or by Clean.
package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"time"

	"github.com/vishvananda/netlink"
)

// Namespace names one of the two namespaces of a lab, or the one that the
// process was started in.
type Namespace string

// The namespaces.
const (
	Root    Namespace = ""
	Victim  Namespace = "victim"
	Clients Namespace = "clients"
)

// Interface names inside the namespaces.
const (
	DataInterface       = "weir-data" // the same name at both ends of the wire
	ManagementInterface = "weir-mgmt" // in the victim's namespace
)

// The addresses of the wire. They are benchmarking and documentation ranges,
// which no real network uses.
var (
	VictimAddress  = netip.MustParseAddr("198.18.0.1")
	GatewayAddress = netip.MustParseAddr("198.18.0.2") // the clients' end, the victim's default route
	VictimAddress6 = netip.MustParseAddr("2001:db8:0:1::1")
	GatewayAddr6   = netip.MustParseAddr("2001:db8:0:1::2")

	OrdinarySources = netip.MustParsePrefix("192.0.2.0/24")
	HTTPAttackers   = netip.MustParsePrefix("203.0.113.0/24")
	UDPAttackers    = netip.MustParsePrefix("198.51.100.0/24")
	// Rounds of attacks come out of a /24 each, lest leases on one round's sources
	// add up to one on the network of the next.
	HTTPRounds       = netip.MustParsePrefix("198.18.64.0/18")
	UDPRounds        = netip.MustParsePrefix("198.18.128.0/18")
	OrdinarySources6 = netip.MustParsePrefix("2001:db8:c::/48")
	Attackers6       = netip.MustParsePrefix("2001:db8:a::/48")
)

var (
	wire4 = netip.MustParsePrefix("198.18.0.0/24")
	wire6 = netip.MustParsePrefix("2001:db8:0:1::/64")
)

// Config says which lab to build.
type Config struct {
	ID     string // 1 to 8 lower-case letters and digits; part of every name
	Silent bool   // the clients' end has no address and says nothing by itself: for exact counts of replayed frames
	MTU    int    // of the wire; 0 means 1500
	Keep   bool   // processes and namespaces outlive this process
	Bare   bool   // no network at all: only processes in the machine's own namespace
}

// Lab is a built lab.
type Lab struct {
	config     Config
	state      *stateFile
	spawn      *spawner
	victim     *netlink.Handle
	clients    *netlink.Handle
	management netip.Prefix // the root side's address
	relays     []net.Listener
}

var idPattern = regexp.MustCompile(`^[a-z0-9]{1,8}$`)

// New takes down stale labs and builds a new one. It needs root.
func New(c Config) (*Lab, error) {
	if !idPattern.MatchString(c.ID) {
		return nil, fmt.Errorf("lab id %q: want 1 to 8 lower-case letters and digits", c.ID)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("building a lab: needs root for network namespaces and XDP")
	}
	if _, err := Sweep(false); err != nil {
		return nil, fmt.Errorf("taking down stale labs: %w", err)
	}
	state, err := openState(c.ID)
	if err != nil {
		return nil, err
	}
	state.Kept = c.Keep
	l := &Lab{config: c, state: state}
	if l.spawn, err = startSpawner(c.Keep); err == nil && !c.Bare {
		err = l.build()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("building lab %s: %w", c.ID, err), l.Close())
	}
	return l, nil
}

// ID is the lab's id.
func (l *Lab) ID() string { return l.config.ID }

// NamespaceName is the name under which "ip netns exec" knows ns.
func (l *Lab) NamespaceName(ns Namespace) string { return namespaceName(l.config.ID, ns) }

// BrokerAddress is the address of the root side of the management link: what a
// broker for the probe listens on.
func (l *Lab) BrokerAddress() netip.Addr { return l.management.Addr() }

// Silent reports whether the clients' end says nothing by itself.
func (l *Lab) Silent() bool { return l.config.Silent }

// TempDir makes a directory that is removed with the lab.
func (l *Lab) TempDir() (string, error) {
	dir, err := os.MkdirTemp("", "weir-"+l.config.ID+"-")
	if err != nil {
		return "", fmt.Errorf("making a directory: %w", err)
	}
	l.state.Dirs = append(l.state.Dirs, dir)
	return dir, l.state.save()
}

// PinPath names a directory on bpffs that is removed with the lab.
func (l *Lab) PinPath() (string, error) {
	path := "/sys/fs/bpf/weir-" + l.config.ID
	l.state.Pins = append(l.state.Pins, path)
	return path, l.state.save()
}

// Leave gives the lab up without taking it down: what New with Keep asked for.
// It stays until Clean.
func (l *Lab) Leave() error {
	l.closeHandles()
	return l.state.release()
}

// Close stops the processes started in the lab, latest first, and removes
// everything that was made.
func (l *Lab) Close() error {
	l.closeHandles()
	return l.state.takeDown(3 * time.Second)
}

func (l *Lab) closeHandles() {
	if l.spawn != nil {
		l.spawn.close()
	}
	for _, r := range l.relays {
		_ = r.Close()
	}
	for _, h := range []*netlink.Handle{l.victim, l.clients} {
		if h != nil {
			h.Close()
		}
	}
}
