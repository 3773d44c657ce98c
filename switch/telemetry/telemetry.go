// Package telemetry shows what the switch is doing: counters and histograms for
// Prometheus, a trace of some transactions, and logs. It promises three things.
//
// It is cheap: a transaction that is not traced costs a few atomic additions,
// under 300 ns and no allocation. It is bounded: label values come from code,
// not from messages, and there is a cap on them; traces are sampled, forced ones
// rationed, and dropped when their receiver is slow. And no card number leaves
// through it: Finish never looks at one, and Logger masks whatever looks like
// one.
//
// Numbers are kept in atomics and handed to OpenTelemetry at scrape time by one
// metric producer, histograms included. OpenTelemetry's own instruments cost
// 360 to 400 ns a call against 15, and it has no observable histogram.
//
// Not here: what the numbers mean for a merchant. Money is in the ledger.
package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Config is how much is shown. The zero value of each field is its default.
type Config struct {
	// Service and Version name this process in traces; "acqswitch".
	Service, Version string
	// Endpoint is the OTLP gRPC receiver of traces, such as
	// "http://localhost:4317". Empty takes OTEL_EXPORTER_OTLP_ENDPOINT (the
	// other OTEL_EXPORTER_OTLP_ variables hold too); empty both: no traces.
	Endpoint string
	// SampleRatio is the share of transactions traced, 0 to 1; 0.01. Negative
	// traces failures only.
	SampleRatio float64
	// Slow is from when a transaction is traced in any case; 5 s.
	Slow time.Duration
	// ForcedPerSecond bounds the traces of failed and slow transactions; 100.
	// A failing issuer makes every transaction one of them.
	ForcedPerSecond int
	// Exporter receives the traces instead of Endpoint.
	Exporter sdktrace.SpanExporter
}

func (c Config) withDefaults() Config {
	c.Service = cmp.Or(c.Service, "acqswitch")
	c.SampleRatio = cmp.Or(c.SampleRatio, 0.01)
	c.Slow = cmp.Or(c.Slow, 5*time.Second)
	c.ForcedPerSecond = cmp.Or(c.ForcedPerSecond, 100)
	return c
}

// Telemetry is the instruments of one process.
type Telemetry struct {
	cfg      Config
	metrics  *producer
	registry *prometheus.Registry

	tracer atomic.Pointer[tracer] // set while Run runs and traces are wanted

	requests  series[requestKey]
	findings  series[findingKey]
	reasons   [txn.Reasons + 1]*Counter // the last is for invalid ones
	durations [txn.KindEcho + 1]*Histogram
	stages    [txn.StageCount]*Histogram
	replayed  *Counter
	broken    *Counter // terminal information
	flushSize *Histogram
	flushTime *Histogram
	unforced  *Counter
	lost      *Counter
}

// New makes the instruments every switch has; owners of others add theirs with
// Counter, Gauge and Histogram before the first scrape.
func New(cfg Config) (*Telemetry, error) {
	cfg = cfg.withDefaults()
	if cfg.SampleRatio > 1 || cfg.Slow < 0 || cfg.ForcedPerSecond < 0 {
		return nil, errors.New("telemetry: sample ratio must be at most 1, slow and forced per second not negative")
	}
	t := &Telemetry{cfg: cfg, metrics: &producer{}, registry: prometheus.NewRegistry()}
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(t.registry), otelprometheus.WithProducer(t.metrics),
		otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("make metrics exporter: %w", err)
	}
	// The exporter only reads once a provider knows it.
	sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := t.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register runtime metrics: %w", err)
		}
	}
	t.own()
	return t, nil
}

// own registers the instruments that Finish and Flushed fill.
func (t *Telemetry) own() {
	t.requests.t, t.requests.metric, t.requests.labels = t, Requests, requestLabels
	t.findings.t, t.findings.metric, t.findings.labels = t, Findings, findingLabels
	for r := range t.reasons {
		t.reasons[r] = t.Counter(Decisions, Label{"decision", txn.Reason(r).String()})
	}
	for k := range t.durations {
		t.durations[k] = t.Histogram(Durations, Seconds, Label{"kind", txn.Kind(k).String()})
	}
	for s := range t.stages {
		t.stages[s] = t.Histogram(Stages, FineSeconds, Label{"stage", txn.Stage(s).String()})
	}
	t.replayed = t.Counter(Replayed)
	t.broken = t.Counter(BrokenInfo)
	t.flushSize = t.Histogram(FlushRecords, Counts)
	t.flushTime = t.Histogram(FlushDuration, FineSeconds)
	t.unforced = t.Counter(TracesRationed)
	t.lost = t.Counter(TracesLost)
}

// Run sends traces until ctx ends, then sends what it holds, for at most 2 s,
// and returns nil: a receiver that is down costs traces and nothing else. It
// fails at once when the receiver's address is wrong. Metrics and logs do not
// need it.
func (t *Telemetry) Run(ctx context.Context) error {
	tr, err := t.newTracer(ctx)
	if err != nil {
		return fmt.Errorf("start traces: %w", err)
	}
	t.tracer.Store(tr)
	<-ctx.Done()
	t.tracer.Store(nil)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	tr.shutdown(end)
	return nil
}

// Finish notes the end of one transaction: what was asked in which dialect,
// what was answered, and how long each stage took.
func (t *Telemetry) Finish(req *txn.Request, ans *txn.Answer, dialect string) {
	t.requests.add(requestKey{dialect, req.Kind, ans.Code})
	t.reasons[min(int(ans.Reason), txn.Reasons)].Add(1)
	if ans.Replayed {
		t.replayed.Add(1)
	}
	if req.Info.Broken {
		t.broken.Add(1)
	}
	for f := range req.Findings.All() {
		if f.Shadow {
			f.Action = 0
		}
		t.findings.add(findingKey{f.Rule, f.Action, f.Shadow})
	}
	total := t.observeStages(&req.Trace)
	t.duration(req.Kind).Observe(total)

	if tr := t.tracer.Load(); tr != nil {
		if tr.wants(ans.Reason, total) {
			tr.record(req, ans, dialect, total)
		}
	}
}

// observeStages gives each stage the time since the one before it that was
// reached, and returns when the last one ended.
func (t *Telemetry) observeStages(trace *txn.Trace) (last time.Duration) {
	for s, end := range trace {
		if end != 0 {
			t.stages[s].Observe(end - last)
			last = end
		}
	}
	return last
}

// duration is the histogram of whole transactions of one kind.
func (t *Telemetry) duration(kind txn.Kind) *Histogram {
	if int(kind) >= len(t.durations) {
		kind = txn.KindUnknown
	}
	return t.durations[kind]
}

// Flushed notes one flush of the journal; it fits journal.Config.OnFlush.
func (t *Telemetry) Flushed(records, bytes int, took time.Duration) {
	t.flushSize.record(int64(records))
	t.flushTime.Observe(took)
}

// failed says that an answer tells of trouble of ours or of the issuer's link,
// not of a decision. All outcomes that are unknown are among them.
func failed(r txn.Reason) bool {
	switch r {
	case txn.SwitchIsOverloaded, txn.DiskIsNearlyFull, txn.IssuerIsUnavailable, txn.IssuerIsBusy, txn.IssuerDidNotAnswer, txn.IssuerAnsweredNonsense,
		txn.AnswerWasNotDelivered, txn.JournalIsUnavailable, txn.SwitchFailed:
		return true
	}
	return false
}
