package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// device is an interface, and a way to make frames arrive on it.
type device struct {
	driver  string
	ifindex int
	native  bool // its driver runs XDP itself
	send    func([]byte) error
}

// devices makes or finds an interface of each kind. The first is the veth.
func devices() ([]*device, error) {
	all := []*device{}
	for _, make := range []func() (*device, error){veth, tap, loopback} {
		d, err := make()
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	hardware, err := hardware()
	return append(all, hardware...), err
}

func veth() (*device, error) {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "trial0"}, PeerName: "trial1"}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("making a veth pair: %w", err)
	}
	near, err := up("trial0")
	if err != nil {
		return nil, err
	}
	far, err := up("trial1")
	if err != nil {
		return nil, err
	}
	send, err := rawSender(far)
	return &device{driver: "veth", ifindex: near, native: true, send: send}, err
}

func tap() (*device, error) {
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "trial2"}, Mode: netlink.TUNTAP_MODE_TAP, Queues: 1,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_ONE_QUEUE}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("making a tap: %w", err)
	}
	index, err := up("trial2")
	return &device{driver: "tun", ifindex: index, native: true, send: func(f []byte) error {
		_, err := link.Fds[0].Write(f)
		return err
	}}, err
}

func loopback() (*device, error) {
	index, err := up("lo")
	if err != nil {
		return nil, err
	}
	send, err := rawSender(index)
	return &device{driver: "lo", ifindex: index, send: send}, err
}

// hardware finds the emulated network cards. Two are on one wire, so each receives
// what the other sends.
func hardware() ([]*device, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	var found []*device
	for _, link := range links {
		name := link.Attrs().Name
		target, err := os.Readlink("/sys/class/net/" + name + "/device/driver")
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading a driver's name: %w", err)
		}
		index, err := up(name)
		if err != nil {
			return nil, err
		}
		driver := filepath.Base(target)
		found = append(found, &device{driver: driver, ifindex: index, native: driver == "virtio_net"})
	}
	if len(found) < 2 {
		return nil, nil
	}
	for i, d := range found {
		if err := carrier(d.ifindex); err != nil {
			return nil, err
		}
		if d.send, err = rawSender(found[(i+1)%len(found)].ifindex); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// carrier waits until a card has found its wire.
func carrier(ifindex int) error {
	for range 1000 {
		link, err := netlink.LinkByIndex(ifindex)
		if err != nil {
			return fmt.Errorf("finding a network card: %w", err)
		}
		if link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("a network card without a wire")
}

func up(name string) (ifindex int, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("finding %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("bringing %s up: %w", name, err)
	}
	return link.Attrs().Index, nil
}

// rawSender returns what sends frames out of an interface.
func rawSender(ifindex int) (func([]byte) error, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	to := &unix.SockaddrLinklayer{Ifindex: ifindex, Halen: 6}
	return func(f []byte) error { return unix.Sendto(fd, f, 0, to) }, nil
}
