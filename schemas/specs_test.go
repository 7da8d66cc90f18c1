package schemas

import (
	"maps"
	"reflect"
	"strings"
	"testing"
)

func TestSpecs(t *testing.T) {
	specs := Specs(NewTopics("lab."), 0, 3)
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
		if s.Replication != 3 || s.Configs[ConfigMinInsync] != "2" || s.Configs[ConfigTimestampType] != "LogAppendTime" {
			t.Errorf("%s: replication %d, configs %v", s.Name, s.Replication, s.Configs)
		}
		if _, ok := s.Configs["max.message.bytes"]; ok {
			t.Errorf("%s sets max.message.bytes, which limits the batch and not the record", s.Name)
		}
		wantPartitions := int32(1)
		if strings.HasSuffix(s.Name, "counts.v1") || strings.HasSuffix(s.Name, "rates.v1") {
			wantPartitions = DefaultPartitions
		}
		if s.Partitions != wantPartitions {
			t.Errorf("%s: %d partitions, want %d", s.Name, s.Partitions, wantPartitions)
		}
	}
	if want := []string{"lab.counts.v1", "lab.rates.v1", "lab.commands.v1", "lab.status.v1", "lab.events.v1", "lab.attacks.v1", "lab.baselines.v1"}; !reflect.DeepEqual(names, want) {
		t.Errorf("topics %v, want %v", names, want)
	}
	single := Specs(NewTopics(""), 4, 1)
	if single[0].Partitions != 4 || single[0].Configs[ConfigMinInsync] != "1" || single[2].Partitions != 1 {
		t.Errorf("on a single broker: %+v", single[0])
	}
	// goka compares the policy as text.
	if got := specs[1].Configs[ConfigCleanupPolicy]; got != "compact,delete" {
		t.Errorf("cleanup.policy of rates is %q", got)
	}
}

func TestDiff(t *testing.T) {
	want := Specs(NewTopics(""), 0, 3)[1]
	same := want
	same.Configs = maps.Clone(want.Configs)
	same.Configs[ConfigCleanupPolicy] = "delete,compact"
	same.Configs[ConfigDirtyRatio] = "0.10"
	same.Configs["compression.type"] = "zstd" // the operator's own affair
	if got := Diff(want, same); len(got) != 0 {
		t.Errorf("equal topics differ: %q", got)
	}
	have := same
	have.Partitions, have.Replication = 4, 1
	have.Configs = maps.Clone(want.Configs)
	have.Configs[ConfigCleanupPolicy] = "delete"
	delete(have.Configs, ConfigTimestampType)
	got := Diff(want, have)
	wantDiff := []string{
		"weir.rates.v1: 4 partitions, want 12",
		"weir.rates.v1: replication 1, want 3",
		"weir.rates.v1: cleanup.policy is delete, want compact,delete",
		"weir.rates.v1: message.timestamp.type is not set, want LogAppendTime",
		"weir.rates.v1: min.insync.replicas is 2, more than the replication factor 1: every write with acks=all fails",
	}
	if !reflect.DeepEqual(got, wantDiff) {
		t.Errorf("got  %q\nwant %q", got, wantDiff)
	}
}
