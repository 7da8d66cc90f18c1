package guard

import (
	"bufio"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Own returns the addresses of all interfaces.
func Own() []netip.Addr {
	var out []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return sorted(out)
}

// Gateways returns the next hops of all default routes, from the kernel's
// tables under proc (usually "/proc").
func Gateways(proc string) []netip.Addr {
	var out []netip.Addr
	lines(proc+"/net/route", func(f []string) {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask …, little-endian hex
		if len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			if b, err := hex.DecodeString(f[2]); err == nil && len(b) == 4 {
				slices.Reverse(b)
				out = append(out, netip.AddrFrom4([4]byte(b)))
			}
		}
	})
	lines(proc+"/net/ipv6_route", func(f []string) {
		// destination length source length nexthop …
		if len(f) > 4 && f[1] == "00" {
			if b, err := hex.DecodeString(f[4]); err == nil && len(b) == 16 {
				out = append(out, netip.AddrFrom16([16]byte(b)))
			}
		}
	})
	return sorted(slices.DeleteFunc(out, netip.Addr.IsUnspecified))
}

// Resolvers returns the name servers of a resolv.conf.
func Resolvers(path string) []netip.Addr {
	var out []netip.Addr
	lines(path, func(f []string) {
		if len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				out = append(out, a.WithZone("").Unmap())
			}
		}
	})
	return sorted(out)
}

func lines(path string, f func(fields []string)) {
	file, err := os.Open(path)
	if err != nil {
		return // no such table here
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f(strings.Fields(s.Text()))
	}
}

func sorted(a []netip.Addr) []netip.Addr {
	slices.SortFunc(a, netip.Addr.Compare)
	return slices.Compact(a)
}
