package schemas

// The two headers that every record carries.
const (
	HeaderContentType = "content-type"
	HeaderSchema      = "schema"
)

// The values of HeaderContentType.
const (
	ContentTypeProtobuf = "application/x-protobuf"
	ContentTypeJSON     = "application/json"
)

// The values of HeaderSchema: the topic's unprefixed name, whatever prefix is
// configured.
const (
	SchemaCounts    = "weir.counts.v1"
	SchemaRates     = "weir.rates.v1"
	SchemaCommands  = "weir.commands.v1"
	SchemaStatus    = "weir.status.v1"
	SchemaEvents    = "weir.events.v1"
	SchemaAttacks   = "weir.attacks.v1"
	SchemaBaselines = "weir.baselines.v1"
)

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}

// Headers returns the two headers of a record of the named schema.
func Headers(schema string) []Header {
	contentType := ContentTypeJSON
	if schema == SchemaCounts {
		contentType = ContentTypeProtobuf
	}
	return []Header{
		{Key: HeaderContentType, Value: []byte(contentType)},
		{Key: HeaderSchema, Value: []byte(schema)},
	}
}
