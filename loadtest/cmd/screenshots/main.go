// Command screenshots makes the README's pictures of the page and of weir ring: it
// builds the demo's lab, lets a flood come, and looks at it in Chromium.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/page"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/schemas"
)

// The servers in the pictures: the demo's victim with both of its interfaces, and
// this machine's end of the lab's management link.
const (
	host       = "web-1"
	brokerHost = "broker-1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	bin := flag.String("bin", "", "directory of the binaries")
	out := flag.String("out", "docs/images", "directory of the pictures")
	id := flag.String("id", "shots", "name of the lab")
	flag.Parse()
	err := run(ctx, *id, *bin, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, id, bin, out string) (err error) {
	if bin == "" {
		if bin, err = stack.FindBin(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", out, err)
	}
	s, err := scenario.Setup(ctx, scenario.Options{ID: id, Bin: bin, Services: stack.All(), Env: map[stack.Service][]string{
		stack.Probe: {"WEIR_PROBE_HOST=" + host, "WEIR_PROBE_INTERFACES=" + lab.DataInterface + "," + lab.ManagementInterface},
	}})
	if err != nil {
		return err
	}
	// The lab takes the second probe down, but knows nothing of what it pinned.
	pins := s.Stack.PinPath + "-2"
	defer func() { err = errors.Join(err, s.Close(), os.RemoveAll(pins)) }()
	if err := os.RemoveAll(pins); err != nil {
		return fmt.Errorf("removing what an earlier run pinned: %w", err)
	}
	if err := secondProbe(s, id, pins); err != nil {
		return err
	}
	tab, err := page.Open(ctx, 1340, 880)
	if err != nil {
		return err
	}
	defer tab.Close()
	c := &camera{Scenario: s, tab: tab, dir: out}
	if err := c.shoot(ctx); err != nil {
		c.dir = os.TempDir()
		log, _ := os.ReadFile(secondLog(s)) // nothing, if there is none
		return errors.Join(fmt.Errorf("%w\nthe second probe said:\n%s", err, log[max(0, len(log)-2000):]), c.take("failed"))
	}
	return nil
}

// secondProbe watches the root end of the management link.
func secondProbe(s *scenario.Scenario, id, pins string) error {
	log, err := os.Create(secondLog(s))
	if err != nil {
		return fmt.Errorf("opening a log: %w", err)
	}
	defer log.Close()
	_, err = s.Lab.Start(lab.Command{
		Name: "second probe", Path: filepath.Join(s.Stack.Bin, string(stack.Probe)), Stdout: log, Stderr: log,
		Env: []string{
			"WEIR_KAFKA_BROKERS=" + s.Stack.Brokers, "WEIR_PROBE_HOST=" + brokerHost, "WEIR_PROBE_INTERFACES=weir-m-" + id,
			"WEIR_PROBE_PIN_PATH=" + pins, "WEIR_PROBE_HTTP_ADDRESS=off",
		},
	})
	return err
}

func secondLog(s *scenario.Scenario) string { return filepath.Join(s.Stack.Dir, "second-probe.log") }

// camera takes the pictures.
type camera struct {
	*scenario.Scenario
	tab *page.Tab
	dir string
}

// victim is the flooded interface.
var victim = schemas.InterfaceKey(host, lab.DataInterface)

// shoot takes them one after the other, as the flood goes on.
func (c *camera) shoot(ctx context.Context) error {
	clients, err := c.Ordinary(80)
	if err != nil {
		return err
	}
	defer func() { _ = clients.Stop() }() // their requests are the tests' business
	if err := c.tab.Visit(c.Stack.PageURL()); err != nil {
		return err
	}
	if err := c.tab.Until(30*time.Second, `weir.store.interfaces.size === 3 && `+page.Sector("source", victim+"|192.0.2.1")+` && weir.charts.data?.pps.filter((v) => v > 0).length > 12`); err != nil {
		return err
	}
	if err := c.take("idle"); err != nil {
		return err
	}
	flood, err := c.Crew.Raw(traffic.RawFlood{
		Destination: lab.VictimAddress, Port: 9, Sources: traffic.SourcesOf(lab.UDPAttackers, 4), UDP: true, Payload: 32, PPS: 20_000,
	}, 0)
	if err != nil {
		return err
	}
	defer func() { _, _ = flood.Stop() }() // the lab ends it otherwise
	if err := c.attack(); err != nil {
		return err
	}
	if err := c.Enforce(ctx); err != nil {
		return err
	}
	if err := c.mitigated(); err != nil {
		return err
	}
	return c.terminal(ctx)
}

// attack is taken while the probes only observe: the flood passes.
func (c *camera) attack() error {
	if err := c.tab.Until(15*time.Second, page.Sector("interface", victim)+`.pps > 19000`); err != nil {
		return err
	}
	if err := c.tab.Hover("interface", victim, 0.12); err != nil {
		return err
	}
	if err := c.tab.Until(10*time.Second, `document.getElementById("tip").innerText.includes("would drop") && document.querySelector("#attacks .now") && weir.charts.data.pps.filter((v) => v > 19000).length > 1`); err != nil {
		return err
	}
	return c.take("attack")
}

func (c *camera) mitigated() error {
	if err := c.tab.Until(15*time.Second, page.Sector("interface", victim)+`.dropped > 18000`); err != nil {
		return err
	}
	if err := c.tab.Go("/" + victim); err != nil {
		return err
	}
	if err := c.tab.Until(15*time.Second, `weir.charts.data?.dropped.filter((v) => v > 15000).length > 4`); err != nil {
		return err
	}
	if err := c.take("mitigated"); err != nil {
		return err
	}
	if err := c.tab.Go("/"); err != nil {
		return err
	}
	if err := c.tab.Click("#layers"); err != nil {
		return err
	}
	if err := c.tab.Until(10*time.Second, `weir.stack.rings.every((r) => r.ring.items.length > 0) && weir.stack.rings[2].ring.items.some((s) => s.pps > 15000)`); err != nil {
		return err
	}
	return c.take("3d")
}

// terminal prints the tree with the colours of a good terminal.
func (c *camera) terminal(ctx context.Context) error {
	for name, value := range map[string]string{"CLICOLOR_FORCE": "1", "COLORTERM": "truecolor", "TERM": "xterm-256color"} {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	text, err := c.Stack.CLI(ctx, "ring", "--once", "--sources", "6")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	picture, err := c.tab.Print(terminal("weir ring", text), "#terminal")
	if err != nil {
		return err
	}
	return c.save("terminal", picture)
}

func (c *camera) take(name string) error {
	picture, err := c.tab.Picture()
	if err != nil {
		return err
	}
	return c.save(name, picture)
}

// save writes a picture as small as PNG makes it without a loss.
func (c *camera) save(name string, picture []byte) error {
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return fmt.Errorf("reading the picture %s: %w", name, err)
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, decoded); err != nil {
		return fmt.Errorf("compressing the picture %s: %w", name, err)
	}
	path := filepath.Join(c.dir, name+".png")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the picture %s: %w", name, err)
	}
	fmt.Printf("%s: %d kB\n", path, b.Len()/1000)
	return nil
}
