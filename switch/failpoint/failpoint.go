// Package failpoint names the moments of a transaction's life at which the
// torture test kills the process. A program is built with the tag failpoint to
// have them; without it Hit is nothing.
//
// In such a program the environment variable FAILPOINT names one point, the hit
// at which the process sends itself SIGKILL, counted from 1, and optionally how
// long after it: K5:3 or K9:1:300us. Nothing is flushed and nobody is told.
package failpoint

// Point is a moment. After it, and before the next, is what a kill there leaves.
type Point string

// The points, in the order of a transaction's life.
const (
	FrameRead      Point = "K1"  // a terminal's frame is read whole
	Authenticated  Point = "K2"  // its MAC is right, or not asked for
	Claimed        Point = "K3"  // its key is claimed, in memory
	Reserved       Point = "K4"  // its limits are reserved, in memory
	Intended       Point = "K5"  // its intent is durable
	Sent           Point = "K6"  // bytes went to an issuer, sign-ons and reversals among them
	Replied        Point = "K7"  // a frame of an issuer is read whole
	Decided        Point = "K8"  // its outcome is durable
	Committing     Point = "K9"  // the ledger is about to commit
	Committed      Point = "K10" // the ledger has committed
	Answered       Point = "K11" // its answer was handed to the system
	Heard          Point = "K12" // the next frame of a terminal that was answered
	JournalRead    Point = "R1"  // recovery has read the journal
	OpenDecided    Point = "R2"  // recovery has made one open intent an unknown outcome
	Recovered      Point = "R3"  // recovery has ended; no terminal is let in yet
	ReversalOwed   Point = "L1"  // a reversal due is durable, its terminal not answered
	Acknowledged   Point = "L2"  // an issuer acknowledged what it was owed; not recorded
	Acknowledgment Point = "L3"  // that is recorded
)

// Points are all of them.
var Points = []Point{FrameRead, Authenticated, Claimed, Reserved, Intended, Sent, Replied, Decided, Committing, Committed, Answered, Heard,
	JournalRead, OpenDecided, Recovered, ReversalOwed, Acknowledged, Acknowledgment}
