package xdp

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	fuzzSlots  = 3
	fuzzRounds = 6 // of the short run, each with another configuration
	// jiffy is how far the clock of leases may be behind: a tick of 100 Hz, twice.
	jiffy = 20 * time.Millisecond
	// stolen is how far it may be behind when another guest had the processor: a tick
	// comes late then. Only what leases tell is held against it.
	stolen = time.Second
)

// fuzz is a datapath under random treatment, and the model that it is held against.
type fuzz struct {
	frames
	*rig
	cfg    Config
	leases leaseModel
	meter  meterModel
	modes  [fuzzSlots]FilterMode
	// established are the sources that some drain saw converse.
	established map[netip.Addr]bool

	open    [fuzzSlots]*windowModel
	pending []*windowModel // nil: none
	drained bool           // by the present process, and so ready to commit
	boot    int
	owner   string // boot id of the pending window
	seq     uint64 // of this boot
	ended   uint64 // seq of the pending window
	history []string
	sent    int
	crashes int
	cut     int // of them, those in the middle of a change
	// Of all windows, drained twice or not: packets, and those without a source.
	counted, nameless uint64
}

// TestFuzz sends random frames through random filters and holds each packet's
// verdict and reason, each window's every counter, and each lease's counters against
// a model, over drains, commits, restarts and full tables. FUZZ_MINUTES says how
// long (20 s if unset), FUZZ_SEED repeats a run.
func TestFuzz(t *testing.T) {
	length := 20 * time.Second
	if minutes, err := strconv.ParseFloat(os.Getenv("FUZZ_MINUTES"), 64); err == nil {
		length = time.Duration(minutes * float64(time.Minute))
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("FUZZ_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("FUZZ_SEED=%d", seed)
	end := time.Now().Add(length)
	sent, rounds, crashes, cut := 0, 0, 0, 0
	for time.Now().Before(end) {
		t.Run(fmt.Sprint("round ", rounds), func(t *testing.T) {
			// Never unlocked: the thread, moved among processors, ends with the goroutine.
			runtime.LockOSThread()
			f := newFuzz(t, seed+uint64(rounds))
			stop := time.Now().Add(max(length/fuzzRounds/4, min(length/fuzzRounds, 20*time.Second)))
			for time.Now().Before(stop) {
				f.step()
			}
			f.finish()
			sent, crashes, cut = sent+f.sent, crashes+f.crashes, cut+f.cut
		})
		if t.Failed() {
			t.Fatalf("repeat with FUZZ_SEED=%d", seed+uint64(rounds))
		}
		rounds++
	}
	t.Logf("%d packets in %d rounds, %d crashes, %d of them in the middle of a change", sent, rounds, crashes, cut)
	if sent == 0 {
		t.Error("no packet was sent")
	}
}

func newFuzz(t *testing.T, seed uint64) *fuzz {
	g := frames{Rand: rand.New(rand.NewPCG(seed, 0))}
	f := &fuzz{frames: g, leases: leaseModel{}, established: map[netip.Addr]bool{}}
	f.cfg = Config{
		PinPath:                fmt.Sprintf("/sys/fs/bpf/weir-fuzz-%d-%d", os.Getpid(), seed),
		SourceWays:             f.pick(8, 64, 1<<14),
		MaxLeases:              f.pick(8, 40, 4096),
		MaxPrefixes:            f.pick(3, 20, 4096),
		Strict:                 f.IntN(2) == 0,
		IPv6SourcePrefixLength: f.pick(64, 128),
		BootID:                 "boot-0",
	}
	f.cfg.SourceLimit = uint64(f.pick(0, 0, 1, 100, unreachable))
	f.meter = newMeterModel(f.cfg.SourceLimit)
	f.wide = f.IntN(2) == 0
	t.Logf("%+v wide %v", f.cfg, f.wide)
	t.Cleanup(func() { os.RemoveAll(f.cfg.PinPath) })
	f.rig = newRig(t, f.cfg)
	f.meter.exempt = []netip.Prefix{netip.MustParsePrefix("203.0.113.6/31"), netip.MustParsePrefix("2001:db8::4/126")}
	if err := f.SetExempt(f.meter.exempt); err != nil {
		t.Fatal(err)
	}
	for s := range Slot(fuzzSlots) {
		if s > 0 {
			f.use(s, FilterEnforce)
		}
		f.modes[s] = FilterEnforce
		f.open[s] = newWindowModel()
	}
	return f
}

// note remembers what was done, for the report of a failure.
func (f *fuzz) note(format string, args ...any) {
	if len(f.history) > 20 {
		f.history = f.history[10:]
	}
	f.history = append(f.history, fmt.Sprintf(format, args...))
}

func (f *fuzz) fail(format string, args ...any) {
	f.t.Helper()
	f.t.Fatalf("after\n%s\n%s", strings.Join(f.history, "\n"), fmt.Sprintf(format, args...))
}

func (f *fuzz) step() {
	switch n := f.IntN(1000); {
	case n < 900:
		f.packet()
	case n < 940:
		f.putSome()
	case n < 960:
		f.deleteSome()
	case n < 962:
		f.sweep()
	case n < 970:
		s := Slot(f.IntN(fuzzSlots))
		f.modes[s] = FilterMode(f.pick(int(FilterEnforce), int(FilterEnforce), int(FilterObserve), int(FilterOff)))
		f.note("mode of %d is %d", s, f.modes[s])
		f.SetFilterMode(s, f.modes[s])
	case n < 985:
		f.drainOnce()
	case n < 992:
		f.commit()
	case n < 994:
		f.entriesAgree()
	case n < 995:
		f.reopen()
	case n < 996:
		f.onCPU(f.IntN(f.cpus))
	case n == 996 && f.IntN(3) == 0: // it takes as long as thousands of packets
		f.crash()
	}
}

func (f *fuzz) finish() {
	f.entriesAgree()
	for range 2 {
		f.drainOnce()
		f.commit()
	}
	if f.cfg.SourceWays > 1<<12 && f.nameless > f.counted/4 {
		f.fail("%d of %d packets found no place in a table for many more", f.nameless, f.counted)
	}
	if err := f.Remove(); err != nil {
		f.fail("removing: %v", err)
	}
}

func (f *fuzz) onCPU(n int) {
	var set unix.CPUSet
	set.Set(n)
	// A processor that is possible but not there cannot be had.
	_ = unix.SchedSetaffinity(0, &set)
}

// packet sends one frame and holds everything about it against the model.
func (f *fuzz) packet() {
	s := Slot(f.IntN(fuzzSlots))
	sent := f.frame()
	if !takesFrags(s) {
		sent = sent[:min(len(sent), linearFrame)]
	}
	p := dissect(sent)
	before := f.verdicts(s)
	t0 := BootTime() - jiffy
	verdict, err := f.programs[s].Run(&ebpf.RunOptions{Data: p.frame, Repeat: 1})
	t1 := BootTime()
	if err != nil {
		f.fail("running %d bytes %x: %v", len(p.frame), p.frame, err)
	}
	f.sent++
	reason := f.moved(before, f.verdicts(s))
	want := f.wanted(&p, s, t1)
	for t := t0; t < t1; t += time.Millisecond { // a lease may end in between
		want = append(want, f.wanted(&p, s, t)...)
	}
	want = f.metered(want, &p, s, t0, t1)
	if !slices.Contains(want, reason) || isDrop(reason) != (verdict == xdpDrop) || verdict != xdpDrop && verdict != xdpPass {
		f.fail("slot %d mode %d: verdict %d, reason %q, want one of %q\nframe %x\n%+v", s, f.modes[s], verdict, reason, want, p.frame, p)
	}
	if reason == "pass" {
		f.meter.pass(p.counted(f.cfg.IPv6SourcePrefixLength == 128), t0, t1)
	}
	f.open[s].count(&p, reason, f.cfg.IPv6SourcePrefixLength == 128)
	f.blame(&p, s, reason, t0)
}

func (f *fuzz) verdicts(s Slot) map[string]uint64 {
	v, err := f.Verdicts(s)
	if err != nil {
		f.fail("%v", err)
	}
	return v
}

// moved returns the one reason whose counter is one up.
func (f *fuzz) moved(before, after map[string]uint64) (reason string) {
	for name, n := range after {
		if n == before[name] {
			continue
		}
		if n != before[name]+1 || reason != "" {
			f.fail("one packet turned %v into %v", before, after)
		}
		reason = name
	}
	return reason
}

// wanted returns the reasons with which a packet may leave.
func (f *fuzz) wanted(p *dissected, s Slot, now time.Duration) []string {
	mode := f.modes[s]
	switch {
	case p.class == cNonIP && f.cfg.Strict && mode == FilterEnforce:
		return []string{"drop_non_ip"}
	case p.class == cNonIP:
		return []string{"pass_non_ip"}
	case mode == FilterOff:
		return []string{"pass_off"}
	case p.class == cMalformed:
		return []string{"drop_malformed"}
	}
	want := f.leases.reasons(p, s, now, f.established[p.source] || f.established[p.counted(false)])
	if mode != FilterObserve {
		return want
	}
	observed := []string{}
	for _, r := range want {
		if isDrop(r) {
			r = "would_drop"
		}
		observed = append(observed, r)
	}
	return observed
}

// blame holds the leases' counters against the model: the packet counts for one of
// those that decided, and for no other.
func (f *fuzz) blame(p *dissected, s Slot, reason string, now time.Duration) {
	if p.class == cNonIP || p.class == cMalformed || f.modes[s] == FilterOff {
		return
	}
	n := uint64(len(p.frame))
	counted := 0
	for _, e := range f.leases.covering(p, s, now) {
		got, ok := f.Drops(e.Match)
		if !ok {
			f.fail("lease %+v is gone", e.Match)
		}
		last := got.Last
		got.Last = e.drops.Last
		if got == e.drops {
			continue
		}
		want := e.drops
		switch {
		case isDrop(reason) && e.Action >= ActionRateLimit:
			want.Packets, want.Bytes = want.Packets+1, want.Bytes+n
		case reason == "would_drop" && e.Action >= ActionRateLimit, reason == "pass_observed" && e.Action == ActionObserve:
			want.Would, want.WouldBytes = want.Would+1, want.WouldBytes+n
		}
		if got != want {
			f.fail("a packet that left as %s made %+v of %+v of lease %+v, want %+v", reason, got, e.drops, e.Entry, want)
		}
		if last < now-stolen {
			f.fail("a packet that left as %s at %v is the last at %v of lease %+v", reason, now, last, e.Entry)
		}
		e.drops = got
		e.drops.Last = last
		counted++
	}
	ofLease := isDrop(reason) && reason != "limit_any_source" || reason == "would_drop" && !f.meter.mayBeOver
	if counted > 1 || counted == 0 && ofLease {
		f.fail("a packet that left as %s counted for %d leases\n%+v", reason, counted, p)
	}
}

func (f *fuzz) drainOnce() {
	if f.pending == nil {
		f.pending = append(f.pending, f.open[:]...)
		for s := range f.open {
			f.open[s] = newWindowModel()
		}
		f.seq++
		f.ended, f.owner = f.seq, f.cfg.BootID
	}
	f.note("drain")
	out, err := f.Drain()
	if err != nil {
		f.fail("draining: %v", err)
	}
	f.drained = true
	if len(out.Windows) != fuzzSlots {
		f.fail("%d windows, want %d", len(out.Windows), fuzzSlots)
	}
	for i := range out.Windows {
		w := &out.Windows[i]
		if w.BootID != f.owner || w.Seq != f.ended || int(w.Slot) != i {
			f.fail("window %s/%d of slot %d, want %s/%d of %d", w.BootID, w.Seq, w.Slot, f.owner, f.ended, i)
		}
		if err := f.pending[i].compare(w); err != nil {
			f.fail("slot %d: %v", i, err)
		}
		f.counted += w.Totals.Packets
		f.nameless += w.Other.Packets
		for _, s := range w.Sources.All() {
			if s.ByClass[classTCPOther] >= establishedPackets {
				f.established[s.Address] = true
			}
		}
	}
}

func (f *fuzz) commit() {
	f.note("commit")
	f.Commit()
	if !f.drained { // there is nothing that this process has read
		return
	}
	f.pending, f.drained = nil, false
	if f.IntN(2) == 0 {
		t := &f.tables[f.IntN(2)]
		hot := t.sets >> f.IntN(bits.Len(uint(max(1, t.sets/blockSets))))
		f.note("%d sets of IPv%d are hot", hot, t.family)
		f.move(t, int(f.control.Epoch^1), hot)
	}
}

// reopen lets the process end and another take over what is pinned; the programs
// run on.
func (f *fuzz) reopen() {
	f.note("reopen")
	if err := f.Close(); err != nil {
		f.fail("closing: %v", err)
	}
	f.adopt()
	f.entriesAgree()
}

// adopt opens what an earlier process has left.
func (f *fuzz) adopt() {
	f.boot++
	f.cfg.BootID = fmt.Sprint("boot-", f.boot)
	d, err := Open(f.cfg)
	if err != nil {
		f.fail("opening again: %v", err)
	}
	f.t.Cleanup(func() { d.Close() })
	f.Datapath = d
	if !d.Adopted() {
		f.fail("nothing was adopted")
	}
	for s := range Slot(fuzzSlots) {
		d.slots[s].Ifindex = 1000 + uint32(s) // there are no links to adopt
	}
	f.seq, f.drained = 0, false
}
