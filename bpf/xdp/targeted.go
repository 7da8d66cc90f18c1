package xdp

import "sync/atomic"

const targetedWords = 1 << 10 // of maps.h

// Of types.h: by what a signature is looked for.
const (
	shapePlain = iota
	shapeProtocol
	shapeDestinationPort
	shapeSourcePort
	shapeAnywhere // added when it does not name one destination
)

// shapeOf returns the shape of a signature and the bit of targeted that stands
// for it.
func (d *Datapath) shapeOf(m Match) (shape, bit uint32) {
	var asked uint64
	transport := uint32(m.Protocol) << 16
	switch {
	case m.Protocol == 0: // ports and flags of any protocol, or none
		shape, transport = shapePlain, 0
	case m.DestinationPort != 0:
		shape, transport = shapeDestinationPort, transport|uint32(m.DestinationPort)
	case m.SourcePort != 0:
		shape, transport = shapeSourcePort, transport|uint32(m.SourcePort)
	default:
		shape = shapeProtocol
	}
	if m.Destination.IsValid() && m.Destination.IsSingleIP() {
		w := words(m.Destination.Addr())
		asked = uint64(w[1])<<32 | uint64(w[0]) ^ (uint64(w[3])<<32 | uint64(w[2]))
	} else {
		shape += shapeAnywhere
	}
	return shape, uint32(mix(mix(asked+d.seed) + uint64(transport) + uint64(shape)<<32))
}

// writeTargeted tells the program what signatures ask for.
func (d *Datapath) writeTargeted() {
	var fresh [targetedWords]uint64
	shapes := uint32(0)
	for _, m := range d.table.signatures {
		shape, bit := d.shapeOf(m)
		shapes |= 1 << shape
		fresh[bit>>6&(targetedWords-1)] |= 1 << (bit & 63)
	}
	for i := range fresh { // first what is new, so that no signature is out of sight
		atomicOr(&d.blocklist.targeted[i], fresh[i])
	}
	d.table.shapes = shapes
	d.writeKinds()
	for i := range fresh {
		atomic.StoreUint64(&d.blocklist.targeted[i], fresh[i])
	}
}
