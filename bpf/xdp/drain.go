package xdp

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// BootTime reads the clock of leases and windows: time since boot, suspend
// included.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // not possible: the clock exists since 2.6.39
	}
	return time.Duration(ts.Nano())
}

// Drain ends the window of every interface and returns what it counted. The
// window stays in the kernel until Commit: a Drain without one returns the same
// window again, under the same boot id and seq, also in a later process. So a
// process that dies between reading and publishing loses nothing, and one that
// dies between publishing and Commit publishes what readers recognise.
func (d *Datapath) Drain() (Drained, error) {
	start := time.Now()
	if err := d.end(); err != nil {
		return Drained{}, err
	}
	ended := time.Now()
	out := d.scan()
	if err := d.noteEstablished(d.scanner.conversing, out.End); err != nil {
		return out, err
	}
	out.FlipWait, out.Scan = ended.Sub(start), time.Since(ended)
	return out, nil
}

// end ends the window, and returns once no program counts in it.
func (d *Datapath) end() error {
	if atomic.LoadUint32(&d.control.Pending) == 0 {
		d.flip()
	}
	return d.grace.wait()
}

// flip makes the other half of the tables the one that is written. The order
// matters: dying anywhere in between leaves either the old window open or the
// new one pending, and never a count in neither.
func (d *Datapath) flip() {
	c := d.control
	now := uint64(BootTime())
	c.PendingStart, c.PendingEnd = c.WindowStart, now
	c.PendingBootId = c.BootId
	for i := range d.slots {
		if d.slots[i].Ifindex != 0 {
			d.slots[i].Seq++
			d.slots[i].PendingSeq = d.slots[i].Seq
		} else {
			d.slots[i].PendingSeq = 0
		}
	}
	d.beginKnown(int(c.Epoch ^ 1))
	atomic.StoreUint32(&c.Pending, 1)
	atomic.StoreUint32(&c.Epoch, c.Epoch^1)
	c.WindowStart = now
	d.scanned = false
}

// Commit forgets the window that Drain returned: it has been published.
func (d *Datapath) Commit() {
	c := d.control
	if atomic.LoadUint32(&c.Pending) == 0 || !d.scanned {
		return
	}
	half := int(c.Epoch ^ 1)
	d.settleListed(half)
	d.clearSources(half)
	d.adapt(half)
	for region := half * d.cpus; region < (half+1)*d.cpus; region++ {
		d.countVerdicts(region)
	}
	clear(d.targets[half*d.cpus*targetStride : (half+1)*d.cpus*targetStride])
	clear(d.totals[half*d.cpus*MaxSlots : (half+1)*d.cpus*MaxSlots])
	clear(d.sketches[half*d.cpus*MaxSlots : (half+1)*d.cpus*MaxSlots])
	atomic.StoreUint32(&c.Pending, 0)
	d.scanned = false
}

// scan reads the half that has ended.
func (d *Datapath) scan() (out Drained) {
	c := d.control
	half, id := int(c.Epoch^1), string(trimZero(c.PendingBootId[:]))
	out.Start, out.End = time.Duration(c.PendingStart), time.Duration(c.PendingEnd)
	for i := range d.slots {
		if d.slots[i].PendingSeq != 0 {
			out.Windows = append(out.Windows, Window{
				Slot: Slot(i), Ifindex: int(d.slots[i].Ifindex), BootID: id, Seq: d.slots[i].PendingSeq})
		}
	}
	d.scanSources(out.Windows, half)
	d.scanTargets(half, d.scanner.window)
	d.scanTotals(half, d.scanner.window)
	for i := range out.Windows {
		d.sketch(half, &out.Windows[i])
	}
	d.scanned = true
	return out
}

// window returns the window of a slot, nil if it has none: an interface detached in
// mid-window, and its last packets have no record.
func (s *scanner) window(slot int) *Window {
	if slot >= MaxSlots {
		return nil
	}
	return s.windows[slot]
}

func addr16(w [4]uint32) netip.Addr {
	var b [16]byte
	for i, v := range w {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	return netip.AddrFrom16(b)
}

func (d *Datapath) scanTotals(half int, window func(int) *Window) {
	for cpu := range d.cpus {
		for slot := range MaxSlots {
			w := window(slot)
			if w == nil {
				continue
			}
			t := &d.totals[(half*d.cpus+cpu)*MaxSlots+slot]
			addTotals(&w.Other, t.Other.ByClass, t.Other.Bytes, t.Other.UdpBytes, t.Other.Dropped)
			w.NonIP += t.NonIp
			w.NonIPBytes += t.NonIpBytes
			w.NoTarget += t.NoTarget
			w.Malformed += t.Malformed
			w.MalformedBytes += t.MalformedBytes
			w.Truncated = w.Other.Packets > 0
			addTotals(&w.Totals, t.Other.ByClass, t.Other.Bytes, t.Other.UdpBytes, t.Other.Dropped)
		}
	}
}

func addTotals(c *Counters, by [NumClasses]uint64, bytes, udpBytes, dropped uint64) {
	for i, n := range by {
		c.ByClass[i] += n
		c.Packets += n
	}
	c.Bytes += bytes
	c.UDPBytes += udpBytes
	c.Dropped += dropped
}

func trimZero(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}
