package schemas_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/baselines"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
)

// TestEveryGoldenRecordDecodes: what any release of v1 wrote, this one reads. A
// field that is added gets a new golden file; the old ones stay.
func TestEveryGoldenRecordDecodes(t *testing.T) {
	for _, name := range topicNames {
		files, err := filepath.Glob(filepath.Join(name, "testdata", "v1", "*.golden"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no golden records, %v", name, err)
		}
		for _, file := range files {
			value, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			switch name {
			case "counts":
				_, err = counts.Decode(value)
			case "commands":
				key, value, _ := bytes.Cut(value, []byte("\t"))
				_, err = commands.Decode(key, value)
			case "attacks":
				key, value, _ := bytes.Cut(value, []byte("\t"))
				_, err = attacks.Decode(key, value)
			case "baselines":
				key, value, _ := bytes.Cut(value, []byte("\t"))
				_, err = baselines.Decode(key, value)
			default:
				err = decode(name, value)
			}
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
