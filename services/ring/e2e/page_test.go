package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/ring/internal/ringtest"
)

func TestFloodTurnsRed(t *testing.T) {
	s := start(t, false)
	s.play.Fleet(4, 3, 6)
	s.run(t)
	ctx := browser(t, 1400, 900)
	do(t, ctx, chromedp.Navigate(s.url))
	until(t, ctx, 15*time.Second, `document.body.dataset.link === "live" && weir.store.interfaces.size === 12`)
	until(t, ctx, 5*time.Second, `weir.ring.items.filter((x) => x.kind === "source").length > 20`)
	shot(t, ctx, "idle")
	s.play.Add("edge-2", "eth9", ringtest.Source{Addr: netip.MustParseAddr("203.0.113.66"), PPS: 4321, Class: schemas.ClassSYN})
	until(t, ctx, 3*time.Second, `weir.ring.items.some((x) => x.key === "edge-2/eth9" && weir.ring.fill(x) === "#e0302a")`)
	shot(t, ctx, "attack")
}
