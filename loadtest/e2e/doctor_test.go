package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
)

// TestDoctorFindsNothing lets weir doctor look at a machine where everything runs
// as it should: nothing may fail, and it must see all that there is.
func TestDoctorFindsNothing(t *testing.T) {
	s := setup(t, scenario.Options{})
	eventually(t, 20*time.Second, "findings", func() error {
		out, err := s.Stack.CLI(within(t, 20*time.Second), "doctor", "-o", "json", "--pin-path", s.Stack.PinPath)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		var findings []struct{ Check, Level, Found, Advice string }
		if err := json.Unmarshal([]byte(out), &findings); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		found := map[string]string{}
		for _, f := range findings {
			found[f.Check] = f.Level + " " + f.Found
		}
		for check, want := range map[string]string{
			"kernel": "ok Linux", "BTF": "ok", "capabilities": "ok", "bpffs": "ok " + s.Stack.PinPath + " holds",
			"topic " + s.Stack.Topics.Commands: "ok", "aggregator": "ok rates follow counts",
			"probe " + s.Stack.Host + "/" + lab.DataInterface: "ok live, observe, native",
		} {
			if !strings.HasPrefix(found[check], want) {
				return fmt.Errorf("%s: %q, want %q in %s", check, found[check], want, out)
			}
		}
		return nil
	})
}
