package access

import (
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// The ways a request is refused.
var (
	ErrHost   = errors.New("the page is not known by this host name (WEIR_RING_HOSTS)")
	ErrLogin  = errors.New("log in first")
	ErrAct    = errors.New("acting is off")
	ErrForged = errors.New("the request comes from another page")
)

// CheckHost refuses a request for a host name that is not ours: a page elsewhere
// whose name is made to point here could otherwise read everything, and set the
// header of a proxy on the same machine. Where a token is the only login, the
// browser does not send its cookie under a strange name.
func (g *Gate) CheckHost(r *http.Request) error {
	if g.rules.Token != "" && g.rules.Header == "" && len(g.rules.Hosts) == 0 {
		return nil
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if a, err := netip.ParseAddr(host); err == nil && a.Unmap().IsLoopback() {
		return nil
	}
	if host == "localhost" || slices.Contains(g.rules.Hosts, host) {
		return nil
	}
	return ErrHost
}

// Looks refuses a person who may not look.
func (g *Gate) Looks(p Person) error {
	if !p.Look {
		return ErrLogin
	}
	return nil
}

// Acts refuses a request that may not change anything: by somebody who is not
// logged in, while acting is off, or that another page made the browser send.
func (g *Gate) Acts(r *http.Request, p Person) error {
	switch {
	case g.rules.authenticates() && !p.Look:
		return ErrLogin
	case !p.Act():
		return ErrAct
	}
	return g.Means(r, p)
}

// Means refuses a request that p did not mean: that another page made the browser
// send.
func (g *Gate) Means(r *http.Request, p Person) error {
	switch {
	case p.Bearer:
		return nil
	case p.CSRF == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get(CSRFHeader)), []byte(p.CSRF)) != 1:
		return ErrForged
	}
	return g.SameOrigin(r)
}

// SameOrigin refuses what a browser says was sent by another page.
func (g *Gate) SameOrigin(r *http.Request) error {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return ErrForged
	}
	return nil
}
