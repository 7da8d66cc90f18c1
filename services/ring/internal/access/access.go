// Package access decides who may look and who may act: nobody from elsewhere
// without a login, by a token or by the header of a trusted proxy, and no page
// of somebody else on behalf of a browser that is logged in.
package access

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-net/weir/schemas/commands"
)

// Rules say how people are told apart. The zero value lets everybody on this
// machine look and nobody act.
type Rules struct {
	Token   string         // what a person logs in with; empty: no such login
	Header  string         // the header in which a proxy names the person; empty: no proxy
	Proxies []netip.Prefix // whose Header is believed
	Hosts   []string       // host names by which the page may be asked for, besides loopback's
	Act     bool           // whether anybody may act
	Issuer  string         // of commands by people who came with Token
	TTL     time.Duration  // how long a login lasts
}

// reserved are issuers that people may not take: their leases are a service's.
var reserved = []string{"policy"}

// Check reports why rules cannot be, for a listener on address.
func (r *Rules) Check(address string) error {
	if r.Token != "" && len(r.Token) < 16 {
		return errors.New("the token has fewer than 16 characters")
	}
	if r.Header != "" && len(r.Proxies) == 0 {
		return errors.New("a header names people, but no proxy is trusted to set it")
	}
	if r.Act && !r.authenticates() {
		return errors.New("acting needs a login: set a token or a proxy's header")
	}
	if err := checkIssuer(r.Issuer); err != nil {
		return err
	}
	if !r.authenticates() && !isLoopback(address) {
		return fmt.Errorf("%s can be reached from elsewhere: set a token or a proxy's header, or listen on 127.0.0.1", address)
	}
	return nil
}

func (r *Rules) authenticates() bool { return r.Token != "" || r.Header != "" }

func checkIssuer(s string) error {
	if slices.Contains(reserved, s) {
		return fmt.Errorf("the issuer %q is a service's own", s)
	}
	return commands.CheckIssuer(s)
}

// isLoopback reports whether address, "host:port", is reachable from this
// machine alone. A name is only believed if it is localhost.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// Person is who asks.
type Person struct {
	Issuer string // under which commands are written, empty: may not act
	Look   bool
	CSRF   string // what a browser must repeat in the header CSRFHeader
	Bearer bool   // came with the token itself, which no other page can send
}

// Act reports whether p may act.
func (p Person) Act() bool { return p.Issuer != "" }

// CSRFHeader carries Person.CSRF; Cookie is the login's.
const (
	CSRFHeader = "X-Weir-CSRF"
	Cookie     = "weir_ring"
)

// Gate keeps who is logged in. Its methods may run at once.
type Gate struct {
	rules Rules
	now   func() time.Time
	key   [32]byte // makes the CSRF value of people whom a proxy names

	mu       sync.Mutex
	sessions map[[32]byte]session // by the hash of the cookie
	guesses  map[netip.Prefix]guess
}

type session struct {
	csrf    string
	expires time.Time
}

// maxSessions is how many people are logged in at most.
const maxSessions = 1000

// New returns a gate for rules that Check has passed.
func New(rules Rules, now func() time.Time) *Gate {
	g := &Gate{rules: rules, now: now, sessions: make(map[[32]byte]session), guesses: make(map[netip.Prefix]guess)}
	rand.Read(g.key[:]) // never fails
	return g
}

// Rules returns what the gate was made of.
func (g *Gate) Rules() Rules { return g.rules }

// Who says who sent r.
func (g *Gate) Who(r *http.Request) Person {
	if !g.rules.authenticates() {
		return Person{Look: true}
	}
	if p, ok := g.proxied(r); ok {
		return p
	}
	if g.rules.Token == "" {
		return Person{}
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && g.checkToken(r, token) == nil {
		return Person{Look: true, Bearer: true, Issuer: g.issuer(g.rules.Issuer)}
	}
	c, err := r.Cookie(Cookie)
	if err != nil {
		return Person{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.sessions[sha256.Sum256([]byte(c.Value))]
	if !ok || g.now().After(s.expires) {
		return Person{}
	}
	return Person{Look: true, CSRF: s.csrf, Issuer: g.issuer(g.rules.Issuer)}
}

func (g *Gate) issuer(s string) string {
	if !g.rules.Act || checkIssuer(s) != nil {
		return ""
	}
	return s
}

// proxied believes the header of a trusted proxy. A person whose name cannot be
// an issuer may look.
func (g *Gate) proxied(r *http.Request) (Person, bool) {
	if g.rules.Header == "" {
		return Person{}, false
	}
	names := r.Header.Values(g.rules.Header)
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || len(names) != 1 || names[0] == "" {
		return Person{}, false
	}
	if !slices.ContainsFunc(g.rules.Proxies, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) }) {
		return Person{}, false
	}
	sum := sha256.Sum256(append(g.key[:], names[0]...))
	return Person{Look: true, CSRF: fmt.Sprintf("%x", sum[:16]), Issuer: g.issuer(names[0])}, true
}

// ErrNoLogin says that people do not log in here, but at a proxy.
var ErrNoLogin = errors.New("there is no login by token")

// Login returns the cookie of a new session for who sent r with the token. The
// error is ErrNoLogin, ErrWrongToken or ErrTooMany.
func (g *Gate) Login(r *http.Request, token string, secure bool) (*http.Cookie, error) {
	if g.rules.Token == "" {
		return nil, ErrNoLogin
	}
	if err := g.checkToken(r, token); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.forgetOld(now)
	value := rand.Text() + rand.Text()
	g.sessions[sha256.Sum256([]byte(value))] = session{csrf: rand.Text(), expires: now.Add(g.rules.TTL)}
	return &http.Cookie{Name: Cookie, Value: value, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode, MaxAge: int(g.rules.TTL.Seconds())}, nil
}

// forgetOld makes room for one more.
func (g *Gate) forgetOld(now time.Time) {
	var oldest [32]byte
	var at time.Time
	for k, s := range g.sessions {
		if now.After(s.expires) {
			delete(g.sessions, k)
		} else if at.IsZero() || s.expires.Before(at) {
			oldest, at = k, s.expires
		}
	}
	if len(g.sessions) >= maxSessions {
		delete(g.sessions, oldest)
	}
}

// Logout ends the session of r.
func (g *Gate) Logout(r *http.Request) {
	if c, err := r.Cookie(Cookie); err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.sessions, sha256.Sum256([]byte(c.Value)))
	}
}
