package main

import (
	"strings"
	"testing"
)

func TestOneProbePerPinPath(t *testing.T) {
	path := t.TempDir() + "/weir"
	release, err := lockPins(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockPins(path); err == nil || !strings.Contains(err.Error(), "another weir-probe") {
		t.Errorf("a second probe on the same pins: %v", err)
	}
	release()
	again, err := lockPins(path)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again()
}
