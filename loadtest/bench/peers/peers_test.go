package peers

import (
	"encoding/binary"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("loading BPF needs root")
		}
		t.Skip("loading BPF needs root")
	}
}

func loadPeers(t *testing.T, sources int) *Set {
	t.Helper()
	needRoot(t)
	s, err := Load(sources)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// frameFrom is an IPv4 datagram of 42 bytes.
func frameFrom(number uint32) []byte {
	f := make([]byte, 42)
	f[12], f[13] = 8, 0
	f[14], f[23] = 0x45, 17
	a := Address(number).As4()
	copy(f[26:], a[:])
	return f
}

// send runs a program on a frame from each of the sources, all on one CPU: a batch
// that another CPU has begun is not counted.
func send(t *testing.T, s *Set, program string, numbers ...uint32) (verdict uint32) {
	t.Helper()
	stayHere(t)
	p, err := s.Program(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		if verdict, err = p.Run(&ebpf.RunOptions{Data: frameFrom(n)}); err != nil {
			t.Fatal(err)
		}
	}
	return verdict
}

// stayHere keeps the test on one CPU.
func stayHere(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var was, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if was.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &was); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}

// TestPeersCount makes sure that what Weir is compared with does its work: a
// floor that counted nothing would be a flattering one.
func TestPeersCount(t *testing.T) {
	numbers := []uint32{1, 2, 3, 2, 3, 3}
	for len(numbers) < 32*3 { // whole batches
		numbers = append(numbers, 4)
	}
	want := map[uint32]uint64{1: 1, 2: 2, 3: 3, 4: 32*3 - 6}
	for program, count := range map[string]func(*testing.T, *Set) map[uint32]uint64{
		"flat": flatCounts, "flat_batch": flatCounts, "lru_percpu": lruCounts, "kone": hashCounts,
	} {
		t.Run(program, func(t *testing.T) {
			s := loadPeers(t, 1<<12)
			send(t, s, program, numbers...)
			got := count(t, s)
			if len(got) != len(want) {
				t.Fatalf("%d sources, want %d", len(got), len(want))
			}
			for n, packets := range want {
				a := Address(n).As4()
				if got[binary.NativeEndian.Uint32(a[:])] != packets {
					t.Errorf("source %d: %d packets, want %d", n, got[binary.NativeEndian.Uint32(a[:])], packets)
				}
			}
		})
	}
}

func flatCounts(t *testing.T, s *Set) map[uint32]uint64 {
	t.Helper()
	all := map[uint32]uint64{}
	var i uint32
	var set floorSet
	for it := s.coll.Maps["sets"].Iterate(); it.Next(&i, &set); {
		for _, w := range set.Way {
			if w.Source != 0 {
				all[w.Source] += uint64(w.Packets)
			}
		}
	}
	return all
}

func lruCounts(t *testing.T, s *Set) map[uint32]uint64 {
	t.Helper()
	all := map[uint32]uint64{}
	var source uint32
	var values []floorValue
	for it := s.coll.Maps["lru"].Iterate(); it.Next(&source, &values); {
		for _, v := range values {
			all[source] += v.Packets
		}
	}
	return all
}

func hashCounts(t *testing.T, s *Set) map[uint32]uint64 {
	t.Helper()
	all := map[uint32]uint64{}
	var source uint32
	var v floorValue
	for it := s.coll.Maps["hash"].Iterate(); it.Next(&source, &v); {
		all[source] = v.Packets
	}
	return all
}

func TestKOneDropsWhatIsBlocked(t *testing.T) {
	s := loadPeers(t, 1<<12)
	if err := s.Block(5); err != nil {
		t.Fatal(err)
	}
	if v := send(t, s, "kone", 5); v != 1 {
		t.Errorf("a blocked source: verdict %d, want XDP_DROP", v)
	}
	if v := send(t, s, "kone", 6); v != 2 {
		t.Errorf("another source: verdict %d, want XDP_PASS", v)
	}
}

// TestSenderSealsItsFrames sends to where frames end, looks at the last one, and
// sums its IPv4 header up as a receiver does.
func TestSenderSealsItsFrames(t *testing.T) {
	needRoot(t)
	f := frameFrom(0)
	f[16], f[17], f[22] = 0, 28, 64
	p, err := NewSender(1, f, 26)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Sources(1, 1<<31); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		out := make([]byte, len(f)+256)
		o := ebpf.RunOptions{Data: f, DataOut: out}
		if verdict, err := p.Random().Run(&o); err != nil || verdict != 4 {
			t.Fatalf("verdict %d, want XDP_REDIRECT; %v", verdict, err)
		}
		var sum uint32
		for i := 14; i < 34; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(o.DataOut[i:]))
		}
		for sum > 0xffff {
			sum = sum&0xffff + sum>>16
		}
		if sum != 0xffff {
			t.Fatalf("the header % x sums up to %#x", o.DataOut[14:34], sum)
		}
	}
}
