package eval

import (
	"encoding/json"
	"errors"
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

// Attackers say which frames of a capture are the attack: those of some sources,
// those of a kind, or all.
type Attackers struct {
	Sources []netip.Addr
	Kind    *packetKind
	All     bool
}

// packetKind is frames of one protocol; a port of 0 is any.
type packetKind struct {
	protocol            uint8
	source, destination uint16
	fragments           bool // later fragments of the protocol, too
}

// kindSentence is as in "udp sport 53 dport 22, plus non-first udp fragments".
var kindSentence = regexp.MustCompile(`^(udp|tcp)(?: sport (\d+))?(?: dport (\d+))?(, plus non-first .*fragments)?$`)

// UnmarshalJSON reads a list of addresses or a sentence: "every packet …", or one
// about a kind of packets.
func (a *Attackers) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) != nil {
		return json.Unmarshal(b, &a.Sources)
	}
	if strings.HasPrefix(text, "every packet") {
		a.All = true
		return nil
	}
	m := kindSentence.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("attackers %q: neither addresses nor a sentence that is known", text)
	}
	kind := &packetKind{protocol: protocolUDP, fragments: m[4] != ""}
	if m[1] == "tcp" {
		kind.protocol = protocolTCP
	}
	var errs [2]error
	kind.source, errs[0] = port(m[2])
	kind.destination, errs[1] = port(m[3])
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("attackers %q: %w", text, err)
	}
	a.Kind = kind
	return nil
}

// port reads a port, nothing as 0.
func port(text string) (uint16, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err
}

// has reports whether a frame is part of the attack.
func (a *Attackers) has(h *header) bool {
	switch k := a.Kind; {
	case !h.source.IsValid():
		return false
	case a.All:
		return true
	case k == nil:
		return slices.Contains(a.Sources, h.source)
	case h.protocol != k.protocol:
		return false
	case h.later:
		return k.fragments
	default:
		return h.ports && (k.source == 0 || h.sourcePort == k.source) && (k.destination == 0 || h.destinationPort == k.destination)
	}
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
