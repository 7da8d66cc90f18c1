package cli

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
)

// window writes a window of three sources to the counts topic.
func (l *lab) window(host string, seq uint64) {
	l.t.Helper()
	var sources []counts.Source
	var total counts.Counters
	for n, packets := range []uint64{7, 4321, 30} {
		s := counts.Source{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})}
		s.Packets, s.Bytes = packets, packets*60
		s.ByClass[schemas.ClassUDP] = packets
		if packets > 1000 {
			s.Dropped, s.ByClass[schemas.ClassUDP], s.ByClass[schemas.ClassSYN] = packets-21, 0, packets
		}
		sources = append(sources, s)
		total.Add(s.Counters)
	}
	end := time.Date(2026, 1, 2, 3, 4, 5, 250e6, time.Local)
	value, err := new(counts.Encoder).Append(nil, &counts.Record{
		Host: host, Interface: "eth0", BootID: "boot", Seq: seq, WindowStart: end.Add(-250 * time.Millisecond), WindowEnd: end,
		Duration: 250 * time.Millisecond, Chunks: 1, Totals: &counts.Totals{Counters: total}, Sources: sources,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(l.topics.Counts, schemas.InterfaceKey(host, "eth0"), value)
}

func TestRingPlain(t *testing.T) {
	l := newLab(t)
	l.window("web1", 1)
	l.window("web2", 1)
	l.window("web1", 2)
	l.put(l.topics.Counts, "web3/eth0", []byte("not a window"))
	r := l.run("ring", "--plain", "--once", "--sources", "2")
	want := []string{
		"TIME HOST INTERFACE SOURCE PACKETS DROPPED CLASS",
		"03:04:05.250 web1 eth0 192.0.2.1 4321 4300 syn",
		"03:04:05.250 web1 eth0 192.0.2.2 30 0 udp",
		"03:04:05.250 web1 eth0 others 7 0 udp",
		"03:04:05.250 web2 eth0 192.0.2.1 4321 4300 syn",
	}
	var got []string
	for line := range strings.Lines(r.out) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if r.code != ExitOK || len(got) != 7 || strings.Join(got[:5], "\n") != strings.Join(want, "\n") {
		t.Errorf("%+v\nwant %q", r, want)
	}
	if r := l.run("ring", "--once", "--sources", "0", "-o", "json"); strings.Count(r.out, "\n") != 2 ||
		!strings.Contains(r.out, `"host":"web1","interface":"eth0","source":"others","packets":4358,"dropped":4300,"class":"syn"}`) {
		t.Errorf("as JSON: %+v", r)
	}
}

func TestRingUsage(t *testing.T) {
	l := newLab(t)
	for _, args := range [][]string{{"--scale", "1,2"}, {"--scale", "3,2,1"}, {"--scale", "a,b,c"}, {"--interval", "1ms"}, {"--sources", "-1"}} {
		if r := l.run(append([]string{"ring"}, args...)...); r.code != ExitUsage || r.err == "" {
			t.Errorf("ring %v: %+v", args, r)
		}
	}
}

func TestRingOnce(t *testing.T) {
	l := newLab(t)
	l.startProbe("web1")
	r := l.run("ring")
	if r.code != ExitOK || !strings.Contains(r.out, "▾ web1") || !strings.Contains(r.out, "enforce, no rates yet") || strings.Contains(r.out, "\x1b") {
		t.Errorf("%+v", r)
	}
}

// TestRingOnATerminal runs the program as a person does, sees news come in, and
// leaves it by a key: the terminal must be as it was.
func TestRingOnATerminal(t *testing.T) {
	l := newLab(t)
	l.startProbe("web1")
	binary := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), binary, "ring", "--topic-prefix", l.prefix)
	cmd.Env = []string{"WEIR_KAFKA_BROKERS=" + strings.Join(l.brokers, ","), "TERM=xterm-256color", "COLORTERM=truecolor", "HOME=" + os.Getenv("HOME")}
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 110})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	s := &screen{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := terminal.Read(b)
			_, _ = s.Write(b[:n]) // a buffer never fails
			if err != nil {
				return // the program has ended
			}
		}
	}()
	s.waitFor(t, "\x1b[?1049h") // a screen of its own
	s.waitFor(t, "no rates yet")
	l.startProbe("web2")
	s.waitFor(t, "web2")
	if _, err := terminal.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	<-read
	if out := s.b.String(); strings.LastIndex(out, "\x1b[?1049l") < strings.LastIndex(out, "\x1b[?1049h") || strings.LastIndex(out, "\x1b[?25h") < strings.LastIndex(out, "\x1b[?25l") {
		t.Errorf("the terminal was not given back: %q", out[max(0, len(out)-200):])
	}
}
