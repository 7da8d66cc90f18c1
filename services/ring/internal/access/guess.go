package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"time"
)

// Guessing a token is slow, and holds up nobody but who guesses: that is told by
// the address, or the network of an IPv6 address, of which people have many.
const (
	maxFailed  = 10 // wrong tokens in failedSpan
	failedSpan = 10 * time.Second
	maxGuesses = 4096 // who guessed in failedSpan; with more, whoever is new waits
)

// The ways a token is refused.
var (
	ErrWrongToken = errors.New("wrong token")
	ErrTooMany    = errors.New("too many wrong tokens, wait ten seconds")
)

// guess is what one network tried since a moment.
type guess struct {
	failed int
	since  time.Time
}

// checkToken says whether the token that came with r is the right one.
func (g *Gate) checkToken(r *http.Request, token string) error {
	from := network(r.RemoteAddr)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	tried, known := g.guesses[from]
	if now.Sub(tried.since) > failedSpan {
		tried = guess{since: now}
	}
	if tried.failed >= maxFailed || !known && !g.roomForGuesses(now) {
		return ErrTooMany
	}
	if g.isToken(token) {
		return nil
	}
	tried.failed++
	g.guesses[from] = tried
	return ErrWrongToken
}

// roomForGuesses forgets old guesses where there are too many.
func (g *Gate) roomForGuesses(now time.Time) bool {
	if len(g.guesses) < maxGuesses {
		return true
	}
	for from, tried := range g.guesses {
		if now.Sub(tried.since) > failedSpan {
			delete(g.guesses, from)
		}
	}
	return len(g.guesses) < maxGuesses
}

// network is who a remote address, "address:port", is taken for.
func network(remote string) netip.Prefix {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	from := a.Addr().Unmap().WithZone("")
	bits := 32
	if from.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(from, bits).Masked()
}

func (g *Gate) isToken(s string) bool {
	// Hashes have one length, so the comparison tells nothing about the token's.
	a, b := sha256.Sum256([]byte(s)), sha256.Sum256([]byte(g.rules.Token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
