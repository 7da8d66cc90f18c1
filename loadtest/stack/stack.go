// Package stack runs Weir's services as the separate processes that they are:
// a broker, the probe in the victim's namespace of a lab, the aggregator, the
// policy and, where asked for, the ring. It starts, kills and restarts them for the demo, the benchmarks
// and the tests.
package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/schemas"
)

// Service names a process of the stack.
type Service string

// The services, in the order in which they are started.
const (
	Broker     Service = "embedded-broker"
	Probe      Service = "weir-probe"
	Aggregator Service = "weir-aggregator"
	Policy     Service = "weir-policy"
	Ring       Service = "weir-ring"
)

// All returns every service besides the broker, in the order in which they are
// started.
func All() []Service { return []Service{Probe, Aggregator, Policy, Ring} }

// ringPort is where people look for the page; another one is taken if it is not
// free.
const ringPort = 9473

// Host is the probe's name in a lab.
const Host = "victim"

// Options say what to run.
type Options struct {
	Bin       string               // directory of the binaries
	Lab       *lab.Lab             // where to run it
	Brokers   string               // bootstrap addresses; empty: an embedded broker is started
	Interface string               // of the probe; empty: the lab's data interface
	Host      string               // the probe's name; empty: Host
	ProbeIn   lab.Namespace        // where the probe runs
	Services  []Service            // empty: all but the ring
	Env       map[Service][]string // added to each service's environment
	KeepLogs  bool                 // the log directory survives the lab
}

// Stack is a set of running services.
type Stack struct {
	Options
	Dir     string // logs and the broker's data
	PinPath string
	Topics  schemas.Topics
	Key     string // "<host>/<ifname>" of the probe's interface

	health  map[Service]netip.AddrPort
	running map[Service]*lab.Process
}

