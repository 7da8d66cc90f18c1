//go:build pipeline

package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// TestPipeline drives the page against the real probe, aggregator and policy:
// WEIR_RING_BROKERS names the brokers of a lab in which floods come and go, such
// as those of a running "loadtest bench-ttm".
func TestPipeline(t *testing.T) {
	brokers := os.Getenv("WEIR_RING_BROKERS")
	if brokers == "" {
		t.Fatal("set WEIR_RING_BROKERS to the brokers of a lab with floods")
	}
	cfg := &kafka.Config{Brokers: strings.Split(brokers, ",")}
	s := startOn(t, cfg, true)
	ctx := login(t, s, "")
	until(t, ctx, 20*time.Second, `weir.store.interfaces.size > 0`)
	shot(t, ctx, "real-idle")
	red := `[...weir.store.interfaces.values()].find((i) => !i.stale && weir.colours.level(i.pps, i.baseline) === 4)`
	until(t, ctx, 60*time.Second, red)
	key := js[string](t, ctx, red+`?.key ?? "gone"`)
	t.Logf("%s is red", key)
	until(t, ctx, 3*time.Second, at("interface", key)+`?.dropped > 0`)
	shot(t, ctx, "real-attack")
	p := js[struct{ X, Y float64 }](t, ctx, `(({x, y}) => ({X: x, Y: y}))(weir.ring.centreOf(`+at("interface", key)+`))`)
	do(t, ctx, chromedp.MouseEvent("mouseMoved", p.X-2, p.Y-2), chromedp.MouseEvent("mouseMoved", p.X, p.Y))
	until(t, ctx, 2*time.Second, `/drop|rate-limit/.test(document.getElementById("tip").innerText)`)
	t.Log(js[string](t, ctx, `document.getElementById("tip").innerText`))
	shot(t, ctx, "real-hover")
	until(t, ctx, 3*time.Second, `weir.store.attacks.some((a) => !a.ended) && weir.store.leases.leases.some((l) => l.issuer === "policy")`)
	do(t, ctx, chromedp.Click("#layers"))
	until(t, ctx, 3*time.Second, `weir.stack.rings.every((r) => r.ring.items.length > 0)`)
	shot(t, ctx, "real-layers")
	do(t, ctx, chromedp.Click("#flat"))

	// Block an address that sends nothing, by hand, and release it again.
	js[bool](t, ctx, `(weir.dialogs.order({ action: "drop", node: { source: "203.0.113.200" } }), true)`)
	do(t, ctx, chromedp.SendKeys("#dialog input[name=reason]", "by hand\r"))
	until(t, ctx, 2*time.Second, `document.getElementById("confirm")`)
	do(t, ctx, chromedp.Click("#confirm"))
	until(t, ctx, 8*time.Second, `/^applied on 1 of 1 in /.test(document.getElementById("outcome")?.textContent ?? "")`)
	t.Log(js[string](t, ctx, `document.getElementById("dialog").innerText`))
	do(t, ctx, chromedp.Click("#dialog .buttons button"))
	release := `#leases tr[data-key="*|203.0.113.200/32|ring"] button[data-do="release"]`
	until(t, ctx, 5*time.Second, `document.querySelector('`+release+`')`)
	do(t, ctx, chromedp.Click(release))
	until(t, ctx, 2*time.Second, `document.getElementById("confirm")`)
	do(t, ctx, chromedp.Click("#confirm"))
	until(t, ctx, 8*time.Second, `/^applied on 1 of 1 in /.test(document.getElementById("outcome")?.textContent ?? "")`)
	do(t, ctx, chromedp.Click("#dialog .buttons button"))
	until(t, ctx, 5*time.Second, `!document.querySelector('`+release+`')`)
	shot(t, ctx, "real-after")
}
