// Package capture reads packet captures, says independently of the probe what
// each frame is, and writes captures of its own with the labels that a probe's
// counts must equal.
package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Frame is one captured Ethernet frame.
type Frame struct {
	At   time.Duration // since the first frame of the file
	Data []byte        // as captured; may be shorter than it was on the wire
	Wire int           // its length on the wire
}

// maxFrames bounds what Read keeps in memory.
const maxFrames = 50_000_000

// Read reads all Ethernet frames of a pcap or pcapng file, in file order.
func Read(path string) ([]Frame, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening capture: %w", err)
	}
	defer f.Close()
	frames, err := read(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading capture %s: %w", path, err)
	}
	return frames, nil
}

// source is what pcapgo's readers have in common.
type source interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

func read(r *bufio.Reader) ([]Frame, error) {
	magic, err := r.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("reading the magic number: %w", err)
	}
	var in source
	if slices.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		in, err = pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
	} else {
		in, err = pcapgo.NewReader(r)
	}
	if err != nil {
		return nil, err
	}
	if t := in.LinkType(); t != layers.LinkTypeEthernet {
		return nil, fmt.Errorf("link type is %v, only Ethernet can be replayed", t)
	}
	var out []Frame
	var first time.Time
	for {
		data, info, err := in.ReadPacketData()
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("frame %d: %w", len(out)+1, err)
		case len(out) == maxFrames:
			return nil, fmt.Errorf("more than %d frames", maxFrames)
		}
		if len(out) == 0 {
			first = info.Timestamp
		}
		// Captures of several queues are not quite in order; time must not run back.
		at := max(0, info.Timestamp.Sub(first))
		if len(out) > 0 {
			at = max(at, out[len(out)-1].At)
		}
		out = append(out, Frame{At: at, Data: data, Wire: info.Length})
	}
}

// Filter returns the frames that are addressed to one of the destinations; no
// destination means all frames. Two-way captures must be filtered: a probe
// sees only what comes in.
func Filter(frames []Frame, destinations []netip.Addr) []Frame {
	if len(destinations) == 0 {
		return frames
	}
	var out []Frame
	for _, f := range frames {
		if p := Classify(f.Data); p.Kind == IP && slices.Contains(destinations, p.Destination) {
			out = append(out, f)
		}
	}
	return out
}

// LargestFrame returns the length of the longest frame.
func LargestFrame(frames []Frame) int {
	n := 0
	for _, f := range frames {
		n = max(n, len(f.Data))
	}
	return n
}
