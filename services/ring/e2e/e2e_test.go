// Package e2e drives the page in a real headless Chromium.
package e2e

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
	"github.com/weir-net/weir/services/ring/internal/access"
	"github.com/weir-net/weir/services/ring/internal/act"
	"github.com/weir-net/weir/services/ring/internal/api"
	"github.com/weir-net/weir/services/ring/internal/feed"
	"github.com/weir-net/weir/services/ring/internal/live"
	"github.com/weir-net/weir/services/ring/internal/ringtest"
	"github.com/weir-net/weir/services/ring/web"
)

const token = "correct-horse-battery"

// system is the service on a broker in this process, and a play on the broker.
type system struct {
	cfg    *kafka.Config
	acting bool
	play   *ringtest.Play
	url    string
	http   *httptest.Server

	handler atomic.Pointer[http.Handler]
	stop    func()
}

// start starts it. With acting, people must log in.
func start(t *testing.T, acting bool) *system {
	t.Helper()
	_, cfg := testkit.Double(t)
	return startOn(t, cfg, acting)
}

func startOn(t *testing.T, cfg *kafka.Config, acting bool) *system {
	t.Helper()
	s := &system{cfg: cfg, acting: acting, stop: func() {}, play: ringtest.New(t, cfg)}
	s.boot(t)
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) }))
	s.url = s.http.URL
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
		s.stop()
	})
	return s
}

// boot starts the service, in the place of one that ran before and of which
// nothing is left.
func (s *system) boot(t *testing.T) {
	t.Helper()
	s.stop()
	opts, err := s.cfg.Options("ring")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	hub := live.New(4096, 16, time.Now)
	rules := access.Rules{Issuer: "ring", TTL: time.Hour}
	if s.acting {
		rules.Token, rules.Act = token, true
	}
	topics := s.cfg.Topics()
	server := &api.Server{Hub: hub, Gate: access.New(rules, time.Now), Files: web.Files, Log: log, Version: "test", Scale: []float64{700, 1400, 2100}}
	if s.acting {
		client, err := kgo.NewClient(opts...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		server.Doer = &act.Actor{Writer: &feed.Writer{Client: client, Topic: topics.Commands}, Picture: hub, Topic: topics.Commands, Wait: 5 * time.Second, Poll: 10 * time.Millisecond}
	}
	reader := &feed.Feed{Topics: topics, Options: opts, Picture: hub, Log: log}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 3)
	for _, run := range []func(context.Context) error{hub.Run, reader.Run, reader.RunCommands} {
		go func() { _ = run(ctx); done <- struct{}{} }()
	}
	handler := server.Handler()

	s.handler.Store(&handler)
	s.stop = sync.OnceFunc(func() {
		cancel()
		for range 3 {
			<-done
		}
	})
}

// run publishes until the test ends, or the returned function is called.
func (s *system) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	play := s.play
	go func() { defer close(done); play.Run(ctx, 250*time.Millisecond) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// browser opens a tab of a headless Chromium. Without one the test is skipped,
// but under CI=true it fails.
func browser(t *testing.T, width, height int) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("the page's tests need Chromium")
		}
		t.Skip("the page's tests need Chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(width, height))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	// The first action starts the browser, which lives as long as its context.
	do(t, ctx, chromedp.Navigate("about:blank"), chromedp.EmulateViewport(int64(width), int64(height)))
	watchConsole(t, ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// do runs actions or fails the test.
func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// visitPage goes to a page of the ring. Chromium breaks off what it loads when an
// interface of this machine gets an address, as when a lab is built: then once more,
// by way of another page, since a URL of which only the part behind # differs, or
// none, is not loaded again.
func visitPage(t *testing.T, ctx context.Context, url string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; do(t, ctx, chromedp.Navigate("about:blank")) {
		err := chromedp.Do(ctx, chromedp.Navigate(url))
		for began := time.Now(); err == nil && time.Since(began) < 8*time.Second; time.Sleep(15 * time.Millisecond) {
			if js[bool](t, ctx, "!!window.weir") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not load: %v", url, err)
		}
	}
}

// js evaluates an expression; a promise is waited for.
func js[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("evaluating %s: %v", expression, err)
	}
	return out
}

// patience is what a busy machine gets beyond what a condition may take.
const patience = 20 * time.Second

// until polls a JavaScript condition, and returns how long it took. A test that
// minds the time looks at that.
func until(t *testing.T, ctx context.Context, limit time.Duration, condition string) time.Duration {
	t.Helper()
	for began := time.Now(); ; time.Sleep(15 * time.Millisecond) {
		took := time.Since(began)
		if js[bool](t, ctx, "!!("+condition+")") {
			return took
		}
		if took > limit+patience {
			shot(t, ctx, "failed-"+strings.ReplaceAll(t.Name(), "/", "-"))
			t.Fatalf("not within %v: %s", limit+patience, condition)
		}
	}
}

// shot saves a picture of the page if WEIR_SHOTS names a directory.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("WEIR_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}
