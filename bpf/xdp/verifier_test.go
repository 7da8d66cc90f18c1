package xdp

import (
	"testing"

	"github.com/weir-net/weir/bpf/nic"
)

// TestVerifierHasRoom keeps the programs well below what the kernel's verifier
// looks at before it refuses one: a million instructions, of which older kernels
// need more for the same program. It is also what attaching costs.
func TestVerifierHasRoom(t *testing.T) {
	const most = 600_000
	r := newRig(t, Config{})
	ethernet := nic.Interface{Ethernet: true, MTU: 9000}
	for _, mode := range []Mode{ModeNative, ModeTCX} {
		p, err := r.programFor(1, ethernet, mode)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if !ok {
			t.Fatal("the kernel does not say how much it verified")
		}
		t.Logf("%s: %d instructions verified", mode, n)
		if n > most {
			t.Errorf("%s: %d instructions verified, want at most %d", mode, n, most)
		}
	}
}
