package xdp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	// layoutVersion is another whenever what is pinned means something else: types.h.
	layoutVersion = 16
	targetWays    = 1 << 12
	targetSpare   = 256
	targetStride  = targetWays + 2*targetSpare
	// totalWays are the records of each family of all CPUs together by default: 2 epochs ×
	// 16 B × 1,048,576 = 32 MiB, and for IPv6 as much and twice as much for the addresses.
	totalWays = 1 << 20
	minWays   = 1 << 14
	mostWays  = 1 << 24 // 2^28 bytes: the verifier takes offsets below 2^29
)

// Datapath is one loaded data plane with all its interfaces. Drain and Commit
// belong to one goroutine; the other methods may be called from any.
type Datapath struct {
	cfg     Config
	cpus    int
	sets    int // of a region of a table
	seed    uint64
	adopted bool

	maps    map[string]*ebpf.Map
	regions [][]byte

	control   *weirControl
	slots     []weirSlot
	tables    [2]sourceTable // IPv4, IPv6
	batches   []weirBatch
	verdicts  []weirOutcomes
	targets   []weirTarget
	totals    []weirTotals
	sketches  []weirSketch
	leases    []weirLease
	grace     grace
	scanner   scanner
	known     knownSources
	scanned   bool
	leftovers bool

	mu        sync.Mutex // guards what follows
	blocklist blocklist
	settling  settling
	attached  map[int]*attachment
	former    uint64                             // slots that interfaces have left, by bit
	shown     [MaxSlots][len(reasonNames)]uint64 // the last of Verdicts
	table     leaseTable
}

type attachment struct {
	Attachment
	link    link.Link
	program *ebpf.Program
}

