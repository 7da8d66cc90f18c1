package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const token = "correct-horse-battery"

func TestRulesCheck(t *testing.T) {
	proxy := []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}
	for name, c := range map[string]struct {
		rules   Rules
		address string
		want    string
	}{
		"open on loopback":              {Rules{Issuer: "ring"}, "127.0.0.1:9473", ""},
		"open on IPv6 loopback":         {Rules{Issuer: "ring"}, "[::1]:9473", ""},
		"open on localhost":             {Rules{Issuer: "ring"}, "localhost:9473", ""},
		"open to the world":             {Rules{Issuer: "ring"}, "0.0.0.0:9473", "can be reached from elsewhere"},
		"open without an address":       {Rules{Issuer: "ring"}, ":9473", "can be reached from elsewhere"},
		"open under a name":             {Rules{Issuer: "ring"}, "ring.example:9473", "can be reached from elsewhere"},
		"the world with a token":        {Rules{Issuer: "ring", Token: token}, "0.0.0.0:9473", ""},
		"the world with a proxy":        {Rules{Issuer: "ring", Header: "X-User", Proxies: proxy}, "0.0.0.0:9473", ""},
		"a header from anybody":         {Rules{Issuer: "ring", Header: "X-User"}, "127.0.0.1:9473", "no proxy is trusted"},
		"a short token":                 {Rules{Issuer: "ring", Token: "secret"}, "127.0.0.1:9473", "fewer than 16"},
		"acting without a login":        {Rules{Issuer: "ring", Act: true}, "127.0.0.1:9473", "acting needs a login"},
		"an issuer that is a service":   {Rules{Issuer: "policy"}, "127.0.0.1:9473", "a service's own"},
		"an issuer with a strange name": {Rules{Issuer: "a|b"}, "127.0.0.1:9473", "issuer"},
	} {
		err := c.rules.Check(c.address)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func gate(rules Rules) (*Gate, *time.Time) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if rules.Issuer == "" {
		rules.Issuer = "ring"
	}
	rules.TTL = time.Hour
	return New(rules, func() time.Time { return now }), &now
}

func request(method string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:9473/api/act", nil)
	r.RemoteAddr = "192.0.2.1:5000"
	return r
}

func TestLoginLastsAsLongAsItShould(t *testing.T) {
	g, now := gate(Rules{Token: token, Act: true})
	if p := g.Who(request("GET")); p.Look || p.Act() {
		t.Errorf("nobody may do %+v", p)
	}
	if _, err := g.Login(request("POST"), "wrong", false); !errors.Is(err, ErrWrongToken) {
		t.Errorf("a wrong token: %v", err)
	}
	c, err := g.Login(request("POST"), token, true)
	if err != nil {
		t.Fatal(err)
	}
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode {
		t.Errorf("the cookie is %v", c)
	}
	r := request("POST")
	r.AddCookie(c)
	p := g.Who(r)
	if !p.Look || p.Issuer != "ring" || p.CSRF == "" {
		t.Fatalf("logged in, but %+v", p)
	}
	*now = now.Add(time.Hour + time.Second)
	if p := g.Who(r); p.Look {
		t.Error("the login does not end")
	}
	*now = now.Add(-time.Minute)
	if p := g.Who(r); !p.Look {
		t.Error("the login ended too soon")
	}
	g.Logout(r)
	if p := g.Who(r); p.Look {
		t.Error("still in after the logout")
	}
}

func TestGuessingIsSlow(t *testing.T) {
	g, now := gate(Rules{Token: token})
	from := func(address string) *http.Request {
		r := request("POST")
		r.RemoteAddr = address
		return r
	}
	bearer := func(address, token string) bool {
		r := from(address)
		r.Header.Set("Authorization", "Bearer "+token)
		return g.Who(r).Look
	}
	const guesser = "[2001:db8::1]:5000"
	for n := range maxFailed {
		if n%2 == 0 { // both ways count
			if bearer(guesser, "guess") {
				t.Fatal("a wrong token is believed")
			}
		} else if _, err := g.Login(from(guesser), "guess", false); !errors.Is(err, ErrWrongToken) {
			t.Fatal(err)
		}
	}
	if _, err := g.Login(from(guesser), token, false); !errors.Is(err, ErrTooMany) {
		t.Errorf("after %d guesses: %v", maxFailed, err)
	}
	if bearer("[2001:db8::2]:1", token) {
		t.Error("a neighbour's address guesses on")
	}
	if _, err := g.Login(from("192.0.2.7:1"), token, false); err != nil {
		t.Errorf("somebody else is held up: %v", err)
	}
	*now = now.Add(failedSpan + time.Second)
	if _, err := g.Login(from(guesser), token, false); err != nil {
		t.Errorf("after a rest: %v", err)
	}
	for n := range 2 * maxGuesses {
		bearer(fmt.Sprintf("10.%d.%d.1:1", n>>8, n&255), "guess")
	}
	if len(g.guesses) > maxGuesses {
		t.Errorf("%d guessers are remembered", len(g.guesses))
	}
	*now = now.Add(failedSpan + time.Second)
	if !bearer("192.0.2.8:1", token) {
		t.Error("old guesses leave no room")
	}
}

