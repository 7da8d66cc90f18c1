package cli

import (
	"context"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/weir/internal/doctor"
)

// examine runs weir doctor -o json and returns what it found, by check.
func (l *lab) examine(change func(*Env), args ...string) (map[string]doctor.Finding, int) {
	l.t.Helper()
	r := l.runWith(change, append([]string{"doctor", "-o", "json", "--timeout", "2s"}, args...)...)
	var list []doctor.Finding
	r.into(l.t, &list)
	out := map[string]doctor.Finding{}
	for _, f := range list {
		out[f.Check] = f
	}
	return out, r.code
}

// TestDoctorBrokers breaks what can be broken at the brokers, one after the other.
func TestDoctorBrokers(t *testing.T) {
	l := newLab(t)
	found, _ := l.examine(nil)
	if f := found["probes"]; f.Level != doctor.Warn {
		t.Errorf("without a probe: %+v", f)
	}
	for name, f := range found {
		if strings.HasPrefix(name, "topic ") && f.Level != doctor.OK {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := found["aggregator"]; f.Level != doctor.OK {
		t.Errorf("without counts: %+v", f)
	}
	l.startProbe("web1", func(p *probe) { p.record.SkewMillis = 3000 })
	found, _ = l.examine(nil)
	if f := found["probe web1/eth0"]; f.Level != doctor.Warn || !strings.Contains(f.Found, "off by 3s") {
		t.Errorf("a probe with a wrong clock: %+v", f)
	}
	l.startProbe("web1", func(p *probe) { p.record.Stopped = true })
	if found, _ = l.examine(nil); found["probes"].Level != doctor.Warn {
		t.Errorf("the only probe has stopped: %+v", found)
	}

	admin := kadm.NewClient(l.producer)
	alter := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: schemas.ConfigCleanupPolicy, Value: kadm.StringPtr("delete")}}
	if _, err := admin.AlterTopicConfigs(t.Context(), alter, l.topics.Commands); err != nil {
		t.Fatal(err)
	}
	found, code := l.examine(nil)
	if f := found["topic "+l.topics.Commands]; code != ExitError || f.Level != doctor.Fail || !strings.Contains(f.Found, "cleanup.policy") {
		t.Errorf("commands that are not compacted: exit %d, %+v", code, f)
	}
	if _, err := admin.DeleteTopics(t.Context(), l.topics.Status); err != nil {
		t.Fatal(err)
	}
	found, code = l.examine(nil)
	if f := found["topic "+l.topics.Status]; code != ExitError || f.Level != doctor.Fail || !strings.Contains(f.Advice, "weir topics apply") {
		t.Errorf("no status topic: exit %d, %+v", code, f)
	}
	found, code = l.examine(nil, "--brokers", "127.0.0.1:1")
	if f := found["brokers"]; code != ExitError || f.Level != doctor.Fail || f.Advice == "" {
		t.Errorf("no broker: exit %d, %+v", code, f)
	}
	found, code = l.examine(func(e *Env) {
		e.Connect = func([]string, string) ([]kgo.Opt, schemas.Topics, error) { return nil, schemas.Topics{}, os.ErrInvalid }
	})
	if f := found["brokers"]; code != ExitError || f.Level != doctor.Fail || !strings.Contains(f.Advice, "WEIR_KAFKA_BROKERS") {
		t.Errorf("no configuration: exit %d, %+v", code, f)
	}
}

// TestDoctorSilentBroker has two brokers, of which the one that is asked first
// answers and the other does not.
func TestDoctorSilentBroker(t *testing.T) {
	l := newLab(t)
	if l.real {
		t.Skip("a real broker is not for silencing")
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	addresses := c.ListenAddrs()
	found, code := l.examine(func(e *Env) {
		e.Connect = func([]string, string) ([]kgo.Opt, schemas.Topics, error) {
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == addresses[1] {
					return nil, syscall.ECONNREFUSED
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			return []kgo.Opt{kgo.SeedBrokers(addresses[0]), kgo.Dialer(dial)}, l.topics, nil
		}
	})
	if f := found["broker "+addresses[1]]; code != ExitError || f.Level != doctor.Fail || !strings.Contains(f.Found, "refused") {
		t.Errorf("exit %d, %+v", code, f)
	}
	if _, told := found["broker "+addresses[0]]; told || found["brokers"].Level != doctor.Warn {
		t.Errorf("%v", found)
	}
}

// TestDoctorMachine runs it on this machine, well and with faults.
func TestDoctorMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("probes run on Linux")
	}
	l := newLab(t)
	found, _ := l.examine(nil)
	for _, check := range []string{"kernel", "BTF", "capabilities", "bpffs", "clock"} {
		if f := found[check]; f.Level == "" || f.Found == "" {
			t.Errorf("nothing about %s in %v", check, found)
		}
	}
	if os.Getuid() == 0 && found["capabilities"].Level != doctor.OK {
		t.Errorf("root: %+v", found["capabilities"])
	}
	found, code := l.examine(nil, "--pin-path", t.TempDir(), "--interface", "weir-none,lo")
	if f := found["bpffs"]; code != ExitError || f.Level != doctor.Fail || !strings.Contains(f.Advice, "mount -t bpf") {
		t.Errorf("no bpffs: exit %d, %+v", code, f)
	}
	if f := found["interface weir-none"]; f.Level != doctor.Warn {
		t.Errorf("an interface that is not there: %+v", f)
	}
	if f := found["interface lo"]; !strings.Contains(f.Found, "loopback, MTU") || !strings.Contains(f.Found, "tcx") {
		t.Errorf("the loopback: %+v", f)
	}
	found, _ = l.examine(func(e *Env) {
		e.Getenv = func(k string) string {
			return map[string]string{"WEIR_PROBE_INTERFACES": "weir-a,weir-b", "WEIR_PROBE_PIN_PATH": "/"}[k]
		}
	})
	if found["interface weir-a"].Level != doctor.Warn || found["interface weir-b"].Level != doctor.Warn || found["bpffs"].Level != doctor.Fail {
		t.Errorf("the probe's environment is not heeded: %v", found)
	}
}

// TestDoctorTable checks the form for people.
func TestDoctorTable(t *testing.T) {
	l := newLab(t)
	l.put(l.topics.Status, "x", []byte("nonsense"))
	r := l.run("doctor", "--pin-path", "/")
	if r.code != ExitError || r.err != "" || !strings.Contains(r.out, "fail  bpffs") || !strings.Contains(r.out, "      → mount -t bpf") {
		t.Errorf("%+v", r)
	}
}
