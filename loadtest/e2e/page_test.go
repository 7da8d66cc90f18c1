package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/crew"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/page"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas"
)

const (
	pageToken = "correct-horse-battery"
	// pageHost is the probe's name: what it would do in a page that does not
	// show it as text, TestPage looks for.
	pageHost = "<script>window.pwned=1<script>"
	red      = "#e0302a"
	grey     = "#8d949c"
)

// onPage is the page in Chromium before the whole pipeline.
type onPage struct {
	*scenario.Scenario
	t   *testing.T
	tab *page.Tab
	key string // of the interface

	mu    sync.Mutex
	sums  map[netip.Addr][]uint64 // packets counted by the end of each window
	until []time.Time             // the windows' ends
}

// TestPage drives the page in Chromium while the real probe, aggregator, policy
// and ring meet a real flood.
func TestPage(t *testing.T) {
	if _, err := page.Find(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	p := openPage(t)
	t.Run("a flood turns the interface red, and its drops show", p.flood)
	t.Run("a click blocks a source in XDP, and releases it", p.blockAndRelease)
	t.Run("scripts are text", p.scripts)
	t.Run("posts without a login are refused", p.refusals)
	t.Run("a dead probe turns grey", p.stale)
	if said := p.tab.Complaints(); len(said) > 0 {
		t.Errorf("the page complained: %q", said)
	}
}

func openPage(t *testing.T) *onPage {
	p := &onPage{t: t, key: schemas.InterfaceKey(pageHost, lab.DataInterface), sums: make(map[netip.Addr][]uint64)}
	p.Scenario = enforcing(t, scenario.Options{
		Services: stack.All(),
		Env: map[stack.Service][]string{
			stack.Probe: {"WEIR_PROBE_HOST=" + pageHost},
			stack.Ring:  {"WEIR_RING_ACT=true", "WEIR_RING_TOKEN=" + pageToken},
		},
	})
	p.Counts.OnWindow(func(w watch.Window) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.until = append(p.until, w.End)
		sums := p.Counts.Sums()
		for a, list := range p.sums {
			p.sums[a] = append(list, sums.Sources[a].Packets)
		}
	})
	var err error
	// The test's own context ends before its clean-up, which still wants a picture.
	ctx, stop := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(stop)
	if p.tab, err = page.Open(ctx, 1400, 900); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.tab.Close)
	t.Cleanup(func() { p.picture("failed", t.Failed()) })
	p.must(p.tab.Visit(p.Stack.PageURL()))
	p.must(p.tab.Until(10*time.Second, `document.querySelector("#dialog[open] input[name=token]")`))
	p.must(p.tab.Type("#dialog input[name=token]", pageToken+"\r"))
	p.must(p.tab.Until(15*time.Second, `document.body.dataset.link === "live" && `+page.Sector("interface", p.key)))
	return p
}

func (p *onPage) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// in has failures reported by the subtest t.
func (p *onPage) in(t *testing.T) { p.t = t }

// picture saves what is seen where WEIR_SHOTS says, if it says so.
func (p *onPage) picture(name string, wanted bool) {
	dir := os.Getenv("WEIR_SHOTS")
	if dir == "" || !wanted {
		return
	}
	png, err := p.tab.Picture()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		p.t.Log(err)
	}
}

// flood lets a flood come. It gets three tries: Chromium loses its stream when
// another lab is built on the machine meanwhile, and a busy machine is late.
func (p *onPage) flood(t *testing.T) {
	p.in(t)
	for round := range 3 {
		took, hover, unbroken := p.floodOnce(round)
		t.Logf("flood %d: red %v after its first packet; the pointer's sources %v after it came; the stream went on: %v",
			round+1, took.Round(time.Millisecond), hover.Round(time.Millisecond), unbroken)
		if unbroken && took <= time.Second && hover <= 100*time.Millisecond {
			return
		}
	}
	t.Error("never was the interface red within 1 s of a flood's first packet and its sources there within 100 ms of the pointer")
}

