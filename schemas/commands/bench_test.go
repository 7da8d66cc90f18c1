package commands

import "testing"

func BenchmarkDecode(b *testing.B) {
	key, value, err := Encode(examples()["drop"])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(key, value); err != nil {
			b.Fatal(err)
		}
	}
}
