package schemas

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kafka's own names of the topic configurations that we set.
const (
	ConfigCleanupPolicy    = "cleanup.policy"
	ConfigRetention        = "retention.ms"
	ConfigSegmentBytes     = "segment.bytes"
	ConfigSegmentAge       = "segment.ms"
	ConfigDirtyRatio       = "min.cleanable.dirty.ratio"
	ConfigMaxCompactionLag = "max.compaction.lag.ms"
	ConfigTimestampType    = "message.timestamp.type"
	ConfigMinInsync        = "min.insync.replicas"
)

// Specs returns how every topic must be, in the order counts, rates, commands,
// status, events, attacks, baselines. replication is the brokers' count that holds a copy: 3 in
// production, 1 on a single broker. partitions is P (0 means
// DefaultPartitions) and must not change once the topics exist.
//
// max.message.bytes is left alone on purpose: it limits the batch, not the
// record.
func Specs(t Topics, partitions int32, replication int16) []TopicSpec {
	if partitions == 0 {
		partitions = DefaultPartitions
	}
	short := func(policy string) map[string]string {
		return map[string]string{
			ConfigCleanupPolicy: policy,
			ConfigRetention:     millis(time.Hour),
			ConfigSegmentBytes:  strconv.Itoa(64 << 20),
			ConfigSegmentAge:    millis(10 * time.Minute),
		}
	}
	compacted := func(c map[string]string) map[string]string {
		c[ConfigDirtyRatio] = "0.1"
		c[ConfigMaxCompactionLag] = millis(15 * time.Minute)
		return c
	}
	commands := map[string]string{
		ConfigCleanupPolicy: "compact,delete",
		ConfigRetention:     millis(7 * 24 * time.Hour),
		ConfigSegmentBytes:  strconv.Itoa(64 << 20),
		ConfigSegmentAge:    millis(time.Hour),
	}
	events := map[string]string{
		ConfigCleanupPolicy: "delete",
		ConfigRetention:     millis(7 * 24 * time.Hour),
	}
	attacks := map[string]string{
		ConfigCleanupPolicy: "compact,delete",
		ConfigRetention:     millis(30 * 24 * time.Hour),
		ConfigSegmentBytes:  strconv.Itoa(64 << 20),
		ConfigSegmentAge:    millis(24 * time.Hour),
	}
	baselines := map[string]string{
		ConfigCleanupPolicy: "compact,delete",
		ConfigRetention:     millis(24 * time.Hour),
		ConfigSegmentBytes:  strconv.Itoa(64 << 20),
		ConfigSegmentAge:    millis(10 * time.Minute),
	}
	specs := []TopicSpec{
		{Name: t.Counts, Partitions: partitions, Configs: short("delete"), Writers: "probe", Readers: "aggregator, anyone"},
		{Name: t.Rates, Partitions: partitions, Configs: compacted(short("compact,delete")), Writers: "aggregator", Readers: "policy, CLI, third parties"},
		{Name: t.Commands, Partitions: 1, Configs: compacted(commands), Writers: "policy, operators, third parties", Readers: "every probe"},
		{Name: t.Status, Partitions: 1, Configs: compacted(short("compact,delete")), Writers: "probe", Readers: "CLI, policy"},
		{Name: t.Events, Partitions: 1, Configs: events, Writers: "all", Readers: "operators"},
		{Name: t.Attacks, Partitions: 1, Configs: compacted(attacks), Writers: "policy", Readers: "policy, CLI, third parties"},
		{Name: t.Baselines, Partitions: 1, Configs: compacted(baselines), Writers: "policy", Readers: "policy"},
	}
	for i := range specs {
		specs[i].Replication = replication
		specs[i].Configs[ConfigTimestampType] = "LogAppendTime"
		specs[i].Configs[ConfigMinInsync] = strconv.Itoa(max(1, int(replication)-1))
	}
	return specs
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Diff says, one line each, in what have differs from want: nothing if it is
// as it must be. A configuration that have does not report counts as different;
// one that want does not name is left to the operator.
func Diff(want, have TopicSpec) []string {
	var out []string
	if have.Partitions != want.Partitions {
		out = append(out, fmt.Sprintf("%s: %d partitions, want %d", want.Name, have.Partitions, want.Partitions))
	}
	if have.Replication != want.Replication {
		out = append(out, fmt.Sprintf("%s: replication %d, want %d", want.Name, have.Replication, want.Replication))
	}
	for _, name := range slices.Sorted(maps.Keys(want.Configs)) {
		w := want.Configs[name]
		h, ok := have.Configs[name]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s: %s is not set, want %s", want.Name, name, w))
		case !sameConfig(name, w, h):
			out = append(out, fmt.Sprintf("%s: %s is %s, want %s", want.Name, name, h, w))
		}
	}
	// Kafka accepts a min.insync.replicas that it can never reach and then
	// refuses every write.
	if n, err := strconv.Atoi(have.Configs[ConfigMinInsync]); err == nil && have.Replication > 0 && n > int(have.Replication) {
		out = append(out, fmt.Sprintf("%s: %s is %d, more than the replication factor %d: every write with acks=all fails", want.Name, ConfigMinInsync, n, have.Replication))
	}
	return out
}

// sameConfig compares two values; the order of cleanup policies and the spelling
// of numbers do not matter.
func sameConfig(name, a, b string) bool {
	if a == b {
		return true
	}
	if name == ConfigCleanupPolicy {
		return slices.Equal(sortedList(a), sortedList(b))
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

func sortedList(s string) []string {
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	slices.Sort(list)
	return list
}