// floodOnce returns how long the page took to turn red, and to list the sources for
// the pointer, and whether its stream went on all the time.
func (p *onPage) floodOnce(round int) (took, hover time.Duration, unbroken bool) {
	all := traffic.SourcesOf(lab.UDPAttackers, 4*(round+1))
	attackers := all[4*round:]
	p.follow(attackers[0])
	p.must(p.tab.Until(15*time.Second, `document.body.dataset.link === "live" && `+page.Fill("interface", p.key)+` !== "`+red+`"`))
	_, err := page.Eval[bool](p.tab, `(() => {
		Object.assign(window, { redAt: 0, broken: false });
		const look = () => {
			window.broken ||= document.body.dataset.link !== "live";
			if (`+page.Fill("interface", p.key)+` === "`+red+`") window.redAt = Date.now();
			else requestAnimationFrame(look);
		};
		requestAnimationFrame(look);
		return true; })()`)
	p.must(err)
	before := drops(p.t, p.Scenario)
	flood, err := p.Crew.Raw(traffic.RawFlood{Destination: lab.VictimAddress, Port: 9, Sources: attackers, UDP: true, Payload: 32, PPS: 20_000}, 0)
	p.must(err)
	defer func() {
		if _, err := flood.Stop(); err != nil {
			p.t.Error(err)
		}
	}()
	p.must(p.tab.Until(10*time.Second, `window.redAt`))
	hover = p.hover(attackers[0])
	p.picture("pipeline-attack", true)
	p.must(p.tab.Until(10*time.Second, `(() => { const s = `+page.Sector("interface", p.key)+`; return s.dropped > 0.8 * s.pps; })()`))
	p.picture("pipeline-mitigated", true)
	if drops(p.t, p.Scenario) == before {
		p.t.Error("the page shows drops, but XDP has not dropped anything")
	}
	p.must(p.tab.Until(5*time.Second, `document.querySelector("#attacks .now") && weir.store.leases.leases.some((l) => l.issuer === "policy" && l.packets > 0)`))
	return p.sinceFirst(flood), hover, !p.true("window.broken")
}

// sinceFirst is how long after the flood's first packet the page was red.
func (p *onPage) sinceFirst(flood *crew.Flood) time.Duration {
	at, err := page.Eval[int64](p.tab, `window.redAt`)
	p.must(err)
	boot := time.Now().Add(-traffic.BootTime())
	return time.UnixMilli(at).Sub(boot.Add(flood.Last().First))
}

func (p *onPage) true(condition string) bool {
	ok, err := page.Eval[bool](p.tab, "!!("+condition+")")
	p.must(err)
	return ok
}

// follow keeps what is counted of a source from now on.
func (p *onPage) follow(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sums[a] = make([]uint64, len(p.until))
}

// hover moves the pointer onto the interface and returns how long its sources take,
// the attacker among them with what was counted of it, give or take a window.
func (p *onPage) hover(attacker netip.Addr) time.Duration {
	_, err := page.Eval[bool](p.tab, `(() => {
		const tip = document.getElementById("tip");
		weir.tip.hide(); // of an earlier flood
		Object.assign(window, { hoverBegan: 0, hoverTook: 0 });
		new MutationObserver((_, o) => {
			if (!tip.textContent.includes("`+attacker.String()+`")) return;
			window.hoverTook = performance.now() - window.hoverBegan;
			o.disconnect();
		}).observe(tip, { childList: true, subtree: true, characterData: true });
		document.addEventListener("pointermove", () => { window.hoverBegan ||= performance.now(); }, { capture: true });
		return true; })()`)
	p.must(err)
	p.must(p.tab.Hover("interface", p.key, 0.5))
	p.must(p.tab.Until(5*time.Second, `window.hoverTook`))
	took, err := page.Eval[float64](p.tab, `window.hoverTook`)
	p.must(err)
	// Once the flood has filled the rate's second.
	p.must(p.tab.Until(5*time.Second, tipRate(attacker)+` > 4000`))
	shown, err := page.Eval[float64](p.tab, tipRate(attacker))
	p.must(err)
	p.compare(attacker, shown, time.Now())
	p.must(p.tab.Until(5*time.Second, `document.getElementById("tip").innerText.includes("drop")`))
	return time.Duration(took * float64(time.Millisecond))
}

