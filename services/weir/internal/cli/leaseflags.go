package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// matchFlags say which packets a command is about.
type matchFlags struct {
	target, destination, protocol, tcpFlags string
	sourcePort, port                        uint16
	fragments                               bool
}

func (f *matchFlags) add(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&f.target, "target", "*", `where: "*", host:<host> or interface:<host>/<ifname>`)
	p.StringVar(&f.destination, "destination", "", "only packets to this address or prefix")
	p.StringVar(&f.protocol, "protocol", "", "only this protocol: tcp, udp, icmp, icmpv6, … or a number")
	p.Uint16Var(&f.sourcePort, "source-port", 0, "only packets from this port")
	p.Uint16Var(&f.port, "port", 0, "only packets to this port")
	p.StringVar(&f.tcpFlags, "tcp-flags", "", "only TCP packets with these flags, such as syn+!ack")
	p.BoolVar(&f.fragments, "fragments", false, "only later fragments, which have no ports")
}

// match reads the flags and the optional SOURCE.
func (f *matchFlags) match(args []string) (schemas.Target, commands.Match, error) {
	fail := func(err error) (schemas.Target, commands.Match, error) {
		return schemas.Target{}, commands.Match{}, usage(err)
	}
	target, err := schemas.ParseTarget(f.target)
	if err != nil {
		return fail(err)
	}
	m := commands.Match{SourcePort: f.sourcePort, DestinationPort: f.port, Fragments: f.fragments}
	if len(args) > 0 {
		if m.Source, err = commands.ParsePrefix(args[0]); err != nil {
			return fail(err)
		}
	}
	if f.destination != "" {
		if m.Destination, err = commands.ParsePrefix(f.destination); err != nil {
			return fail(err)
		}
	}
	if f.protocol != "" {
		if m.Protocol, err = schemas.ParseProtocol(f.protocol); err != nil {
			return fail(err)
		}
	}
	if f.tcpFlags != "" {
		if m.TCPFlags, err = commands.ParseTCPFlags(f.tcpFlags); err != nil {
			return fail(err)
		}
	}
	if err := m.Check(); err != nil {
		return fail(err)
	}
	return target, m, nil
}

// waitFlags say how long to wait for the probes.
type waitFlags struct {
	noWait bool
	wait   time.Duration
}

func (f *waitFlags) add(cmd *cobra.Command) {
	p := cmd.Flags()
	p.BoolVar(&f.noWait, "no-wait", false, "do not wait for the probes")
	p.DurationVar(&f.wait, "wait", 5*time.Second, "wait this long for the probes")
}

// parseRate reads "500pps", "10mbps" or both with a comma. Bits, and powers of
// ten.
func parseRate(s string) (*commands.Rate, error) {
	var r commands.Rate
	for part := range strings.SplitSeq(s, ",") {
		number, into := "", &r.PPS
		switch part = strings.ToLower(strings.TrimSpace(part)); {
		case strings.HasSuffix(part, "pps"):
			number = strings.TrimSuffix(part, "pps")
		case strings.HasSuffix(part, "bps"):
			number, into = strings.TrimSuffix(part, "bps"), &r.BPS
		default:
			return nil, fmt.Errorf("rate %q: want for example 500pps, 10mbps or 500pps,10mbps", s)
		}
		unit := 1.0
		for suffix, u := range map[string]float64{"k": 1e3, "m": 1e6, "g": 1e9} {
			if strings.HasSuffix(number, suffix) {
				number, unit = strings.TrimSuffix(number, suffix), u
				break
			}
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n*unit >= 1 && n*unit <= 1e12) || *into != 0 {
			return nil, fmt.Errorf("rate %q: want for example 500pps, 10mbps or 500pps,10mbps", s)
		}
		*into = uint64(n * unit)
	}
	return &r, nil
}
