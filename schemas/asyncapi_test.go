package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/baselines"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
)

// asyncAPI is the part of an AsyncAPI 3.0 document that we use. The decoder
// refuses any other field, so a misspelt one cannot hide.
type asyncAPI struct {
	AsyncAPI           string               `yaml:"asyncapi"`
	Info               map[string]any       `yaml:"info"`
	DefaultContentType string               `yaml:"defaultContentType"`
	Channels           map[string]channel   `yaml:"channels"`
	Operations         map[string]operation `yaml:"operations"`
	Components         struct {
		Schemas  map[string]any     `yaml:"schemas"`
		Messages map[string]message `yaml:"messages"`
	} `yaml:"components"`
}

type ref struct {
	Ref string `yaml:"$ref"`
}

type channel struct {
	Address     string         `yaml:"address"`
	Description string         `yaml:"description"`
	Messages    map[string]ref `yaml:"messages"`
	Bindings    struct {
		Kafka struct {
			Topic              string         `yaml:"topic"`
			Partitions         int32          `yaml:"partitions"`
			Replicas           int16          `yaml:"replicas"`
			TopicConfiguration map[string]any `yaml:"topicConfiguration"`
			BindingVersion     string         `yaml:"bindingVersion"`
		} `yaml:"kafka"`
	} `yaml:"bindings"`
}

type operation struct {
	Action   string `yaml:"action"`
	Channel  ref    `yaml:"channel"`
	Summary  string `yaml:"summary"`
	Messages []ref  `yaml:"messages"`
}

type message struct {
	Name        string `yaml:"name"`
	Title       string `yaml:"title"`
	ContentType string `yaml:"contentType"`
	Headers     ref    `yaml:"headers"`
	Bindings    struct {
		Kafka struct {
			Key            map[string]any `yaml:"key"`
			BindingVersion string         `yaml:"bindingVersion"`
		} `yaml:"kafka"`
	} `yaml:"bindings"`
	Payload struct {
		SchemaFormat string `yaml:"schemaFormat"`
		Schema       ref    `yaml:"schema"`
	} `yaml:"payload"`
	Examples []struct {
		Name    string         `yaml:"name"`
		Headers map[string]any `yaml:"headers"`
		Payload any            `yaml:"payload"`
	} `yaml:"examples"`
}

// document is asyncapi.yaml, typed and as plain JSON values.
type document struct {
	asyncAPI
	raw any
}

func load(t *testing.T) document {
	t.Helper()
	text, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d document
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&d.asyncAPI); err != nil {
		t.Fatal(err)
	}
	var raw any
	if err := yaml.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	d.raw = plain(t, raw)
	return d
}

// plain turns YAML values into what the JSON Schema library takes.
func plain(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// schema compiles what r points to, in the document or in a file beside it.
func (d document) schema(t *testing.T, r ref) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if !strings.HasPrefix(r.Ref, "#/") {
		text, err := os.ReadFile(r.Ref)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", r.Ref, err)
		}
		if err := c.AddResource("urn:file", doc); err != nil {
			t.Fatal(err)
		}
		return compile(t, c, "urn:file")
	}
	if err := c.AddResource("urn:asyncapi", d.raw); err != nil {
		t.Fatal(err)
	}
	return compile(t, c, "urn:asyncapi"+r.Ref)
}

func compile(t *testing.T, c *jsonschema.Compiler, url string) *jsonschema.Schema {
	t.Helper()
	s, err := c.Compile(url)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return s
}

var topicNames = []string{"attacks", "baselines", "commands", "counts", "events", "rates", "status"}

