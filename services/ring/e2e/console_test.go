package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// watchConsole fails the test on an exception or a violation of the content
// security policy anywhere in the page.
func watchConsole(t *testing.T, ctx context.Context) {
	t.Helper()
	messages := chromedp.Console(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range messages {
			switch {
			case err != nil:
				return // the tab is closed
			case m.Type == chromedp.ConsoleException, strings.Contains(m.Text, "Content Security Policy"):
				t.Errorf("the console says: %s %s", m.Text, m.URL)
			default:
				t.Logf("the console says: %s %s", m.Text, m.URL)
			}
		}
	}()
	t.Cleanup(func() { <-done })
}
