package rates

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"strconv"

	"github.com/weir-net/weir/schemas"
)

// scanner reads what appender writes, field by field in its order, in a fraction
// of the time that encoding/json takes: policies read a record for every window of
// every interface. It understands nothing else. At the first byte that it does not
// expect it gives up, and encoding/json reads the value, or says what is wrong with
// it. What it accepts must mean the same to both.
type scanner struct {
	value []byte
	at    int  // of the first byte that is still to be read
	bad   bool // something was unexpected; from then on nothing that is read counts
}

func (s *scanner) rest() []byte { return s.value[s.at:] }

// next passes this text if it comes next.
func (s *scanner) next(text string) bool {
	if len(s.value)-s.at < len(text) || string(s.value[s.at:s.at+len(text)]) != text {
		return false
	}
	s.at += len(text)
	return true
}

func (s *scanner) expect(text string) {
	if !s.next(text) {
		s.bad, s.at = true, len(s.value)
	}
}

func (s *scanner) refuse(unless bool) { s.bad = s.bad || !unless }

// digits reads a whole number below 10^18, without sign and leading zeros.
func (s *scanner) digits() uint64 {
	n, b, i := uint64(0), s.rest(), 0
	for i < len(b) && b[i]-'0' <= 9 {
		n = 10*n + uint64(b[i]-'0')
		i++
	}
	s.refuse(i > 0 && i <= 18 && (i == 1 || b[0] != '0'))
	s.at += i
	return n
}

func (s *scanner) uint(name string) uint64 {
	s.expect(name)
	return s.digits()
}

// upTo reads a number of a narrower type.
func (s *scanner) upTo(most uint64, name string) uint64 {
	n := s.uint(name)
	s.refuse(n <= most)
	return n
}

// some reads a number that is left out where it is zero.
func (s *scanner) some(name string) uint64 {
	if !s.next(name) {
		return 0
	}
	return s.digits()
}

func (s *scanner) bool(name string) bool {
	s.expect(name)
	if s.next("true") {
		return true
	}
	s.expect("false")
	return false
}

// text reads a string that has no escapes. What it returns is part of the value.
func (s *scanner) text(name string) []byte {
	s.expect(name)
	s.expect(`"`)
	b := s.rest()
	for i, c := range b {
		if c == '"' {
			s.at += i + 1
			return b[:i]
		}
		if c < ' ' || c > '~' || c == '\\' {
			break
		}
	}
	s.bad = true
	return nil
}

func (s *scanner) float(name string) float64 {
	s.expect(name)
	b, i := s.rest(), 0
	for i < len(b) && (b[i]-'0' <= 9 || b[i] == '.' || b[i] == 'e' || b[i] == '-' || b[i] == '+') {
		i++
	}
	token := b[:i]
	s.at += i
	if f, ok := plain(token); ok {
		return f
	}
	if !json.Valid(token) {
		s.bad = true
		return 0
	}
	f, err := strconv.ParseFloat(string(token), 64)
	s.refuse(err == nil)
	return f
}

// powers are those by which a whole number below 2^53 can be divided with a single
// rounding: the result is the float that is nearest.
var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// plain reads what most numbers are: at most 15 digits, maybe with a point.
func plain(token []byte) (float64, bool) {
	n, point := uint64(0), -1
	for i, c := range token {
		switch {
		case c-'0' <= 9:
			n = 10*n + uint64(c-'0')
		case c == '.' && point < 0 && i > 0:
			point = i
		default:
			return 0, false
		}
	}
	switch {
	case len(token) == 0 || len(token) > 15 || point == len(token)-1 || token[0] == '0' && len(token) > 1 && point != 1:
		return 0, false
	case point < 0:
		return float64(n), true
	}
	return float64(n) / powers[len(token)-1-point], true
}

func (s *scanner) address(name string) netip.Addr {
	t := s.text(name)
	if a, ok := dotted(t); ok {
		return a
	}
	var a netip.Addr
	s.refuse(a.UnmarshalText(t) == nil)
	return a
}

// dotted reads an IPv4 address.
func dotted(t []byte) (netip.Addr, bool) {
	var b [4]byte
	at, n, digits := 0, uint(0), 0
	for _, c := range t {
		switch {
		case c-'0' <= 9 && (digits == 0 || n > 0):
			n = 10*n + uint(c-'0')
			if digits++; n > 255 {
				return netip.Addr{}, false
			}
		case c == '.' && digits > 0 && at < 3:
			b[at] = byte(n)
			at, n, digits = at+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	b[3] = byte(n)
	return netip.AddrFrom4(b), at == 3 && digits > 0
}

func (s *scanner) counts(name string) (c Counts) {
	s.expect(name)
	c.Packets = s.uint(`{"packets":`)
	c.Bytes = s.uint(`,"bytes":`)
	c.UDPBytes = s.some(`,"udp_bytes":`)
	c.Dropped = s.some(`,"dropped":`)
	if s.next(`,"classes":{`) {
		for i, name := range schemas.ClassNames {
			before := s.at
			if !s.next(`"`) || !s.next(name) || !s.next(`":`) {
				s.at = before
				continue
			}
			c.ByClass[i] = s.digits()
			if !s.next(`,`) {
				break
			}
			s.refuse(bytes.HasPrefix(s.rest(), []byte(`"`))) // another follows
		}
		s.expect(`}`)
	}
	s.expect(`}`)
	return c
}

func (s *scanner) source() (x Source) {
	x.Source = s.address(`{"source":`)
	x.PPS = s.float(`,"pps":`)
	x.BPS = s.float(`,"bps":`)
	if s.next(`,"port_pairs":`) {
		x.PortPairs = uint32(s.upTo(math.MaxUint32, ``))
	}
	x.Window1s = s.counts(`,"window_1s":`)
	x.Window10s = s.counts(`,"window_10s":`)
	s.expect(`}`)
	return x
}
