package jsonschema

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-net/weir/schemas/commands"
)

// compile returns the schema of one topic.
func compile(t *testing.T, topic string) *jsonschema.Schema {
	t.Helper()
	f, err := Files.Open(topic + ".v1.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(topic, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(topic)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, value []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// TestGoldenRecordsConform holds every committed record against its schema.
func TestGoldenRecordsConform(t *testing.T) {
	for _, topic := range []string{"rates", "commands", "status", "events", "attacks", "baselines"} {
		s := compile(t, topic)
		files, err := filepath.Glob(filepath.Join("..", topic, "testdata", "v1", "*.golden"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no golden records, %v", topic, err)
		}
		for _, file := range files {
			value, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains([]string{"commands", "attacks", "baselines"}, topic) {
				_, value, _ = bytes.Cut(value, []byte("\t"))
			}
			if err := validate(s, value); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			// A required field that goes missing must be noticed, or the schema
			// checks nothing.
			if err := validate(s, bytes.Replace(value, []byte(`"v":1`), []byte(`"v":2`), 1)); err == nil {
				t.Errorf("%s: another v is accepted", file)
			}
		}
	}
}

// TestCommandsSchemaAgreesWithTheCodec: what one refuses for its shape, the
// other refuses.
func TestCommandsSchemaAgreesWithTheCodec(t *testing.T) {
	s := compile(t, "commands")
	for value, want := range map[string]bool{
		`{"action":"drop"}`: true,
		`{"v":1,"action":"drop","match":{"source":"203.0.113.7/32"},"ttl":"10m","issuer":"me","reason":"x","rate":null,"evidence":null}`: true,
		`{"action":"drop","ttl":60,"later":"field"}`:          true,
		`{"action":"rate-limit","rate":{"pps":5}}`:            true,
		`{"action":"rate-limit","rate":{"pps":0,"bps":8000}}`: true,
		`{}`:                                 false,
		`[]`:                                 false,
		`{"action":"explode"}`:               false,
		`{"v":2,"action":"drop"}`:            false,
		`{"action":"drop","ttl":"soon"}`:     false,
		`{"action":"drop","ttl":0}`:          false,
		`{"action":"drop","ttl":90000}`:      false,
		`{"action":"drop","mode":"off"}`:     false,
		`{"action":"drop","rate":{"pps":1}}`: false,
		`{"action":"drop","match":{}}`:       false,
		`{"action":"drop","match":"x"}`:      false,
		`{"action":"drop","match":{"source":"203.0.113.7/32","country":"xx"}}`: false,
		`{"action":"drop","issuer":"a b"}`:                                     false,
		`{"action":"rate-limit"}`:                                              false,
		`{"action":"rate-limit","rate":null}`:                                  false,
		`{"action":"rate-limit","rate":{}}`:                                    false,
		`{"action":"rate-limit","rate":{"pps":0}}`:                             false,
		`{"action":"drop","reason":"` + strings.Repeat("x", 1025) + `"}`:       false,
	} {
		schemaErr := validate(s, []byte(value))
		_, codecErr := commands.Decode([]byte("*|203.0.113.7/32|me"), []byte(value))
		if (schemaErr == nil) != want || (codecErr == nil) != want {
			t.Errorf("%.80s: want accepted=%v\nschema: %v\ncodec: %v", value, want, schemaErr, codecErr)
		}
	}
}
