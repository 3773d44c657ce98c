// Package testdata holds the sample files of a switch (registry, policy, downloads,
// fees, cards, payouts, calendar), the scripts of the simulated issuers and the sample
// day, for the binary and for tests.
//
// The sample day is recorded: after a change of the registry, the issuers or
// the plan it must be recorded again, by the test TestRecordSampleDay of
// switch/terminal/fleet with -update.
package testdata

import "embed"

// Files are registry.yaml, policy.yaml, downloads.yaml, fees.yaml, cards.csv, payouts.yaml, calendar.yaml, layout.yaml, issuers/*.yaml and the sample day: day/day.pcap is
// its traffic, day/expected.jsonl what each message should be answered, day/policy.yaml the policy under which it is.
//
//go:embed registry.yaml policy.yaml downloads.yaml fees.yaml cards.csv payouts.yaml calendar.yaml layout.yaml issuers/*.yaml day/day.pcap day/expected.jsonl day/policy.yaml
var Files embed.FS
