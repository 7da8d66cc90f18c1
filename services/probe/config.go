package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/kit/config"
)

// Config is the probe's environment, prefix WEIR_PROBE_.
type Config struct {
	Interfaces []string      `required:"true" desc:"interfaces to watch, separated by commas; one that is missing is attached when it appears"`
	Host       string        `desc:"this host's name in keys; the host name up to its first dot if empty"`
	Window     time.Duration `default:"250ms" desc:"how often counts are published"`
	Mode       string        `default:"observe" desc:"enforce, observe or off, until a mode command says otherwise"`
	XDPMode    string        `envconfig:"XDP_MODE" default:"auto" desc:"native, generic, offload, tcx, or auto: native on NICs, tcx on veth and other virtual interfaces, and what is left where that is refused"`
	PinPath    string        `split_words:"true" default:"/sys/fs/bpf/weir" desc:"directory on a bpffs; what is pinned there filters on without the probe"`
	Protected  []string      `desc:"prefixes never to block, besides own addresses, gateways, resolvers and brokers"`

	IPv6SourcePrefix int    `envconfig:"IPV6_SOURCE_PREFIX" default:"64" desc:"64 or 128: what counts as one source among IPv6 addresses that are not on the link"`
	SourceWays       int    `split_words:"true" default:"0" desc:"records of sources per CPU and window, a power of two up to 16,777,216, and as many for IPv6; a source takes one per class of packets that it sends; 0: 1,048,576 shared among the CPUs, 96 MiB with those of IPv6"`
	MaxSources       int    `split_words:"true" default:"131072" desc:"sources published per interface and window; the lightest beyond it are summed up"`
	SourceLimit      uint64 `split_words:"true" default:"0" desc:"packets per second that any source may send, held in XDP without waiting for a decision; a NAT is one source; 0: no limit"`
	MaxLeases        int    `split_words:"true" default:"131072" desc:"capacity of the filter; each lease takes some 220 bytes there and 250 in the probe, up to three times that while the topic is read"`
	MaxPerIssuer     int    `split_words:"true" default:"65536" desc:"leases of one issuer"`
	ChangesPerSecond int    `split_words:"true" default:"20000" desc:"changes of one issuer per second; more are refused"`
	Strict           bool   `default:"false" desc:"drop what is neither IPv4 nor IPv6, ARP included, when enforcing"`

	DeadMan     time.Duration `split_words:"true" default:"30s" desc:"a lease that could cut the brokers off is suspended if they are lost this soon after it; 0: never"`
	HTTPAddress string        `envconfig:"HTTP_ADDRESS" default:"127.0.0.1:9470" desc:"where /healthz, /readyz and /metrics are served; off: nowhere"`

	protected []netip.Prefix
	xdpMode   xdp.Mode
}

// maxLeases take 3 GiB. The kernel would also make a table that leaves nothing
// for anyone else, and nobody can interrupt it at that for a minute.
const maxLeases = 1 << 24

// Validate implements config.Validator.
func (c *Config) Validate() error {
	if c.Host == "" {
		c.Host = config.HostName()
	}
	var errs []error
	if err := schemas.CheckName(c.Host); err != nil {
		errs = append(errs, fmt.Errorf("WEIR_PROBE_HOST %q: %w", c.Host, err))
	}
	for _, name := range c.Interfaces {
		if err := schemas.CheckName(name); err != nil {
			errs = append(errs, fmt.Errorf("WEIR_PROBE_INTERFACES %q: %w", name, err))
		}
	}
	if len(c.Interfaces) > xdp.MaxSlots {
		errs = append(errs, fmt.Errorf("WEIR_PROBE_INTERFACES names %d, at most %d", len(c.Interfaces), xdp.MaxSlots))
	}
	if c.Window < 50*time.Millisecond || c.Window > 10*time.Second {
		errs = append(errs, fmt.Errorf("WEIR_PROBE_WINDOW %v: want 50ms to 10s", c.Window))
	}
	switch commands.Mode(c.Mode) {
	case commands.ModeEnforce, commands.ModeObserve, commands.ModeOff:
	default:
		errs = append(errs, fmt.Errorf("WEIR_PROBE_MODE %q: want enforce, observe or off", c.Mode))
	}
	mode, err := xdp.ParseMode(c.XDPMode)
	if err != nil {
		errs = append(errs, fmt.Errorf("WEIR_PROBE_XDP_MODE: %w", err))
	}
	c.xdpMode = mode
	for _, s := range c.Protected {
		p, err := commands.ParsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("WEIR_PROBE_PROTECTED %q: %w", s, err))
			continue
		}
		c.protected = append(c.protected, p)
	}
	if c.PinPath == "" {
		errs = append(errs, errors.New("WEIR_PROBE_PIN_PATH is empty"))
	}
	if c.MaxSources < 1 {
		errs = append(errs, fmt.Errorf("WEIR_PROBE_MAX_SOURCES %d: want at least 1", c.MaxSources))
	}
	if c.MaxLeases < 1 || c.MaxLeases > maxLeases {
		errs = append(errs, fmt.Errorf("WEIR_PROBE_MAX_LEASES %d: want 1 to %d", c.MaxLeases, maxLeases))
	}
	return errors.Join(errs...)
}
