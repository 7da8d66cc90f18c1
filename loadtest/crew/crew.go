// Package crew runs the lab's traffic as processes of their own, so that a
// generator's garbage collection is never an ordinary client's latency, and
// follows what they report.
package crew

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
)

// Program is the binary that has the traffic subcommands.
const Program = "loadtest"

// Crew starts traffic in a lab.
type Crew struct {
	Lab *lab.Lab
	Bin string // directory of the binaries
}

func (c Crew) start(name string, ns lab.Namespace, out io.Writer, errs *tail, args ...string) (*lab.Process, error) {
	return c.Lab.Start(lab.Command{
		Name: name, Namespace: ns, Path: filepath.Join(c.Bin, Program),
		Args: append([]string{"traffic"}, args...), Stdout: out, Stderr: errs,
	})
}

// Serve starts the web server on the victim's addresses and the given ports,
// and waits until it answers. Its log is a file, so that it may outlive this
// process.
func (c Crew) Serve(logFile string, ports ...uint16) (*lab.Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the server's log: %w", err)
	}
	defer log.Close()
	args := []string{"traffic", "serve"}
	for _, port := range ports {
		args = append(args, netip.AddrPortFrom(lab.VictimAddress, port).String(), netip.AddrPortFrom(lab.VictimAddress6, port).String())
	}
	p, err := c.Lab.Start(lab.Command{
		Name: "web server", Namespace: lab.Victim, Path: filepath.Join(c.Bin, Program), Args: args, Stdout: log, Stderr: log,
	})
	if err != nil {
		return nil, err
	}
	address := netip.AddrPortFrom(lab.VictimAddress, ports[len(ports)-1]).String()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := c.Lab.Do(lab.Victim, func() error {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		switch {
		case err == nil:
			return p, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("waiting for the web server: %w", err)
		}
	}
}

// Flood is a running flood.
type Flood struct {
	process *lab.Process
	errs    tail

	mu   sync.Mutex
	last traffic.FloodReport
}

// HTTP starts an HTTP flood.
func (c Crew) HTTP(h traffic.HTTPFlood) (*Flood, error) {
	return c.flood("HTTP flood", "http", "-server", h.Server.String(), "-sources", join(h.Sources),
		"-workers", strconv.Itoa(h.Workers), "-rate", number(h.Rate), "-duration", h.Duration.String())
}

// Raw starts a flood of UDP or spoofed SYN. Spoofed sources are given by their
// number alone.
func (c Crew) Raw(r traffic.RawFlood, spoofed int) (*Flood, error) {
	kind := "syn"
	if r.UDP {
		kind = "udp"
	}
	args := []string{kind, "-to", netip.AddrPortFrom(r.Destination, r.Port).String(), "-pps", number(r.PPS),
		"-payload", strconv.Itoa(r.Payload), "-count", strconv.FormatUint(r.Count, 10), "-duration", r.Duration.String(),
		"-seed", strconv.FormatUint(r.Seed, 10)}
	if spoofed > 0 {
		args = append(args, "-spoofed", strconv.Itoa(spoofed))
	} else {
		args = append(args, "-sources", join(r.Sources))
	}
	return c.flood(kind+" flood", args...)
}

func (c Crew) flood(name string, args ...string) (*Flood, error) {
	f := &Flood{}
	lines := &lineWriter{line: func(b []byte) error {
		var r traffic.FloodReport
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("reading a report of the %s: %w", name, err)
		}
		f.mu.Lock()
		f.last = r
		f.mu.Unlock()
		return nil
	}}
	var err error
	f.process, err = c.start(name, lab.Clients, lines, &f.errs, args...)
	return f, err
}

// Last is the latest report.
func (f *Flood) Last() traffic.FloodReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Stop ends the flood and returns its final report.
func (f *Flood) Stop() (traffic.FloodReport, error) {
	if err := f.process.Stop(5 * time.Second); err != nil {
		return f.Last(), f.errs.explain(f.process.Name(), err)
	}
	return f.final()
}

// Wait waits until the flood ends by itself and returns its final report.
func (f *Flood) Wait() (traffic.FloodReport, error) {
	if err := f.process.Wait(); err != nil {
		return f.Last(), f.errs.explain(f.process.Name(), err)
	}
	return f.final()
}

func (f *Flood) final() (traffic.FloodReport, error) {
	last := f.Last()
	if !last.Done {
		return last, f.errs.explain(f.process.Name(), errors.New("it ended without its final report"))
	}
	return last, nil
}

// Clients are running ordinary clients.
type Clients struct {
	process *lab.Process
	errs    tail

	mu       sync.Mutex
	requests []traffic.Request
}

// Ordinary starts ordinary clients.
func (c Crew) Ordinary(o traffic.OrdinaryClients) (*Clients, error) {
	cl := &Clients{}
	lines := &lineWriter{line: func(b []byte) error {
		var r traffic.ClientsReport
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("reading a report of the ordinary clients: %w", err)
		}
		cl.mu.Lock()
		cl.requests = append(cl.requests, r.Requests...)
		cl.mu.Unlock()
		return nil
	}}
	var err error
	cl.process, err = c.start("ordinary clients", lab.Clients, lines, &cl.errs, "clients", "-server", o.Server.String(),
		"-sources", join(o.Sources), "-rate", number(o.Rate), "-new-every", strconv.Itoa(o.NewEvery),
		"-timeout", o.Timeout.String(), "-duration", o.Duration.String())
	return cl, err
}

// Between returns the requests that began in [from, to).
func (c *Clients) Between(from, to time.Duration) []traffic.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []traffic.Request
	for _, r := range c.requests {
		if r.At >= from && r.At < to {
			out = append(out, r)
		}
	}
	return out
}

// Count is how many requests have been reported, and how many of them failed.
func (c *Clients) Count() (requests, failures int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		if r.Error != "" {
			failures++
		}
	}
	return len(c.requests), failures
}

// Stop ends the clients.
func (c *Clients) Stop() error {
	return c.errs.explain("ordinary clients", c.process.Stop(5*time.Second))
}

func join(addrs []netip.Addr) string {
	parts := make([]string, len(addrs))
	for i, a := range addrs {
		parts[i] = a.String()
	}
	return strings.Join(parts, ",")
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// lineWriter calls line for each whole line written to it.
type lineWriter struct {
	line func([]byte) error
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte{'\n'})
		if !ok {
			return len(b), nil
		}
		err := w.line(line)
		w.rest = append(w.rest[:0], rest...)
		if err != nil {
			return 0, err
		}
	}
}

// tail keeps the end of what a process wrote to its standard error.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - 4096; over > 0 {
		t.b = t.b[over:]
	}
	return len(b), nil
}

func (t *tail) explain(name string, err error) error {
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(t.b))
}
