package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Fixed hardware addresses, so that raw frames can be written without asking.
var (
	VictimMAC  = net.HardwareAddr{0x02, 0x57, 0x45, 0x49, 0x52, 0x01}
	GatewayMAC = net.HardwareAddr{0x02, 0x57, 0x45, 0x49, 0x52, 0x02}
)

func (l *Lab) build() error {
	rootLink := "weir-m-" + l.config.ID
	l.state.Namespaces = []string{l.NamespaceName(Victim), l.NamespaceName(Clients)}
	l.state.Links = []string{rootLink}
	if err := l.state.save(); err != nil {
		return err
	}
	for _, name := range l.state.Namespaces {
		if err := makeNamespace(name); err != nil {
			return err
		}
	}
	var err error
	if l.victim, err = handleAt(l.NamespaceName(Victim)); err != nil {
		return err
	}
	if l.clients, err = handleAt(l.NamespaceName(Clients)); err != nil {
		return err
	}
	if err := l.sysctls(); err != nil {
		return err
	}
	if err := l.buildManagement(rootLink); err != nil {
		return fmt.Errorf("management link: %w", err)
	}
	if err := l.buildWire(); err != nil {
		return fmt.Errorf("data link: %w", err)
	}
	return nil
}

func handleAt(name string) (*netlink.Handle, error) {
	ns, err := netns.GetFromPath(namespacePath(name))
	if err != nil {
		return nil, fmt.Errorf("opening namespace %s: %w", name, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, fmt.Errorf("opening netlink in %s: %w", name, err)
	}
	return h, nil
}

// sysctls are set before any interface exists: IPv6 would otherwise announce
// itself on the wire.
func (l *Lab) sysctls() error {
	common := map[string]string{
		"net/ipv4/conf/all/rp_filter":                             "0",
		"net/ipv4/conf/default/rp_filter":                         "0",
		"net/ipv6/conf/default/accept_dad":                        "0",
		"net/ipv6/conf/default/accept_ra":                         "0",
		"net/ipv6/conf/default/router_solicitations":              "0",
		"net/ipv4/ip_forward":                                     "0",
		"net/ipv4/tcp_max_syn_backlog":                            "4096",
		"net/core/somaxconn":                                      "4096",
		"net/ipv4/tcp_tw_reuse":                                   "1",
		"net/ipv4/ip_local_port_range":                            "1024 65535",
		"net/ipv6/conf/all/forwarding":                            "0",
		"net/ipv6/ip_nonlocal_bind":                               "1",
		"net/ipv4/icmp_errors_use_inbound_ifaddr":                 "1",
		"net/ipv4/conf/default/accept_source_route":               "0",
		"net/ipv4/conf/default/accept_redirects":                  "0",
		"net/ipv4/conf/default/send_redirects":                    "0",
		"net/ipv4/conf/all/send_redirects":                        "0",
		"net/ipv4/conf/default/arp_ignore":                        "1",
		"net/ipv6/conf/default/ndisc_notify":                      "0",
		"net/ipv6/conf/default/use_tempaddr":                      "0",
		"net/ipv6/conf/default/autoconf":                          "0",
		"net/ipv6/conf/default/mldv1_unsolicited_report_interval": "3600000",
		"net/ipv6/conf/default/mldv2_unsolicited_report_interval": "3600000",
	}
	for _, ns := range []Namespace{Victim, Clients} {
		values := common
		if l.config.Silent {
			values = map[string]string{"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"}
		}
		if err := l.Do(ns, func() error { return writeSysctls(values) }); err != nil {
			return err
		}
	}
	return nil
}

// writeSysctls leaves out what this kernel does not have or does not let a
// namespace change.
func writeSysctls(values map[string]string) error {
	for name, value := range values {
		// Not /proc/sys/net of the process: the namespace is the thread's.
		err := os.WriteFile("/proc/sys/"+name, []byte(value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("setting %s: %w", strings.ReplaceAll(name, "/", "."), err)
		}
	}
	return nil
}

func (l *Lab) buildManagement(rootLink string) error {
	// Two labs built at once must not choose the same subnet.
	lock, err := waitForLock("subnet")
	if err != nil {
		return err
	}
	defer lock.Close()
	subnet, err := freeSubnet()
	if err != nil {
		return err
	}
	l.management = netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
	victimSide := netip.PrefixFrom(l.management.Addr().Next(), subnet.Bits())
	ns, err := netns.GetFromName(l.NamespaceName(Victim))
	if err != nil {
		return fmt.Errorf("opening namespace: %w", err)
	}
	defer ns.Close()
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: rootLink, MTU: 1500},
		PeerName:      ManagementInterface,
		PeerNamespace: netlink.NsFd(ns),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding veth %s: %w", rootLink, err)
	}
	root, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	defer root.Close()
	if err := bringUp(root, rootLink, l.management); err != nil {
		return err
	}
	return bringUp(l.victim, ManagementInterface, victimSide)
}

