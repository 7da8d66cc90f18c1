package schemas_test

import (
	"testing"

	"github.com/weir-net/weir/schemas"
)

// TestVersionIsJudgedHoweverItIsWritten: what begins as our own records do is read
// once only, and must be judged as if it were read twice.
func TestVersionIsJudgedHoweverItIsWritten(t *testing.T) {
	for value, want := range map[string]bool{
		`{"v":1,"n":5}`:                   true,
		`{"v":1}`:                         true,
		` { "n": 5, "v": 1 }`:             true,
		`{"n":5,"V":1}`:                   true,
		`{"v":1,"n":5,"text":"\"v\":2"}`:  true,
		`{"v":1,"n":5,"inner":{"v":2}}`:   true,
		`{"v":2,"n":5}`:                   false,
		`{"v":10}`:                        false,
		`{"v":1,"n":5,"v":2}`:             false,
		`{"v":1,"n":5,"V":2}`:             false,
		`{"v":1,"n":5,"\u0076":2}`:        false,
		`{"v":1.5}`:                       false,
		`{"v":1`:                          false,
		`{"v":1,"n":"text for a number"}`: false,
		`{"n":5}`:                         false,
		`[{"v":1}]`:                       false,
	} {
		var out struct {
			N int `json:"n"`
		}
		if err := schemas.DecodeJSON("test", []byte(value), 1000, 1, &out); (err == nil) != want {
			t.Errorf("%s: error %v, want one: %v", value, err, !want)
		}
	}
}
