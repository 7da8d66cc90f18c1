package feed

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Writer writes commands.
type Writer struct {
	Client *kgo.Client
	Topic  string
}

// Write puts one record on the commands topic and returns its offset once all
// in-sync replicas have it. A nil value is a tombstone.
func (w *Writer) Write(ctx context.Context, key, value []byte) (int64, error) {
	r := kafka.Record(w.Topic, schemas.SchemaCommands, key, value)
	if err := w.Client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return 0, fmt.Errorf("writing to %s: %w", w.Topic, err)
	}
	return r.Offset, nil
}
