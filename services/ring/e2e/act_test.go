package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/ring/internal/ringtest"
)

// login opens the page and logs in.
func login(t *testing.T, s *system, path string) (ctx context.Context) {
	t.Helper()
	ctx = browser(t, 1400, 900)
	visitPage(t, ctx, s.url+path)
	until(t, ctx, 10*time.Second, `document.querySelector("#dialog[open] input[name=token]")`)
	do(t, ctx, chromedp.SendKeys("#dialog input[name=token]", "not-the-token-at-all\r"))
	until(t, ctx, 3*time.Second, `document.querySelector("#dialog [role=alert]").textContent === "wrong token"`)
	js[bool](t, ctx, `(document.querySelector("#dialog input[name=token]").value = "", true)`)
	do(t, ctx, chromedp.SendKeys("#dialog input[name=token]", token+"\r"))
	until(t, ctx, 3*time.Second, `!document.getElementById("dialog").open && document.getElementById("logout")`)
	until(t, ctx, 15*time.Second, `document.body.dataset.link === "live"`)
	return ctx
}

func TestBlockAndRelease(t *testing.T) {
	s := start(t, true)
	s.play.Fleet(3, 1, 3)
	s.play.Add("edge-1", "eth9", ringtest.Source{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN}, ringtest.Source{Addr: attacker.Next(), PPS: 10, Class: schemas.ClassUDP})
	s.run(t)
	ctx := login(t, s, "/#/edge-1/eth9")
	until(t, ctx, 10*time.Second, `document.querySelector('#contents tr[data-key="203.0.113.66"] button[data-do="drop"]')`)
	do(t, ctx, chromedp.Click(`#contents tr[data-key="203.0.113.66"] button[data-do="drop"]`))
	until(t, ctx, 2*time.Second, `document.querySelector("#dialog[open] input[name=reason]")`)
	do(t, ctx, chromedp.SendKeys("#dialog input[name=reason]", "syn flood\r"))
	until(t, ctx, 2*time.Second, `document.getElementById("question")?.textContent === "Block 203.0.113.66 everywhere for 10m: syn flood"`)
	shot(t, ctx, "confirm")
	do(t, ctx, chromedp.Click("#confirm"))
	until(t, ctx, 6*time.Second, `/^applied on 4 of 4 in \d+ ms$/.test(document.getElementById("outcome")?.textContent ?? "")`)
	t.Log(js[string](t, ctx, `document.getElementById("outcome").textContent`))
	shot(t, ctx, "applied")
	do(t, ctx, chromedp.Click("#dialog .buttons button"))
	until(t, ctx, 4*time.Second, at("source", "edge-1/eth9|203.0.113.66")+`?.dropped > 4000`)
	until(t, ctx, 4*time.Second, `document.querySelector('#contents tr[data-key="203.0.113.66"]').innerText.includes("drop")`)
	until(t, ctx, 5*time.Second, `document.querySelector('#leases tr[data-key="*|203.0.113.66/32|ring"] td:nth-child(6)')?.textContent > "0"`)
	shot(t, ctx, "mitigated")
	do(t, ctx, chromedp.Click(`#contents tr[data-key="203.0.113.66"] button[data-do="why"]`))
	until(t, ctx, 3*time.Second, `document.getElementById("dialog").innerText.includes("Its packets are dropped.") && document.getElementById("dialog").innerText.includes("ring")`)
	do(t, ctx, chromedp.Click("#dialog .buttons button"))
	// The lease says the same, and what may be done about it.
	do(t, ctx, chromedp.Click(`#leases button[data-do="lease"]`))
	until(t, ctx, 2*time.Second, `document.getElementById("dialogname").textContent === "Lease: 203.0.113.66/32" && document.getElementById("dialog").innerText.includes("syn flood")`)
	if got := js[string](t, ctx, `[...document.querySelectorAll("#dialog button")].map((b) => b.textContent).join()`); got != "Block,Limit,Allow,Release,Close" {
		t.Errorf("the lease's buttons are %s", got)
	}
	shot(t, ctx, "lease")
	do(t, ctx, chromedp.Click(`#dialog .buttons button:last-child`))
	until(t, ctx, 2*time.Second, `document.getElementById("confirm")`)
	do(t, ctx, chromedp.Click("#confirm"))
	until(t, ctx, 6*time.Second, `/^applied on 4 of 4/.test(document.getElementById("outcome")?.textContent ?? "")`)
	do(t, ctx, chromedp.Click("#dialog .buttons button"))
	until(t, ctx, 4*time.Second, at("source", "edge-1/eth9|203.0.113.66")+`?.dropped === 0`)
	until(t, ctx, 4*time.Second, `document.getElementById("leases").innerText.includes("None.")`)
}

func TestRateLimitAndAllow(t *testing.T) {
	s := start(t, true)
	s.play.Add("edge-1", "eth9", ringtest.Source{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN})
	s.run(t)
	ctx := login(t, s, "/#/edge-1/eth9/203.0.113.66")
	for _, order := range []struct{ button, question, action string }{
		{"rate-limit", "Rate-limit 203.0.113.66 interface edge-1/eth9 for 1h to 100 pps: too much", "rate-limit"},
		{"allow", "Allow 203.0.113.66 interface edge-1/eth9 for 1h: too much", "allow"},
	} {
		do(t, ctx, chromedp.Click(`#actions button[data-do="`+order.button+`"]`))
		until(t, ctx, 2*time.Second, `document.querySelector("#dialog[open] input[name=reason]")`)
		js[bool](t, ctx, `(document.querySelector("[name=ttl]").value = "1h", document.querySelector("[name=target]").value = "interface:edge-1/eth9", true)`)
		do(t, ctx, chromedp.SendKeys("#dialog input[name=reason]", "too much\r"))
		until(t, ctx, 2*time.Second, `document.getElementById("question")?.textContent === "`+order.question+`"`)
		do(t, ctx, chromedp.Click("#confirm"))
		until(t, ctx, 6*time.Second, `/^applied on 1 of 1/.test(document.getElementById("outcome")?.textContent ?? "")`)
		do(t, ctx, chromedp.Click("#dialog .buttons button"))
		until(t, ctx, 4*time.Second, `document.getElementById("facts").innerText.includes("`+order.action+`")`)
	}
}

// Without acting there is nothing to press.
func TestReadOnly(t *testing.T) {
	s := start(t, false)
	s.play.Add("edge-1", "eth9", ringtest.Source{Addr: attacker, PPS: 4321, Class: schemas.ClassSYN})
	s.run(t)
	ctx := browser(t, 1200, 800)
	visitPage(t, ctx, s.url+"/#/edge-1/eth9")
	until(t, ctx, 15*time.Second, `document.querySelector('#contents button[data-do="why"]')`)
	if js[bool](t, ctx, `!!document.querySelector('button[data-do="drop"], button[data-do="release"], button[data-do="allow"]')`) {
		t.Error("there is a button to act with")
	}
	if code := js[int](t, ctx, `fetch("api/act", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }).then((r) => r.status)`); code != 403 {
		t.Errorf("a post was answered with %d, want 403", code)
	}
}
