// Package page looks at the Onion-Ring as a person does: in a headless Chromium.
package page

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/chromedp"
)

// Tab is a page in a Chromium of its own.
type Tab struct {
	ctx  context.Context
	stop []context.CancelFunc

	mu         sync.Mutex
	complaints []string
	listening  sync.WaitGroup
}

// Find returns the path of a Chromium.
func Find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium: install Debian's package chromium")
}

// Open starts a Chromium with a window of so many pixels. It ends with ctx.
func Open(ctx context.Context, width, height int) (*Tab, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(width, height))
	allocator, stopAllocator := chromedp.NewExecAllocator(ctx, opts...)
	tab, stopTab := chromedp.NewContext(allocator)
	t := &Tab{ctx: tab, stop: []context.CancelFunc{stopTab, stopAllocator}}
	// The first action starts the browser.
	if err := chromedp.Do(tab, chromedp.Navigate("about:blank"), chromedp.EmulateViewport(int64(width), int64(height))); err != nil {
		t.Close()
		return nil, fmt.Errorf("starting Chromium: %w", err)
	}
	t.listen()
	return t, nil
}

// Close ends the Chromium.
func (t *Tab) Close() {
	for _, stop := range t.stop {
		stop()
	}
	t.listening.Wait()
}

// listen keeps what the page complains of: exceptions, and violations of its
// content security policy.
func (t *Tab) listen() {
	messages := chromedp.Console(t.ctx)
	t.listening.Go(func() {
		for m, err := range messages {
			if err != nil {
				return // the tab is closed
			}
			if m.Type == chromedp.ConsoleException || strings.Contains(m.Text, "Content Security Policy") {
				t.mu.Lock()
				t.complaints = append(t.complaints, m.Text+" "+m.URL)
				t.mu.Unlock()
			}
		}
	})
}

// Complaints returns them.
func (t *Tab) Complaints() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.complaints...)
}

// Visit goes to a page of the ring and waits until it has begun, or asks who is
// there. Chromium breaks off whatever it loads when an interface of this machine
// gets an address, as happens when a lab is built: then it is loaded again.
func (t *Tab) Visit(url string) error {
	for deadline := time.Now().Add(time.Minute); ; {
		err := chromedp.Do(t.ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(url))
		if err == nil {
			err = t.until(8*time.Second, `window.weir && (document.body.dataset.link || document.querySelector("#dialog[open]"))`)
		}
		if err == nil || time.Now().After(deadline) || t.ctx.Err() != nil {
			return err
		}
	}
}

// Go moves to another node of the page that is open, such as "/host/eth0".
func (t *Tab) Go(node string) error {
	_, err := Eval[bool](t, fmt.Sprintf(`(location.hash = %q, true)`, "#"+node))
	return err
}

// Eval evaluates a JavaScript expression; a promise is waited for.
func Eval[T any](t *Tab, expression string) (T, error) {
	out, err := chromedp.Run(t.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		return out, fmt.Errorf("evaluating %s: %w", expression, err)
	}
	return out, nil
}

// ErrNot says that a condition did not come true in time.
var ErrNot = errors.New("not in time")

// patience is what a busy machine gets beyond what a condition may take.
const patience = 20 * time.Second

// Until waits until a JavaScript condition holds, which may take limit on a machine
// that has nothing else to do. Who minds the time measures it in the page.
func (t *Tab) Until(limit time.Duration, condition string) error {
	return t.until(limit+patience, condition)
}

func (t *Tab) until(limit time.Duration, condition string) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(15 * time.Millisecond) {
		ok, err := Eval[bool](t, "!!("+condition+")")
		switch {
		case err != nil:
			return err
		case ok:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%w (%v): %s", ErrNot, limit, condition)
		}
	}
}

// Click clicks on the element that a CSS selector finds.
func (t *Tab) Click(selector string) error {
	if err := chromedp.Do(t.ctx, chromedp.Click(selector)); err != nil {
		return fmt.Errorf("clicking on %s: %w", selector, err)
	}
	return nil
}

// Type types into the element that a CSS selector finds; "\r" is Enter.
func (t *Tab) Type(selector, text string) error {
	if err := chromedp.Do(t.ctx, chromedp.SendKeys(selector, text)); err != nil {
		return fmt.Errorf("typing into %s: %w", selector, err)
	}
	return nil
}

// Hover moves the pointer onto the ring's sector with the kind and the key (as in
// web/js/layout.js), to so much of its arc: 0.5 is its middle.
func (t *Tab) Hover(kind, key string, arc float64) error {
	p, err := Eval[struct{ X, Y float64 }](t, fmt.Sprintf(`((s) => {
		const at = s.a0 + (s.a1 - s.a0) * %v, { x, y } = weir.ring.centreOf({ ...s, a0: at, a1: at });
		return { X: x, Y: y }; })(%s)`, arc, Sector(kind, key)))
	if err != nil {
		return err
	}
	if err := chromedp.Do(t.ctx, chromedp.MouseEvent("mouseMoved", p.X-3, p.Y-3), chromedp.MouseEvent("mouseMoved", p.X, p.Y)); err != nil {
		return fmt.Errorf("moving the pointer: %w", err)
	}
	return nil
}

// Picture returns what is seen, as PNG.
func (t *Tab) Picture() ([]byte, error) {
	png, err := chromedp.Run(t.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return nil, fmt.Errorf("taking a picture: %w", err)
	}
	return png, nil
}

// Sector is a JavaScript expression for a sector of the ring, undefined if it is
// not drawn.
func Sector(kind, key string) string {
	return fmt.Sprintf(`weir.ring.items.find((x) => x.kind === %q && x.key === %q)`, kind, key)
}

// Fill is a JavaScript expression for the colour of a sector.
func Fill(kind, key string) string {
	s := Sector(kind, key)
	return fmt.Sprintf(`(%s && weir.ring.fill(%s))`, s, s)
}

// Print shows markup instead of the ring, and returns a picture of the element
// that a CSS selector finds in it.
func (t *Tab) Print(markup, selector string) ([]byte, error) {
	url := "data:text/html;base64," + base64.StdEncoding.EncodeToString([]byte(markup))
	if err := chromedp.Do(t.ctx, chromedp.Navigate(url)); err != nil {
		return nil, fmt.Errorf("showing markup: %w", err)
	}
	png, err := chromedp.Run(t.ctx, chromedp.Screenshot(selector))
	if err != nil {
		return nil, fmt.Errorf("taking a picture of %s: %w", selector, err)
	}
	return png, nil
}
