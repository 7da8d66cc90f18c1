package tree

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/weir-net/weir/schemas"
)

// record is one line of testdata/recorded.jsonl: what a demo wrote on its topics.
type record struct {
	Topic string          `json:"topic"`
	Key   string          `json:"key"`
	AtMS  int64           `json:"at_ms"`
	Value json.RawMessage `json:"value"`
}

func (r record) at() time.Time { return time.UnixMilli(r.AtMS) }

// renamed is the record as if another interface had written it.
func (r record) renamed(host, ifname string) record {
	r.Key = schemas.InterfaceKey(host, ifname)
	r.Value = bytes.Replace(r.Value, []byte(`"host":"victim","interface":"weir-data"`), fmt.Appendf(nil, `"host":%q,"interface":%q`, host, ifname), 1)
	return r
}

func (p *Picture) take(r record) {
	if r.Topic == "rates" {
		p.Rates(r.Key, r.Value, r.at())
	} else {
		p.Status(r.Key, r.Value, r.at())
	}
}

// recorded returns the status, the rates of an idle interface, and those of the
// same one under a UDP flood that is being dropped.
func recorded(t *testing.T) (status, idle, flood record) {
	t.Helper()
	f, err := os.Open("testdata/recorded.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []record
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if len(all) != 3 {
		t.Fatalf("%d records", len(all))
	}
	return all[0], all[1], all[2]
}

func TestTreeOfAFlood(t *testing.T) {
	status, idle, flood := recorded(t)
	p := NewPicture()
	for _, r := range []record{status, flood, idle.renamed("edge-10", "eth0"), idle.renamed("edge-9", "eth0")} {
		p.take(r)
	}
	now := flood.at().Add(100 * time.Millisecond)
	sum, rows := p.Rows(now, View{Sources: 5})
	if sum.Servers != 3 || sum.Interfaces != 3 || sum.Stale != 0 || sum.PPS != 20974+2*308 || sum.Dropped != 16143 {
		t.Errorf("summary %+v", sum)
	}
	var labels []string
	for _, r := range rows {
		labels = append(labels, fmt.Sprintf("%d %s", r.Kind, r.Label))
	}
	want := []string{"0 edge-9", "1 eth0"}
	if strings.Join(labels[:2], ";") != strings.Join(want, ";") || labels[8] != "0 edge-10" {
		t.Errorf("rows %q: want edge-9 before edge-10", labels)
	}
	text := ansi.Strip(Draw(sum, rows, Screen{Width: 120, Cursor: -1, Scale: ReportScale()}))
	for _, line := range []string{
		`Weir  live  3 servers, 3 interfaces  21.6k packets/s  [\d.]+ Mbit/s  16.1k dropped/s`,
		`▾ victim +█+▒+ +21.0k +[\d.]+M +16.1k +1 interface`,
		`▾ weir-data +█+▒+ +21.0k +[\d.]+M +16.1k  udp +enforce`,
		`198\.51\.100\.\d +█*▒+ +\d\.\dk +[\d.]+M +\d\.\dk  udp +dropped`,
		`192\.0\.2\.\d+ +█ +\d+ +[\d.]+k +0  tcp_other  pass`,
		`\d+ more sources`,
	} {
		if !regexp.MustCompile(line).MatchString(text) {
			t.Errorf("no line like %s in\n%s", line, text)
		}
	}
	sources := 0
	for _, r := range rows {
		if r.Kind == Source && strings.HasPrefix(r.Key, "victim/") {
			sources++
		}
	}
	if sources != 5 {
		t.Errorf("%d sources of the flooded interface, want 5", sources)
	}
}

// The sources of an interface, shown or not, are all of it.
func TestNothingIsLostAmongSources(t *testing.T) {
	_, _, flood := recorded(t)
	p := NewPicture()
	p.take(flood)
	for _, n := range []int{0, 1, 4, 256} {
		_, rows := p.Rows(flood.at(), View{Sources: n})
		pps, dropped := 0.0, 0.0
		for _, r := range rows {
			if r.Kind == Source || r.Kind == Rest {
				pps, dropped = pps+r.PPS, dropped+r.Dropped
			}
		}
		if pps < 20974-30 || pps > 20974+1 || dropped < 16143-30 || dropped > 16143+1 {
			t.Errorf("with %d sources the rows add up to %.0f pps and %.0f dropped, want 20974 and 16143", n, pps, dropped)
		}
	}
}

func TestStaleIsGreyAndInNoSum(t *testing.T) {
	status, _, flood := recorded(t)
	p := NewPicture()
	p.take(status)
	p.take(flood)
	now := flood.at().Add(schemas.StaleAfter)
	sum, rows := p.Rows(now, View{Sources: 5})
	if sum.Stale != 1 || sum.PPS != 0 || len(rows) != 2 || !rows[0].Stale || !rows[1].Stale || rows[1].Worst != 0 {
		t.Errorf("summary %+v, rows %+v", sum, rows)
	}
	text := ansi.Strip(Draw(sum, rows, Screen{Width: 100, Cursor: -1, Scale: ReportScale()}))
	if !strings.Contains(text, "(1 stale)") || !strings.Contains(text, "enforce, stale 15 s") || !strings.Contains(text, "nothing heard for 15 s") {
		t.Errorf("it does not say stale:\n%s", text)
	}
	if _, rows = p.Rows(now.Add(schemas.DeleteAfter), View{}); len(rows) != 0 {
		t.Errorf("still there after %v: %+v", schemas.DeleteAfter, rows)
	}
}

func TestRecordsThatCannotBeRead(t *testing.T) {
	_, _, flood := recorded(t)
	p := NewPicture()
	p.Rates("victim/weir-data", []byte("{"), flood.at())
	p.Rates("other/eth0", flood.Value, flood.at()) // the value is of another
	p.Status("victim/weir-data", []byte("[]"), flood.at())
	if _, rows := p.Rows(flood.at(), View{}); len(rows) != 0 {
		t.Errorf("rows %+v", rows)
	}
	p.take(flood)
	p.Rates(flood.Key, nil, flood.at())
	if _, rows := p.Rows(flood.at(), View{}); len(rows) != 0 {
		t.Errorf("a tombstone left %+v", rows)
	}
}

func TestLevels(t *testing.T) {
	for pps, want := range map[float64]int{0: 0, 0.4: 0, 1: 1, 700: 1, 701: 2, 1400: 2, 1401: 3, 2100: 3, 2101: 4, 1e9: 4} {
		if got := ReportScale().Level(pps); got != want {
			t.Errorf("%v pps have level %d, want %d", pps, got, want)
		}
	}
}

// The terminal and the page have the same colours and the same bounds.
func TestColoursAreThePages(t *testing.T) {
	page, err := os.ReadFile("../../../ring/web/js/colour.js")
	if err != nil {
		t.Fatal(err)
	}
	for name, colours := range map[string][levels]string{"report": ReportScale().palette(), "safe": Scale{Safe: true}.palette()} {
		want := fmt.Sprintf("%s: ['%s']", name, strings.Join(colours[:], "', '"))
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	b := ReportScale().Bounds
	if want := fmt.Sprintf("reportBounds = [%v, %v, %v]", b[0], b[1], b[2]); !strings.Contains(string(page), want) {
		t.Errorf("the page does not have %s", want)
	}
}

// Whatever the screen is like, no line is wider and there are no more of them.
func TestFitsTheScreen(t *testing.T) {
	status, _, flood := recorded(t)
	p := NewPicture()
	for n := range 40 {
		p.take(flood.renamed(fmt.Sprintf("a-server-with-a-long-name-%d.example", n), "eth0"))
		p.take(status.renamed(fmt.Sprintf("a-server-with-a-long-name-%d.example", n), "eth0"))
	}
	for _, size := range [][2]int{{200, 50}, {120, 40}, {100, 30}, {80, 24}, {60, 20}, {40, 10}, {20, 6}, {3, 3}, {1, 1}} {
		l := NewLive(p, flood.at, time.Second, View{Sources: 5}, ReportScale())
		l.Init()
		l.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		lines := strings.Split(l.View().Content, "\n")
		if size[1] > chrome+1 && len(lines) != size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if w := ansi.StringWidth(line); w > size[0] {
				t.Errorf("%v: a line of %d cells: %q", size, w, ansi.Strip(line))
			}
		}
	}
}

func TestKeys(t *testing.T) {
	status, idle, flood := recorded(t)
	p := NewPicture()
	for _, r := range []record{status, flood, idle.renamed("edge-1", "eth0")} {
		p.take(r)
	}
	l := NewLive(p, flood.at, time.Second, View{Sources: 3}, ReportScale())
	l.Init()
	l.Update(tea.WindowSizeMsg{Width: 100, Height: 30})
	press := func(keys ...tea.KeyPressMsg) {
		for _, k := range keys {
			l.Update(k)
		}
	}
	code := func(c rune) tea.KeyPressMsg { return tea.KeyPressMsg{Code: c} }
	text := func(s rune) tea.KeyPressMsg { return tea.KeyPressMsg{Code: s, Text: string(s)} }
	at := func(want string) {
		t.Helper()
		if r := l.row(); r == nil || r.Key != want {
			t.Errorf("the cursor is on %+v, want %s", r, want)
		}
	}
	at("edge-1")
	press(code(tea.KeyDown))
	at("edge-1/eth0")
	all := len(l.rows)
	press(code(tea.KeyLeft)) // closes the interface
	if len(l.rows) >= all || l.row().Open {
		t.Errorf("%d rows of %d after closing", len(l.rows), all)
	}
	press(code(tea.KeyLeft)) // goes to the server
	at("edge-1")
	press(code(tea.KeyEnter))
	if l.row().Open {
		t.Error("Enter did not close the server")
	}
	press(code(tea.KeyDown))
	at("victim")
	press(text('o')) // the busiest first: the cursor stays on its row
	at("victim")
	if l.rows[0].Key != "victim" {
		t.Errorf("by rate the first row is %s", l.rows[0].Key)
	}
	before := len(l.rows)
	press(text('+'))
	if len(l.rows) != before+5 {
		t.Errorf("%d rows after +, want %d", len(l.rows), before+5)
	}
	press(text('c'))
	if !l.screen.Scale.Safe {
		t.Error("c did not change the colours")
	}
	press(code(tea.KeyEnd))
	at("edge-1")
	if _, cmd := l.Update(text('q')); cmd == nil {
		t.Error("q does not end it")
	} else if _, ok := cmd().(tea.QuitMsg); !ok {
		t.Errorf("q gives %T", cmd())
	}
}

// The tree is drawn anew by itself, from what has come meanwhile.
func TestTicks(t *testing.T) {
	_, idle, flood := recorded(t)
	p := NewPicture()
	p.take(idle)
	l := NewLive(p, idle.at, time.Millisecond, View{Sources: 3}, ReportScale())
	next := l.Init()
	p.take(flood)
	if _, again := l.Update(next()); again == nil || l.sum.PPS != 20974 {
		t.Errorf("after a tick the sum is %v, next %v", l.sum.PPS, again != nil)
	}
}

// What is seen is never late; the rest comes in turns.
func TestBudget(t *testing.T) {
	_, _, flood := recorded(t)
	p := NewPicture()
	for n := range 50 {
		p.take(flood.renamed(fmt.Sprintf("edge-%d", n), "eth0"))
	}
	v := View{Seen: map[string]bool{"edge-7/eth0": true}, Budget: 1}
	sum, rows := p.Rows(flood.at(), v)
	if sum.Interfaces == 0 || sum.Interfaces == 50 || !slices.ContainsFunc(rows, func(r Row) bool { return r.Key == "edge-7/eth0" }) {
		t.Errorf("read %d interfaces of 50 in a nanosecond, among them the one that is seen: %v", sum.Interfaces, rows)
	}
	for range 50 {
		sum, _ = p.Rows(flood.at(), v)
	}
	if sum.Interfaces != 50 {
		t.Errorf("%d of 50 interfaces after 50 turns", sum.Interfaces)
	}
}

// BenchmarkFleet looks at 1,000 interfaces that all have news.
func BenchmarkFleet(b *testing.B) {
	flood, err := os.ReadFile("testdata/recorded.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	var last record
	if err := json.Unmarshal(bytes.Split(bytes.TrimSpace(flood), []byte("\n"))[2], &last); err != nil {
		b.Fatal(err)
	}
	p := NewPicture()
	records := make([]record, 1000)
	for n := range records {
		records[n] = last.renamed(fmt.Sprintf("edge-%d", n/10), fmt.Sprintf("eth%d", n%10))
	}
	for b.Loop() {
		for _, r := range records {
			p.take(r)
		}
		sum, rows := p.Rows(last.at(), View{Sources: 8, Budget: 50 * time.Millisecond})
		if out := Draw(sum, rows, Screen{Width: 120, Height: 50, Scale: ReportScale()}); sum.Interfaces == 0 || out == "" {
			b.Fatalf("%+v", sum)
		}
	}
}
