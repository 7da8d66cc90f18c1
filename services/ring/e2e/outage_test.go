package e2e

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
	"github.com/weir-net/weir/services/ring/internal/ringtest"
)

// The brokers go away and come back with empty topics; then the connection to
// the service breaks. Each time the page says so, and then is live again.
func TestOutages(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &kafka.Config{Brokers: cluster.ListenAddrs()}
	_, text, err := net.SplitHostPort(cfg.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	testkit.ApplyTopics(t, cfg)
	s := startOn(t, cfg, false)
	s.play.Fleet(2, 2, 3)
	stop := s.run(t)
	ctx := browser(t, 1000, 800)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(4))

	cluster.Close()
	took := until(t, ctx, 6*time.Second, `document.body.dataset.link === "down" && document.getElementById("link").textContent.includes("lost the brokers")`)
	t.Logf("said after %v", took)
	shot(t, ctx, "outage")
	var again *kfake.Cluster
	testkit.Eventually(t, 5*time.Second, "the port is free again", func() bool {
		again, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port))
		return err == nil
	})
	t.Cleanup(again.Close)
	testkit.ApplyTopics(t, cfg)
	stop() // the play's own client knows the old topics
	s.play = ringtest.New(t, cfg)
	s.play.Fleet(2, 2, 3)
	s.run(t)
	took = until(t, ctx, 20*time.Second, `document.body.dataset.link === "live" && weir.store.lookup("edge-1", "eth0").age < 1500`)
	t.Logf("live again after %v", took)

	s.http.CloseClientConnections()
	until(t, ctx, 5*time.Second, `document.body.dataset.link === "lost"`)
	until(t, ctx, 10*time.Second, `document.body.dataset.link === "live"`)
}

// The service is started anew while the page is open: nothing of its numbers and
// logins is left. The page asks for a login and goes on.
func TestRestart(t *testing.T) {
	s := start(t, true)
	s.play.Fleet(2, 2, 3)
	s.run(t)
	ctx := login(t, s, "/#/edge-1/eth0")
	until(t, ctx, 15*time.Second, `weir.ring.items.some((x) => x.kind === "source")`)
	s.boot(t)
	s.http.CloseClientConnections()
	until(t, ctx, 15*time.Second, `document.querySelector("#dialog[open] input[name=token]") && document.body.dataset.link === "lost" && document.getElementById("link").textContent.includes("Not logged in")`)
	shot(t, ctx, "restart")
	do(t, ctx, chromedp.SendKeys("#dialog input[name=token]", token+"\r"))
	until(t, ctx, 15*time.Second, `!document.getElementById("dialog").open && document.body.dataset.link === "live" && weir.store.lookup("edge-1", "eth0").age < 1500 && weir.ring.items.some((x) => x.kind === "source")`)
	// Logged out, nothing more is told.
	do(t, ctx, chromedp.Click("#logout"))
	until(t, ctx, 10*time.Second, `document.querySelector("#dialog[open] input[name=token]") && document.body.dataset.link === "lost" && weir.stream.source.readyState === EventSource.CLOSED`)
}

// A tab that nobody looks at lets its connection go, and has it back at a glance.
func TestRestsOutOfSight(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(1, 1, 2)
	s.run(t)
	ctx := browser(t, 1000, 800)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(1))
	js[bool](t, ctx, `(() => {
		window.out = true;
		Object.defineProperty(document, "hidden", { get: () => window.out });
		weir.stream.restAfter = 50;
		document.dispatchEvent(new Event("visibilitychange"));
		return true; })()`)
	until(t, ctx, 3*time.Second, `weir.stream.rested && weir.stream.source.readyState === EventSource.CLOSED`)
	js[bool](t, ctx, `(window.out = false, document.dispatchEvent(new Event("visibilitychange")))`)
	until(t, ctx, 5*time.Second, `document.body.dataset.link === "live" && weir.store.lookup("edge-1", "eth0").age < 1500`)
}
