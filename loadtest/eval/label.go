package eval

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-net/weir/loadtest/capture"
)

// Label is what the evaluation knows about one capture: what anybody does, and
// who attacks in it.
type Label struct {
	capture.Label

	Attackers Attackers `json:"attackers"`
	Onset     *float64  `json:"attack_onset_s"` // seconds after the first frame
}

// The expected outcomes of a label that the evaluation judges by.
const (
	wantSignature = "signature"          // a lease on what the attack looks like, and none per source
	wantBlock     = "block"              // a lease on the attacker
	wantLimit     = "ratelimit-or-block" // likewise
	wantAlert     = "observe"            // neither asked for nor forbidden: reported only
)

// isAttack reports whether the label is of an attack that Weir should stop, or
// of one that is too slow for any rule.
func (l *Label) isAttack() bool { return strings.HasPrefix(l.Category, "attack") }

// Attackers say which frames of a capture are the attack.
type Attackers struct {
	Sources []netip.Addr // frames of these; empty: see below
	UDP     *udpPorts    // UDP frames with these ports, and later fragments of UDP
	All     bool         // every frame
}

type udpPorts struct{ source, destination uint16 }

var udpSentence = regexp.MustCompile(`^udp sport (\d+) dport (\d+)`)

// UnmarshalJSON reads a list of addresses, or one of the two sentences in use:
// "every packet …" and "udp sport 53 dport 22, plus non-first udp fragments".
func (a *Attackers) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) != nil {
		return json.Unmarshal(b, &a.Sources)
	}
	if strings.HasPrefix(text, "every packet") {
		a.All = true
		return nil
	}
	m := udpSentence.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("attackers %q: neither addresses nor a sentence that is known", text)
	}
	source, err := strconv.ParseUint(m[1], 10, 16)
	if err != nil {
		return fmt.Errorf("attackers %q: %w", text, err)
	}
	destination, err := strconv.ParseUint(m[2], 10, 16)
	if err != nil {
		return fmt.Errorf("attackers %q: %w", text, err)
	}
	a.UDP = &udpPorts{uint16(source), uint16(destination)}
	return nil
}

// has reports whether a frame is part of the attack.
func (a *Attackers) has(h *header) bool {
	switch {
	case !h.source.IsValid():
		return false
	case a.All:
		return true
	case a.UDP == nil:
		return slices.Contains(a.Sources, h.source)
	}
	return h.protocol == protocolUDP &&
		(h.later || h.ports && h.sourcePort == a.UDP.source && h.destinationPort == a.UDP.destination)
}

// readLabels reads a labels file, by the captures' names without extension.
func readLabels(path string) (map[string]*Label, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading labels: %w", err)
	}
	labels := make(map[string]*Label)
	if err := json.Unmarshal(b, &labels); err != nil {
		return nil, fmt.Errorf("reading labels %s: %w", path, err)
	}
	return labels, nil
}
