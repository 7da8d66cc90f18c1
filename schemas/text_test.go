package schemas

import (
	"strings"
	"testing"
	"time"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain text":           "plain text",
		"two\nlines\x00\x7f":   "two?lines??",
		"\x1b[2Jgone":          "?[2Jgone",
		"żółw 🦀":               "żółw 🦀",
		"bad \xff UTF-8":       "bad ? UTF-8",
		"\u202eright to left":  "?right to left",
		strings.Repeat("é", 9): "ééééé",
	} {
		if got := Printable(in, 11); got != want && !strings.HasPrefix(want, got) {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
		if got := Printable(in, 11); len(got) > 11 {
			t.Errorf("Printable(%q) has %d bytes", in, len(got))
		}
		if got := Printable(in, 100); want != "ééééé" && got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", time.Hour: "1h",
		24 * time.Hour: "24h", 61 * time.Minute: "1h1m", time.Hour + time.Second: "1h0m1s", 1500 * time.Millisecond: "1.5s",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
		if back, err := time.ParseDuration(want); err != nil || back != d {
			t.Errorf("%q reads as %v, %v", want, back, err)
		}
	}
}

func TestInterfaceKey(t *testing.T) {
	h, i, err := ParseInterfaceKey(InterfaceKey("edge-1", "eth0.100"))
	if err != nil || h != "edge-1" || i != "eth0.100" {
		t.Errorf("%q %q %v", h, i, err)
	}
	for _, key := range []string{"", "edge-1", "/eth0", "edge-1/", "a/b/c", "a b/c", "a/b|c"} {
		if _, _, err := ParseInterfaceKey(key); err == nil {
			t.Errorf("%q is accepted", key)
		}
	}
}

func TestTarget(t *testing.T) {
	for text, kind := range map[string]TargetKind{"*": TargetAll, "host:edge-1": TargetHost, "interface:edge-1/eth0": TargetInterface} {
		got, err := ParseTarget(text)
		if err != nil || got.Kind != kind || got.String() != text {
			t.Errorf("ParseTarget(%q) = %+v, %v", text, got, err)
		}
		if !got.Matches("edge-1", "eth0") {
			t.Errorf("%q does not match edge-1/eth0", text)
		}
		if got.Matches("edge-2", "eth1") != (kind == TargetAll) {
			t.Errorf("%q and edge-2/eth1: %v", text, got.Matches("edge-2", "eth1"))
		}
	}
	for _, text := range []string{"", "**", "host:", "host:a/b", "interface:a", "interface:a/", "Host:a", "host:a|b"} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("ParseTarget(%q) = %+v, want an error", text, got)
		}
	}
}

func TestClassNames(t *testing.T) {
	for i := range NumClasses {
		c, ok := ParseClass(Class(i).String())
		if !ok || c != Class(i) {
			t.Errorf("class %d is %q and reads as %d", i, Class(i), c)
		}
	}
	if _, ok := ParseClass("unknown"); ok || Class(200).String() != "unknown" {
		t.Error("an unknown class has a name")
	}
}

func TestProtocolNames(t *testing.T) {
	for p := 1; p < 256; p++ {
		got, err := ParseProtocol(FormatProtocol(uint8(p)))
		if err != nil || int(got) != p {
			t.Errorf("protocol %d is %q and reads as %d, %v", p, FormatProtocol(uint8(p)), got, err)
		}
	}
	for _, s := range []string{"", "0", "256", "TCP", "-1"} {
		if _, err := ParseProtocol(s); err == nil {
			t.Errorf("ParseProtocol(%q) is accepted", s)
		}
	}
}

func TestHeaders(t *testing.T) {
	for schema, contentType := range map[string]string{SchemaCounts: "application/x-protobuf", SchemaRates: "application/json"} {
		h := Headers(schema)
		if len(h) != 2 || h[0].Key != "content-type" || string(h[0].Value) != contentType || h[1].Key != "schema" || string(h[1].Value) != schema {
			t.Errorf("%s: %+v", schema, h)
		}
	}
}
