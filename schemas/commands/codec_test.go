package commands

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestRoundTrip(t *testing.T) {
	want := Command{
		Match:  Match{Source: netip.MustParsePrefix("203.0.113.7/32")},
		Action: Drop, TTL: 10 * time.Minute, Issuer: "alice", Reason: "syn flood",
	}
	key, value, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	if string(key) != "*|203.0.113.7/32|alice" {
		t.Errorf("key %q", key)
	}
	got, err := Decode(key, value)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecodeWhatAPersonWrites(t *testing.T) {
	const key = "*|203.0.113.7/32|alice"
	for _, value := range []string{
		`{"v":1,"action":"drop","match":{"source":"203.0.113.7/32"},"ttl":"10m","issuer":"alice","reason":"syn flood","rate":null,"evidence":null}`,
		`{"v":1,"action":"drop","match":{"source":"203.0.113.7"},"reason":"syn flood","ttl":600}`,
		` { "action" : "drop" , "reason" : "syn\u0020flood" } `,
	} {
		got, err := Decode([]byte(key), []byte(value))
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		want := Command{Match: Match{Source: netip.MustParsePrefix("203.0.113.7/32")}, Action: Drop, TTL: 10 * time.Minute, Issuer: "alice", Reason: "syn flood"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", value, got, want)
		}
	}
}
