package doctor

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/bpf/nic"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

// TestFindings holds each judgement against what it must say, and that whatever
// is not well comes with advice.
func TestFindings(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	topic := broker.TopicState{Name: "weir.counts.v1"}
	missing, differs := topic, topic
	missing.Missing = true
	differs.Diff = []string{"weir.counts.v1: 3 partitions, want 12"}
	probe := status.Record{Host: "web1", Interface: "eth0", Mode: "enforce", XDPMode: "native"}
	skewed, generic := probe, probe
	skewed.SkewMillis = -4200
	generic.XDPMode, generic.XDPReason = "generic", "native was refused"
	for _, c := range []struct {
		name  string
		got   Finding
		level Level
		says  string // part of what was found or advised
	}{
		{"new kernel", kernel("6.18.44-fc"), OK, "6.18.44-fc"},
		{"new major", kernel("7.0.0"), OK, "7.0.0"},
		{"before TCX", kernel("6.1.0-28-amd64"), Warn, "TCX"},
		{"old kernel", kernel("5.15.0-100-generic"), Fail, "6.1 or later"},
		{"strange kernel", kernel("next"), Warn, "next"},
		{"BTF", btf(true), OK, "types"},
		{"no BTF", btf(false), Fail, "CONFIG_DEBUG_INFO_BTF"},
		{"compiled", jit("1\n"), OK, "compiled"},
		{"interpreted", jit("0\n"), Warn, "bpf_jit_enable=1"},
		{"root", capabilities(1<<41 - 1), OK, "41 in all"},
		{"just enough", capabilities(1<<39 | 1<<38 | 1<<12), OK, "3 in all"},
		{"no CAP_BPF", capabilities(1<<38 | 1<<12), Fail, "lacks CAP_BPF"},
		{"nobody", capabilities(0), Fail, "lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"},
		{"bpffs in use", pins("/sys/fs/bpf/weir", "/sys/fs/bpf/weir", true, true), OK, "pinned"},
		{"bpffs", pins("/sys/fs/bpf/weir", "/sys/fs/bpf", true, true), OK, "can be made"},
		{"no bpffs", pins("/sys/fs/bpf/weir", "/sys/fs", false, true), Fail, "mount -t bpf"},
		{"not ours", pins("/sys/fs/bpf/weir", "/sys/fs/bpf", true, false), Fail, "cannot write to /sys/fs/bpf"},
		{"right clock", systemClock(true), OK, "synchronised"},
		{"free clock", systemClock(false), Warn, "NTP"},
		{"three brokers", Brokers(make([]broker.Reached, 3))[0], OK, "3 brokers"},
		{"one broker", Brokers(make([]broker.Reached, 1))[0], Warn, "1 broker"},
		{"a silent broker", Brokers([]broker.Reached{{Address: "a:1"}, {Address: "b:2", Err: errors.New("refused")}})[1], Fail, "advertised.listeners"},
		{"rates", Aggregator(now, now.Add(-time.Second)), OK, "follow"},
		{"no counts", Aggregator(time.Time{}, time.Time{}), OK, "no counts"},
		{"no rates", Aggregator(now, time.Time{}), Warn, "start weir-aggregator"},
		{"old rates", Aggregator(now, now.Add(-time.Hour)), Warn, "1h0m0s older"},
		{"topic", Topic(topic), OK, "as it must be"},
		{"no topic", Topic(missing), Fail, "weir topics apply creates"},
		{"other topic", Topic(differs), Fail, "3 partitions, want 12"},
		{"broker clock", BrokerClock(now.Add(-time.Hour), now), OK, "not ahead"},
		{"no broker clock", BrokerClock(time.Time{}, now), OK, "not ahead"},
		{"broker ahead", BrokerClock(now.Add(5*time.Second), now), Warn, "5s ahead"},
		{"probe", Probe(probe), OK, "live, enforce, native"},
		{"probe's clock", Probe(skewed), Warn, "-4.2s"},
		{"generic", Probe(generic), Warn, "native was refused"},
		{"no probe", NoProbe(), Warn, "start weir-probe"},
	} {
		if c.got.Level != c.level || !strings.Contains(c.got.Found+" "+c.got.Advice, c.says) {
			t.Errorf("%s: %+v, want %s and %q", c.name, c.got, c.level, c.says)
		}
		if (c.got.Level == OK) != (c.got.Advice == "") {
			t.Errorf("%s: level %s with advice %q", c.name, c.got.Level, c.got.Advice)
		}
	}
}

func TestInterfaces(t *testing.T) {
	eth0 := nic.Interface{Index: 2, Name: "eth0", Driver: "ixgbe", MTU: 1500, Up: true, Ethernet: true, Queues: 8, MaxQueues: 63}
	down, taken, jumbo, veth := eth0, eth0, eth0, eth0
	down.Name, down.Up = "eth1", false
	taken.Name, taken.XDPProgram = "eth2", 77
	jumbo.Name, jumbo.MTU, jumbo.LRO, jumbo.Queues = "eth3", 9000, true, 63
	veth.Name, veth.Kind, veth.MaxQueues = "veth0", "veth", 0
	lo := nic.Interface{Index: 1, Name: "lo", Loopback: true, Up: true, Ethernet: true}
	all := []nic.Interface{lo, eth0, down, taken, jumbo, veth}
	for _, c := range []struct {
		name   string
		wanted []string
		pinned bool
		want   []string // level and part of each finding
	}{
		{"all that are up", nil, false, []string{
			"ok ixgbe, MTU 1500, 8 queues, mode auto tries native", "fail program 77", "warn LRO is on", "ok veth, MTU 1500, 8 queues, mode auto tries tcx"}},
		{"with a probe", []string{"eth2"}, true, []string{"ok XDP program attached"}},
		{"down and missing", []string{"eth1", "eth9"}, false, []string{"warn none of this name", "warn ip link set eth1 up"}},
		{"MTU", []string{"eth3"}, false, []string{"warn MTU is 9000"}},
		{"queues", []string{"eth3"}, false, []string{"warn 63 of 63 queues"}},
		{"loopback if named", []string{"lo"}, false, []string{"ok loopback"}},
	} {
		got := interfaces(all, c.wanted, c.pinned)
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v, want %q", c.name, got, c.want)
			continue
		}
		for i, f := range got {
			level, says, _ := strings.Cut(c.want[i], " ")
			if string(f.Level) != level || !strings.Contains(f.Found+" "+f.Advice, says) {
				t.Errorf("%s: %+v, want %q", c.name, f, c.want[i])
			}
		}
	}
	if got := interfaces([]nic.Interface{lo}, nil, false); len(got) != 1 || got[0].Level != Warn {
		t.Errorf("nothing is up: %+v", got)
	}
}

func TestPrint(t *testing.T) {
	findings := []Finding{ok("kernel", "Linux"), ok("topic a", "bad\x1b[2J").fail("do %s", "this")}
	var b bytes.Buffer
	if err := Print(&b, findings); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 3 || lines[0] != "ok    kernel   Linux" || strings.Contains(b.String(), "\x1b") || lines[2] != "      → do this" {
		t.Errorf("printed %q", b.String())
	}
	if !Failed(findings) || Failed(findings[:1]) {
		t.Error("Failed is wrong")
	}
}
