package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/ring/internal/ringtest"
)

var attacker = netip.MustParseAddr("203.0.113.66")

// live waits until the page shows n interfaces.
func (s *system) live(n int) string {
	return fmt.Sprintf(`document.body.dataset.link === "live" && weir.store.interfaces.size === %d && weir.ring.items.some((x) => x.kind === "interface" || x.kind === "source")`, n)
}

// at is a JavaScript expression for the sector with the kind and key.
func at(kind, key string) string {
	return fmt.Sprintf(`weir.ring.items.find((x) => x.kind === %q && x.key === %q)`, kind, key)
}

func TestFloodTurnsRed(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(4, 3, 6)
	victim := s.play.Add("edge-2", "eth9", ringtest.Source{Addr: netip.MustParseAddr("198.18.0.9"), PPS: 5, Class: schemas.ClassUDP})
	s.run(t)
	ctx := browser(t, 1400, 900)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(13))
	until(t, ctx, 5*time.Second, `weir.ring.items.filter((x) => x.kind === "source").length > 20`)
	colour := `weir.ring.fill(` + at("interface", "edge-2/eth9") + `)`
	if got := js[string](t, ctx, colour); got != "#b8cc2e" {
		t.Errorf("an interface with 5 pps has the colour %s", got)
	}
	shot(t, ctx, "idle")
	// The best of three counts, since others may be at work on this machine.
	best := time.Hour
	for round := 0; round < 3 && best > time.Second; round++ {
		s.play.Do(func() { victim.Sources[0].PPS = 5 })
		until(t, ctx, time.Second, colour+` === "#b8cc2e"`)
		s.play.Do(func() { victim.Sources = []ringtest.Source{{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN}} })
		took := until(t, ctx, time.Second, colour+` === "#e0302a"`)
		t.Logf("red after %v", took)
		best = min(best, took)
	}
	if best > time.Second {
		t.Errorf("red after %v at best, want 1 s at most", best)
	}
	// What the eye sees is what the canvas holds.
	until(t, ctx, time.Second, `(() => { const s = `+at("interface", "edge-2/eth9")+`; const p = weir.ring.centreOf(s); const c = document.querySelector("#ring canvas"); const b = c.getBoundingClientRect(); const k = c.width / b.width; const d = c.getContext("2d").getImageData((p.x - b.left + 14) * k, (p.y - b.top + 14) * k, 1, 1).data; return d[0] > 200 && d[1] < 90 && d[2] < 90; })()`)
	until(t, ctx, 2*time.Second, `document.querySelector('#contents tr[data-key="edge-2"] .level-4')`)
	shot(t, ctx, "attack")
}

func TestHoverListsSources(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(2, 2, 4)
	s.play.Add("edge-1", "eth9", ringtest.Source{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN}, ringtest.Source{Addr: netip.MustParseAddr("2001:db8::1"), PPS: 12, Class: schemas.ClassUDP})
	s.run(t)
	ctx := browser(t, 1400, 900)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(5))
	// Nothing of this interface is known yet: the worst case of a hover. The best of
	// three counts, since others may be at work on this machine.
	js[bool](t, ctx, `(() => {
		const tip = document.getElementById("tip");
		new MutationObserver(() => { if (!window.hoverTook && tip.textContent.includes("203.0.113.66")) window.hoverTook = performance.now() - window.hoverBegan; }).observe(tip, { childList: true, subtree: true, characterData: true });
		document.addEventListener("pointermove", () => { window.hoverBegan ||= performance.now(); }, { capture: true });
		return true; })()`)
	p := js[struct{ X, Y float64 }](t, ctx, `(({x, y}) => ({X: x, Y: y}))(weir.ring.centreOf(`+at("interface", "edge-1/eth9")+`))`)
	best := time.Hour
	for range 3 {
		do(t, ctx, chromedp.MouseEvent("mouseMoved", 5, 5))
		until(t, ctx, 3*time.Second, `document.getElementById("tip").hidden`)
		js[bool](t, ctx, `(weir.stream.watch(""), `+at("interface", "edge-1/eth9")+`.i.detail = null, window.hoverBegan = window.hoverTook = 0, true)`)
		do(t, ctx, chromedp.MouseEvent("mouseMoved", p.X, p.Y))
		until(t, ctx, 3*time.Second, `window.hoverTook`)
		took := time.Duration(js[float64](t, ctx, `window.hoverTook`) * float64(time.Millisecond))
		t.Logf("the sources were there after %v", took)
		best = min(best, took)
	}
	if best > 100*time.Millisecond {
		t.Errorf("the sources came after %v at best, want 100 ms at most", best)
	}
	text := js[string](t, ctx, `document.getElementById("tip").innerText`)
	for _, want := range []string{"edge-1/eth9", "203.0.113.66", "4,321", "syn", "2001:db8::1", "pass"} {
		if !strings.Contains(text, want) {
			t.Errorf("the tip does not say %q: %s", want, text)
		}
	}
	shot(t, ctx, "hover")
}

