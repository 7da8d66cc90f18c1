package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-net/weir/loadtest/lab"
)

// Treatment is something done to the packets at the victim's end.
type Treatment struct {
	Name  string
	apply func(*Wire) (undo func() error, err error)
}

// errUnavailable says that this machine, or this data plane, cannot do a
// treatment: the table tells so instead of a number.
var errUnavailable = errors.New("not available")

// Nothing leaves the packets to the stack.
func Nothing(name string) Treatment {
	return Treatment{name, func(*Wire) (func() error, error) { return func() error { return nil }, nil }}
}

// Missing is a treatment that this machine does not have.
func Missing(name string, why error) Treatment {
	return Treatment{name, func(*Wire) (func() error, error) { return nil, fmt.Errorf("%w: %w", errUnavailable, why) }}
}

// XDP attaches a program that is loaded already.
func XDP(name string, p *ebpf.Program, generic bool) Treatment {
	flags := link.XDPDriverMode
	if generic {
		flags = link.XDPGenericMode
	}
	return Treatment{name, func(w *Wire) (undo func() error, err error) {
		err = w.Do(lab.Victim, func() error {
			l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: w.Victim, Flags: flags})
			if errors.Is(err, syscall.ERANGE) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP) {
				return fmt.Errorf("%w: the driver refused", errUnavailable)
			}
			if err != nil {
				return fmt.Errorf("attaching %s: %w", name, err)
			}
			undo = l.Close
			return nil
		})
		return undo, err
	}}
}

// TCX attaches a program that is loaded already.
func TCX(name string, p *ebpf.Program) Treatment {
	return Treatment{name, func(w *Wire) (undo func() error, err error) {
		err = w.Do(lab.Victim, func() error {
			l, err := link.AttachTCX(link.TCXOptions{Program: p, Interface: w.Victim, Attach: ebpf.AttachTCXIngress})
			if errors.Is(err, ebpf.ErrNotSupported) {
				return fmt.Errorf("%w: the kernel has no TCX", errUnavailable)
			}
			if err != nil {
				return fmt.Errorf("attaching %s: %w", name, err)
			}
			undo = l.Close
			return nil
		})
		return undo, err
	}}
}

// NFT drops sources by a set of nftables, at the hook nearest to the driver.
func NFT(name string, sources []netip.Addr) Treatment {
	return Treatment{name, func(w *Wire) (func() error, error) {
		rules := fmt.Sprintf("table netdev bench {\n set blocked { type ipv4_addr; elements = { %s } }\n"+
			" chain ingress { type filter hook ingress device %q priority 0; ip saddr @blocked drop; }\n}\n",
			strings.Join(texts(sources), ", "), lab.DataInterface)
		if err := w.tool(rules, "nft", "-f", "-"); err != nil {
			return nil, err
		}
		return func() error { return w.tool("", "nft", "delete", "table", "netdev", "bench") }, nil
	}}
}

// IPSet drops sources by an ipset, in the earliest table of iptables.
func IPSet(name string, sources []netip.Addr) Treatment {
	return Treatment{name, func(w *Wire) (func() error, error) {
		var sets strings.Builder
		fmt.Fprintf(&sets, "create blocked hash:ip hashsize %d maxelem %d\n", 1024+len(sources), 1024+2*len(sources))
		for _, a := range texts(sources) {
			fmt.Fprintf(&sets, "add blocked %s\n", a)
		}
		if err := w.tool(sets.String(), "ipset", "-exist", "restore"); err != nil {
			return nil, err
		}
		rule := strings.Fields("PREROUTING -m set --match-set blocked src -j DROP")
		if err := w.tool("", "iptables", append([]string{"-t", "raw", "-A"}, rule...)...); err != nil {
			return nil, errors.Join(err, w.tool("", "ipset", "destroy", "blocked"))
		}
		return func() error {
			return errors.Join(w.tool("", "iptables", append([]string{"-t", "raw", "-D"}, rule...)...),
				w.tool("", "ipset", "destroy", "blocked"))
		}, nil
	}}
}

// texts leaves out 0.0.0.0/8, which is no address to a set.
func texts(sources []netip.Addr) []string {
	var all []string
	for _, a := range sources {
		if a.As4()[0] != 0 {
			all = append(all, a.String())
		}
	}
	return all
}

// tool runs a program of the system in the victim's namespace.
func (w *Wire) tool(input, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w: %s is not installed", errUnavailable, name)
	}
	return w.Do(lab.Victim, func() error {
		cmd := exec.Command(path, args...)
		cmd.Stdin = strings.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("%w: %s: %w: %s", errUnavailable, name, err, line)
		}
		return nil
	})
}

// Unavailable reports whether a treatment could not be applied on this machine.
func Unavailable(err error) bool { return errors.Is(err, errUnavailable) }
