package capture

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// The addresses of made-up captures.
var (
	synthVictim  = netip.MustParseAddr("198.51.100.80")
	synthVictim6 = netip.MustParseAddr("2001:db8:5::80")
)

// Synthesize writes captures of our own making to dir, with a labels.json and
// the frame-by-frame oracle of robust-ethernet, laid out like a directory of
// real captures, so that every test that reads such a directory runs anywhere.
// The same seed gives the same files.
func Synthesize(dir string, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 2))
	labels := make(Labels)
	for name, flows := range map[string][]flow{
		"synthetic-spoofed-syn": spoofedSYN(random, 5000),
		"synthetic-two-way":     twoWay(random, 3000),
		"synthetic-mixed":       mixed(random, 4000),
		"synthetic-vlan":        tagged(mixed(random, 2000)),
	} {
		frames, err := serialize(flows, 200*time.Microsecond)
		if err != nil {
			return err
		}
		file := name + ".pcap"
		write := writePcap
		if name == "synthetic-mixed" {
			file, write = name+".pcapng", writePcapNG
		}
		if err := write(filepath.Join(dir, file), frames); err != nil {
			return err
		}
		label := NewLabel(file, frames)
		if name == "synthetic-two-way" {
			label.IngressDst = []netip.Addr{synthVictim, synthVictim6}
			label.IngressPackets = uint64(len(Filter(frames, label.IngressDst)))
		}
		labels[name] = label
	}
	b, err := json.MarshalIndent(labels, "", " ")
	if err != nil {
		return fmt.Errorf("writing labels: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "labels.json"), b, 0o600); err != nil {
		return fmt.Errorf("writing labels: %w", err)
	}
	return writeRobust(dir)
}

func serialize(flows []flow, gap time.Duration) ([]Frame, error) {
	out := make([]Frame, 0, len(flows))
	for i, f := range flows {
		b, err := f.serialize()
		if err != nil {
			return nil, err
		}
		out = append(out, Frame{At: time.Duration(i) * gap, Data: b, Wire: len(b)})
	}
	return out, nil
}

func address4(network string, n uint32) netip.Addr {
	a := netip.MustParseAddr(network).As4()
	a[1], a[2], a[3] = a[1]+byte(n>>16), a[2]+byte(n>>8), a[3]+byte(n)
	return netip.AddrFrom4(a)
}

func address6(network string, n uint64) netip.Addr {
	a := netip.MustParseAddr(network).As16()
	for i := range 8 { // spread over /64s and within them
		a[15-i] += byte(n >> (8 * (i % 3)))
	}
	return netip.AddrFrom16(a)
}

func spoofedSYN(random *rand.Rand, n int) []flow {
	out := make([]flow, n)
	for i := range out {
		flags := "S"
		if i%7 == 0 {
			flags = "SEC" // floods with ECE and CWR exist
		}
		out[i] = flow{from: address4("11.0.0.0", random.Uint32N(1<<22)), to: synthVictim, sport: uint16(random.Uint32()), dport: 80, tcp: flags}
	}
	return out
}

// twoWay is both directions of some conversations.
func twoWay(random *rand.Rand, n int) []flow {
	out := make([]flow, 0, n)
	for len(out) < n {
		f := flow{from: address4("192.0.2.0", random.Uint32N(40)), to: synthVictim, sport: uint16(random.Uint32()), dport: 443, tcp: "A", payload: random.IntN(1400)}
		if random.IntN(3) == 0 {
			f.from, f.to = address6("2001:db8:c::", uint64(random.IntN(40))), synthVictim6
		}
		back := f
		back.from, back.to, back.sport, back.dport = f.to, f.from, f.dport, f.sport
		out = append(out, f, back)
	}
	return out[:n]
}

// mixed has packets of every class.
func mixed(random *rand.Rand, n int) []flow {
	kinds := []flow{
		{tcp: "S"}, {tcp: "SA"}, {tcp: "R"}, {tcp: "RA"}, {tcp: "A", payload: 100}, {tcp: "FA"},
		{payload: 64}, {payload: 1200}, {icmp: true}, {payload: 40, fragmentOffset: 100},
		{payload: 40, moreFragments: true}, {protocolOverride: 47, payload: 60},
	}
	out := make([]flow, n)
	for i := range out {
		f := kinds[random.IntN(len(kinds))]
		f.sport, f.dport = uint16(random.Uint32()), uint16(random.Uint32())
		f.from, f.to = address4("192.0.2.0", random.Uint32N(200)), synthVictim
		if random.IntN(2) == 0 {
			f.from, f.to = address6("2001:db8:c::", uint64(random.IntN(200))), synthVictim6
			if random.IntN(2) == 0 {
				f.ipv6Extensions = [][]byte{{0}, {60, 43}, {0, 60}, {51}}[random.IntN(4)]
			}
		}
		out[i] = f
	}
	return out
}