// freeSubnet picks a /30 of 198.19.0.0/16 that no interface here has.
func freeSubnet() (netip.Prefix, error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("listing addresses: %w", err)
	}
	for i := 0; i < 1<<14; i++ {
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, byte(i >> 6), byte(i << 2)}), 30)
		taken := false
		for _, a := range addrs {
			ip, _ := netip.AddrFromSlice(a.IP.To4())
			taken = taken || candidate.Contains(ip)
		}
		if !taken {
			return candidate, nil
		}
	}
	return netip.Prefix{}, errors.New("no free management subnet in 198.19.0.0/16")
}

func (l *Lab) buildWire() error {
	ns, err := netns.GetFromName(l.NamespaceName(Clients))
	if err != nil {
		return fmt.Errorf("opening namespace: %w", err)
	}
	defer ns.Close()
	mtu := l.config.MTU
	if mtu == 0 {
		mtu = 1500
	}
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: DataInterface, MTU: mtu, HardwareAddr: VictimMAC, NumRxQueues: 1, NumTxQueues: 1},
		PeerName:         DataInterface,
		PeerHardwareAddr: GatewayMAC,
		PeerMTU:          uint32(mtu),
		PeerNamespace:    netlink.NsFd(ns),
	}
	if err := l.victim.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding veth %s: %w", DataInterface, err)
	}
	if err := l.queueFrames(); err != nil {
		return err
	}
	if l.config.Silent {
		// The victim's end speaks to nobody either: its frames are not counted,
		// but answers to replayed frames would cost time.
		return errors.Join(l.bringUpSilent(l.clients), l.bringUpSilent(l.victim))
	}
	return l.addressWire()
}

// queueFrames gives the clients' end a queue: without one, veth drops what its
// peer's ring of 256 frames cannot take, with one the sender waits, so that
// what was sent is what arrives.
func (l *Lab) queueFrames() error {
	link, err := l.clients.LinkByName(DataInterface)
	if err != nil {
		return fmt.Errorf("finding the clients' interface: %w", err)
	}
	qdisc := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		QdiscType:  "pfifo",
	}
	if err := l.clients.LinkSetTxQLen(link, 32768); err != nil {
		return fmt.Errorf("setting the queue length: %w", err)
	}
	if err := l.clients.QdiscReplace(qdisc); err != nil {
		return fmt.Errorf("adding a queue: %w", err)
	}
	return nil
}

func (l *Lab) bringUpSilent(h *netlink.Handle) error {
	link, err := h.LinkByName(DataInterface)
	if err != nil {
		return fmt.Errorf("finding %s: %w", DataInterface, err)
	}
	if err := h.LinkSetARPOff(link); err != nil {
		return fmt.Errorf("switching ARP off: %w", err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing %s up: %w", DataInterface, err)
	}
	return nil
}

func (l *Lab) addressWire() error {
	victim4, victim6 := netip.PrefixFrom(VictimAddress, wire4.Bits()), netip.PrefixFrom(VictimAddress6, wire6.Bits())
	if err := bringUp(l.victim, DataInterface, victim4, victim6); err != nil {
		return err
	}
	gateway4, gateway6 := netip.PrefixFrom(GatewayAddress, wire4.Bits()), netip.PrefixFrom(GatewayAddr6, wire6.Bits())
	if err := bringUp(l.clients, DataInterface, gateway4, gateway6); err != nil {
		return err
	}
	// Neighbours are permanent: under a flood their renewal could get lost, and
	// an ordinary client would fail for a reason that has nothing to do with us.
	for _, n := range []struct {
		h    *netlink.Handle
		addr netip.Addr
		mac  net.HardwareAddr
	}{
		{l.victim, GatewayAddress, GatewayMAC}, {l.victim, GatewayAddr6, GatewayMAC},
		{l.clients, VictimAddress, VictimMAC}, {l.clients, VictimAddress6, VictimMAC},
	} {
		if err := addNeighbour(n.h, n.addr, n.mac); err != nil {
			return err
		}
	}
	for _, gateway := range []netip.Addr{GatewayAddress, GatewayAddr6} {
		if err := addDefaultRoute(l.victim, gateway); err != nil {
			return err
		}
	}
	// The clients' namespace is every ordinary client and every attacker that
	// uses real sockets; all other addresses are nobody.
	for _, p := range []netip.Prefix{OrdinarySources, HTTPAttackers, UDPAttackers, HTTPRounds, UDPRounds, OrdinarySources6, Attackers6} {
		if err := addLocalRoute(l.clients, p); err != nil {
			return err
		}
	}
	for _, p := range []string{"0.0.0.0/0", "::/0"} {
		err := l.clients.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(p)), Type: unix.RTN_BLACKHOLE})
		if err != nil {
			return fmt.Errorf("adding the blackhole route: %w", err)
		}
	}
	return l.awaitCarrier(2 * time.Second)
}

func (l *Lab) awaitCarrier(limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		link, err := l.clients.LinkByName(DataInterface)
		if err == nil && link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("interface %s did not come up", DataInterface)
		}
	}
}
