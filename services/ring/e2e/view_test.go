package e2e

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/ring/internal/ringtest"
)

func TestLayers(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(4, 3, 6)
	flooded := s.play.Add("edge-2", "eth9", ringtest.Source{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN})
	s.play.Add("edge-3", "eth9", ringtest.Source{Addr: attacker, PPS: 1800, Class: schemas.ClassICMP})
	s.run(t)
	ctx := browser(t, 1400, 900)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(14))
	do(t, ctx, chromedp.Click("#layers"))
	level := func(layer int, key string) string {
		return `(() => { const r = weir.stack.rings[` + string(rune('0'+layer)) + `].ring; return weir.colours.level(r.items.find((x) => x.kind === "interface" && x.key === "` + key + `").pps); })()`
	}
	until(t, ctx, 3*time.Second, `weir.stack.rings.every((r) => r.ring.items.length > 0)`)
	// Each layer has its own counters: a SYN flood is red up to its port, an ICMP
	// flood green up to the network layer and nothing above.
	for layer := range 4 {
		until(t, ctx, 3*time.Second, level(layer, "edge-2/eth9")+" === 4")
		until(t, ctx, 3*time.Second, level(layer, "edge-3/eth9")+fmt.Sprintf(" === %d", []int{3, 3, 0, 0}[layer]))
	}
	shot(t, ctx, "layers")
	before := js[string](t, ctx, `weir.stack.world.style.transform`)
	do(t, ctx, chromedp.DragAndDropXY(300, 400, 380, 380, 5))
	if after := js[string](t, ctx, `weir.stack.world.style.transform`); after == before {
		t.Error("dragging did not turn the stack")
	}
	// Of one interface each layer shows its own parts too.
	js[bool](t, ctx, `(location.hash = "#/edge-2/eth9", true)`)
	parts := func(layer int) string {
		return `weir.stack.rings[` + string(rune('0'+layer)) + `].ring.items.filter((x) => x.kind === "part").map((x) => x.label).join()`
	}
	until(t, ctx, 3*time.Second, parts(0)+` === "IP" && `+parts(1)+` === "TCP" && `+parts(2)+` === "SYN" && `+parts(3)+` === "tcp 443"`)
	// And so does the table, which needs no eyes and no mouse.
	row := func(layer string, n int) string {
		return fmt.Sprintf(`(document.querySelector('#counters tr[data-key="%s|%d"]')?.innerText.replaceAll("\t", " ").trim() ?? "")`, layer, n)
	}
	for _, want := range []struct {
		layer string
		n     int
		text  string
	}{
		{"Application port", 0, "Application port SYN, SYN-ACK, UDP 4,321"}, {"Application port", 1, "to tcp 443 4,321 2.07 Mbit/s 1 0"},
		{"Transport", 1, "SYN 4,321"}, {"Network", 1, "TCP 4,321"}, {"Network", 2, "to 192.0.2.80 4,321 2.07 Mbit/s 1 0"},
		{"Link", 1, "IP 4,321 2.07 Mbit/s  0"},
	} {
		until(t, ctx, 3*time.Second, row(want.layer, want.n)+fmt.Sprintf(" === %q", want.text))
	}
	shot(t, ctx, "layers-interface")
	// What the pointer is on says so too, and goes on saying it as it changes.
	p := js[struct{ X, Y float64 }](t, ctx, `(() => { const b = weir.stack.rings[3].ring.element.querySelector("canvas").getBoundingClientRect(); return { X: b.left + b.width * 0.85, Y: b.top + b.height / 2 }; })()`)
	do(t, ctx, chromedp.MouseEvent("mouseMoved", p.X, p.Y))
	until(t, ctx, 3*time.Second, `/Application port: 4,321 pps/.test(document.getElementById("tip").innerText) && document.getElementById("tip").innerText.includes("1 sources")`)
	s.play.Do(func() { flooded.Sources[0].PPS = 6543 })
	until(t, ctx, 3*time.Second, `document.getElementById("tip").innerText.includes("Application port: 6,543 pps")`)
	do(t, ctx, chromedp.Click("#flat"))
	until(t, ctx, 2*time.Second, `!weir.stack && !document.getElementById("ring").hidden`)
}

