package telemetry

// Metric names a metric family in OpenTelemetry's way; Prometheus sees
// acq.txn.duration in s as acq_txn_duration_seconds.
type Metric struct{ Name, Unit, Help string }

// The metrics of the house. Labels are in braces. Values of labels are from
// closed sets; a terminal, a merchant or a card is never one.
var (
	// {dialect, kind, response_code}
	Requests = Metric{"acq.txn", "{transaction}", "Transactions answered."}
	// {decision}
	Decisions = Metric{"acq.txn.decisions", "{transaction}", "Transactions by the switch's own reason."}
	// {rule, action}
	Findings = Metric{"acq.risk.findings", "{finding}", "What the rules of risk found, by what was done: alert, review, hold, refuse, or shadow for nothing."}
	// {kind}
	Durations = Metric{"acq.txn.duration", "s", "From the frame's last byte to the answer."}
	// {stage}
	Stages   = Metric{"acq.txn.stage.duration", "s", "Time in one stage of a transaction."}
	InFlight = Metric{"acq.txn.inflight", "{transaction}", "Transactions between request and answer."}
	Waiting  = Metric{"acq.txn.waiting", "{transaction}", "Transactions that wait for their turn because the processors have too much to do."}
	Replayed = Metric{"acq.txn.replayed", "{transaction}", "Retransmissions that got the stored answer."}

	// A terminal whose registration asks for it is refused besides.
	BrokenInfo = Metric{"acq.txn.broken_info", "{transaction}", "Messages whose terminal information was not well formed."}

	Backwards = Metric{"acq.txn.trace_backwards", "{transaction}", "New transactions whose trace number is behind the last of their batch: a terminal lost its memory, or is another one."}

	Sessions = Metric{"acq.pos.sessions", "{session}", "Terminal sessions open."}
	Accepts  = Metric{"acq.pos.accepts", "{session}", "Terminal sessions accepted."}
	// {listener}
	Certificate = Metric{"acq.pos.certificate", "s", "Time until the first certificate ends that the listener's sessions need; of secured ones."}
	// {dialect, cause}
	BadFrames = Metric{"acq.pos.bad_frames", "{frame}", "Frames refused."}

	// {event}
	KeyEvents = Metric{"acq.keys.events", "{event}", "What people should watch about terminals' keys: wrong MACs, stale keys, wrong PIN blocks."}

	// {issuer}
	LinkUp = Metric{"acq.link.up", "{link}", "Links to the issuer that are signed on."}
	// {issuer}
	LinkDown = Metric{"acq.link.down", "{link}", "Links to the issuer that are not."}
	// {issuer}
	LinkInFlight = Metric{"acq.link.inflight", "{request}", "Requests waiting for the issuer."}
	// {issuer}
	LinkCertificate = Metric{"acq.link.certificate", "s", "Time until the first certificate ends that the issuer's links need; of secured ones."}
	// {issuer}; 0 closed, 1 half open, 2 open
	LinkBreaker = Metric{"acq.link.breaker", "{state}", "State of the issuer's breaker: 0 closed, 1 half open, 2 open."}
	LinkLate    = Metric{"acq.link.late_answers", "{answer}", "Answers that came after the timeout."}
	// {issuer}
	LateAfter = Metric{"acq.link.late_after", "s", "How long after the request was decided its issuer's answer came."}
	// {issuer}
	LateLost = Metric{"acq.link.late_lost", "{answer}", "Answers after the timeout that came too fast to be recorded."}
	// {issuer}
	LinkUnmatched = Metric{"acq.link.unmatched", "{answer}", "Answers that match no request, or contradict theirs."}
	// {issuer}
	LinkMalformed = Metric{"acq.link.malformed", "{message}", "Messages that cannot be read or written, came with a wrong MAC, or came back rejected."}
	// {issuer, currency}
	Exposure        = Metric{"acq.standin.exposure", "{minor unit}", "Approved in the issuer's place and not taken note of yet."}
	ReversalsQueued = Metric{"acq.reversals.queued", "{reversal}", "Reversals owed and not acknowledged."}
	ReversalsParked = Metric{"acq.reversals.parked", "{reversal}", "Reversals and advices that issuers refuse for good: people must decide."}

	Forgotten = Metric{"acq.risk.forgotten", "{entry}", "What was forgotten of the recent past before its time, for want of room: windows that begin anew."}
	Policy    = Metric{"acq.risk.policy", "{policy}", "Number of the policy in force; 0 is a file's or the built-in one."}
	// {rule, result}
	OwnRules = Metric{"acq.risk.rules", "{transaction}", "What came of the risk officer's own rules, shadows too: held, undecided for want of a fact, failed."}

	FlushRecords  = Metric{"acq.journal.flush.records", "{record}", "Records per journal flush."}
	FlushDuration = Metric{"acq.journal.flush.duration", "s", "Time of one journal flush."}
	Recorded      = Metric{"acq.recorder.messages", "{message}", "Messages written to the recorder's capture."}
	NotRecorded   = Metric{"acq.recorder.dropped.messages", "{message}", "Messages that the recorder had no room for."}

	LogLost      = Metric{"acq.log.lost", "{line}", "Log lines that were lost because nobody takes them."}
	DiskFree     = Metric{"acq.journal.disk.free", "By", "Free space of the disk that the journal is on."}
	SalesStopped = Metric{"acq.sales.stopped", "{state}", "1 while sales are refused because that disk is nearly full."}
	DrainLag     = Metric{"acq.ledger.drain.lag", "{record}", "Durable records not yet in the SQL ledger."}
	ClockOff     = Metric{"acq.clock.off", "s", "By how much the clock was put ahead (below zero back) and not put right; 0 when it is believed."}
	Overdue      = Metric{"acq.settlement.overdue", "s", "Time since a business day that is due could not be settled; 0 when all are."}

	TracesRationed = Metric{"acq.traces.rationed", "{trace}", "Failed or slow transactions not traced: over the ration."}
	TracesLost     = Metric{"acq.traces.lost", "{span}", "Spans that could not be exported."}
)

// Label is one label of an instrument.
type Label struct{ Key, Value string }

// Bounds are the upper bounds of a histogram's exported buckets and the factor
// from recorded values to exported ones.
type Bounds struct {
	upper []float64
	scale float64
}

// Bounds for waiting on others, for own work, and for counts. The first two
// record nanoseconds and export seconds.
var (
	Seconds     = Bounds{[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}, 1e-9}
	FineSeconds = Bounds{[]float64{.000001, .0000025, .000005, .00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5, 30}, 1e-9}
	Counts      = Bounds{[]float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}, 1}
)
