package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/internal/golden"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func fault(err error) schemas.Fault {
	var re *schemas.RecordError
	if errors.As(err, &re) {
		return re.Fault
	}
	return ""
}

// synNotACK selects connection attempts.
var synNotACK = TCPFlags{Mask: 0x12, Value: 0x02}

// examples are commands that between them use every field.
func examples() map[string]Command {
	return map[string]Command{
		"drop": {Match: Match{Source: prefix("203.0.113.7/32")}, Action: Drop, TTL: 10 * time.Minute, Issuer: "alice", Reason: "syn flood"},
		"rate-limit": {
			Target: schemas.Target{Kind: schemas.TargetHost, Host: "edge-1"},
			Match:  Match{Source: prefix("2001:db8:1::/64"), Protocol: 6, TCPFlags: synNotACK},
			Action: RateLimit, TTL: 90 * time.Second, Issuer: "policy", Reason: "R2", Rate: &Rate{PPS: 50, BPS: 1_000_000},
			Evidence: &Evidence{Rule: "R2", Measured: 1200, Threshold: 500, Window: "1s", Interface: "edge-1/eth0", BootID: "b7c1f0", Seq: 42, Topic: "weir.counts.v1", Partition: 3, Offset: 1234},
		},
		"signature": {
			Target: schemas.Target{Kind: schemas.TargetInterface, Host: "edge-1", Interface: "eth0"},
			Match:  Match{Source: prefix("198.51.100.0/24"), Destination: prefix("192.0.2.80/32"), Protocol: 17, SourcePort: 53, DestinationPort: 80},
			Action: Observe, TTL: time.Hour, Issuer: "bob@example.org",
			Extra: map[string]json.RawMessage{"ticket": json.RawMessage(`{"id":7}`), "colour": json.RawMessage(`"blue"`)},
		},
		"allow": {Match: Match{Destination: prefix("192.0.2.0/24")}, Action: Allow, TTL: 24 * time.Hour, Issuer: "ops"},
		"mode":  {Action: SetMode, Mode: ModeEnforce, Issuer: "alice", Reason: "after a week of observing"},
	}
}

// TestGolden: the files are lines as kcat -K'\t' reads and writes them.
func TestGolden(t *testing.T) {
	for name, want := range examples() {
		t.Run(name, func(t *testing.T) {
			key, value, err := Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, name, bytes.Join([][]byte{key, append(value, '\n')}, []byte("\t")))
			got, err := Decode(key, value)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			k, err := ParseKey(key)
			if err != nil {
				t.Fatal(err)
			}
			if k.String() != want.Key() {
				t.Errorf("key %q, want %q", k, want.Key())
			}
		})
	}
}

