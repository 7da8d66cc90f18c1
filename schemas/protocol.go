package schemas

import "strconv"

// protocolNames are the IP protocols that have a name here (IANA's keyword in
// lower case); any other is written as its number.
var protocolNames = [...]struct {
	number uint8
	name   string
}{
	{1, "icmp"}, {2, "igmp"}, {6, "tcp"}, {17, "udp"}, {41, "ipv6"}, {47, "gre"}, {50, "esp"},
	{51, "ah"}, {58, "icmpv6"}, {132, "sctp"}, {136, "udplite"},
}

// FormatProtocol returns the canonical text of an IP protocol: its name if it
// has one here, else its number.
func FormatProtocol(p uint8) string {
	for _, n := range protocolNames {
		if n.number == p {
			return n.name
		}
	}
	return strconv.Itoa(int(p))
}

// ParseProtocol reads a name or a number from 1 to 255.
func ParseProtocol(s string) (uint8, error) {
	for _, n := range protocolNames {
		if n.name == s {
			return n.number, nil
		}
	}
	p, err := strconv.ParseUint(s, 10, 8)
	if err != nil || p == 0 {
		return 0, Refuse(FaultField, "protocol %q: want tcp, udp, icmp, icmpv6, … or a number from 1 to 255", s)
	}
	return uint8(p), nil
}
