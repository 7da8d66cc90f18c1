package status

import "github.com/weir-net/weir/schemas"

// Version is the v of this record.
const Version = 1

// What the codec takes at most.
const (
	MaxValueBytes = 1 << 20
	MaxDrops      = 1_000 // leases in Filter.Drops
	MaxComponents = 64
	MaxVerdicts   = 256
)

// ComponentFilter names the component that applies commands.
const ComponentFilter = "filter"

// Key returns the record's key, "<host>/<ifname>".
func (r *Record) Key() string { return schemas.InterfaceKey(r.Host, r.Interface) }

// Encode returns the value of r, whose V it sets. The error is a
// *schemas.RecordError.
func Encode(r Record) ([]byte, error) {
	r.V = Version
	if err := check(&r); err != nil {
		return nil, err
	}
	return schemas.EncodeJSON("status", r, MaxValueBytes)
}

// Decode is the inverse of Encode. The error is a *schemas.RecordError.
func Decode(value []byte) (Record, error) {
	var r Record
	if err := schemas.DecodeJSON("status", value, MaxValueBytes, Version, &r); err != nil {
		return Record{}, err
	}
	if err := check(&r); err != nil {
		return Record{}, err
	}
	return r, nil
}

func check(r *Record) error {
	if err := schemas.CheckName(r.Host); err != nil {
		return schemas.Refuse(schemas.FaultField, "host: %v", err)
	}
	if err := schemas.CheckName(r.Interface); err != nil {
		return schemas.Refuse(schemas.FaultField, "interface: %v", err)
	}
	switch {
	case r.BootID == "":
		return schemas.Refuse(schemas.FaultField, "boot_id is empty")
	case len(r.Filter.Drops) > MaxDrops:
		return schemas.Refuse(schemas.FaultTooLarge, "filter has %d drops, at most %d", len(r.Filter.Drops), MaxDrops)
	case len(r.Components) > MaxComponents:
		return schemas.Refuse(schemas.FaultTooLarge, "%d components, at most %d", len(r.Components), MaxComponents)
	case len(r.Filter.Verdicts) > MaxVerdicts:
		return schemas.Refuse(schemas.FaultTooLarge, "%d verdicts, at most %d", len(r.Filter.Verdicts), MaxVerdicts)
	}
	return nil
}

// Applied reports whether the named component has applied offset.
func (r *Record) Applied(component string, offset int64) bool {
	c, ok := r.Components[component]
	return ok && c.AppliedOffset >= offset
}