// tipRate is a JavaScript expression for what the tip says of a source.
func tipRate(a netip.Addr) string {
	return fmt.Sprintf(`Number([...document.querySelectorAll("#tip tbody tr")].find((r) => r.cells[0].innerText === %q)?.cells[1].innerText.replaceAll(",", "") ?? -1)`, a)
}

// compare holds the rate that was shown at a moment against what the windows
// counted in any second of the two before it.
func (p *onPage) compare(a netip.Addr, shown float64, at time.Time) {
	const second, slack = 4, 2 * time.Second // windows, and how old what is shown may be
	p.mu.Lock()
	defer p.mu.Unlock()
	sums := p.sums[a]
	var nearest, largest float64 = -1, 0
	for i := second; i < len(sums); i++ {
		largest = max(largest, float64(sums[i]-sums[i-1]))
		if p.until[i].Before(at.Add(-slack)) {
			continue
		}
		if sum := float64(sums[i] - sums[i-second]); nearest < 0 || abs(sum-shown) < abs(nearest-shown) {
			nearest = sum
		}
	}
	p.t.Logf("the page shows %.0f packets a second of %v, %.0f were counted, %.0f in the largest window", shown, a, nearest, largest)
	if nearest < 0 || abs(shown-nearest) > largest {
		p.t.Errorf("the page shows %.0f packets a second of %v, but %.0f were counted", shown, a, nearest)
	}
}

func abs(x float64) float64 { return max(x, -x) }

// blockAndRelease presses the buttons for a source that no rule minds.
func (p *onPage) blockAndRelease(t *testing.T) {
	p.in(t)
	source := lab.OrdinarySources.Addr().Next()
	flood, err := p.Crew.Raw(traffic.RawFlood{Destination: lab.VictimAddress, Port: 9, Sources: []netip.Addr{source}, UDP: true, Payload: 300, PPS: 100}, 0)
	p.must(err)
	defer func() {
		if _, err := flood.Stop(); err != nil {
			t.Error(err)
		}
	}()
	counted := func() uint64 { return p.Counts.Sums().Sources[source].Packets }
	more := func(n uint64) {
		t.Helper()
		from := counted()
		eventually(t, 10*time.Second, "packets of the source are counted", func() error {
			if got := counted(); got < from+n {
				return fmt.Errorf("%d of %d", got-from, n)
			}
			return nil
		})
	}
	before := drops(t, p.Scenario)
	more(50)
	if got := drops(t, p.Scenario); got != before {
		t.Fatalf("%d packets were dropped before anybody asked for it", got-before)
	}
	p.must(p.tab.Go(hash(pageHost, lab.DataInterface)))
	button := `#contents tr[data-key="` + source.String() + `"] button[data-do="drop"]`
	p.must(p.tab.Until(10*time.Second, `document.querySelector('`+button+`')`))
	p.must(p.tab.Click(button))
	p.must(p.tab.Until(3*time.Second, `document.querySelector("#dialog[open] input[name=reason]")`))
	p.must(p.tab.Type("#dialog input[name=reason]", "by hand\r"))
	p.confirm()
	eventually(t, 5*time.Second, "XDP drops the source", func() error {
		if got := drops(t, p.Scenario) - before; got < 50 {
			return fmt.Errorf("dropped %d", got)
		}
		return nil
	})
	p.must(p.tab.Until(5*time.Second, `document.querySelector('#contents tr[data-key="`+source.String()+`"]').innerText.includes("drop")`))
	p.picture("pipeline-blocked", true)

	p.must(p.tab.Click(`#leases tr[data-key="*|` + source.String() + `/32|ring"] button[data-do="release"]`))
	p.confirm()
	released := drops(t, p.Scenario)
	more(50)
	if got := drops(t, p.Scenario); got != released {
		t.Errorf("%d packets were dropped after the release", got-released)
	}
	p.must(p.tab.Until(5*time.Second, `!document.querySelector('#leases tr[data-key="*|`+source.String()+`/32|ring"]')`))
}

