// Package api is the page's HTTP side: its files, the stream, questions, and
// orders.
package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/ring/internal/access"
	"github.com/weir-net/weir/services/ring/internal/act"
	"github.com/weir-net/weir/services/ring/internal/live"
)

// Doer carries out orders.
type Doer interface {
	Do(ctx context.Context, issuer string, o act.Order) (act.Outcome, error)
}

// Server answers the page.
type Server struct {
	Hub     *live.Hub
	Gate    *access.Gate
	Doer    Doer // nil while acting is off
	Files   fs.FS
	Extra   map[string]http.Handler // further routes, such as /metrics, that need no login
	Log     *slog.Logger
	Version string
	Scale   []float64 // upper bounds in packets per second of the colours below red
}

// maxBody is what an order may have.
const maxBody = 16 << 10

// Handler returns the routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", s.files())
	mux.HandleFunc("GET /api/session", s.session)
	mux.HandleFunc("POST /api/login", s.login)
	mux.HandleFunc("POST /api/logout", s.looking(s.logout))
	mux.HandleFunc("GET /api/stream", s.looking(s.stream))
	mux.HandleFunc("GET /api/watch", s.looking(s.watch))
	mux.HandleFunc("GET /api/detail", s.looking(s.detail))
	mux.HandleFunc("GET /api/history", s.looking(s.history))
	mux.HandleFunc("GET /api/search", s.looking(s.search))
	mux.HandleFunc("GET /api/why", s.looking(s.why))
	mux.HandleFunc("POST /api/act", s.acting(s.act))
	for route, h := range s.Extra {
		mux.Handle(route, h)
	}
	return s.secure(mux)
}

// The page loads nothing from elsewhere and runs no inline script: what a record
// says can be shown but never run.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (s *Server) secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if err := s.Gate.CheckHost(r); err != nil {
			fail(w, http.StatusMisdirectedRequest, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// files serves the page, which is no secret: what it shows is asked for apart.
func (s *Server) files() http.Handler {
	server := http.FileServerFS(s.Files)
	tag := fingerprint(s.Files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Embedded files have no time: let the browser ask again, cheaply.
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		server.ServeHTTP(w, r)
	})
}

// fingerprint is an entity tag that changes with any of the files.
func fingerprint(files fs.FS) string {
	sum := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		sum.Write(b)
		return err
	})
	if err != nil {
		return "" // no tag: the browser asks for everything each time
	}
	return fmt.Sprintf(`"%x"`, sum.Sum(nil)[:12])
}

type handler func(http.ResponseWriter, *http.Request, access.Person)

// looking lets those through who may look.
func (s *Server) looking(next handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := s.Gate.Who(r)
		if err := s.Gate.Looks(p); err != nil {
			fail(w, http.StatusUnauthorized, err)
			return
		}
		next(w, r, p)
	}
}

// acting lets those through who may change something.
func (s *Server) acting(next handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := s.Gate.Who(r)
		switch err := s.Gate.Acts(r, p); {
		case errors.Is(err, access.ErrLogin):
			fail(w, http.StatusUnauthorized, err)
		case err != nil:
			s.Log.Warn("refused a request", "path", r.URL.Path, "from", r.RemoteAddr, "err", err)
			fail(w, http.StatusForbidden, err)
		default:
			next(w, r, p)
		}
	}
}

// session tells the page who it is and what it may do.
func (s *Server) session(w http.ResponseWriter, r *http.Request) {
	p := s.Gate.Who(r)
	rules := s.Gate.Rules()
	answer(w, map[string]any{
		"look": p.Look, "act": p.Act() && s.Doer != nil, "issuer": p.Issuer, "csrf": p.CSRF,
		"login": rules.Token != "", "version": s.Version, "scale": s.Scale, "enabled": rules.Act,
	})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Token string `json:"token"`
	}
	if err := s.Gate.SameOrigin(r); err != nil {
		fail(w, http.StatusForbidden, err)
		return
	}
	if err := read(w, r, &body); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	secure := r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
	cookie, err := s.Gate.Login(r, body.Token, secure)
	switch {
	case errors.Is(err, access.ErrTooMany):
		fail(w, http.StatusTooManyRequests, err)
	case err != nil:
		s.Log.Warn("refused a login", "from", r.RemoteAddr, "err", err)
		fail(w, http.StatusUnauthorized, err)
	default:
		http.SetCookie(w, cookie)
		s.session(w, withCookie(r, cookie))
	}
}

// withCookie is r as it will come next time.
func withCookie(r *http.Request, c *http.Cookie) *http.Request {
	next := r.Clone(r.Context())
	next.Header.Del("Cookie")
	next.AddCookie(c)
	return next
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request, p access.Person) {
	if err := s.Gate.Means(r, p); err != nil {
		fail(w, http.StatusForbidden, err)
		return
	}
	s.Gate.Logout(r)
	answer(w, struct{}{})
}

func (s *Server) act(w http.ResponseWriter, r *http.Request, p access.Person) {
	if s.Doer == nil {
		fail(w, http.StatusForbidden, access.ErrAct)
		return
	}
	var o act.Order
	if err := read(w, r, &o); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	out, err := s.Doer.Do(r.Context(), p.Issuer, o)
	var refused *schemas.RecordError
	switch {
	case errors.As(err, &refused):
		fail(w, http.StatusUnprocessableEntity, err)
	case err != nil:
		s.Log.Error("an order failed", "issuer", p.Issuer, "action", o.Action, "err", err)
		fail(w, http.StatusBadGateway, err)
	default:
		s.Log.Info("an order was carried out", "issuer", p.Issuer, "action", o.Action, "key", out.Key, "offset", out.Offset, "result", out.Text)
		answer(w, out)
	}
}

// read decodes a JSON body. Another content type is refused, since a form of
// another page can send some of them without being asked.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	if r.Header.Get("Content-Type") != "application/json" {
		return errors.New("the content type must be application/json")
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(readLimit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("reading the request: %w", err)
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// The browser may have gone; nothing is left to tell it then.
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": schemas.Printable(err.Error(), 500)})
}

// readLimit is how long a browser may take to send a body.
const readLimit = 5 * time.Second

// writeLimit is how long a browser may take for one write.
const writeLimit = 10 * time.Second
