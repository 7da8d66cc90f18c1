package commands

import "net/netip"

const (
	flagSYN = 0x02
	flagACK = 0x10
)

// CouldMatchReply reports whether m takes in TCP segments that a server at
// address and port sends to a client that has connected to it: they come from
// that port and carry ACK. own are the client's addresses; nil means any.
func (m *Match) CouldMatchReply(address netip.Addr, port uint16, own []netip.Addr) bool {
	if m.Source.IsValid() && !m.Source.Contains(address) {
		return false
	}
	if m.Destination.IsValid() && own != nil {
		ours := false
		for _, a := range own {
			ours = ours || m.Destination.Contains(a)
		}
		if !ours {
			return false
		}
	}
	if m.Protocol != 0 && m.Protocol != protocolTCP {
		return false
	}
	if m.SourcePort != 0 && m.SourcePort != port {
		return false
	}
	// The destination port is the client's ephemeral one; Linux takes it from
	// 32768 on.
	if m.DestinationPort != 0 && m.DestinationPort < 32768 {
		return false
	}
	if m.TCPFlags.Mask&flagACK != 0 && m.TCPFlags.Value&flagACK == 0 {
		return false
	}
	// Established segments have no SYN; SYN-ACKs do, and a client that cannot
	// connect again is cut off as well, but only after it lost its connection.
	return m.TCPFlags.Mask&flagSYN == 0 || m.TCPFlags.Value&flagSYN == 0 || m.TCPFlags.Value&flagACK != 0
}
