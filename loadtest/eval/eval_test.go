package eval

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/schemas/counts"
)

func TestAttackersAreAddressesOrASentence(t *testing.T) {
	dns := &header{source: netip.MustParseAddr("192.0.2.1"), protocol: protocolUDP, ports: true, sourcePort: 53, destinationPort: 22}
	web := &header{source: netip.MustParseAddr("192.0.2.2"), protocol: protocolTCP, ports: true, sourcePort: 53, destinationPort: 22}
	fragment := &header{source: netip.MustParseAddr("192.0.2.3"), protocol: protocolUDP, later: true}
	arp := &header{}
	for text, want := range map[string][]bool{ // dns, web, fragment, arp
		`["192.0.2.2"]`: {false, true, false, false},
		`[]`:            {false, false, false, false},
		`"every packet towards the ingress destination"`:        {true, true, true, false},
		`"udp sport 53 dport 22, plus non-first udp fragments"`: {true, false, true, false},
		`"tcp dport 22"`: {false, true, false, false},
		`"udp sport 53"`: {true, false, false, false},
		`"udp sport 123 dport 22, plus non-first udp fragments"`: {false, false, true, false},
	} {
		var a Attackers
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for i, h := range []*header{dns, web, fragment, arp} {
			if got := a.has(h); got != want[i] {
				t.Errorf("%s: frame %d is part of the attack: %v, want %v", text, i, got, want[i])
			}
		}
	}
	for _, text := range []string{`"somebody"`, `"udp sport 99999 dport 22"`, `["nobody"]`} {
		var a Attackers
		if err := json.Unmarshal([]byte(text), &a); err == nil {
			t.Errorf("%s was understood as %+v", text, a)
		}
	}
}

