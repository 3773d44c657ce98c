package telemetry

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracer makes spans after the fact, from the times a request carries, so that
// a transaction that is not traced pays for one random number.
type tracer struct {
	provider *sdktrace.TracerProvider
	otel     trace.Tracer
	below    uint64 // a random number below it is sampled
	slow     time.Duration
	ration   ration
	unforced *Counter
}

// newTracer returns nil when nobody wants traces.
func (t *Telemetry) newTracer(ctx context.Context) (*tracer, error) {
	exporter, err := t.exporter(ctx)
	if exporter == nil || err != nil {
		return nil, err
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // wants has decided
		sdktrace.WithBatcher(lossy{exporter, t.lost}), // a full queue drops, it never waits
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", t.cfg.Service), attribute.String("service.version", t.cfg.Version))),
	)
	return &tracer{
		provider: provider,
		otel:     provider.Tracer("github.com/acqswitch/acqswitch"),
		below:    uint64(max(t.cfg.SampleRatio, 0) * math.MaxUint32),
		slow:     t.cfg.Slow,
		ration:   ration{perSecond: int64(t.cfg.ForcedPerSecond)},
		unforced: t.unforced,
	}, nil
}

// exporter is the one configured, or the environment's; nil: no traces are sent.
func (t *Telemetry) exporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	switch {
	case t.cfg.Exporter != nil:
		return t.cfg.Exporter, nil
	case t.cfg.Endpoint != "":
		return otlptracegrpc.New(ctx, append(slices.Clip(impatient), otlptracegrpc.WithEndpointURL(t.cfg.Endpoint))...)
	case os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "":
		return otlptracegrpc.New(ctx, impatient...) // it reads them itself
	}
	return nil, nil
}

// impatient keeps an export shorter than Run's last wait, so that nothing
// outlives Run.
var impatient = []otlptracegrpc.Option{
	otlptracegrpc.WithTimeout(time.Second),
	otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}),
}

// shutdown sends what is queued until ctx ends; the rest is lost.
func (tr *tracer) shutdown(ctx context.Context) {
	if tr != nil {
		_ = tr.provider.Shutdown(ctx) // lossy has counted
	}
}

// wants decides whether a transaction is traced: by lot, or because it failed
// or was slow, as long as the ration lasts.
func (tr *tracer) wants(reason txn.Reason, total time.Duration) bool {
	if uint64(rand.Uint32()) < tr.below {
		return true
	}
	if !failed(reason) && total < tr.slow {
		return false
	}
	if tr.ration.take(time.Now().Unix()) {
		return true
	}
	tr.unforced.Add(1)
	return false
}

// ration allows so many takes a second.
type ration struct {
	perSecond int64
	state     atomic.Int64 // second << 20 | taken
}

func (r *ration) take(second int64) bool {
	for {
		old := r.state.Load()
		taken := old & (1<<20 - 1)
		if old>>20 != second {
			taken = 0
		}
		if taken >= min(r.perSecond, 1<<20-1) {
			return false
		}
		if r.state.CompareAndSwap(old, second<<20|(taken+1)) {
			return true
		}
	}
}

// record makes the spans of one transaction: a server span with an event at the
// end of each stage, and within it a client span for the issuer's part. The
// card is not in it, in no form.
func (tr *tracer) record(req *txn.Request, ans *txn.Answer, dialect string, total time.Duration) {
	ctx, span := tr.otel.Start(context.Background(), "ISO8583 "+req.Kind.String(),
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(req.Received),
		trace.WithAttributes(
			attribute.String("acq.iso8583.mti", strconv.FormatUint(0x10000|uint64(req.MTI), 16)[1:]),
			attribute.Int64("acq.iso8583.stan", int64(req.Key.STAN)),
			attribute.String("acq.iso8583.rrn", txn.Text(ans.RRN[:])),
			attribute.String("acq.iso8583.response_code", txn.Text(ans.Code[:])),
			attribute.String("acq.dialect", dialect),
			attribute.String("acq.kind", req.Kind.String()),
			attribute.String("acq.decision", ans.Reason.String()),
			attribute.String("acq.issuer", ans.Issuer.String()),
			attribute.String("acq.terminal", req.Key.Terminal.String()),
			attribute.Int64("acq.amount.minor", req.Amount.Minor),
			attribute.String("acq.amount.currency", req.Amount.Currency.String()),
			attribute.Bool("acq.replayed", ans.Replayed),
		))
	if failed(ans.Reason) {
		span.SetAttributes(attribute.String("error.type", ans.Reason.String()))
		span.SetStatus(codes.Error, ans.Reason.String())
	}
	before := time.Duration(0)
	for s, end := range req.Trace {
		if end == 0 {
			continue
		}
		if txn.Stage(s) == txn.StageForwarded && req.Kind.Forwarded() {
			_, child := tr.otel.Start(ctx, "ISO8583 forward", trace.WithSpanKind(trace.SpanKindClient),
				trace.WithTimestamp(req.Received.Add(before)), trace.WithAttributes(attribute.String("acq.issuer", ans.Issuer.String())))
			child.End(trace.WithTimestamp(req.Received.Add(end)))
		}
		span.AddEvent(txn.Stage(s).String(), trace.WithTimestamp(req.Received.Add(end)))
		before = end
	}
	span.End(trace.WithTimestamp(req.Received.Add(total)))
}

// lossy counts what cannot be exported instead of reporting it: a receiver that
// is down costs traces and nothing else.
type lossy struct {
	sdktrace.SpanExporter
	lost *Counter
}

// ExportSpans implements sdktrace.SpanExporter.
func (l lossy) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := l.SpanExporter.ExportSpans(ctx, spans); err != nil && !errors.Is(err, context.Canceled) {
		l.lost.Add(uint64(len(spans)))
	}
	return nil
}