// Start starts everything and waits until it is ready.
func Start(ctx context.Context, o Options) (*Stack, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if s.Brokers == "" {
		if err := s.startEmbedded(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.ApplyTopics(ctx); err != nil {
		return nil, err
	}
	for _, service := range All() {
		if s.wants(service) {
			if err := s.Launch(service); err != nil {
				return nil, err
			}
		}
	}
	return s, s.AwaitReady(ctx)
}

func prepare(o Options) (*Stack, error) {
	if o.Interface == "" {
		o.Interface = lab.DataInterface
	}
	if o.Host == "" {
		o.Host = Host
	}
	if len(o.Services) == 0 {
		o.Services = []Service{Probe, Aggregator, Policy}
	}
	s := &Stack{
		Options: o, Topics: schemas.NewTopics(""), Key: schemas.InterfaceKey(o.Host, o.Interface),
		health: make(map[Service]netip.AddrPort), running: make(map[Service]*lab.Process),
	}
	var err error
	if o.KeepLogs {
		s.Dir, err = os.MkdirTemp("", "weir-logs-")
	} else {
		s.Dir, err = o.Lab.TempDir()
	}
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	if s.PinPath, err = o.Lab.PinPath(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stack) wants(service Service) bool {
	return slices.Contains(s.Services, service)
}

func (s *Stack) startEmbedded(ctx context.Context) error {
	address := netip.AddrPortFrom(s.Lab.BrokerAddress(), 9092)
	if !address.Addr().IsValid() {
		port, err := freePort()
		if err != nil {
			return err
		}
		address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	}
	s.Brokers = address.String()
	if err := s.Launch(Broker); err != nil {
		return err
	}
	return s.AwaitBroker(ctx)
}

// AwaitBroker waits until something listens where the broker should.
func (s *Stack) AwaitBroker(ctx context.Context) error {
	return poll(ctx, 15*time.Second, "the broker", func() error {
		if err := s.ended(Broker); err != nil {
			return err
		}
		address, _, _ := strings.Cut(s.Brokers, ",")
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Launch starts one service, whether or not it ran before, without waiting.
func (s *Stack) Launch(service Service) error {
	log, err := os.OpenFile(s.LogPath(service), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", service, err)
	}
	defer log.Close()
	c := lab.Command{
		Name: string(service), Path: filepath.Join(s.Bin, string(service)), Stdout: log, Stderr: log,
		Env: []string{"WEIR_KAFKA_BROKERS=" + s.Brokers},
	}
	if service == Broker {
		c.Args = []string{"-listen", s.Brokers, "-data", filepath.Join(s.Dir, "broker")}
		c.Env = nil
	} else if err := s.configure(service, &c); err != nil {
		return err
	}
	c.Env = append(c.Env, s.Env[service]...)
	p, err := s.Lab.Start(c)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.LogTail(service, 10))
	}
	s.running[service] = p
	return nil
}

// configure fills in the environment of a service.
func (s *Stack) configure(service Service, c *lab.Command) error {
	if !s.health[service].IsValid() {
		port, err := portOf(service)
		if err != nil {
			return err
		}
		s.health[service] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	}
	prefix := "WEIR_" + strings.ToUpper(strings.TrimPrefix(string(service), "weir-")) + "_"
	c.Env = append(c.Env, prefix+"HTTP_ADDRESS="+s.health[service].String())
	if service == Probe {
		c.Namespace = s.ProbeIn
		c.Env = append(c.Env, prefix+"HOST="+s.Host, prefix+"INTERFACES="+s.Interface, prefix+"PIN_PATH="+s.PinPath)
		if s.ProbeIn != lab.Root {
			// The lab's wire is a veth, which stands for a NIC here: the probe
			// would choose TCX.
			c.Env = append(c.Env, prefix+"XDP_MODE=native")
		}
	}
	return nil
}

// ApplyTopics runs "weir topics apply". Brokers that have only just started, on
// a machine that does much else, take their time.
func (s *Stack) ApplyTopics(ctx context.Context) error {
	out, err := s.CLI(ctx, "topics", "apply", "--timeout", "60s")
	if err != nil {
		return fmt.Errorf("creating topics: %w\n%s", err, out)
	}
	return nil
}

// ended returns an error if the service is not running.
func (s *Stack) ended(service Service) error {
	p := s.running[service]
	if p == nil {
		return nil
	}
	select {
	case <-p.Done():
		if err := p.Wait(); err != nil {
			return fatal{fmt.Errorf("%s ended by itself: %w", service, err)}
		}
		return fatal{fmt.Errorf("%s ended by itself", service)}
	default:
		return nil
	}
}

// Process returns the running process of a service, nil if it was not started.
func (s *Stack) Process(service Service) *lab.Process { return s.running[service] }

// Kill ends a service as a crash would.
func (s *Stack) Kill(service Service) error {
	p := s.running[service]
	if p == nil {
		return fmt.Errorf("killing %s: it does not run", service)
	}
	delete(s.running, service)
	return p.Kill()
}

// Stop ends a service as an operator would.
func (s *Stack) Stop(service Service, grace time.Duration) error {
	p := s.running[service]
	if p == nil {
		return fmt.Errorf("stopping %s: it does not run", service)
	}
	delete(s.running, service)
	if err := p.Stop(grace); err != nil {
		return fmt.Errorf("stopping %s: %w\n%s", service, err, s.LogTail(service, 10))
	}
	return nil
}

// Environment returns what a user must set to use the stack's broker.
func (s *Stack) Environment() string { return "WEIR_KAFKA_BROKERS=" + s.Brokers }

// HealthAddress returns where a service answers /healthz, /readyz, /metrics.
func (s *Stack) HealthAddress(service Service) string { return s.health[service].String() }

// PageURL is where the ring serves its page.
func (s *Stack) PageURL() string { return "http://" + s.HealthAddress(Ring) + "/" }

// portOf returns a free port for a service, the ring's own if it is free.
func portOf(service Service) (uint16, error) {
	if service == Ring {
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(ringPort)); err == nil {
			return ringPort, l.Close()
		}
	}
	return freePort()
}

// freePort returns a TCP port of the loopback that was free a moment ago.
func freePort() (uint16, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	n, err2 := strconv.ParseUint(port, 10, 16)
	return uint16(n), errors.Join(err, err2, l.Close())
}
