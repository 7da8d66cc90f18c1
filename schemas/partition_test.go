package schemas

import "testing"

func TestPartitionAgreesWithJava(t *testing.T) {
	vectors, err := PartitionVectors()
	if err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 1000 {
		t.Fatalf("%d vectors, want 1000", len(vectors))
	}
	h := NewHash32()
	for _, v := range vectors {
		key := []byte(v.Key)
		if got := Murmur2(key); got != v.Murmur2 {
			t.Errorf("Murmur2(%q) = %08x, Java says %08x", v.Key, got, v.Murmur2)
		}
		if got := Partition(key, 12); got != v.Partition12 {
			t.Errorf("Partition(%q, 12) = %d, Java says %d", v.Key, got, v.Partition12)
		}
		if got := Partition(key, 100); got != v.Partition100 {
			t.Errorf("Partition(%q, 100) = %d, Java says %d", v.Key, got, v.Partition100)
		}
		h.Reset()
		// goka writes the whole key at once; the sum must not depend on that.
		half := len(key) / 2
		_, _ = h.Write(key[:half])
		_, _ = h.Write(key[half:])
		if got := int32(h.Sum32() % 12); got != v.Partition12 {
			t.Errorf("hash of %q leads to partition %d, Java says %d", v.Key, got, v.Partition12)
		}
	}
}
