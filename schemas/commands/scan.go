package commands

import (
	"math"
	"strconv"
	"time"
)

// scanner reads the value of a lease as Encode writes it, field by field in its
// order, in a fraction of the time that the general way takes: a probe reads a
// million of these at its start. It understands nothing else. At the first byte
// that it does not expect it gives up, and decoder reads the value, or says what
// is wrong with it. What it accepts must mean the same to both.
type scanner struct {
	value string
	at    int  // of the first byte that is still to be read
	bad   bool // something was unexpected; from then on nothing that is read counts
}

// scan reads a lease's value into c, which has what the key says, and reports
// whether it understood all of it. Command.Check is still to be asked.
func (c *Command) scan(value []byte) bool {
	s := scanner{value: string(value)}
	s.expect(`{"v":1,"action":`)
	switch Action(s.text()) {
	case Drop:
		c.Action = Drop
	case RateLimit:
		c.Action = RateLimit
	case Observe:
		c.Action = Observe
	case Allow:
		c.Action = Allow
	default:
		return false
	}
	s.expect(`,"match":{`)
	if s.match() != c.Match {
		return false
	}
	s.expect(`},"ttl":`)
	ttl, err := time.ParseDuration(s.text())
	s.expect(`,"issuer":`)
	if s.text() != c.Issuer || err != nil {
		return false
	}
	c.TTL = ttl
	if s.next(`,"reason":`) {
		c.Reason = s.text()
	}
	if s.next(`,"rate":{`) {
		c.Rate = s.rate()
	}
	if s.next(`,"evidence":{`) {
		c.Evidence = s.evidence()
	}
	s.expect(`}`)
	return !s.bad && s.at == len(s.value)
}

// next passes this text if it comes next.
func (s *scanner) next(text string) bool {
	if len(s.value)-s.at < len(text) || s.value[s.at:s.at+len(text)] != text {
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

// text reads a string of printable ASCII without escapes.
func (s *scanner) text() string {
	s.expect(`"`)
	for i := s.at; i < len(s.value); i++ {
		switch c := s.value[i]; {
		case c == '"':
			text := s.value[s.at:i]
			s.at = i + 1
			return text
		case c < ' ' || c > '~' || c == '\\':
			s.bad = true
			return ""
		}
	}
	s.bad = true
	return ""
}

// number reads a number of JSON: strconv understands more than that.
func (s *scanner) number() string {
	from := s.at
	s.next(`-`)
	if whole := s.run(); whole == 0 || whole > 1 && s.value[s.at-whole] == '0' {
		s.bad = true
	}
	if s.next(`.`) && s.run() == 0 {
		s.bad = true
	}
	if s.next(`e`) || s.next(`E`) {
		if !s.next(`-`) {
			s.next(`+`)
		}
		s.bad = s.run() == 0 || s.bad
	}
	return s.value[from:s.at]
}

// run passes digits and returns how many.
func (s *scanner) run() int {
	from := s.at
	for s.at < len(s.value) && s.value[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at - from
}

func (s *scanner) float() float64 {
	f, err := strconv.ParseFloat(s.number(), 64)
	s.bad = s.bad || err != nil
	return f
}

func (s *scanner) digits() uint64 {
	n, err := strconv.ParseUint(s.number(), 10, 64)
	s.bad = s.bad || err != nil
	return n
}

// upTo reads a whole number that is left out where it is zero.
func (s *scanner) upTo(most uint64, name string) uint64 {
	if !s.next(name) {
		return 0
	}
	n := s.digits()
	s.bad = s.bad || n > most
	return n
}

// match reads the members of a match.
func (s *scanner) match() (m Match) {
	for _, f := range [...]struct{ name, quoted string }{
		{fieldSource, `"source":`}, {fieldDestination, `"destination":`}, {fieldProtocol, `"protocol":`},
		{fieldSourcePort, `"source_port":`}, {fieldDestinationPort, `"destination_port":`},
		{fieldTCPFlags, `"tcp_flags":`}, {fieldFragments, `"fragments":`},
	} {
		start := s.at
		if m != (Match{}) && !s.next(`,`) {
			break
		}
		if !s.next(f.quoted) {
			s.at = start
			continue
		}
		var value string
		if f.name == fieldSourcePort || f.name == fieldDestinationPort {
			value = s.number()
		} else {
			value = s.text()
		}
		s.bad = s.bad || m.set(f.name, value) != nil
	}
	return m
}

func (s *scanner) rate() *Rate {
	r := new(Rate)
	if s.next(`"pps":`) {
		r.PPS = s.digits()
		if s.next(`,"bps":`) {
			r.BPS = s.digits()
		}
	} else {
		s.expect(`"bps":`)
		r.BPS = s.digits()
	}
	s.expect(`}`)
	return r
}

func (s *scanner) evidence() *Evidence {
	e := new(Evidence)
	s.expect(`"rule":`)
	e.Rule = s.text()
	s.expect(`,"measured":`)
	e.Measured = s.float()
	s.expect(`,"threshold":`)
	e.Threshold = s.float()
	s.expect(`,"window":`)
	e.Window = s.text()
	if s.next(`,"interface":`) {
		e.Interface = s.text()
	}
	if s.next(`,"boot_id":`) {
		e.BootID = s.text()
	}
	e.Seq = s.upTo(math.MaxUint64, `,"seq":`)
	if s.next(`,"topic":`) {
		e.Topic = s.text()
	}
	e.Partition = int32(s.upTo(math.MaxInt32, `,"partition":`))
	e.Offset = int64(s.upTo(math.MaxInt64, `,"offset":`))
	s.expect(`}`)
	return e
}
