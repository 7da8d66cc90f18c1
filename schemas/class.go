package schemas

// Class is the kind of one packet. Every IP packet belongs to exactly one
// class, so the packet counts of all classes add up to the packets seen.
type Class uint8

// The classes, in the order of their columns. The numbers are part of the
// contract and of the BPF object: append only.
const (
	ClassSYN       Class = iota // TCP with SYN and without ACK
	ClassSYNACK                 // TCP with SYN and ACK
	ClassRST                    // TCP with RST and without SYN
	ClassTCPOther               // any other TCP first fragment
	ClassUDP                    // UDP first fragment
	ClassICMP                   // ICMP and ICMPv6
	ClassFragLater              // a fragment other than the first, whatever its protocol
	ClassOther                  // any other IP protocol, or a transport header cut short
	NumClasses     = 8
)

// ClassNames are the names used in JSON and on screens, indexed by Class.
var ClassNames = [NumClasses]string{
	"syn", "synack", "rst", "tcp_other", "udp", "icmp", "frag_later", "other",
}

// String returns the name of the class as JSON carries it.
func (c Class) String() string {
	if int(c) < len(ClassNames) {
		return ClassNames[c]
	}
	return "unknown"
}

// ParseClass is the inverse of Class.String.
func ParseClass(s string) (Class, bool) {
	for i, n := range ClassNames {
		if n == s {
			return Class(i), true
		}
	}
	return 0, false
}
