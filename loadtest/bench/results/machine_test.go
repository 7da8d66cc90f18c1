package results

import "testing"

func TestProcessor(t *testing.T) {
	for cpuinfo, want := range map[string]string{
		"processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\ncache size\t: 1024 KB\n\nprocessor\t: 1\nmodel name\t: other\n": "AMD EPYC (family 26, model 2, cache size 1024 KB)",
		"processor\t: 0\nmodel name\t: ARMv8\n": "ARMv8",
		"":                                      "",
	} {
		if got := processor(cpuinfo); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
