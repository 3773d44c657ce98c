// Package replay plays a stored capture against a host and says what came out
// otherwise than it was recorded.
//
// Each terminal of the capture sends its messages in their order, each after
// the answer to the one before, over the sessions that the capture has. Numbers,
// times and references are rewritten by declared Rules, so that a capture can be
// played again and again; what an answer repeats must then be what was sent. The
// host may be any that speaks the dialect.
//
// Differences are grouped by cause and named by what the requests have in
// common. Latencies are kept as HDR histograms. At a fixed rate they count from
// the moment at which a request was due, whatever the host's slowness did to the
// requests behind it.
//
// RunLoad asks a host what a Profile says instead, where nothing was recorded.
//
// Promise: a host that refuses, hangs or answers nonsense ends in a Report too.
// Memory does not grow with the capture.
package replay