// Open loads the data plane, or adopts the one pinned under cfg.PinPath: its
// counters, leases and attached interfaces are then those of before. It fails
// when what is pinned has another layout or other sizes and says so; RemovePins
// makes room for a new one, at the price of the counts that are not yet drained.
func Open(cfg Config) (*Datapath, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("counting CPUs: %w", err)
	}
	d := &Datapath{cfg: cfg, cpus: cpus, attached: map[int]*attachment{}}
	ways := cfg.SourceWays
	if ways == 0 {
		ways = max(minWays, 1<<(bits.Len(uint(totalWays/cpus))-1))
	}
	d.sets = ways / setWays
	if err := d.load(); err != nil {
		d.Close()
		return nil, err
	}
	if err := d.adopt(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (c *Config) complete() error {
	if n := c.SourceWays; n != 0 && (n < 8 || n > mostWays || n&(n-1) != 0) {
		return fmt.Errorf("source ways %d: want a power of two from 8 to %d", n, mostWays)
	}
	if c.MaxLeases == 0 {
		c.MaxLeases = 1 << 17
	}
	if c.MaxPrefixes == 0 {
		c.MaxPrefixes = 100_000
	}
	if c.IPv6SourcePrefixLength == 0 {
		c.IPv6SourcePrefixLength = 64
	}
	if n := c.IPv6SourcePrefixLength; n != 64 && n != 128 {
		return fmt.Errorf("IPv6 source prefix length %d: want 64 or 128", n)
	}
	if len(c.BootID) > 32 {
		return fmt.Errorf("boot id is longer than 32 bytes")
	}
	return nil
}

// spec returns the object with its sizes set and its maps pinned by name.
func (d *Datapath) spec() (*ebpf.CollectionSpec, error) {
	spec, err := loadWeir()
	if err != nil {
		return nil, fmt.Errorf("reading the BPF object: %w", err)
	}
	sizes := map[string]int{
		"sources4":         2 * d.cpus,
		"sources6":         2 * d.cpus,
		"names6":           2 * d.cpus,
		"dirty4":           2 * d.cpus * dirtyWords(d.sets),
		"dirty6":           2 * d.cpus * dirtyWords(d.sets),
		"verdicts":         2 * d.cpus * MaxSlots,
		"targets":          2 * d.cpus * targetStride,
		"interface_totals": 2 * d.cpus * MaxSlots,
		"sketches":         2 * d.cpus * MaxSlots,
		"leases":           d.cfg.MaxLeases,
		"listed":           2 * int(listedSets(d.cfg.MaxLeases)),
		"listed_leases":    2 * int(listedSets(d.cfg.MaxLeases)),
		"listed_counts":    2 * int(listedSets(d.cfg.MaxLeases)),
		"exact":            d.cfg.MaxLeases,
		"prefixes":         d.cfg.MaxPrefixes,
		"allowed":          d.cfg.MaxPrefixes,
	}
	for name, n := range sizes {
		spec.Maps[name].MaxEntries = uint32(n)
	}
	// Several in one value: of maps with only one, so that the program knows its address.
	for name, n := range map[string]int{
		"slots": MaxSlots, "batches": 2 * d.cpus, "prefilter": 2 * prefilterWords,
		"sources4": d.sets, "sources6": d.sets, "names6": d.sets,
	} {
		m := spec.Maps[name]
		m.ValueSize *= uint32(n)
		m.Key, m.Value = nil, nil
	}
	for _, name := range sectionNames {
		spec.Maps[sectionOf(name)].ValueSize = spec.Maps[name].ValueSize
	}
	if d.cfg.PinPath != "" {
		for _, name := range mapNames {
			spec.Maps[name].Pinning = ebpf.PinByName
		}
	}
	return spec, nil
}

var mapNames = []string{
	"control_page", "slots", "sources4", "sources6", "names6", "dirty4", "dirty6", "batches", "verdicts", "targets", "interface_totals", "sketches",
	"leases", "listed", "listed_leases", "listed_counts", "prefilter", "wide4", "targeted", "exact", "prefixes", "allowed", "signatures", "buckets", "established", "meters", "exempt",
}

// sectionNames are the maps that the program refers to by a section.
var sectionNames = []string{"control_page", "slots", "batches", "prefilter"}

func sectionOf(name string) string { return ".data." + name }

func (d *Datapath) load() error {
	spec, err := d.spec()
	if err != nil {
		return err
	}
	if d.cfg.PinPath != "" {
		if err := os.MkdirAll(d.cfg.PinPath, 0o700); err != nil {
			return fmt.Errorf("making the pin directory: %w", err)
		}
		if !onBPFFS(d.cfg.PinPath) {
			return fmt.Errorf("%s is not on a bpffs: mount -t bpf bpf /sys/fs/bpf", d.cfg.PinPath)
		}
	}
	d.maps = map[string]*ebpf.Map{}
	for _, name := range mapNames {
		m, err := ebpf.NewMapWithOptions(spec.Maps[name], ebpf.MapOptions{PinPath: d.cfg.PinPath})
		if errors.Is(err, ebpf.ErrMapIncompatible) {
			return fmt.Errorf("map %s pinned in %s is of another version or size: weir-probe -remove takes it down: %w", name, d.cfg.PinPath, err)
		}
		if err != nil {
			return fmt.Errorf("creating map %s: %w", name, err)
		}
		d.maps[name] = m
	}
	return d.mapMemory()
}

func onBPFFS(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.BPF_FS_MAGIC
}

// view maps an array map's memory and returns it as a slice of what it holds.
func view[T any](d *Datapath, name string) ([]T, error) {
	m := d.maps[name]
	size, each := int(m.MaxEntries())*int(m.ValueSize()), int(unsafe.Sizeof(*new(T)))
	if int(m.ValueSize())%each != 0 {
		return nil, fmt.Errorf("map %s: value of %d bytes, want %d or several", name, m.ValueSize(), each)
	}
	page := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping map %s: %w", name, err)
	}
	d.regions = append(d.regions, mem)
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[0])), size/each), nil
}

