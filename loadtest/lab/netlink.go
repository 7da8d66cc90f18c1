package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// bringUp gives an interface its addresses, without duplicate address
// detection, and brings it and the loopback up.
func bringUp(h *netlink.Handle, name string, addrs ...netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	for _, a := range addrs {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("adding %s to %s: %w", a, name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing %s up: %w", name, err)
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bringing the loopback up: %w", err)
	}
	return nil
}

func addNeighbour(h *netlink.Handle, addr netip.Addr, mac net.HardwareAddr) error {
	link, err := h.LinkByName(DataInterface)
	if err != nil {
		return fmt.Errorf("finding %s: %w", DataInterface, err)
	}
	err = h.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("adding neighbour %s: %w", addr, err)
	}
	return nil
}

func addDefaultRoute(h *netlink.Handle, gateway netip.Addr) error {
	link, err := h.LinkByName(DataInterface)
	if err != nil {
		return fmt.Errorf("finding %s: %w", DataInterface, err)
	}
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gateway.Is6() {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	err = h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice(), Dst: ipNet(everything)})
	if err != nil {
		return fmt.Errorf("adding the route by %s: %w", gateway, err)
	}
	return nil
}

// addLocalRoute makes a whole range local, so that a socket can bind to any
// address of it without there being thousands of addresses on the interface.
func addLocalRoute(h *netlink.Handle, p netip.Prefix) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback: %w", err)
	}
	err = h.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: ipNet(p), Type: unix.RTN_LOCAL,
		Scope: netlink.SCOPE_HOST, Table: unix.RT_TABLE_LOCAL,
	})
	if err != nil {
		return fmt.Errorf("making %s local: %w", p, err)
	}
	return nil
}
