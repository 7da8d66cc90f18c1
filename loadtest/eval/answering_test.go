package eval

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
)

// segment is a TCP frame from port at 192.0.2.1 to a web server.
func segment(port uint16, flags byte) []byte {
	b := make([]byte, 14+20+20)
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, protocolTCP
	binary.BigEndian.PutUint16(ip[2:], 40)
	copy(ip[12:], netip.MustParseAddr("192.0.2.1").AsSlice())
	copy(ip[16:], netip.MustParseAddr("198.51.100.80").AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
	binary.BigEndian.PutUint16(b[34:], port)
	binary.BigEndian.PutUint16(b[36:], 80)
	b[46], b[47] = 0x50, flags
	return b
}

// TestAttackerWithoutAnswersFallsSilent plays connections of a SYN and three
// segments each into a lab: with the tap, which sees every SYN arrive, all of it
// is sent; of a connection whose SYN is said to be lost, the SYN alone.
func TestAttackerWithoutAnswersFallsSilent(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	const connections, segments, syn, ack = 20, 3, 2, 16
	const answer = 30 * time.Millisecond // long enough for a SYN to arrive on a busy machine
	var frames []capture.Frame
	for port := range uint16(connections) {
		for i := range segments + 1 {
			flags := byte(ack)
			if i == 0 {
				flags = syn
			}
			b := segment(1024+port, flags)
			frames = append(frames, capture.Frame{At: time.Duration(port)*answer + time.Duration(min(i, 1))*answer*9/10, Data: b, Wire: len(b)})
		}
	}
	// One whose beginning the capture does not have.
	frames = append(frames, capture.Frame{At: frames[len(frames)-1].At, Data: segment(9, ack), Wire: 54})
	l, err := lab.New(lab.Config{ID: fmt.Sprintf("a%x", os.Getpid()), Silent: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	for lost, want := range map[int]uint64{0: connections*(segments+1) + 1, connections / 2: connections*(segments+1) + 1 - connections/2*segments} {
		a, err := newAnswering(l, frames)
		if err != nil {
			t.Fatal(err)
		}
		read := a.listen
		a.listen = func() error {
			err := read()
			for f := range a.open {
				if int(f.fromPort) < 1024+lost {
					delete(a.open, f)
				}
			}
			return err
		}
		var sent uint64
		err = l.Do(lab.Clients, func() error {
			sender, err := traffic.NewSender(lab.DataInterface)
			if err != nil {
				return err
			}
			defer sender.Close()
			err = a.once(t.Context(), sender)
			sent = sender.Packets
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.close(); err != nil {
			t.Error(err)
		}
		if sent != want || a.withheld != uint64(len(frames))-want {
			t.Errorf("%d SYN lost: %d frames were sent and %d withheld, want %d and %d", lost, sent, a.withheld, want, uint64(len(frames))-want)
		}
	}
}