func TestZoomCrumbsAndSearch(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(3, 2, 4)
	s.play.Add("edge-3", "eth9", ringtest.Source{Addr: attacker, PPS: 900, Class: schemas.ClassSYN})
	s.run(t)
	ctx := browser(t, 1400, 900)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(7))
	click := func(kind, key string) {
		t.Helper()
		p := js[struct{ X, Y float64 }](t, ctx, `(({x, y}) => ({X: x, Y: y}))(weir.ring.centreOf(`+at(kind, key)+`))`)
		do(t, ctx, chromedp.MouseClickXY(p.X, p.Y))
	}
	crumbs := `[...document.querySelectorAll("#crumbs button")].map((b) => b.textContent).join(">")`
	click("host", "edge-3")
	until(t, ctx, 2*time.Second, crumbs+` === "Fleet>edge-3" && weir.ring.items.filter((x) => x.kind === "interface").length === 3`)
	shot(t, ctx, "server")
	click("interface", "edge-3/eth0")
	until(t, ctx, 2*time.Second, crumbs+` === "Fleet>edge-3>eth0" && weir.ring.items.some((x) => x.kind === "source")`)
	click("centre", "")
	until(t, ctx, 2*time.Second, crumbs+` === "Fleet>edge-3"`)
	do(t, ctx, chromedp.Click("#crumbs li:first-child button"))
	until(t, ctx, 2*time.Second, crumbs+` === "Fleet"`)
	for query, want := range map[string]string{
		"203.0.113.66": "Fleet>edge-3>eth9>203.0.113.66", "203.0.113.0/24": "Fleet>edge-3>eth9>203.0.113.66", "edge-2": "Fleet>edge-2", "edge-2/eth1": "Fleet>edge-2>eth1",
	} {
		js[bool](t, ctx, `(document.getElementById("query").value = "", true)`)
		do(t, ctx, chromedp.SendKeys("#query", query+"\r"))
		// It is empty again once it has gone there: two of the queries lead to the same place.
		until(t, ctx, 2*time.Second, crumbs+fmt.Sprintf(` === %q && document.getElementById("query").value === ""`, want))
	}
	// A source has a chart at once, although the service keeps a point of it for every
	// ten seconds.
	visitPage(t, ctx, s.url+"/#/edge-3/eth9/203.0.113.66")
	until(t, ctx, 6*time.Second, `weir.charts.data && weir.charts.all().pps.filter((v) => v > 800).length > 2 && weir.charts.all().byClass[0].filter((v) => v === 900).length > 2`)
	shot(t, ctx, "source")
	do(t, ctx, chromedp.SendKeys("#query", "198.51.100.1"))
	until(t, ctx, 2*time.Second, `document.getElementById("found").textContent.includes("nothing known of 198.51.100.1")`)
}

