package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weir-net/weir/services/ring/internal/access"
	"github.com/weir-net/weir/services/ring/internal/act"
	"github.com/weir-net/weir/services/ring/internal/live"
)

const token = "correct-horse-battery"

// doer remembers what it was asked to do.
type doer struct {
	issuer string
	orders []act.Order
}

func (d *doer) Do(_ context.Context, issuer string, o act.Order) (act.Outcome, error) {
	d.issuer = issuer
	d.orders = append(d.orders, o)
	return act.Outcome{Text: "applied on 1 of 1 in 2 ms"}, nil
}

type fixture struct {
	*httptest.Server
	doer *doer
	hub  *live.Hub
	http *http.Client
}

func serve(t *testing.T, rules access.Rules) *fixture {
	t.Helper()
	rules.Issuer, rules.TTL = "ring", time.Hour
	d := &doer{}
	hub := live.New(10, 2, time.Now)
	s := &Server{Hub: hub, Gate: access.New(rules, time.Now), Files: fstest.MapFS{"index.html": {Data: []byte("the page")}}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Version: "test"}
	if rules.Act {
		s.Doer = d
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{srv, d, hub, &http.Client{Jar: jar}}
}

// call sends a request and returns the status and what was answered.
func (f *fixture) call(t *testing.T, method, path, body string, header ...string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := f.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if len(b) > 0 && b[0] == '{' {
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, out
}

const order = `{"action":"drop","target":"*","source":"203.0.113.7","ttl":"10m","reason":"r"}`

func TestOrdersNeedALoginAndTheRepeatedValue(t *testing.T) {
	f := serve(t, access.Rules{Token: token, Act: true})
	if code, _ := f.call(t, "POST", "/api/act", order); code != http.StatusUnauthorized {
		t.Errorf("without a login: %d", code)
	}
	if code, _ := f.call(t, "POST", "/api/login", `{"token":"`+token+`"}`, "Origin", "https://evil.example"); code != http.StatusForbidden {
		t.Errorf("a login by another page: %d", code)
	}
	code, session := f.call(t, "POST", "/api/login", `{"token":"`+token+`"}`)
	csrf, _ := session["csrf"].(string)
	if code != http.StatusOK || csrf == "" || session["act"] != true {
		t.Fatalf("login: %d %v", code, session)
	}
	if code, _ := f.call(t, "POST", "/api/act", order); code != http.StatusForbidden {
		t.Errorf("without the repeated value: %d", code)
	}
	if code, _ := f.call(t, "POST", "/api/act", order, access.CSRFHeader, csrf, "Sec-Fetch-Site", "cross-site"); code != http.StatusForbidden {
		t.Errorf("from another site: %d", code)
	}
	if code, _ := f.call(t, "POST", "/api/act", order, access.CSRFHeader, csrf, "Content-Type", "text/plain"); code != http.StatusBadRequest {
		t.Errorf("as a form can send it: %d", code)
	}
	if code, _ := f.call(t, "POST", "/api/act", `{"action":"drop","surprise":1}`, access.CSRFHeader, csrf); code != http.StatusBadRequest {
		t.Errorf("an unknown field: %d", code)
	}
	if code, _ := f.call(t, "POST", "/api/act", `{"reason":"`+strings.Repeat("x", maxBody)+`"}`, access.CSRFHeader, csrf); code != http.StatusBadRequest {
		t.Errorf("a long body: %d", code)
	}
	if len(f.doer.orders) != 0 {
		t.Fatalf("carried out %+v", f.doer.orders)
	}
	code, out := f.call(t, "POST", "/api/act", order, access.CSRFHeader, csrf)
	if code != http.StatusOK || out["text"] != "applied on 1 of 1 in 2 ms" || f.doer.issuer != "ring" || len(f.doer.orders) != 1 || f.doer.orders[0].Source != "203.0.113.7" {
		t.Errorf("an order: %d %v, carried out %+v", code, out, f.doer)
	}
	if code, _ := f.call(t, "POST", "/api/logout", "{}", access.CSRFHeader, csrf); code != http.StatusOK {
		t.Errorf("logout: %d", code)
	}
	if code, _ := f.call(t, "POST", "/api/act", order, access.CSRFHeader, csrf); code != http.StatusUnauthorized {
		t.Errorf("after the logout: %d", code)
	}
}

// Who may only look can log out, too, and a stream ends with the login.
func TestLogoutOfWhoMayOnlyLook(t *testing.T) {
	f := serve(t, access.Rules{Token: token})
	_, session := f.call(t, "POST", "/api/login", `{"token":"`+token+`"}`)
	csrf, _ := session["csrf"].(string)
	if session["look"] != true || session["act"] != false || csrf == "" {
		t.Fatalf("login: %v", session)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", f.URL+"/api/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := f.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if _, err := io.ReadFull(stream.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if code, _ := f.call(t, "POST", "/api/logout", "{}"); code != http.StatusForbidden {
		t.Errorf("a logout that another page asks for: %d", code)
	}
	if code, _ := f.call(t, "POST", "/api/logout", "{}", access.CSRFHeader, csrf); code != http.StatusOK {
		t.Errorf("logout: %d", code)
	}
	f.hub.SetLink(live.Link{Reason: "some news"})
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, stream.Body); ended <- err }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the stream goes on after the logout")
	}
}

func TestLookingNeedsALoginWhereThereIsOne(t *testing.T) {
	f := serve(t, access.Rules{Token: token})
	for _, path := range []string{"/api/stream", "/api/watch", "/api/detail?id=1", "/api/history", "/api/search?q=a", "/api/why"} {
		if code, _ := f.call(t, "GET", path, ""); code != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, s := f.call(t, "GET", "/api/session", ""); code != http.StatusOK || s["look"] != false || s["login"] != true {
		t.Errorf("session: %d %v", code, s)
	}
	if code, _ := f.call(t, "GET", "/api/search?q=a", "", "Authorization", "Bearer "+token); code != http.StatusOK {
		t.Errorf("with the token: %d", code)
	}
}

func TestNothingIsServedUnderAStrangeName(t *testing.T) {
	f := serve(t, access.Rules{})
	r, err := http.NewRequestWithContext(t.Context(), "GET", f.URL+"/api/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "rebound.example"
	resp, err := f.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestHeaders(t *testing.T) {
	f := serve(t, access.Rules{})
	resp, err := f.http.Get(f.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	csp := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("the policy %q lacks %q", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("ETag") == "" {
		t.Errorf("headers %v", resp.Header)
	}
}

func TestStreamBeginsWithASnapshot(t *testing.T) {
	f := serve(t, access.Rules{})
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, "GET", f.URL+"/api/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var events []string
	lines := bufio.NewScanner(resp.Body)
	for len(events) < 6 && lines.Scan() {
		if e, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			events = append(events, e)
		}
	}
	if got := strings.Join(events, " "); got != "hello link snapshot leases attacks events" {
		t.Errorf("the stream begins with %q", got)
	}
	if n := f.hub.Stats().Clients; n != 1 {
		t.Errorf("%d browsers", n)
	}
	stop()
	for deadline := time.Now().Add(5 * time.Second); f.hub.Stats().Clients > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the stream does not end with its browser")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestBadQuestions(t *testing.T) {
	f := serve(t, access.Rules{})
	for path, want := range map[string]int{
		"/api/detail?id=x": 400, "/api/detail?id=9": 404, "/api/watch?stream=x&ids=1": 404, "/api/why?host=a&interface=b&source=x": 400, "/api/why": 400,
		"/api/history?interface=eth0": 400, "/api/history": 200, "/api/search": 200, "/nothing": 404,
	} {
		if code, _ := f.call(t, "GET", path, ""); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}
