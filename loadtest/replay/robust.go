package replay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas"
)

// classNames by number, for reports.
var classNames = schemas.ClassNames

// FrameByFrame plays frames so that each can be told apart in the counts, and
// returns one line for each that was not counted as the oracle says. A batch
// carries at most one frame of each source, one that is broken and one that is
// not IP at all, so that a batch's counts name each frame's.
func (s *Session) FrameByFrame(ctx context.Context, frames []capture.Frame, oracle []capture.OracleRow) ([]string, error) {
	if len(frames) != len(oracle) || len(frames) == 0 {
		return nil, fmt.Errorf("%d frames, %d rows of the oracle", len(frames), len(oracle))
	}
	// The grouping of IPv6 sources is told by the counts themselves.
	_, sums, err := s.Play(ctx, Player{Frames: frames[:1], Pace: Pace{TopSpeed: true}})
	if err != nil {
		return nil, err
	}
	prefix := sums.IPv6Prefix
	var wrong []string
	for _, batch := range batches(oracle, prefix) {
		selected := make([]capture.Frame, len(batch))
		for i, n := range batch {
			selected[i] = frames[n]
		}
		_, sums, err := s.Play(ctx, Player{Frames: selected, Pace: Pace{TopSpeed: true}})
		if err != nil {
			return wrong, err
		}
		for _, n := range batch {
			if err := judge(sums, oracle[n], prefix); err != nil {
				wrong = append(wrong, fmt.Sprintf("frame %d (%s, %d bytes): %v", oracle[n].Frame, oracle[n].Class, oracle[n].Length, err))
			}
		}
		if extra := int64(sums.Frames()) - int64(len(batch)); extra != 0 {
			wrong = append(wrong, fmt.Sprintf("%d frames too many in a batch of %d", extra, len(batch)))
		}
	}
	return wrong, nil
}

// outcomeKey is what must be unique within a batch.
func outcomeKey(row capture.OracleRow, prefix int) string {
	o := row.Outcome()
	switch {
	case o.Source.IsValid():
		return capture.Group(o.Source, prefix).String()
	case o.Broken:
		return "broken"
	}
	return "no source"
}

func batches(oracle []capture.OracleRow, prefix int) [][]int {
	var out [][]int
	used := make(map[string]int) // how many batches already hold this outcome
	for n, row := range oracle {
		key := outcomeKey(row, prefix)
		i := used[key]
		// Neither of the two outcomes without a source may share a batch: the
		// oracle leaves open whether some of them are cut short or not IP.
		if key == "broken" || key == "no source" {
			i = used["broken"] + used["no source"]
		}
		used[key]++
		if i == len(out) {
			out = append(out, nil)
		}
		out[i] = append(out[i], n)
	}
	return out
}

func judge(sums watch.Sums, row capture.OracleRow, prefix int) error {
	o := row.Outcome()
	length := uint64(row.Length)
	switch {
	case o.Source.IsValid():
		source := capture.Group(o.Source, prefix)
		if got := sums.Sources[source]; got.Packets != 1 || got.Bytes != length {
			return fmt.Errorf("source %s has %d packets of %d bytes; %s", source, got.Packets, got.Bytes, summary(sums))
		}
		return nil
	case o.Broken:
		if sums.Malformed != 1 || sums.MalformedBytes != length {
			return errors.New("is not malformed; " + summary(sums))
		}
		return nil
	case sums.NonIP+sums.Malformed != 1 || sums.NonIPBytes+sums.MalformedBytes != length:
		return errors.New("is taken for IP; " + summary(sums))
	}
	return nil
}

func summary(sums watch.Sums) string {
	sources := make([]netip.Addr, 0, 3)
	for a := range sums.Sources {
		if len(sources) < cap(sources) {
			sources = append(sources, a)
		}
	}
	return fmt.Sprintf("the batch has %d IP packets (sources %v, …), %d other, %d malformed", sums.Total.Packets, sources, sums.NonIP, sums.Malformed)
}