func TestStaleTurnsGrey(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(2, 1, 3)
	i := s.play.Add("edge-1", "eth9", ringtest.Source{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN})
	s.play.Do(func() { i.Lost = 7 })
	s.run(t)
	ctx := browser(t, 1200, 800)
	visitPage(t, ctx, s.url+"/#/edge-1/eth9")
	until(t, ctx, 15*time.Second, `document.getElementById("facts").innerText.includes("7 windows lost")`)
	visitPage(t, ctx, s.url+"/#/edge-1")
	until(t, ctx, 5*time.Second, at("interface", "edge-1/eth9"))
	s.play.Do(func() { i.Stale = true })
	until(t, ctx, 2*time.Second, `weir.ring.fill(`+at("interface", "edge-1/eth9")+`) === "#8d949c"`)
	until(t, ctx, 2*time.Second, `document.querySelector('#contents tr[data-key="edge-1/eth9"]').innerText.includes("stale")`)
	shot(t, ctx, "stale")
	// One that says nothing at all ages before everybody's eyes.
	s.play.Do(func() { i.Stale = false })
	until(t, ctx, 2*time.Second, `!`+at("interface", "edge-1/eth9")+`.stale`)
	s.play.Do(func() { i.Silent = true })
	until(t, ctx, 5*time.Second, `weir.store.lookup("edge-1", "eth9").age > 2500`)
	until(t, ctx, 20*time.Second, at("interface", "edge-1/eth9")+`.stale`)
}

// synFlood is an attack as the policy tells of it when it begins.
func synFlood() attacks.Record {
	return attacks.Record{Host: "edge-1", Interface: "eth0", Rule: "S1", Vector: "spoofed SYN flood", Destination: netip.MustParseAddr("192.0.2.80"),
		Start: time.Now(), PeakPPS: 4321, PeakBPS: 2_074_080, Sources: 240, Action: commands.RateLimit, Mode: "enforce", Leases: 1}
}

func TestAttacksLeasesAndEvents(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(1, 2, 3)
	s.run(t)
	old := synFlood()
	old.Rule, old.Vector, old.Destination = "R3", "UDP flood from one source", netip.Addr{}
	old.Start = time.Now().Add(-50 * time.Hour)
	old.End, old.Mode, old.Action, old.Would = old.Start.Add(90*time.Second), "observe", commands.Drop, 77_000
	s.play.Attack(t, old)
	ctx := browser(t, 1200, 1400)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, s.live(2))
	target, _ := schemas.ParseTarget("interface:edge-1/eth0")
	match, _ := commands.ParseMatch("203.0.113.66/32")
	s.play.Command(t, commands.Command{Target: target, Match: match, Action: commands.Drop, TTL: 3 * time.Second, Issuer: "policy", Reason: "syn flood of 4321 pps",
		Evidence: &commands.Evidence{Rule: "R1", Measured: 4321, Threshold: 100, Window: "1s", Interface: "edge-1/eth0"}})
	s.play.Event(t, events.Record{Service: "policy", Host: "edge-1", Interface: "eth0", Kind: events.KindDecision, Severity: events.Warning, Reason: "R1 blocked 203.0.113.66"})
	until(t, ctx, 3*time.Second, `document.getElementById("leases").innerText.includes("syn flood of 4321 pps")`)
	until(t, ctx, 3*time.Second, `document.getElementById("events").innerText.includes("R1 blocked 203.0.113.66")`)
	until(t, ctx, 8*time.Second, `document.getElementById("leases").innerText.includes("None.")`)
	until(t, ctx, 3*time.Second, `weir.charts.data.pps.filter((v) => v > 0).length > 2`)

	// One of the day before yesterday, and one that begins, grows and ends.
	row := func(r attacks.Record) string {
		return fmt.Sprintf(`(document.querySelector(%q)?.innerText.replaceAll("\t", " ") ?? "")`, `#attacks tr[data-key="`+r.Key()+`"]`)
	}
	old.Start = old.Start.UTC().Truncate(time.Millisecond)
	until(t, ctx, 3*time.Second, `/^\d+ \w+ [\d:]+–\d+ \w+ [\d:]+, 90 s R3 UDP flood from one source edge-1\/eth0 4,321 pps, 2.07 Mbit\/s 240 would drop 0 \(would: 77,000\)$/.test(`+row(old)+`)`)
	a := synFlood()
	a.Start = a.Start.UTC().Truncate(time.Millisecond)
	s.play.Attack(t, a)
	until(t, ctx, 3*time.Second, `/^now, since [\d:]+ S1 spoofed SYN flood edge-1\/eth0 → 192.0.2.80 4,321 pps, 2.07 Mbit\/s 240 rate-limit 0$/.test(`+row(a)+`)`)
	a.PeakPPS, a.Dropped, a.Action, a.Leases = 9_999, 123_456, commands.Drop, 2
	s.play.Attack(t, a)
	until(t, ctx, 3*time.Second, row(a)+`.includes("9,999 pps") && `+row(a)+`.includes("drop, 2 leases 123,456")`)
	shot(t, ctx, "attacks")
	a.End = time.Now()
	s.play.Attack(t, a)
	until(t, ctx, 3*time.Second, `!document.querySelector("#attacks .now") && document.querySelectorAll("#attacks tbody tr").length === 2`)
	// It leads to the interface.
	do(t, ctx, chromedp.Click("#attacks tbody button"))
	until(t, ctx, 3*time.Second, `weir.node.host === "edge-1" && weir.node.interface === "eth0"`)
}