// confirm says yes, and waits until the probe has applied it.
func (p *onPage) confirm() {
	p.t.Helper()
	p.must(p.tab.Until(3*time.Second, `document.getElementById("confirm")`))
	p.must(p.tab.Click("#confirm"))
	p.must(p.tab.Until(8*time.Second, `/^applied on 1 of 1 in \d+ ms$/.test(document.getElementById("outcome")?.textContent ?? "")`))
	p.must(p.tab.Click("#dialog .buttons button"))
}

// hash is the page's path of an interface.
func hash(host, ifname string) string {
	escape := strings.NewReplacer("<", "%3C", ">", "%3E", "=", "%3D")
	return "/" + escape.Replace(host) + "/" + ifname
}

// scripts looks for what the probe's name and a reason would have done.
func (p *onPage) scripts(t *testing.T) {
	p.in(t)
	cli(t, p.Scenario, "block", "203.0.113.222", "--ttl", "1m", "--reason", `<img src=x onerror="window.pwned=1">`)
	p.must(p.tab.Go("/"))
	p.must(p.tab.Until(5*time.Second, `document.getElementById("leases").innerText.includes('<img src=x onerror="window.pwned=1">')`))
	p.must(p.tab.Until(5*time.Second, `document.getElementById("contents").innerText.includes("`+pageHost+`")`))
	if p.true(`window.pwned || document.querySelectorAll("img, script:not([src])").length > 0`) {
		t.Error("a record became markup")
	}
}

// refusals posts what only somebody who is logged in may.
func (p *onPage) refusals(t *testing.T) {
	p.in(t)
	known := p.Decisions.Len()
	order := `{"action":"drop","target":"*","source":"203.0.113.223","ttl":"1m","reason":"no"}`
	for name, c := range map[string]struct {
		header map[string]string
		want   int
	}{
		"no login":    {nil, http.StatusUnauthorized},
		"wrong token": {map[string]string{"Authorization": "Bearer wrong-horse-battery"}, http.StatusUnauthorized},
		"cross-site":  {map[string]string{"Origin": "http://elsewhere.example", "Cookie": p.cookie(t)}, http.StatusForbidden},
		"no CSRF":     {map[string]string{"Cookie": p.cookie(t)}, http.StatusForbidden},
	} {
		resp := p.post(t, "api/act", order, c.header)
		if resp.StatusCode != c.want {
			t.Errorf("%s: answered with %s, want %d", name, resp.Status, c.want)
		}
	}
	for _, d := range p.Decisions.All()[known:] {
		if strings.Contains(string(d.Key), "203.0.113.223") {
			t.Errorf("a command was written: %s", d.Key)
		}
	}
}

// cookie logs in and returns the session's cookie.
func (p *onPage) cookie(t *testing.T) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": pageToken})
	if err != nil {
		t.Fatal(err)
	}
	resp := p.post(t, "api/login", string(body), nil)
	if len(resp.Cookies()) == 0 {
		t.Fatalf("the login was answered with %s and no cookie", resp.Status)
	}
	return resp.Cookies()[0].String()
}

func (p *onPage) post(t *testing.T, path, body string, header map[string]string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t, 10*time.Second), http.MethodPost, p.Stack.PageURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// stale kills the probe and starts it again.
func (p *onPage) stale(t *testing.T) {
	p.in(t)
	p.must(p.tab.Go("/"))
	p.must(p.tab.Until(5*time.Second, page.Sector("interface", p.key)+`?.stale === false`))
	p.must(p.Stack.Kill(stack.Probe))
	p.must(p.tab.Until(schemas.StaleAfter+10*time.Second, page.Sector("interface", p.key)+`.stale && `+page.Fill("interface", p.key)+` === "`+grey+`"`))
	p.must(p.tab.Until(3*time.Second, `document.querySelector("#contents tbody").innerText.includes("stale")`))
	p.picture("pipeline-stale", true)
	p.must(p.Stack.Launch(stack.Probe))
	p.must(p.Stack.Await(within(t, 30*time.Second), stack.Probe))
	p.must(p.tab.Until(10*time.Second, page.Sector("interface", p.key)+`?.stale === false`))
}
