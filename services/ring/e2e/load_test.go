//go:build load

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/weir-net/weir/services/internal/kit/testkit"
	"github.com/weir-net/weir/services/ring/internal/ringtest"
)

// TestLoad measures 1,000 interfaces of 50 sources at 4 updates a second: the
// service as its own process, and the page's frames per second. It runs only
// when asked to, since others' work on the machine would be measured too.
func TestLoad(t *testing.T) {
	busy := loadAverage(t)
	_, cfg := testkit.Double(t)
	play := ringtest.New(t, cfg)
	play.Fleet(100, 10, 50)
	url, pid := process(t, cfg.Brokers)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	var records, late int
	go func() { defer close(done); records, late = play.Bulk(ctx, t, 250*time.Millisecond, 4) }()
	t.Cleanup(func() { stop(); <-done })
	tab := browser(t, 1400, 900)
	testkit.Eventually(t, 10*time.Second, "the service listens", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	visitPage(t, tab, url)
	until(t, tab, 40*time.Second, `document.body.dataset.link === "live" && weir.store.interfaces.size === 1000 && weir.ring.items.length > 1100`)
	js[bool](t, tab, `(() => {
		window.frames_ = [];
		let last = performance.now();
		const frame = (now) => { window.frames_.push(now - last); last = now; requestAnimationFrame(frame); };
		requestAnimationFrame(frame);
		window.updates = 0;
		weir.store.addEventListener("rates", () => window.updates++);
		return true; })()`)
	const span = 20 * time.Second
	chromium := chromedp.FromContext(tab).Browser.Process().Pid
	cpu, cpuChromium, began := cpuTime(t, pid), cpuOfAll(t, chromium), time.Now()
	ticker := time.NewTimer(span)
	<-ticker.C // the span is what is measured
	used, usedChromium := cpuTime(t, pid)-cpu, cpuOfAll(t, chromium)-cpuChromium
	took := time.Since(began)
	shot(t, tab, "load")
	frames := js[[]float64](t, tab, `(() => { const f = window.frames_.toSorted((a, b) => a - b); return [f.length, f[Math.floor(f.length / 2)], f[Math.floor(f.length * 0.95)], f[Math.floor(f.length * 0.99)], f.at(-1), window.updates]; })()`)
	stop()
	<-done
	fps := frames[0] / took.Seconds()
	share := 100 * used.Seconds() / took.Seconds()
	t.Logf("%d records written, %d ticks late", records, late)
	report(t, busy, fmt.Sprintf(`service                %.1f %% of a core, %s resident
page                   %.0f frames/s, %.1f updates/s; all of Chromium takes %.0f %% of a core
time between frames    p50 %.0f ms, p95 %.0f ms, p99 %.0f ms, worst %.0f ms
`, share, resident(t, pid), fps, frames[5]/took.Seconds(), 100*usedChromium.Seconds()/took.Seconds(), frames[1], frames[2], frames[3], frames[4]))
	if fps < 30 {
		t.Errorf("%.0f frames a second, want at least 30", fps)
	}
	if share > 20 {
		t.Errorf("the service takes %.1f %% of a core, want less than 20", share)
	}
}

// process builds and starts the service; it is stopped when the test ends.
func process(t *testing.T, brokers []string) (url string, pid int) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "weir-ring")
	if out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(binary)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	cmd.Env = []string{"WEIR_KAFKA_BROKERS=" + strings.Join(brokers, ","), "WEIR_RING_HTTP_ADDRESS=" + address}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the service ended with %v\n%s", err, errOut.String())
		}
	})
	return "http://" + address, cmd.Process.Pid
}

// cpuTime returns what a process has used, from /proc: fields 14 and 15 in
// hundredths of a second.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		t.Fatalf("reading %s: %v %v", b, err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// cpuOfAll is what a process and those that come from it have used.
func cpuOfAll(t *testing.T, root int) time.Duration {
	t.Helper()
	parents := make(map[int]int)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
		pid, err1 := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, err2 := strconv.Atoi(fields[1])
		if err1 == nil && err2 == nil {
			parents[pid] = parent
		}
	}
	var sum time.Duration
	for pid := range parents {
		for at := pid; at > 1; at = parents[at] {
			if at == root {
				sum += cpuTime(t, pid)
				break
			}
		}
	}
	return sum
}

func resident(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return "?"
}
