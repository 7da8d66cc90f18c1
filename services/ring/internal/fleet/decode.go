package fleet

import (
	"bytes"

	"github.com/weir-net/weir/schemas/rates"
)

// The members of a rates value between which the single sources stand, as
// schemas/rates writes them.
var (
	topMember   = []byte(`,"top":[`)
	portsMember = []byte(`,"ports":[`)
)

// decodeHead decodes a rates value without its single sources and victims,
// which are nine tenths of it: four records a second from each of 1,000
// interfaces would otherwise cost a core. scratch is reused and returned.
//
// A value whose members stand in another order is decoded as a whole, so only
// the time differs, never the result.
func decodeHead(value, scratch []byte) (rates.Record, []byte, error) {
	i := bytes.Index(value, topMember)
	j := bytes.LastIndex(value, portsMember)
	if i < 0 || j < i {
		r, err := rates.Decode(value)
		r.Top, r.Victims = nil, nil
		return r, scratch, err
	}
	scratch = append(append(scratch[:0], value[:i]...), value[j:]...)
	r, err := rates.Decode(scratch)
	if err != nil {
		r, err = rates.Decode(value)
	}
	r.Top, r.Victims = nil, nil
	return r, scratch, err
}
