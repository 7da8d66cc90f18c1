package xdp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// victimVariable makes the test binary a process that changes a filter until it is
// killed.
const victimVariable = "WEIR_FUZZ_VICTIM"

// plan is what the victim is to do.
type plan struct {
	Config Config
	Steps  []planStep
}

// planStep is a Put or a Delete.
type planStep struct {
	Put    []Entry `json:",omitempty"`
	Delete []Match `json:",omitempty"`
}

func TestMain(m *testing.M) {
	if os.Getenv(victimVariable) == "" {
		os.Exit(m.Run())
	}
	if err := beVictim(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// beVictim writes a byte once it has the filter, and one after each step.
func beVictim() error {
	var p plan
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	d, err := Open(p.Config)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	for i := 0; ; i++ {
		if _, err := os.Stdout.Write([]byte{'.'}); err != nil {
			return err
		}
		if i == len(p.Steps) {
			return nil // without a word: another death
		}
		if err := d.Put(p.Steps[i].Put); err != nil {
			return nil // what of it is in, is not known
		}
		if _, err := d.Delete(p.Steps[i].Delete); err != nil {
			return fmt.Errorf("deleting: %w", err)
		}
	}
}

// crash lets a process of its own change the filter, kills it in the middle, and
// takes over: each lease is as before or as after the change that was cut short, and
// what the process had finished is there.
func (f *fuzz) crash() {
	p := f.plan()
	if err := f.Close(); err != nil {
		f.fail("closing: %v", err)
	}
	done := f.kill(p)
	f.note("crash after %d of %d steps", done, len(p.Steps))
	for _, s := range p.Steps[:done] {
		for _, e := range s.Put {
			f.leases.put(e)
		}
		for _, m := range s.Delete {
			delete(f.leases, m)
		}
	}
	f.adopt()
	f.crashes++
	if done < len(p.Steps) {
		f.cut++
		f.note("cut short: %+v", p.Steps[done])
		f.tolerate(p.Steps[done])
	}
	f.entriesAgree()
	for range 300 {
		f.packet()
	}
}

func (f *fuzz) plan() plan {
	p := plan{Config: f.cfg}
	// What is there makes room, now and then, lest all that follows be renewals.
	p.Steps = append(p.Steps, planStep{})
	for m := range f.leases {
		if f.IntN(8) > 0 {
			p.Steps[0].Delete = append(p.Steps[0].Delete, m)
		}
	}
	for range 1 + f.IntN(6) {
		var put planStep
		for range 1 + f.IntN(max(2, min(f.cfg.MaxLeases/8, 200))) {
			put.Put = append(put.Put, f.entry())
		}
		var gone planStep
		for _, e := range put.Put {
			if f.IntN(2) == 0 {
				gone.Delete = append(gone.Delete, e.Match)
			}
		}
		p.Steps = append(p.Steps, put, gone)
	}
	return p
}

// kill runs a victim, kills it some time after a step, and returns how many steps it
// had finished.
func (f *fuzz) kill(p plan) int {
	program, err := os.Executable()
	if err != nil {
		f.fail("%v", err)
	}
	victim := exec.Command(program)
	victim.Env = append(os.Environ(), victimVariable+"=1")
	victim.Stderr = os.Stderr
	in, err := victim.StdinPipe()
	if err != nil {
		f.fail("%v", err)
	}
	out, err := victim.StdoutPipe()
	if err != nil {
		f.fail("%v", err)
	}
	if err := victim.Start(); err != nil {
		f.fail("starting a victim: %v", err)
	}
	if err := json.NewEncoder(in).Encode(p); err != nil {
		f.fail("telling the victim: %v", err)
	}
	signs := bufio.NewReader(out)
	seen := 0
	for last := f.IntN(len(p.Steps) + 1); seen <= last; seen++ {
		if _, err := signs.ReadByte(); err != nil {
			break
		}
	}
	for end := time.Now().Add(time.Duration(f.IntN(300)) * time.Microsecond); time.Now().Before(end); { // shorter than a sleep can be
	}
	_ = victim.Process.Kill() // if it is not dead already
	rest, err := io.ReadAll(signs)
	if err != nil {
		f.fail("listening to the victim: %v", err)
	}
	_ = victim.Wait()
	if seen += len(rest); seen == 0 {
		f.fail("the victim never had the filter")
	}
	return seen - 1
}

// tolerate takes over what is there of the leases that a step cut short was about,
// if it makes sense.
func (f *fuzz) tolerate(s planStep) {
	there := f.entries()
	possible := map[Match][]Entry{}
	for _, m := range s.Delete {
		possible[m] = nil
	}
	for _, e := range s.Put {
		possible[e.Match] = append(possible[e.Match], e)
	}
	for m, entries := range possible {
		if was := f.leases[m]; was != nil {
			entries = append(entries, was.Entry)
		}
		got := there[m]
		if got == nil {
			delete(f.leases, m) // gone, or never come
			continue
		}
		if !f.isBlend(got.Entry, entries) {
			f.fail("lease %+v is none of %+v", got.Entry, entries)
		}
		f.leases[m] = got
	}
}

// isBlend reports whether each field of e is that of one of the entries: a renewal may
// have been cut short.
func (f *fuzz) isBlend(e Entry, of []Entry) bool {
	var action, interfaces, pps, bps, expires, offset, suspended bool
	for _, o := range of {
		action = action || e.Action == o.Action
		interfaces = interfaces || e.Interfaces == o.Interfaces
		pps, bps = pps || e.PPS == o.PPS, bps || e.BPS == o.BPS
		expires = expires || e.ExpiresAt == o.ExpiresAt
		offset = offset || e.Offset == o.Offset
		suspended = suspended || e.Suspended == o.Suspended || e.Suspended // silenced, and not yet in force again
	}
	return action && interfaces && pps && bps && expires && offset && suspended
}