// A record may hold anything that the codecs take; the page shows it as text.
func TestScriptsAreText(t *testing.T) {
	s := start(t, false)
	host, name := `<script>alert(1)<script>`, `<img%09src=x%09onerror=alert(2)>"'&amp;`
	s.play.Add(host, name, ringtest.Source{Addr: attacker, PPS: 900, Class: schemas.ClassSYN})
	s.run(t)
	markup := `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`
	s.play.Command(t, commands.Command{Match: commands.Match{Source: netip.PrefixFrom(attacker, 32)}, Action: commands.Drop, TTL: time.Minute, Issuer: "alice", Reason: markup})
	a := synFlood()
	a.Host, a.Interface, a.Vector, a.Rule = host, name, markup, "<img%09src=x%09onerror=alert(3)>"
	s.play.Attack(t, a)
	s.play.Event(t, events.Record{Service: "<b>probe", Host: host, Kind: "<i>kind", Severity: events.Error, Reason: markup, Key: markup})
	ctx := browser(t, 1200, 1400)
	visitPage(t, ctx, s.url)
	until(t, ctx, 15*time.Second, `document.body.dataset.link === "live" && weir.store.interfaces.size === 1`)
	until(t, ctx, 3*time.Second, `document.getElementById("leases").innerText.includes('<img src=x onerror="window.pwned=1">')`)
	until(t, ctx, 3*time.Second, `document.getElementById("events").innerText.includes("<script>window.pwned=1</script>")`)
	until(t, ctx, 3*time.Second, `document.getElementById("attacks").innerText.includes("<script>window.pwned=1</script>")`)
	do(t, ctx, chromedp.Click("#contents tbody button"))
	until(t, ctx, 3*time.Second, `document.getElementById("crumbs").innerText.includes("<script>alert(1)<script>")`)
	do(t, ctx, chromedp.Click("#contents tbody button"))
	until(t, ctx, 3*time.Second, `document.getElementById("nodename").innerText.includes("onerror=alert(2)")`)
	until(t, ctx, 3*time.Second, `document.querySelector("#contents tbody button")`)
	do(t, ctx, chromedp.Click(`#contents button[data-do="why"]`))
	until(t, ctx, 3*time.Second, `document.getElementById("dialog").innerText.includes("onerror=")`)
	if js[bool](t, ctx, `!!window.pwned || document.querySelectorAll("img, script:not([src])").length > 0`) {
		t.Error("a record became markup")
	}
	shot(t, ctx, "xss")
}
