package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/ring/internal/ringtest"
)

// busy is a page with something in each of its parts, and a person who may act.
func busy(t *testing.T) (*system, context.Context) {
	t.Helper()
	s := start(t, true)
	s.play.Fleet(3, 2, 4)
	s.play.Add("a-server-with-quite-a-long-name-in-rack-12", "enp175s0f1np1", ringtest.Source{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN},
		ringtest.Source{Addr: netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5678"), PPS: 900, Class: schemas.ClassUDP})
	s.run(t)
	ctx := login(t, s, "")
	until(t, ctx, 15*time.Second, s.live(7))
	target, err := schemas.ParseTarget("interface:edge-1/eth0")
	if err != nil {
		t.Fatal(err)
	}
	s.play.Command(t, commands.Command{Target: target, Match: commands.Match{Source: netip.PrefixFrom(attacker, 32)}, Action: commands.Drop, TTL: time.Minute,
		Issuer: "policy", Reason: "syn flood of 4321 pps", Evidence: &commands.Evidence{Rule: "R1", Measured: 4321, Threshold: 100, Window: "1s", Interface: "edge-1/eth0"}})
	s.play.Attack(t, synFlood())
	s.play.Event(t, events.Record{Service: "policy", Host: "edge-1", Interface: "eth0", Kind: events.KindDecision, Severity: events.Warning, Reason: "R1 blocked 203.0.113.66"})
	until(t, ctx, 5*time.Second, `document.querySelector("#attacks .now") && document.querySelector("#leases button") && document.getElementById("events").innerText.includes("R1 blocked")`)
	return s, ctx
}

// views are the page's places, each with what must be there before it is looked at.
var views = []struct{ name, open, ready string }{
	{"fleet", `location.hash = "#/"`, `document.querySelector("#contents tbody tr")`},
	{"server", `location.hash = "#/edge-1"`, `weir.node.host === "edge-1" && document.querySelector("#contents tbody tr")`},
	{"interface", `location.hash = "#/a-server-with-quite-a-long-name-in-rack-12/enp175s0f1np1"`, `document.querySelector('#contents button[data-do="drop"]')`},
	{"source", `location.hash = "#/a-server-with-quite-a-long-name-in-rack-12/enp175s0f1np1/203.0.113.66"`, `document.querySelector("#actions button")`},
	{"layers", `document.getElementById("layers").click()`, `weir.stack?.rings.every((r) => r.ring.items.length > 0)`},
	{"order", `weir.dialogs.order({ action: "rate-limit", node: weir.node })`, `document.querySelector("#dialog[open] input[name=reason]")`},
}

// visit opens each view in turn.
func visit(t *testing.T, ctx context.Context, look func(name string)) {
	t.Helper()
	for _, v := range views {
		js[bool](t, ctx, `(`+v.open+`, true)`)
		until(t, ctx, 5*time.Second, v.ready)
		look(v.name)
	}
	js[bool](t, ctx, `(weir.dialogs.close(), document.getElementById("flat").click(), true)`)
}

// Whatever can be operated has a name that a screen reader says.
func TestEverythingHasAName(t *testing.T) {
	_, ctx := busy(t)
	operable := map[string]bool{"button": true, "link": true, "textbox": true, "searchbox": true, "combobox": true, "checkbox": true, "spinbutton": true, "dialog": true, "table": false}
	visit(t, ctx, func(name string) {
		tree, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, n := range tree.Nodes {
			if n.Ignored || n.Role == nil || !operable[text(n.Role)] {
				continue
			}
			seen++
			if text(n.Name) == "" {
				t.Errorf("%s: a %s without a name", name, text(n.Role))
			}
		}
		if seen < 5 {
			t.Errorf("%s: only %d things to operate were found", name, seen)
		}
	})
}

func text(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}

// All text differs enough from what is behind it (WCAG 2, AA), in both themes.
func TestContrast(t *testing.T) {
	_, ctx := busy(t)
	for _, theme := range []string{"light", "dark"} {
		js[bool](t, ctx, fmt.Sprintf(`(() => { const theme = document.getElementById("theme"); theme.value = %q; theme.dispatchEvent(new Event("change")); return true; })()`, theme))
		visit(t, ctx, func(name string) {
			for _, bad := range js[[]string](t, ctx, contrast) {
				t.Errorf("%s, %s: %s", theme, name, bad)
			}
			shot(t, ctx, "contrast-"+theme+"-"+name)
		})
	}
}

// contrast lists texts with a ratio below 4.5.
const contrast = `(() => {
	const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
	const over = (layers) => {
		canvas.fillStyle = "#fff"; canvas.fillRect(0, 0, 1, 1);
		for (const colour of layers) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
		return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
	};
	const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
	const bad = new Set();
	const root = document.querySelector("dialog[open]") ?? document.body;
	const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
	for (let n = walk.nextNode(); n; n = walk.nextNode()) {
		const e = n.parentElement;
		if (!n.data.trim() || !e.checkVisibility() || e.closest(".unseen, .skip, script, style, option")) continue;
		const behind = [];
		for (let p = e; p; p = p.parentElement) behind.unshift(getComputedStyle(p).backgroundColor);
		const a = light(over(behind)), b = light(over([...behind, getComputedStyle(e).color]));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) bad.add(n.data.trim().slice(0, 40) + " (" + e.tagName + "." + e.className + "): " + ratio.toFixed(2));
	}
	return [...bad]; })()`

// On a small phone nothing is wider than the screen, and what is operated is not
// too small for a finger.
func TestNarrow(t *testing.T) {
	_, ctx := busy(t)
	do(t, ctx, chromedp.EmulateViewport(320, 640))
	visit(t, ctx, func(name string) {
		if wide := js[float64](t, ctx, `document.documentElement.scrollWidth`); wide > 320 {
			t.Errorf("%s: %v wide on a screen of 320: %v", name, wide, js[[]string](t, ctx, `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > 321 && !e.closest(".scroll")).map((e) => e.tagName + "#" + e.id + "." + e.className).slice(0, 8)`))
		}
		if js[bool](t, ctx, `[...document.querySelectorAll("dialog[open], main > section, #side > section")].some((e) => e.scrollWidth > e.clientWidth + 1)`) {
			t.Errorf("%s: a part of the page is wider than its place", name)
		}
		for _, small := range js[[]string](t, ctx, `[...document.querySelectorAll("button, input, select")].filter((e) => e.checkVisibility()).map((e) => [e, e.getBoundingClientRect()]).filter(([e, b]) => b.height > 0 && b.height < 24 && !e.matches(".link, [type=checkbox]")).map(([e, b]) => e.outerHTML.slice(0, 80) + " " + b.height)`) {
			t.Errorf("%s: too low for a finger: %s", name, small)
		}
		shot(t, ctx, "narrow-"+name)
	})
}

// From the top of the page everything is reached by Tab, in the order in which it
// is read, and one sees where one is.
func TestTabOrder(t *testing.T) {
	_, ctx := busy(t)
	js[bool](t, ctx, `(document.activeElement.blur(), window.scrollTo(0, 0), true)`)
	var order []string
	for range 14 {
		do(t, ctx, chromedp.KeyEvent(kb.Tab))
		at := js[struct{ Name, Outline string }](t, ctx, `(() => { const e = document.activeElement; return { Name: e.id || e.className || e.textContent, Outline: getComputedStyle(e).outlineStyle }; })()`)
		order = append(order, at.Name)
		if at.Outline == "none" {
			t.Errorf("one does not see the focus on %s", at.Name)
		}
	}
	want := "skip link query theme logout flat layers scale size safe ring"
	if got := strings.Join(order, " "); !strings.HasPrefix(got, want) {
		t.Errorf("Tab goes through %q, want %q first", got, want)
	}
}

// An attack is said aloud when it begins.
func TestAttacksAreAnnounced(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(1, 1, 3)
	s.run(t)
	ctx := browser(t, 1000, 800)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(1))
	s.play.Attack(t, synFlood())
	until(t, ctx, 5*time.Second, `document.getElementById("said").textContent === "Attack: spoofed SYN flood at edge-1/eth0"`)
}