func TestDecodeWhatAPersonWrites(t *testing.T) {
	want := Command{Match: Match{Source: prefix("203.0.113.7/32")}, Action: Drop, TTL: 10 * time.Minute, Issuer: "alice", Reason: "syn flood"}
	for _, value := range []string{
		`{"v":1,"action":"drop","match":{"source":"203.0.113.7/32"},"ttl":"10m","issuer":"alice","reason":"syn flood","rate":null,"evidence":null}`,
		`{"v":1,"action":"drop","match":{"source":"203.0.113.7","destination":"","protocol":null,"source_port":0},"reason":"syn flood","ttl":600,"mode":null}`,
		`{"action":"drop","reason":"syn flood"}`,
		"\n { \"action\" : \"drop\" ,\t\"reason\" : \"syn\\u0020flood\" , \"ttl\" : 6e2 } ",
	} {
		got, err := Decode([]byte("*|203.0.113.7/32|alice"), []byte(value))
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", value, got, want)
		}
	}
	// Protocols by number, and a signature whose match is only in the key.
	const key = "*|destination=192.0.2.80/32,protocol=udp,source_port=53|alice"
	for _, value := range []string{
		`{"action":"drop"}`,
		`{"action":"drop","match":{"source_port":53,"protocol":17,"destination":"192.0.2.80"}}`,
		`{"action":"drop","match":{"source_port":"53","protocol":"udp","destination":"192.0.2.80/32"}}`,
		`{"action":"drop","match":{"source_port":"53","protocol":"udp","destination":"192.0.2.80/32","fragments":""}}`,
	} {
		got, err := Decode([]byte(key), []byte(value))
		if err != nil || got.Key() != key {
			t.Errorf("%s: %+v, %v", value, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const key = "*|203.0.113.7/32|alice"
	for _, c := range []struct {
		name, key, value string
		fault            schemas.Fault
		text             string // part of the reason
	}{
		{"no key", "", `{"action":"drop"}`, schemas.FaultKey, "no key"},
		{"garbage key", "hello", `{"action":"drop"}`, schemas.FaultKey, "want <target>|<match>|<issuer>"},
		{"bare address in key", "*|203.0.113.7|alice", `{"action":"drop"}`, schemas.FaultKey, `write it "203.0.113.7/32"`},
		{"IPv6 spelling", "*|2001:DB8::1/128|alice", `{"action":"drop"}`, schemas.FaultKey, `write it "2001:db8::1/128"`},
		{"host bits", "*|203.0.113.7/24|alice", `{"action":"drop"}`, schemas.FaultKey, "did you mean 203.0.113.0/24"},
		{"mapped", "*|::ffff:203.0.113.7/128|alice", `{"action":"drop"}`, schemas.FaultKey, "write it as IPv4"},
		{"zone", "*|fe80::1%eth0|alice", `{"action":"drop"}`, schemas.FaultKey, "no address"},
		{"field order", "*|protocol=udp,source=203.0.113.7/32|alice", `{"action":"drop"}`, schemas.FaultKey, `write it "source=203.0.113.7/32,protocol=udp"`},
		{"long form", "*|source=203.0.113.7/32|alice", `{"action":"drop"}`, schemas.FaultKey, `write it "203.0.113.7/32"`},
		{"protocol number in key", "*|source=203.0.113.7/32,protocol=6|alice", `{"action":"drop"}`, schemas.FaultKey, "protocol=tcp"},
		{"no scope", "*|protocol=udp|alice", `{"action":"drop"}`, schemas.FaultKey, "want a source, a destination"},
		{"families", "*|source=203.0.113.7/32,destination=2001:db8::/64|alice", `{"action":"drop"}`, schemas.FaultKey, "different families"},
		{"port without protocol", "*|source=203.0.113.7/32,source_port=53|alice", `{"action":"drop"}`, schemas.FaultKey, "needs protocol"},
		{"flags without tcp", "*|source=203.0.113.7/32,protocol=udp,tcp_flags=syn|alice", `{"action":"drop"}`, schemas.FaultKey, "needs protocol tcp"},
		{"fragments with a port", "*|source=203.0.113.7/32,protocol=udp,source_port=53,fragments=later|alice", `{"action":"drop"}`, schemas.FaultKey, "have no ports"},
		{"first fragments", "*|source=203.0.113.7/32,fragments=first|alice", `{"action":"drop"}`, schemas.FaultKey, "want later"},
		{"fragments in the key only", "*|source=203.0.113.7/32,fragments=later|alice", `{"action":"drop","match":{"source":"203.0.113.7/32"}}`, schemas.FaultMismatch, "fragments=later"},
		{"target", "hosts:a|203.0.113.7/32|alice", `{"action":"drop"}`, schemas.FaultKey, "target"},
		{"issuer in key", "*|203.0.113.7/32|al ice", `{"action":"drop"}`, schemas.FaultKey, "issuer"},
		{"four parts", "*|203.0.113.7/32|alice|x", `{"action":"drop"}`, schemas.FaultKey, "issuer"},
		{"long key", strings.Repeat("k", 2000), `{"action":"drop"}`, schemas.FaultTooLarge, "2000 bytes"},
		{"not JSON", key, `drop it`, schemas.FaultSyntax, "not JSON"},
		{"array", key, `["drop"]`, schemas.FaultSyntax, "JSON object"},
		{"null", key, `null`, schemas.FaultSyntax, "JSON object"},
		{"2 MiB", key, strings.Repeat("x", 2<<20), schemas.FaultTooLarge, "2097152 bytes"},
		{"empty object", key, `{}`, schemas.FaultField, "action is missing"},
		{"v2", key, `{"v":2,"action":"drop"}`, schemas.FaultVersion, "v is 2, want 1"},
		{"v as text", key, `{"v":"1","action":"drop"}`, schemas.FaultVersion, "v is"},
		{"unknown action", key, `{"action":"explode"}`, schemas.FaultField, `unknown action "explode"`},
		{"action in capitals", key, `{"ACTION":"drop"}`, schemas.FaultField, "action is missing"},
		{"twice", key, `{"action":"drop","action":"allow"}`, schemas.FaultSyntax, "comes twice"},
		{"twice by escape", key, `{"action":"drop","\u0061ction":"allow"}`, schemas.FaultSyntax, "comes twice"},
		{"number as action", key, `{"action":1}`, schemas.FaultSyntax, "not a string"},
		{"other issuer", key, `{"action":"drop","issuer":"mallory"}`, schemas.FaultMismatch, `the key says "alice"`},
		{"other source", key, `{"action":"drop","match":{"source":"203.0.113.8/32"}}`, schemas.FaultMismatch, `the key says "203.0.113.7/32"`},
		{"narrower match", key, `{"action":"drop","match":{"source":"203.0.113.7/32","protocol":"udp"}}`, schemas.FaultMismatch, "protocol=udp"},
		{"unknown match field", key, `{"action":"drop","match":{"source":"203.0.113.7/32","country":"xx"}}`, schemas.FaultField, `unknown field "country"`},
		{"match as text", key, `{"action":"drop","match":"203.0.113.7"}`, schemas.FaultSyntax, "match"},
		{"bad prefix", key, `{"action":"drop","match":{"source":"203.0.113.777"}}`, schemas.FaultField, "no address"},
		{"ttl too long", key, `{"action":"drop","ttl":"25h"}`, schemas.FaultField, "want 1s to 24h"},
		{"ttl too short", key, `{"action":"drop","ttl":"1ms"}`, schemas.FaultField, "want 1s to 24h"},
		{"ttl zero", key, `{"action":"drop","ttl":0}`, schemas.FaultField, "want 1s to 24h"},
		{"ttl negative", key, `{"action":"drop","ttl":-5}`, schemas.FaultField, "ttl"},
		{"ttl text", key, `{"action":"drop","ttl":"soon"}`, schemas.FaultField, "ttl"},
		{"rate missing", key, `{"action":"rate-limit"}`, schemas.FaultField, "needs a rate"},
		{"rate empty", key, `{"action":"rate-limit","rate":{"pps":0}}`, schemas.FaultField, "needs a rate"},
		{"rate negative", key, `{"action":"rate-limit","rate":{"pps":-1}}`, schemas.FaultSyntax, "rate"},
		{"rate huge", key, `{"action":"rate-limit","rate":{"pps":9999999999999}}`, schemas.FaultField, "beyond"},
		{"rate with drop", key, `{"action":"drop","rate":{"pps":1}}`, schemas.FaultField, "rate belongs"},
		{"mode with drop", key, `{"action":"drop","mode":"off"}`, schemas.FaultField, "mode belongs"},
		{"reason", key, `{"action":"drop","reason":"` + strings.Repeat("x", 2000) + `"}`, schemas.FaultTooLarge, "reason"},
		{"mode under a lease's key", key, `{"action":"mode","mode":"off","match":null}`, schemas.FaultField, "takes no match"},
		{"lease under a mode's key", "*|mode|alice", `{"action":"drop"}`, schemas.FaultField, "want a source"},
		{"unknown mode", "*|mode|alice", `{"action":"mode","mode":"dance"}`, schemas.FaultField, "unknown mode"},
		{"mode with match", "*|mode|alice", `{"action":"mode","mode":"off","match":{"source":"203.0.113.7"}}`, schemas.FaultMismatch, "the key says"},
		{"many fields", key, `{"action":"drop"` + manyFields(100) + `}`, schemas.FaultTooLarge, "more than 64 fields"},
	} {
		_, err := Decode([]byte(c.key), []byte(c.value))
		if fault(err) != c.fault || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %s with %q", c.name, err, c.fault, c.text)
		}
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"f` + strings.Repeat("x", i) + `":1`)
	}
	return b.String()
}

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Command){
		"issuer":    func(c *Command) { c.Issuer = "a b" },
		"no match":  func(c *Command) { c.Match = Match{} },
		"unmasked":  func(c *Command) { c.Match.Source = prefix("203.0.113.7/24") },
		"no ttl":    func(c *Command) { c.TTL = 0 },
		"action":    func(c *Command) { c.Action = "explode" },
		"flag bits": func(c *Command) { c.Match.Protocol = 6; c.Match.TCPFlags = TCPFlags{Mask: 1, Value: 2} },
		"extra":     func(c *Command) { c.Extra = map[string]json.RawMessage{"action": json.RawMessage(`"allow"`)} },
		"bad extra": func(c *Command) { c.Extra = map[string]json.RawMessage{"x": json.RawMessage(`{`)} },
	} {
		c := examples()["drop"]
		spoil(&c)
		if _, _, err := Encode(c); fault(err) == "" {
			t.Errorf("%s: got %v, want a typed error", name, err)
		}
	}
}

func TestTombstone(t *testing.T) {
	if !IsTombstone(nil) || !IsTombstone([]byte{}) || IsTombstone([]byte("{}")) {
		t.Error("null and empty values release, others do not")
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range examples() {
		key, value, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, value)
	}
	f.Add([]byte("*|203.0.113.7/32|alice"), []byte(`{"action":"drop","\u0061":[{"b":"\"}"}], "x" : -1.5e3}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c, err := Decode(key, value)
		if err != nil {
			if fault(err) == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if c.Key() != string(key) {
			t.Fatalf("key %q was read as %q", key, c.Key())
		}
		k2, v2, err := Encode(c)
		if fault(err) == schemas.FaultTooLarge {
			return // escapes made it longer
		}
		if err != nil {
			t.Fatalf("decoded but not encodable: %v", err)
		}
		c2, err := Decode(k2, v2)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Extra) == 0 && !utf8Changed(c.Reason) && !reflect.DeepEqual(c, c2) {
			t.Fatalf("got %+v, want %+v", c2, c)
		}
	})
}

// utf8Changed reports whether JSON replaces something in s.
func utf8Changed(s string) bool { return strings.ToValidUTF8(s, "?") != s }
