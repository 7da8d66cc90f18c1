// Package history is the file that "weir record" writes and "weir backtest"
// reads: records of the counts, commands and events topics as they were, in the
// order in which the broker stamped them.
//
// The file begins with the line "weir-history 1". What follows is one zstd stream
// of frames:
//
//	length     uvarint, of what follows in the frame
//	kind       byte: 1 counts, 2 commands, 3 information, 4 end, 5 events
//
// and, of counts, commands and events,
//
//	partition  uvarint
//	offset     uvarint
//	timestamp  varint, the broker's, in milliseconds since 1970
//	key        uvarint length, and as many bytes
//	value      byte 0: null (a tombstone); byte 1: all that is left of the frame
//
// The first frame is information, a JSON object (see Info). The last one, the
// end, holds the number of records as a uvarint: a file without it was cut off,
// and is good as far as it goes.
package history

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// magic is the first line of a file.
const magic = "weir-history 1\n"

// Kind says what a frame holds.
type Kind byte

// The kinds of frames.
const (
	Counts   Kind = 1
	Commands Kind = 2
	info     Kind = 3
	end      Kind = 4
	Events   Kind = 5
)

// maxFrame bounds a frame: a counts record is at most 1 MiB.
const maxFrame = 2 << 20

// Info says what a file was recorded from.
type Info struct {
	CreatedAt time.Time `json:"created_at"`
	From      time.Time `json:"from"` // counts from here on; commands since the topic begins
	Version   string    `json:"version"`
	Counts    string    `json:"counts"` // the topics' names
	Commands  string    `json:"commands"`
	Events    string    `json:"events"`
}

// Record is one record of a topic.
type Record struct {
	Kind      Kind
	Partition int32
	Offset    int64
	Timestamp time.Time // the broker's, to the millisecond
	Key       []byte
	Value     []byte // nil: a tombstone
}

// FromKafka returns a record that was read from a topic.
func FromKafka(kind Kind, r *kgo.Record) Record {
	return Record{Kind: kind, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value}
}
