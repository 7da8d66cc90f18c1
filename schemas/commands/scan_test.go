package commands

import (
	"reflect"
	"testing"
)

// both reads a value in the two ways and holds them against each other. It
// reports whether the scanner understood it.
func both(t *testing.T, k Key, value []byte) bool {
	t.Helper()
	got := Command{Target: k.Target, Match: k.Match, Issuer: k.Issuer}
	if k.Mode || !got.scan(value) {
		return false
	}
	want, err := decodeAny(k, value)
	if err != nil {
		t.Fatalf("%s was read as %+v, and is wrong: %v", value, got, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s was read as\n%+v, and means\n%+v", value, got, want)
	}
	return true
}

// TestScanReadsOurOwn: without this the scanner could be of no use unnoticed.
func TestScanReadsOurOwn(t *testing.T) {
	for name, c := range examples() {
		key, value, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		k, err := ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if want := c.Action != SetMode && c.Extra == nil; both(t, k, value) != want {
			t.Errorf("%s: the scanner understood it: %v, want %v", name, !want, want)
		}
	}
}

// TestScanSpoiled puts each of some texts in the place of each byte of a value,
// before it, and through what follows it: the two ways agree about all of them.
func TestScanSpoiled(t *testing.T) {
	understood := 0
	for _, name := range []string{"drop", "rate-limit", "allow"} {
		key, value, err := Encode(examples()[name])
		if err != nil {
			t.Fatal(err)
		}
		k, err := ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		v := string(value)
		for i := range len(v) {
			for _, x := range []string{"", " ", `"`, `\`, "0", "1", "-", ".", "e", "{", "}", ",", "x", "é", "\x00", "null", `,"source":"203.0.113.7/32"`, `,"pps":1`, `,"reason":"x"`} {
				for _, spoiled := range []string{v[:i] + x + v[i+1:], v[:i] + x + v[i:], v[:i] + x} {
					if both(t, k, []byte(spoiled)) {
						understood++
					}
				}
			}
		}
	}
	if understood < 100 { // a character of a reason, a digit of a number
		t.Errorf("%d were understood: nothing was compared", understood)
	}
}

// TestDecodeAllocates: a million of these are read at a start.
func TestDecodeAllocates(t *testing.T) {
	key, value, err := Encode(examples()["drop"])
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Decode(key, value); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations, want the texts of key and value", n)
	}
}

func FuzzScan(f *testing.F) {
	for _, c := range examples() {
		key, value, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(key), value)
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		if k, err := ParseKey([]byte(key)); err == nil {
			both(t, k, value)
		}
	})
}
