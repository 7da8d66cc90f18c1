package rates

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// agree wants both readers to find the same in a value, if the fast one takes it.
func agree(t *testing.T, value []byte) bool {
	t.Helper()
	var fast Record
	if !scan(value, &fast) {
		return false
	}
	slow, err := decodeAny(value)
	if err != nil {
		t.Fatalf("scanned, but encoding/json says %v:\n%s", err, value)
	}
	if !reflect.DeepEqual(fast, slow) {
		t.Fatalf("scanned:\n%+v\nencoding/json:\n%+v\n%s", fast, slow, value)
	}
	return true
}

// TestScanReadsAsEncodingJSON holds both readers against each other, on records
// and on what a few changed bytes make of them.
func TestScanReadsAsEncodingJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	scanned, mutants := 0, 0
	const alphabet = `0123456789.,:-+eE"{}[]\ntsyu ` + "\x00\xff"
	for i := range 1000 {
		r := random(rng)
		if i == 0 {
			r = example()
		}
		if i%4 != 0 { // most as they are in practice: no escapes, no offset of 19 digits
			r.BootID, r.EvidenceOffset = "boot-1", r.EvidenceOffset%1e15
		}
		value, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if agree(t, value) {
			scanned++
		}
		for range 60 {
			m := slices.Clone(value)
			for range 1 + rng.IntN(2) {
				at := rng.IntN(len(m))
				c := alphabet[rng.IntN(len(alphabet))]
				switch rng.IntN(4) {
				case 0:
					m[at] = c
				case 1:
					m = slices.Insert(m, at, c)
				case 2:
					m = slices.Delete(m, at, at+1)
				default:
					m = slices.Insert(m, at, m[at:at+rng.IntN(len(m)-at)]...)
				}
			}
			if agree(t, m) {
				mutants++
			}
		}
	}
	// Not all: some names need escapes, some numbers have 19 digits.
	if scanned < 400 || mutants < 1000 {
		t.Errorf("only %d records and %d changed ones were scanned", scanned, mutants)
	}
}

// TestScanTakesWhatAggregatorsWrite: else everything still works, but slowly.
func TestScanTakesWhatAggregatorsWrite(t *testing.T) {
	for _, r := range []Record{example(), quiet()} {
		value, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if !agree(t, value) {
			t.Errorf("left to encoding/json: %s", value)
		}
	}
}

func TestScanNumbers(t *testing.T) {
	value, err := Encode(quiet())
	if err != nil {
		t.Fatal(err)
	}
	const field = `"pps":0,`
	if strings.Count(string(value), field) != 1 {
		t.Fatalf("no single %s in %s", field, value)
	}
	for number, want := range map[string]bool{
		"1": true, "0.1": true, "123456.789": true, "1234567890.12345": true, "0.30000000000000004": true, "9007199254740993": true,
		"1e-9": true, "2.5e+21": true, "0e0": true, "99999999999999.9": true,
		"": false, "01": false, "1.": false, ".5": false, "1..2": false, "1e": false, "1e999": false, "--1": false, "00.1": false, "1.2.3": false, "0x1": false, "+1": false,
	} {
		if got := agree(t, []byte(strings.Replace(string(value), field, `"pps":`+number+`,`, 1))); got != want {
			t.Errorf("%q: scanned %v, want %v", number, got, want)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, r := range []Record{example(), quiet()} {
		value, err := Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value []byte) { agree(t, value) })
}

func BenchmarkDecode(b *testing.B) {
	r := example()
	for len(r.Top) < 20 {
		r.Top = append(r.Top, r.Top[0])
	}
	value, err := Encode(r)
	if err != nil {
		b.Fatal(err)
	}
	for name, decode := range map[string]func([]byte) (Record, error){"scan": Decode, "encoding-json": decodeAny} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				if _, err := decode(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
