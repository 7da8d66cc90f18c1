package commands

import (
	"testing"
	"time"
)

func TestMatchText(t *testing.T) {
	for want, m := range map[string]Match{
		"203.0.113.7/32":                                         {Source: prefix("203.0.113.7/32")},
		"2001:db8::/32":                                          {Source: prefix("2001:db8::/32")},
		"0.0.0.0/0":                                              {Source: prefix("0.0.0.0/0")},
		"destination=192.0.2.80/32":                              {Destination: prefix("192.0.2.80/32")},
		"source=203.0.113.7/32,protocol=icmp":                    {Source: prefix("203.0.113.7/32"), Protocol: 1},
		"source=203.0.113.7/32,protocol=99":                      {Source: prefix("203.0.113.7/32"), Protocol: 99},
		"source=203.0.113.7/32,fragments=later":                  {Source: prefix("203.0.113.7/32"), Fragments: true},
		"destination=192.0.2.80/32,protocol=udp,fragments=later": {Destination: prefix("192.0.2.80/32"), Protocol: 17, Fragments: true},
		"destination=192.0.2.80/32,protocol=udp,source_port=53,destination_port=80": {Destination: prefix("192.0.2.80/32"), Protocol: 17, SourcePort: 53, DestinationPort: 80},
		"source=203.0.113.0/24,destination=192.0.2.80/32,protocol=tcp,tcp_flags=syn+!ack": {
			Source: prefix("203.0.113.0/24"), Destination: prefix("192.0.2.80/32"), Protocol: 6, TCPFlags: synNotACK},
	} {
		if got := m.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		got, err := ParseMatch(want)
		if err != nil || got != m {
			t.Errorf("ParseMatch(%q) = %+v, %v", want, got, err)
		}
	}
}

func TestTCPFlagsText(t *testing.T) {
	for text, want := range map[string]TCPFlags{
		"syn":           {Mask: 0x02, Value: 0x02},
		"syn+!ack":      {Mask: 0x12, Value: 0x02},
		"syn+ack":       {Mask: 0x12, Value: 0x12},
		"!fin":          {Mask: 0x01},
		"fin+psh+urg":   {Mask: 0x29, Value: 0x29},
		"cwr+!ece+!rst": {Mask: 0xc4, Value: 0x80},
	} {
		got, err := ParseTCPFlags(text)
		if err != nil || got != want {
			t.Errorf("ParseTCPFlags(%q) = %+v, %v", text, got, err)
		}
	}
	for flags, want := range map[TCPFlags]string{
		{}: "", synNotACK: "syn+!ack", {Mask: 0xc4, Value: 0x80}: "cwr+!rst+!ece", {Mask: 0xff, Value: 0xff}: "fin+syn+rst+psh+ack+urg+ece+cwr",
	} {
		if got := flags.String(); got != want {
			t.Errorf("%+v is %q, want %q", flags, got, want)
		}
	}
	for _, text := range []string{"", "SYN", "syn+", "syn+!syn", "syn+syn", "!!syn", "syn ack"} {
		if got, err := ParseTCPFlags(text); err == nil {
			t.Errorf("ParseTCPFlags(%q) = %+v, want an error", text, got)
		}
	}
}

func TestNewLeaseClampsTheFuture(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := examples()["drop"]
	for name, at := range map[string]struct{ timestamp, issued time.Time }{
		"past":   {now.Add(-time.Minute), now.Add(-time.Minute)},
		"now":    {now, now},
		"future": {now.Add(time.Hour), now},
		"none":   {time.Time{}, now},
	} {
		l := NewLease(c, 7, at.timestamp, now)
		if !l.IssuedAt.Equal(at.issued) || !l.ExpiresAt.Equal(at.issued.Add(10*time.Minute)) || l.Offset != 7 || l.Key != c.Key() {
			t.Errorf("%s: %+v", name, l)
		}
		if !l.Live(now) || l.Live(l.ExpiresAt) {
			t.Errorf("%s: live at %v until %v", name, now, l.ExpiresAt)
		}
	}
	if m := NewLease(examples()["mode"], 1, now, now); !m.ExpiresAt.IsZero() || !m.Live(now.Add(1000*time.Hour)) {
		t.Errorf("a mode without ttl ends at %v", m.ExpiresAt)
	}
}

func TestWhichLeaseIsEffective(t *testing.T) {
	now := time.Now()
	at := func(a Action, ttl time.Duration, offset int64) *Lease {
		return &Lease{Command: Command{Action: a}, ExpiresAt: now.Add(ttl), Offset: offset}
	}
	ordered := []*Lease{ // from the strongest
		at(Allow, 1, 1), at(Drop, 9, 1), at(Drop, 5, 3), at(Drop, 5, 2), at(RateLimit, 99, 9), at(Observe, 999, 10),
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := a.Beats(b); got != (i < j) {
				t.Errorf("lease %d beats %d: %v", i, j, got)
			}
		}
	}
}

func TestMostSpecificModeWins(t *testing.T) {
	mode := func(key string, offset int64) *Lease {
		k, err := ParseKey([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		return &Lease{Command: Command{Target: k.Target, Action: SetMode}, Offset: offset}
	}
	ordered := []*Lease{
		mode("interface:a/eth0|mode|x", 1), mode("host:a|mode|x", 5), mode("host:a|mode|y", 2), mode("*|mode|x", 9),
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := a.OverridesMode(b); got != (i < j) {
				t.Errorf("mode %d overrides %d: %v", i, j, got)
			}
		}
	}
}
