package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/replay"
	"github.com/weir-net/weir/loadtest/stack"
)

type replayFlags struct {
	file, labels, lab, bin, brokers string
	ingress                         bool
	window                          time.Duration
	player                          replay.Player
	destinations                    []netip.Addr
}

func runReplay(ctx context.Context, args []string) error {
	var f replayFlags
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), `usage: loadtest replay [flags] FILE
Plays a pcap or pcapng file into the probe's interface. Without -lab it builds
a lab with a broker and a probe, and compares the counts with the capture.
`)
		flags.PrintDefaults()
	}
	flags.Float64Var(&f.player.Pace.PPS, "pps", 0, "packets per second instead of the capture's own pace")
	flags.Float64Var(&f.player.Pace.Speed, "speed", 1, "times the capture's own pace")
	flags.BoolVar(&f.player.Pace.TopSpeed, "topspeed", false, "as fast as the interface takes them")
	flags.IntVar(&f.player.Loops, "loop", 1, "how often; -1: until -duration")
	flags.DurationVar(&f.player.Duration, "duration", 0, "stop after so long")
	flags.Func("dst", "only frames to these addresses, comma-separated", addresses(&f.destinations))
	flags.StringVar(&f.labels, "check", "", "compare with this labels.json as well (robust-ethernet: with its oracle, frame by frame)")
	flags.BoolVar(&f.ingress, "ingress", false, "only frames to the label's ingress_dst")
	flags.StringVar(&f.lab, "lab", "", "play into this kept lab (\"demo\" after make demo KEEP=1), without comparing")
	flags.StringVar(&f.bin, "bin", "", "directory of the binaries")
	flags.StringVar(&f.brokers, "brokers", "", "bootstrap addresses of a broker that the lab's management link reaches; empty: an embedded one")
	flags.DurationVar(&f.window, "window", 0, "the probe's window; 0: its default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if f.file = flags.Arg(0); f.file == "" {
		flags.Usage()
		return errors.New("want a capture file")
	}
	if err := flags.Parse(flags.Args()[1:]); err != nil { // flags may follow the file
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return f.run(ctx)
}

func (f *replayFlags) run(ctx context.Context) error {
	frames, err := capture.Read(f.file)
	if err != nil {
		return err
	}
	var label capture.Label
	robust := f.labels != "" && strings.HasPrefix(filepath.Base(f.file), "robust-ethernet")
	if f.labels != "" && !robust {
		labels, err := capture.ReadLabels(f.labels)
		if err != nil {
			return err
		}
		if label, err = labels.Of(f.file); err != nil {
			return err
		}
		if f.ingress {
			f.destinations = label.IngressDst
		}
	}
	f.player.Frames = capture.Filter(frames, f.destinations)
	if len(f.player.Frames) == 0 {
		return fmt.Errorf("none of the %d frames is addressed to %v", len(frames), f.destinations)
	}
	if f.lab != "" {
		return f.into(ctx)
	}
	s, err := f.open(ctx)
	if err != nil {
		return err
	}
	if robust {
		err = f.frameByFrame(ctx, s)
	} else {
		err = f.compare(ctx, s, label)
	}
	return errors.Join(err, s.Close())
}

func (f *replayFlags) open(ctx context.Context) (*replay.Session, error) {
	bin, err := findBin(f.bin)
	if err != nil {
		return nil, err
	}
	return replay.Open(ctx, replay.SessionOptions{
		ID: uniqueID("r"), Bin: bin, Brokers: f.brokers, Largest: capture.LargestFrame(f.player.Frames), Window: f.window,
	})
}

// into plays into a lab that is there.
func (f *replayFlags) into(ctx context.Context) error {
	f.player.Interface = lab.DataInterface
	var result replay.Result
	err := lab.Inside(f.lab, lab.Clients, func() (err error) {
		result, err = f.player.Run(ctx)
		return err
	})
	fmt.Printf("sent %d frames of %d bytes in %v\n", result.Packets, result.Bytes, (result.Last - result.First).Round(time.Millisecond))
	return err
}

func (f *replayFlags) compare(ctx context.Context, s *replay.Session, label capture.Label) error {
	result, sums, err := s.Play(ctx, f.player)
	if err != nil {
		return err
	}
	fmt.Printf("sent     %9d frames  %12d bytes  in %v\n", result.Packets, result.Bytes, (result.Last - result.First).Round(time.Microsecond))
	fmt.Printf("counted  %9d frames  %12d bytes  %d IP, %d other, %d malformed, %d sources, %d windows\n", sums.Frames(),
		sums.Total.Bytes+sums.NonIPBytes+sums.MalformedBytes, sums.Total.Packets, sums.NonIP, sums.Malformed, len(sums.Sources), sums.Windows)
	var wrong []string
	if result.Loops == 1 && result.Packets == uint64(len(f.player.Frames)) {
		wrong = replay.Compare(sums, f.player.Frames)
		if f.labels != "" {
			tally := capture.NewTally(f.player.Frames, 128)
			wrong = append(wrong, label.Differences(tally, f.ingress)...)
		}
	} else if sums.Frames() != result.Packets {
		wrong = append(wrong, fmt.Sprintf("counted %d frames, sent %d", sums.Frames(), result.Packets))
	}
	wrong = append(wrong, sums.Missing...)
	return verdict(wrong)
}

func (f *replayFlags) frameByFrame(ctx context.Context, s *replay.Session) error {
	oracle, err := capture.ReadOracle(strings.TrimSuffix(f.file, filepath.Ext(f.file)) + ".oracle.csv")
	if err != nil {
		return err
	}
	wrong, err := s.FrameByFrame(ctx, f.player.Frames, oracle)
	if err != nil {
		return err
	}
	fmt.Printf("compared %d frames one by one\n", len(oracle))
	return verdict(wrong)
}

func verdict(wrong []string) error {
	if len(wrong) == 0 {
		fmt.Println("equal: every total and every source")
		return nil
	}
	for _, w := range wrong {
		fmt.Println("  differs:", w)
	}
	return fmt.Errorf("%d differences", len(wrong))
}

func runSynthesize(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("synthesize", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "the same seed gives the same files")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir := flags.Arg(0)
	if dir == "" {
		return errors.New("want a directory")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	if err := capture.Synthesize(dir, *seed); err != nil {
		return err
	}
	labels, err := capture.ReadLabels(filepath.Join(dir, "labels.json"))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(labels)
}

func findBin(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	return stack.FindBin()
}