func TestAsyncAPIStructure(t *testing.T) {
	d := load(t)
	if d.AsyncAPI != "3.0.0" || d.Info["title"] == nil || d.Info["version"] == nil || d.DefaultContentType != schemas.ContentTypeJSON {
		t.Errorf("asyncapi %q, info %v, defaultContentType %q", d.AsyncAPI, d.Info, d.DefaultContentType)
	}
	if got := sortedKeys(d.Channels); !slices.Equal(got, topicNames) {
		t.Errorf("channels %v, want %v", got, topicNames)
	}
	if got := sortedKeys(d.Components.Messages); !slices.Equal(got, topicNames) {
		t.Errorf("messages %v, want %v", got, topicNames)
	}
	for name, c := range d.Channels {
		if len(c.Messages) != 1 || c.Messages[name].Ref != "#/components/messages/"+name {
			t.Errorf("channel %s: messages %v", name, c.Messages)
		}
	}
	used := map[string]int{}
	for name, o := range d.Operations {
		ch := strings.TrimPrefix(o.Channel.Ref, "#/channels/")
		if _, ok := d.Channels[ch]; !ok {
			t.Errorf("operation %s: channel %q", name, o.Channel.Ref)
		}
		if len(o.Messages) != 1 || o.Messages[0].Ref != fmt.Sprintf("#/channels/%s/messages/%s", ch, ch) {
			t.Errorf("operation %s: messages %v", name, o.Messages)
		}
		if o.Action != "send" && o.Action != "receive" {
			t.Errorf("operation %s: action %q", name, o.Action)
		}
		used[ch+" "+o.Action]++
	}
	for _, name := range topicNames {
		if used[name+" send"] == 0 || used[name+" receive"] == 0 {
			t.Errorf("topic %s has no writer or no reader", name)
		}
	}
	// Every reference leads somewhere.
	text, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\$ref: '?([^'\n]+)'?`).FindAllStringSubmatch(string(text), -1) {
		if !resolves(d.raw, m[1]) {
			t.Errorf("$ref %q leads nowhere", m[1])
		}
	}
}