// TestReaddressedFramesAreWhatTheySay compares with the independent classifier
// of the captures, over frames of all kinds.
func TestReaddressedFramesAreWhatTheySay(t *testing.T) {
	dir := t.TempDir()
	if err := capture.Synthesize(dir, 1); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range []string{"synthetic-mixed.pcapng", "synthetic-vlan.pcap", "robust-ethernet.pcap"} {
		frames, err := capture.Read(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range frames {
			h, p := parse(f.Data), capture.Classify(f.Data)
			if (p.Kind == capture.IP) != h.source.IsValid() && len(f.Data) > 60 || h.source.IsValid() && h.source != p.Source {
				t.Fatalf("%s, frame %d: source %v, want %v", name, i, h.source, p.Source)
			}
			if p.Kind != capture.IP || !h.source.IsValid() {
				continue
			}
			seen++
			to := netip.MustParseAddr("192.0.2.200")
			if h.source.Is6() {
				to = netip.MustParseAddr("2001:db8::200")
			}
			out := readdress(f.Data, &h, to, to, 8080)
			q, g := capture.Classify(out), parse(out)
			if q.Source != to || q.Destination != to || q.Class != p.Class || q.Bytes != p.Bytes {
				t.Fatalf("%s, frame %d: %+v became %+v", name, i, p, q)
			}
			if h.protocol == protocolTCP && h.ports && g.destinationPort != 8080 {
				t.Fatalf("%s, frame %d: port %d", name, i, g.destinationPort)
			}
			if ip := out[h.network:]; h.source.Is4() && checksum(ip[:int(ip[0]&15)*4]) != 0 {
				t.Fatalf("%s, frame %d: a wrong checksum", name, i)
			}
		}
	}
	if seen < 5000 {
		t.Errorf("only %d frames were compared", seen)
	}
}

func framesAt(times ...time.Duration) []capture.Frame {
	var out []capture.Frame
	for _, at := range times {
		out = append(out, capture.Frame{At: at})
	}
	return out
}

func timesOf(frames []capture.Frame) []time.Duration {
	var out []time.Duration
	for _, f := range frames {
		out = append(out, f.At)
	}
	return out
}

func TestTiming(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for what, c := range map[string]struct{ got, want []time.Duration }{
		"a burst is stretched":      {timesOf(retime(framesAt(s, s, s, 2*s), 1000)), []time.Duration{0, ms, 2 * ms, s}},
		"the busiest section":       {timesOf(busiest(framesAt(0, 5*s, 5*s+ms, 6*s, 9*s), 2*s)), []time.Duration{0, ms, s}},
		"five times as fast":        {timesOf(faster(framesAt(0, 5*s), 5)), []time.Duration{0, s}},
		"over and over":             {timesOf(repeated(framesAt(0, s-ms), 2*s+ms)), []time.Duration{0, s - ms, s, 2*s - ms, 2 * s}},
		"over and over, of nothing": {timesOf(repeated(nil, s)), nil},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
}

// TestThresholdActsAfterTheWindowThatCrossesIt: 30 packets in each quarter of a
// second cross 100 per second with the fourth window.
func TestThresholdActsAfterTheWindowThatCrossesIt(t *testing.T) {
	heavy, light := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, c := range []struct {
		threshold          int // index
		heavyDrops, blocks uint64
	}{{0, 6 * 30, 1}, {1, 0, 0}, {3, 0, 0}} {
		x := thresholds()[c.threshold]
		start := time.Unix(1_700_000_000, 0)
		for seq := uint64(1); seq <= 10; seq++ {
			for chunk, source := range []netip.Addr{heavy, light} {
				r := &counts.Record{BootID: "a", Seq: seq, Chunk: uint32(chunk), Chunks: 2, WindowEnd: start.Add(time.Duration(seq) * 250 * time.Millisecond)}
				n := uint64(30)
				if source == light {
					n = 20
				}
				r.Sources = []counts.Source{{Address: source, Counters: counts.Counters{Packets: n}}}
				x.chunk(r)
			}
		}
		if x.dropped[heavy] != c.heavyDrops || x.dropped[light] != 0 || uint64(len(x.blocked)) != c.blocks {
			t.Errorf("%s: dropped %v, blocked %v", x.name, x.dropped, x.blocked)
		}
	}
}

// TestTargetsAreMissedWhenTheyAre: a summary that is perfect passes, and one with
// any fault does not.
func TestTargetsAreMissedWhenTheyAre(t *testing.T) {
	attack := &item{name: "flood", label: &Label{Label: capture.Label{Category: "attack-spoofed-syn", Expected: wantSignature}}}
	calm := &item{name: "calm", label: &Label{Label: capture.Label{Category: "benign", Expected: "none"}}}
	perfect := func() []*outcome {
		return []*outcome{
			{policy: weir, job: &job{item: attack, what: runFull}, first: time.Second, firstDrop: 1300 * time.Millisecond, hit: true,
				attack: tally{100_000, 97_000}, benign: tally{10_000, 0}, visitors: tally{1000, 0}, signatures: 1},
			{policy: weir, job: &job{item: calm, what: runFast}, benign: tally{10_000, 0}},
		}
	}
	for what, c := range map[string]struct {
		spoil  func(o []*outcome)
		missed string
	}{
		"nothing":         {func([]*outcome) {}, ""},
		"no lease":        {func(o []*outcome) { o[0].hit = false }, "attacks found"},
		"in part only":    {func(o []*outcome) { o[0].attack.dropped = 10_000 }, "attacks found"},
		"slow":            {func(o []*outcome) { o[0].firstDrop = 1600 * time.Millisecond }, "time to mitigate, p50"},
		"leaky":           {func(o []*outcome) { o[0].attack.dropped = 90_000 }, "attack packets passed"},
		"unjust":          {func(o []*outcome) { o[1].benign.dropped = 100 }, "benign packets dropped"},
		"a ban":           {func(o []*outcome) { o[1].blocked = map[netip.Addr]bool{visitorsV4: true} }, "benign sources blocked"},
		"a source":        {func(o []*outcome) { o[0].perSource = 1 }, "per-source leases on signature attacks"},
		"the host is cut": {func(o []*outcome) { o[0].visitors.dropped = 1000 }, "attacked hosts cut off from visitors"},
	} {
		outcomes := perfect()
		c.spoil(outcomes)
		var missed []string
		for _, x := range summarize(weir, outcomes).targets() {
			if !x.met() {
				missed = append(missed, x.what)
			}
		}
		if c.missed == "" && len(missed) > 0 || c.missed != "" && !slices.Contains(missed, c.missed) {
			t.Errorf("%s: missed %q, want %q", what, missed, c.missed)
		}
	}
}

func TestQuantile(t *testing.T) {
	values := []int{5, 1, 4, 2, 3}
	for q, want := range map[float64]int{0.5: 3, 0.99: 5, 0.2: 1, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v: %d, want %d", q, got, want)
		}
	}
	if got := quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}