func (d *Datapath) mapMemory() (err error) {
	control, err := view[weirControl](d, "control_page")
	if err != nil {
		return err
	}
	d.control = &control[0]
	var errs [18]error
	d.slots, errs[0] = view[weirSlot](d, "slots")
	sources4, err4 := view[weirSet4](d, "sources4")
	sources6, err6 := view[weirSet6](d, "sources6")
	errs[1], errs[2] = err4, err6
	dirty4, err4 := view[uint64](d, "dirty4")
	dirty6, err6 := view[uint64](d, "dirty6")
	errs[7], errs[8] = err4, err6
	names, errNames := view[names6](d, "names6")
	errs[17] = errNames
	d.batches, errs[9] = view[weirBatch](d, "batches")
	d.blocklist.leases, errs[10] = view[weirLeaseSet](d, "listed_leases")
	d.blocklist.counts, errs[15] = view[weirListedCount](d, "listed_counts")
	d.blocklist.sets, errs[11] = view[weirListed4](d, "listed")
	d.blocklist.words, errs[12] = view[uint64](d, "prefilter")
	d.blocklist.targeted, errs[13] = view[uint64](d, "targeted")
	d.blocklist.wide4, errs[14] = view[uint64](d, "wide4")
	d.verdicts, errs[16] = view[weirOutcomes](d, "verdicts")
	d.targets, errs[3] = view[weirTarget](d, "targets")
	d.totals, errs[4] = view[weirTotals](d, "interface_totals")
	d.sketches, errs[5] = view[weirSketch](d, "sketches")
	d.leases, errs[6] = view[weirLease](d, "leases")
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	d.tables[0] = newSourceTable(4, d.cpus, sources4, dirty4, nil)
	d.tables[1] = newSourceTable(6, d.cpus, sources6, dirty6, names)
	return nil
}

// adopt starts a new boot on what the maps hold: nothing, or a former life.
func (d *Datapath) adopt() error {
	c := d.control
	if c.Layout != 0 && c.Layout != layoutVersion {
		return fmt.Errorf("layout %d is pinned in %s, this is %d; detach and remove it first", c.Layout, d.cfg.PinPath, layoutVersion)
	}
	d.adopted = c.Layout != 0
	if !d.adopted {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return fmt.Errorf("seeding the hash: %w", err)
		}
		c.Seed = binary.LittleEndian.Uint64(b[:])
		c.WindowStart = uint64(BootTime())
		d.startHot()
		c.Layout = layoutVersion
	}
	d.seed = c.Seed
	d.blocklist.seed, d.blocklist.overflow = c.Seed, map[uint32][]uint32{}
	d.leftovers = c.Pending != 0
	c.BootId = [32]uint8{}
	copy(c.BootId[:], d.cfg.BootID)
	for i := range d.slots {
		d.slots[i].Seq = 0
	}
	if err := d.adoptLinks(); err != nil {
		return err
	}
	if err := d.table.rebuild(d); err != nil {
		return err
	}
	if !d.adopted {
		d.beginKnown(int(c.Epoch))
	}
	return nil
}

// Adopted reports whether maps of an earlier process were found.
func (d *Datapath) Adopted() bool { return d.adopted }

// MemoryBytes is what the maps hold of the kernel's memory.
func (d *Datapath) MemoryBytes() uint64 {
	var sum uint64
	for _, m := range d.maps {
		if info, err := m.Info(); err == nil {
			if n, ok := info.Memlock(); ok {
				sum += n
			}
		}
	}
	return sum
}

// Close lets go of everything; what is pinned goes on filtering and counting.
func (d *Datapath) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, a := range d.attached {
		errs = append(errs, a.link.Close())
		if a.program != nil {
			errs = append(errs, a.program.Close())
		}
	}
	for _, mem := range d.regions {
		errs = append(errs, unix.Munmap(mem))
	}
	for _, m := range d.maps {
		errs = append(errs, m.Close())
	}
	d.attached, d.regions, d.maps = nil, nil, nil
	return errors.Join(errs...)
}

// Remove detaches every interface and deletes the pins, then closes.
func (d *Datapath) Remove() error {
	var errs []error
	d.mu.Lock()
	for ifindex := range d.attached {
		errs = append(errs, d.detach(ifindex))
	}
	for _, m := range d.maps {
		if m.IsPinned() {
			errs = append(errs, m.Unpin())
		}
	}
	d.mu.Unlock()
	errs = append(errs, d.Close())
	if d.cfg.PinPath != "" {
		errs = append(errs, os.Remove(d.cfg.PinPath))
	}
	return errors.Join(errs...)
}

func (d *Datapath) linkPath(s Slot) string {
	return filepath.Join(d.cfg.PinPath, fmt.Sprintf("%s%d", linkPrefix, s))
}
