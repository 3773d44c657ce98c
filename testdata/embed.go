// Package testdata holds the sample registry, the scripts of the simulated
// issuers and the sample day, for the binary and for tests.
package testdata

import "embed"

// Files are registry.yaml, issuers/*.yaml and the sample day: day/day.pcap is
// its traffic, day/expected.jsonl what each message should be answered.
//
//go:embed registry.yaml issuers/*.yaml
var Files embed.FS