func resolves(raw any, r string) bool {
	path, ok := strings.CutPrefix(r, "#/")
	if !ok {
		_, err := os.Stat(filepath.FromSlash(r))
		return err == nil
	}
	for part := range strings.SplitSeq(path, "/") {
		m, ok := raw.(map[string]any)
		if !ok || m[part] == nil {
			return false
		}
		raw = m[part]
	}
	return true
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// TestAsyncAPITopicsAreSpecs: what the document says about topics is what
// "topics apply" creates.
func TestAsyncAPITopicsAreSpecs(t *testing.T) {
	d := load(t)
	for _, spec := range schemas.Specs(schemas.NewTopics(""), 0, 3) {
		name := strings.TrimSuffix(strings.TrimPrefix(spec.Name, schemas.DefaultPrefix), ".v1")
		c := d.Channels[name]
		k := c.Bindings.Kafka
		have := schemas.TopicSpec{Name: k.Topic, Partitions: k.Partitions, Replication: k.Replicas, Configs: map[string]string{}}
		for key, v := range k.TopicConfiguration {
			have.Configs[key] = fmt.Sprint(v)
			if list, ok := v.([]any); ok {
				have.Configs[key] = strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
			}
		}
		if c.Address != spec.Name || k.Topic != spec.Name {
			t.Errorf("%s: address %q, topic %q", spec.Name, c.Address, k.Topic)
		}
		if diff := schemas.Diff(spec, have); len(diff) > 0 || len(have.Configs) != len(spec.Configs) {
			t.Errorf("asyncapi.yaml differs from Specs: %q, %d configurations, want %d", diff, len(have.Configs), len(spec.Configs))
		}
	}
}

func TestAsyncAPIMessages(t *testing.T) {
	d := load(t)
	for name, m := range d.Components.Messages {
		schemaName := "weir." + name + ".v1"
		headers := map[string]any{}
		for _, h := range schemas.Headers(schemaName) {
			headers[h.Key] = string(h.Value)
		}
		hs := d.schema(t, m.Headers)
		if err := hs.Validate(plain(t, headers)); err != nil {
			t.Errorf("%s: the headers that we write: %v", name, err)
		}
		if m.ContentType != headers[schemas.HeaderContentType] {
			t.Errorf("%s: contentType %q", name, m.ContentType)
		}
		if name == "counts" {
			if m.Payload.Schema.Ref != "counts/counts.proto" {
				t.Errorf("counts: payload %q", m.Payload.Schema.Ref)
			}
			continue
		}
		if len(m.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		ps := d.schema(t, m.Payload.Schema)
		for _, e := range m.Examples {
			if err := ps.Validate(plain(t, e.Payload)); err != nil {
				t.Errorf("%s, example %s: %v", name, e.Name, err)
			}
			if err := hs.Validate(plain(t, e.Headers)); err != nil {
				t.Errorf("%s, headers of example %s: %v", name, e.Name, err)
			}
			value, err := json.Marshal(e.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if err := decode(name, value); err != nil {
				t.Errorf("%s, example %s does not decode: %v", name, e.Name, err)
			}
		}
	}
}

// decode reads an example with the codec of its topic.
func decode(name string, value []byte) error {
	var err error
	switch name {
	case "rates":
		_, err = rates.Decode(value)
	case "status":
		_, err = status.Decode(value)
	case "events":
		_, err = events.Decode(value)
	case "attacks":
		_, err = attacks.Decode(attackKey(value), value)
	case "baselines":
		_, err = baselines.Decode([]byte(schemas.InterfaceKey("edge-1", "eth0")), value)
	case "commands":
		_, err = commands.Decode(commandKey(value), value)
	default:
		err = fmt.Errorf("no codec")
	}
	return err
}

// attackKey makes the key that an example belongs under.
func attackKey(value []byte) []byte {
	var r attacks.Record
	_ = json.Unmarshal(value, &r)
	return []byte(r.Key())
}

// commandKey makes the key that an example belongs under.
func commandKey(value []byte) []byte {
	var v struct {
		Mode   string          `json:"mode"`
		Issuer string          `json:"issuer"`
		Match  json.RawMessage `json:"match"`
	}
	_ = json.Unmarshal(value, &v)
	if v.Issuer == "" {
		v.Issuer = "alice"
	}
	if v.Mode != "" {
		return []byte("*|mode|" + v.Issuer)
	}
	for _, match := range []string{
		"203.0.113.7/32",
		"source=2001:db8:1::/64,protocol=tcp,tcp_flags=syn+!ack",
		"source=198.51.100.0/24,destination=192.0.2.80/32,protocol=udp,source_port=53,destination_port=80",
	} {
		key := []byte("*|" + match + "|" + v.Issuer)
		if _, err := commands.Decode(key, value); err == nil {
			return key
		}
	}
	return nil
}

// TestAsyncAPIKeys: the key patterns accept what the code writes.
func TestAsyncAPIKeys(t *testing.T) {
	d := load(t)
	key := func(name string) *jsonschema.Schema {
		return d.schema(t, ref{"#/components/messages/" + name + "/bindings/kafka/key"})
	}
	files, err := filepath.Glob("commands/testdata/v1/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden commands", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		k, _, _ := strings.Cut(string(text), "\t")
		if err := key("commands").Validate(k); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	attack := attacks.Record{Host: "edge-1", Interface: "eth0", Rule: "S2", Destination: netip.MustParseAddr("2001:db8::1"), Start: time.Unix(1, 0)}
	if err := key("attacks").Validate(attack.Key()); err != nil {
		t.Error(err)
	}
	if key("attacks").Validate("edge-1/eth0|R1") == nil {
		t.Error("attacks: a key without a start is accepted")
	}
	for _, name := range []string{"counts", "rates", "status", "baselines"} {
		if err := key(name).Validate(schemas.InterfaceKey("edge-1", "eth0.100")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if key(name).Validate("edge-1") == nil {
			t.Errorf("%s: a key without an interface is accepted", name)
		}
	}
}
