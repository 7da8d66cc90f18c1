package counts

import (
	"net/netip"
	"slices"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts/internal/countspb"
)

// The counter columns of sources, after the classes.
const (
	columnUDPBytes = schemas.NumClasses + iota
	columnDropped
	columnPackets
	columnBytes
	numColumns
)

// columns holds sources by column between uses, so that an Encoder allocates
// them once. Only columns with something in them are filled: most sources use
// one or two classes.
type columns struct {
	ipv4, ipv6 []byte
	rows       []*Source // the IPv4 ones first
	counters   [numColumns][]uint64
	portPairs  []uint64
	or         Source // bitwise OR of each column: zero if it is all zeros
}

// fill replaces what c holds with sources.
func (c *columns) fill(sources []Source) error {
	c.ipv4, c.ipv6, c.rows, c.or = c.ipv4[:0], c.ipv6[:0], c.rows[:0], Source{}
	for i := range sources {
		s := &sources[i]
		switch a := s.Address; {
		case a.Is4():
			b := a.As4()
			c.ipv4 = append(c.ipv4, b[:]...)
			c.rows = append(c.rows, s)
		case !a.Is6() || a.Zone() != "":
			return schemas.Refuse(schemas.FaultField, "source %v: want a plain IPv4 or IPv6 address", a)
		}
		c.note(s)
	}
	for i := 0; len(c.rows) < len(sources); i++ {
		if a := sources[i].Address; a.Is6() {
			b := a.As16()
			c.ipv6 = append(c.ipv6, b[:]...)
			c.rows = append(c.rows, &sources[i])
		}
	}
	for i := range c.counters {
		c.counters[i] = c.counters[i][:0]
		or := c.or.column(i)
		if or == 0 {
			continue
		}
		column := slices.Grow(c.counters[i], len(c.rows))[:len(c.rows)]
		for row, s := range c.rows {
			column[row] = s.column(i)
		}
		c.counters[i] = column
		if or > MaxCount {
			if err := checkCounts("sources", column); err != nil {
				return err
			}
		}
	}
	c.portPairs = c.portPairs[:0]
	if c.or.PortPairs != 0 {
		for _, s := range c.rows {
			c.portPairs = append(c.portPairs, s.PortPairs)
		}
	}
	return nil
}

// note ors s into c.or.
func (c *columns) note(s *Source) {
	for i, v := range s.ByClass {
		c.or.ByClass[i] |= v
	}
	c.or.UDPBytes |= s.UDPBytes
	c.or.Dropped |= s.Dropped
	c.or.Packets |= s.Packets
	c.or.Bytes |= s.Bytes
	c.or.PortPairs |= s.PortPairs
}

// column returns the value of s in a counter column.
func (s *Source) column(i int) uint64 {
	switch i {
	case columnUDPBytes:
		return s.UDPBytes
	case columnDropped:
		return s.Dropped
	case columnPackets:
		return s.Packets
	case columnBytes:
		return s.Bytes
	}
	return s.ByClass[i]
}

// toWire points w at the columns; those of zeros stay away.
func (c *columns) toWire(w *countspb.Sources) {
	w.Reset()
	w.Ipv4, w.Ipv6 = c.ipv4, c.ipv6
	for i, column := range wireColumns(w) {
		*column = c.counters[i]
	}
	w.PortPairs = c.portPairs
}

// wireColumns returns w's counter columns in the order of columns.counters.
func wireColumns(w *countspb.Sources) [numColumns]*[]uint64 {
	return [numColumns]*[]uint64{
		schemas.ClassSYN: &w.Syn, schemas.ClassSYNACK: &w.Synack, schemas.ClassRST: &w.Rst,
		schemas.ClassTCPOther: &w.TcpOther, schemas.ClassUDP: &w.Udp, schemas.ClassICMP: &w.Icmp,
		schemas.ClassFragLater: &w.FragLater, schemas.ClassOther: &w.Other,
		columnUDPBytes: &w.UdpBytes, columnDropped: &w.Dropped,
		columnPackets: &w.Packets, columnBytes: &w.Bytes,
	}
}

// sourcesFromWire turns columns into rows.
func sourcesFromWire(w *countspb.Sources) ([]Source, error) {
	if len(w.GetIpv4())%4 != 0 || len(w.GetIpv6())%16 != 0 {
		return nil, schemas.Refuse(schemas.FaultField, "address columns have %d and %d bytes, want multiples of 4 and 16", len(w.GetIpv4()), len(w.GetIpv6()))
	}
	n4 := len(w.GetIpv4()) / 4
	n := n4 + len(w.GetIpv6())/16
	if n > MaxSources {
		return nil, schemas.Refuse(schemas.FaultTooLarge, "%d sources in one record, at most %d", n, MaxSources)
	}
	wire := wireColumns(w)
	for _, column := range wire {
		if err := checkColumn("sources", len(*column), n); err != nil {
			return nil, err
		}
		if err := checkCounts("sources", *column); err != nil {
			return nil, err
		}
	}
	if err := checkColumn("sources", len(w.GetPortPairs()), n); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, nil
	}
	out := make([]Source, n)
	for i := range out {
		if i < n4 {
			out[i].Address = netip.AddrFrom4([4]byte(w.GetIpv4()[4*i:]))
			continue
		}
		// An IPv4-mapped address stays what was on the wire: IPv6.
		out[i].Address = netip.AddrFrom16([16]byte(w.GetIpv6()[16*(i-n4):]))
	}
	for class := range schemas.NumClasses {
		for i, v := range *wire[class] {
			out[i].ByClass[class] = v
		}
	}
	for i, v := range w.GetUdpBytes() {
		out[i].UDPBytes = v
	}
	for i, v := range w.GetDropped() {
		out[i].Dropped = v
	}
	for i, v := range w.GetPackets() {
		out[i].Packets = v
	}
	for i, v := range w.GetBytes() {
		out[i].Bytes = v
	}
	for i, v := range w.GetPortPairs() {
		out[i].PortPairs = v
	}
	return out, nil
}

// checkColumn wants a column to have a value per row, or none.
func checkColumn(table string, n, rows int) error {
	if n != 0 && n != rows {
		return schemas.Refuse(schemas.FaultField, "%s: a column has %d values for %d rows", table, n, rows)
	}
	return nil
}

func checkCounts(table string, column []uint64) error {
	var all uint64
	for _, v := range column {
		all |= v
	}
	if all <= MaxCount {
		return nil
	}
	for _, v := range column {
		if v > MaxCount {
			return schemas.Refuse(schemas.FaultField, "%s: a count is %d, at most 2^53", table, v)
		}
	}
	return nil
}
