// Package events is the record of weir.events.v1: what operators should know,
// one line each.
package events

import "time"

// Severity orders events.
type Severity string

// The severities.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// The kinds of event. Append only.
const (
	KindRejectedCommand = "rejected-command" // a command the probe does not apply
	KindSuspended       = "suspended"        // a lease kept but not applied (guard, dead-man)
	KindResumed         = "resumed"
	KindBadRecord       = "bad-record" // a record that does not decode
	KindMode            = "mode"
	KindAttach          = "attach"
	KindTableFull       = "table-full"
	KindBroker          = "broker"
	KindDecision        = "decision" // the policy wrote, renewed or released a lease, or would have
	KindBudget          = "budget"
	KindDuplicateName   = "duplicate-name"
	KindAlert           = "alert" // the policy sees what it cannot or must not act on
	KindRules           = "rules" // the policy took or refused a rules file
)

// Step says what a decision does with its lease.
type Step string

// The steps. Append only.
const (
	StepIssue   Step = "issue"
	StepRenew   Step = "renew"
	StepRelease Step = "release"
)

// Record is one value of the topic.
type Record struct {
	V         int       `json:"v"`
	At        time.Time `json:"at"`
	Service   string    `json:"service"` // probe, aggregator, policy
	Host      string    `json:"host,omitempty"`
	Interface string    `json:"interface,omitempty"`
	Kind      string    `json:"kind"`
	Severity  Severity  `json:"severity"`
	Reason    string    `json:"reason"`          // for people
	Topic     string    `json:"topic,omitempty"` // of the record it is about
	Partition int32     `json:"partition,omitempty"`
	Offset    int64     `json:"offset,omitempty"`
	Key       string    `json:"key,omitempty"` // printable, at most 256 bytes
	Rule      string    `json:"rule,omitempty"`
	Measured  float64   `json:"measured,omitempty"`
	Threshold float64   `json:"threshold,omitempty"`
	Step      Step      `json:"step,omitempty"`   // of a decision
	Action    string    `json:"action,omitempty"` // that a decision orders, as in commands
}
