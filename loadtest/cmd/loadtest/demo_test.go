package main

import (
	"strings"
	"testing"
)

func TestCheckInterface(t *testing.T) {
	if err := checkInterface("lo"); err != nil {
		t.Error(err)
	}
	if err := checkInterface("nothere"); err == nil || !strings.Contains(err.Error(), "there are lo") {
		t.Errorf("an interface that is not there: %v, want to be told which are", err)
	}
}