func TestActsNeedsTheRepeatedValue(t *testing.T) {
	g, _ := gate(Rules{Token: token, Act: true})
	c, err := g.Login(request("POST"), token, false)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*http.Request)) error {
		r := request("POST")
		r.AddCookie(c)
		r.Header.Set(CSRFHeader, g.Who(r).CSRF)
		change(r)
		return g.Acts(r, g.Who(r))
	}
	for name, x := range map[string]struct {
		change func(*http.Request)
		want   error
	}{
		"as the page does":      {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, nil},
		"no cookie":             {func(r *http.Request) { r.Header.Del("Cookie") }, ErrLogin},
		"no repeated value":     {func(r *http.Request) { r.Header.Del(CSRFHeader) }, ErrForged},
		"another value":         {func(r *http.Request) { r.Header.Set(CSRFHeader, "x") }, ErrForged},
		"from another site":     {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, ErrForged},
		"from another origin":   {func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, ErrForged},
		"the token itself":      {func(r *http.Request) { r.Header = http.Header{"Authorization": {"Bearer " + token}} }, nil},
		"a token that is wrong": {func(r *http.Request) { r.Header = http.Header{"Authorization": {"Bearer x"}} }, ErrLogin},
	} {
		if err := with(x.change); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	off, _ := gate(Rules{Token: token})
	r := request("POST")
	r.Header.Set("Authorization", "Bearer "+token)
	if err := off.Acts(r, off.Who(r)); !errors.Is(err, ErrAct) {
		t.Errorf("acting is off: %v", err)
	}
}

func TestProxyHeader(t *testing.T) {
	g, _ := gate(Rules{Header: "X-User", Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Act: true})
	ask := func(from string, names ...string) Person {
		r := request("POST")
		r.RemoteAddr = from
		for _, n := range names {
			r.Header.Add("X-User", n)
		}
		return g.Who(r)
	}
	if p := ask("10.0.0.7:1", "alice@example.org"); p.Issuer != "alice@example.org" || p.CSRF == "" {
		t.Errorf("alice is %+v", p)
	}
	if p := ask("10.0.0.7:1", "Alice B"); !p.Look || p.Act() {
		t.Errorf("a name that cannot be an issuer is %+v", p)
	}
	if p := ask("10.0.0.7:1", "policy"); !p.Look || p.Act() {
		t.Errorf("somebody called policy is %+v", p)
	}
	for name, p := range map[string]Person{"from elsewhere": ask("192.0.2.9:1", "alice"), "no name": ask("10.0.0.7:1"), "two names": ask("10.0.0.7:1", "a", "b")} {
		if p.Look || p.Act() {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if ask("10.0.0.7:1", "alice").CSRF == ask("10.0.0.7:1", "bob").CSRF {
		t.Error("alice and bob share a value")
	}
}

func TestHostNames(t *testing.T) {
	open, _ := gate(Rules{Hosts: []string{"ring.example"}})
	for host, ok := range map[string]bool{
		"127.0.0.1:9473": true, "[::1]:9473": true, "localhost": true, "ring.example:9473": true, "RING.example": true,
		"evil.example:9473": false, "192.0.2.1": false, "": false,
	} {
		r := request("GET")
		r.Host = host
		if err := open.CheckHost(r); (err == nil) != ok {
			t.Errorf("host %q: %v", host, err)
		}
	}
	behind, _ := gate(Rules{Token: token})
	r := request("GET")
	r.Host = "anything.example"
	if err := behind.CheckHost(r); err != nil {
		t.Errorf("behind a login: %v", err)
	}
	// A page of a strange name could set the header of a proxy on this machine.
	proxied, _ := gate(Rules{Token: token, Header: "X-User", Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err := proxied.CheckHost(r); !errors.Is(err, ErrHost) {
		t.Errorf("behind a proxy: %v", err)
	}
}