func tagged(flows []flow) []flow {
	for i := range flows {
		flows[i].tags = []uint16{10, 20}[:1+i%2]
	}
	return flows
}

// robustFrames are frames on which parsers stumble, all different.
func robustFrames() ([]Frame, error) {
	from, to := netip.MustParseAddr("192.0.2.70"), synthVictim
	from6, to6 := netip.MustParseAddr("2001:db8:70::1"), synthVictim6
	flows := []flow{
		{from: from, to: to, tcp: "S"}, {from: from, to: to, payload: 1}, {from: from6, to: to6, tcp: "S"},
		{from: from, to: to, tags: []uint16{5}, tcp: "A"}, {from: from, to: to, tags: []uint16{5, 6}, tcp: "A"},
		{from: from6, to: to6, tags: []uint16{5, 6}, payload: 3}, {from: from6, to: to6, ipv6Extensions: []byte{0, 43, 60, 51}, payload: 9},
		{from: from6, to: to6, ipv6Extensions: []byte{60, 60, 60, 60, 60, 60, 60, 60}, payload: 9},
		{from: from6, to: to6, fragmentOffset: 3, payload: 9}, {from: from, to: to, icmp: true},
		{from: netip.MustParseAddr("0.0.0.0"), to: to, payload: 20},
	}
	frames, err := serialize(flows, time.Millisecond)
	if err != nil {
		return nil, err
	}
	add := func(b []byte) { frames = append(frames, Frame{Data: b, Wire: len(b)}) }
	whole := frames[0].Data
	for _, n := range []int{14, 20, 33, 34, 40, 53} {
		add(append([]byte(nil), whole[:n]...))
	}
	whole6 := frames[2].Data
	for _, n := range []int{30, 53, 54, 60} {
		add(append([]byte(nil), whole6[:n]...))
	}
	broken := append([]byte(nil), whole...)
	broken[14] = 0x42 // a header of 8 bytes
	add(broken)
	for _, etherType := range []uint16{0x0806, 0x88cc, 0x8847, 0x0010} {
		b := make([]byte, 60)
		copy(b, whole[:12])
		b[12], b[13] = byte(etherType>>8), byte(etherType)
		add(b)
	}
	return frames, nil
}

func writeRobust(dir string) error {
	frames, err := robustFrames()
	if err != nil {
		return err
	}
	if err := writePcap(filepath.Join(dir, "robust-ethernet.pcap"), frames); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "robust-ethernet.oracle.csv"))
	if err != nil {
		return fmt.Errorf("writing oracle: %w", err)
	}
	w := csv.NewWriter(f)
	rows := [][]string{{"frame", "len", "class", "outer_src_after_vlan", "vlan_tags"}}
	for i, frame := range frames {
		p := Classify(frame.Data)
		class, source := "other", ""
		switch p.Kind {
		case Malformed:
			class = "ip-bad"
		case IP:
			class, source = "ip", p.Source.String()
		case NonIP:
		}
		rows = append(rows, []string{strconv.Itoa(i + 1), strconv.Itoa(len(frame.Data)), class, source, "0"})
	}
	if err := errors.Join(w.WriteAll(rows), f.Close()); err != nil {
		return fmt.Errorf("writing oracle: %w", err)
	}
	return nil
}

func info(f Frame) gopacket.CaptureInfo {
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return gopacket.CaptureInfo{Timestamp: epoch.Add(f.At), CaptureLength: len(f.Data), Length: f.Wire}
}

func writePcap(path string, frames []Frame) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing capture: %w", err)
	}
	w := pcapgo.NewWriter(f)
	err = w.WriteFileHeader(65535, layers.LinkTypeEthernet)
	for _, frame := range frames {
		err = errors.Join(err, w.WritePacket(info(frame), frame.Data))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing capture %s: %w", path, err)
	}
	return nil
}

func writePcapNG(path string, frames []Frame) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing capture: %w", err)
	}
	w, err := pcapgo.NewNgWriter(f, layers.LinkTypeEthernet)
	if err != nil {
		return errors.Join(fmt.Errorf("writing capture %s: %w", path, err), f.Close())
	}
	for _, frame := range frames {
		err = errors.Join(err, w.WritePacket(info(frame), frame.Data))
	}
	if err := errors.Join(err, w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("writing capture %s: %w", path, err)
	}
	return nil
}