func TestKeyboard(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(3, 2, 4)
	s.run(t)
	ctx := browser(t, 1200, 800)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(6))
	do(t, ctx, chromedp.Focus("#ring"), chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
	until(t, ctx, 2*time.Second, `document.getElementById("said").textContent.startsWith("edge-2: ")`)
	do(t, ctx, chromedp.KeyEvent(kb.Enter))
	until(t, ctx, 2*time.Second, `weir.node.host === "edge-2"`)
	do(t, ctx, chromedp.KeyEvent(kb.ArrowLeft))
	until(t, ctx, 2*time.Second, `document.getElementById("said").textContent.startsWith("eth1: ") && !document.getElementById("tip").hidden`)
	do(t, ctx, chromedp.KeyEvent(kb.Backspace))
	until(t, ctx, 2*time.Second, `!weir.node.host`)
}

// Dark, colour-blind safe, narrow: drawn with other colours, and no part of the
// page is wider than the screen.
func TestAppearances(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(3, 2, 4)
	s.play.Add("edge-2", "eth9", ringtest.Source{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN})
	s.run(t)
	ctx := browser(t, 390, 844)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(7))
	js[bool](t, ctx, `(() => { const theme = document.getElementById("theme"); theme.value = "dark"; theme.dispatchEvent(new Event("change")); return true; })()`)
	do(t, ctx, chromedp.Click("#safe"))
	until(t, ctx, 2*time.Second, `weir.ring.fill(`+at("interface", "edge-2/eth9")+`) === "#e66100"`)
	until(t, ctx, 2*time.Second, `getComputedStyle(document.body).backgroundColor === "rgb(20, 23, 27)" && weir.ring.paper === "#14171b"`)
	if js[bool](t, ctx, `document.documentElement.scrollWidth > innerWidth`) {
		t.Errorf("the page is %v wide on a screen of %v", js[float64](t, ctx, `document.documentElement.scrollWidth`), js[float64](t, ctx, `innerWidth`))
	}
	shot(t, ctx, "narrow-dark")
}

// A fleet of nothing is live as well, and says that it is empty.
func TestNothingThere(t *testing.T) {
	s := start(t, false)
	ctx := browser(t, 1280, 800)
	visitPage(t, ctx, s.url)
	until(t, ctx, 10*time.Second, `document.body.dataset.link === "live" && document.getElementById("contents").innerText.includes("No probe has been heard of yet.")`)
	shot(t, ctx, "nothing")
	do(t, ctx, chromedp.Click("#layers"))
	until(t, ctx, 2*time.Second, `weir.stack?.rings.every((r) => r.ring.items.length === 1)`)
}

// Numbers as large as a record can hold are drawn like others.
func TestHugeNumbers(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(1, 1, 2)
	s.play.Add("edge-1", "eth9", ringtest.Source{Addr: attacker, PPS: 1e18, Class: schemas.ClassUDP}, ringtest.Source{Addr: attacker.Next(), PPS: 3, Class: schemas.ClassUDP})
	a := synFlood()
	a.PeakPPS, a.PeakBPS, a.Sources, a.Dropped = 1e300, 1e305, math.MaxUint64, math.MaxUint64
	s.play.Attack(t, a)
	s.run(t)
	ctx := browser(t, 1280, 800)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(2))
	until(t, ctx, 5*time.Second, `document.querySelector("#attacks .now") && weir.charts.data?.pps.some((v) => v > 1e14)`)
	for _, view := range []string{"flat", "layers"} {
		do(t, ctx, chromedp.Click("#"+view))
		until(t, ctx, 5*time.Second, `(weir.stack ? weir.stack.rings[3].ring : weir.ring).items.filter((x) => x.kind === "interface").every((x) => x.a1 > x.a0 && Number.isFinite(x.pps))`)
		shot(t, ctx, "huge-"+view)
	}
	if got := js[string](t, ctx, `document.body.innerText.match(/NaN|Infinity|undefined/)?.[0] ?? ""`); got != "" {
		t.Errorf("the page says %s", got)
	}
}
