package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const plantedPAN = "4761739001010119"

// sale is an approved sale that took 3 ms, with card data in every field that
// can hold it.
func sale(t testing.TB) (*txn.Request, *txn.Answer) {
	t.Helper()
	pan, err := txn.ParsePAN(plantedPAN)
	if err != nil {
		t.Fatal(err)
	}
	req := &txn.Request{
		Kind: txn.KindSale, MTI: 0x0200, PAN: pan, Track2: txn.Secret(plantedPAN + "=25121010000012345678"), Chip: txn.Secret(plantedPAN),
		Key: txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: 42}, Amount: txn.Amount{Minor: 12345, Currency: txn.CNY},
		Received: time.Now().Add(-3 * time.Millisecond),
	}
	for s := range req.Trace {
		req.Trace[s] = time.Duration(s+1) * 3 * time.Millisecond / time.Duration(txn.StageCount)
	}
	ans := &txn.Answer{Reason: txn.Approved, Code: [2]byte{'0', '0'}, RRN: [12]byte([]byte("632608000042")), Issuer: txn.MakeIssuerID("alpha")}
	return req, ans
}

func mustNew(t testing.TB, cfg Config) *Telemetry {
	t.Helper()
	tel, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

func scrape(t testing.TB, tel *Telemetry, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler(func(context.Context) error { return errors.New("no link for card " + plantedPAN) }).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestScrape(t *testing.T) {
	tel := mustNew(t, Config{Version: "1.2.3"})
	req, ans := sale(t)
	for range 3 {
		tel.Finish(req, ans, "cup-pos")
	}
	ans.Replayed, req.Info.Broken = true, true
	req.Findings.Add(txn.Finding{Rule: txn.MakeRule('R', 3), Action: txn.ActionAlert})
	req.Findings.Add(txn.Finding{Rule: txn.MakeRule('R', 4), Action: txn.ActionRefuse, Shadow: true})
	tel.Finish(req, ans, "cup-pos")
	*ans = txn.Answer{Reason: txn.FormatIsWrong, Code: [2]byte{0xff, '"'}}
	tel.Finish(&txn.Request{}, ans, "iso87")
	*ans = txn.Answer{Reason: 250}
	tel.Finish(&txn.Request{Kind: 250}, ans, "iso87")
	tel.Flushed(64, 30_000, 2*time.Millisecond)
	tel.Gauge(Sessions, func() int64 { return 7 }, Label{"dialect", "cup-pos"})
	tel.Gauge(Sessions, func() int64 { return 2 }, Label{"dialect", "iso87"})
	tel.Counter(BadFrames, Label{"dialect", "iso87"}, Label{"cause", "tls hello"}).Add(5)

	code, body := scrape(t, tel, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, body)
	}
	for _, want := range []string{
		`acq_txn_total{dialect="cup-pos",kind="sale",response_code="00"} 4`,
		`acq_txn_total{dialect="iso87",kind="unknown",response_code="0xFF22"} 1`,
		`acq_txn_total{dialect="iso87",kind="invalid",response_code="none"} 1`,
		`acq_txn_decisions_total{decision="approved"} 4`,
		`acq_txn_decisions_total{decision="format is wrong"} 1`,
		`acq_txn_decisions_total{decision="invalid"} 1`,
		`acq_txn_replayed_total 1`,
		`acq_risk_findings_total{action="alert",rule="R03"} 1`,
		`acq_risk_findings_total{action="shadow",rule="R04"} 1`,
		`acq_txn_broken_info_total 1`,
		`acq_txn_duration_seconds_bucket{kind="sale",le="0.0025"} 0`,
		`acq_txn_duration_seconds_bucket{kind="sale",le="0.005"} 4`,
		`acq_txn_duration_seconds_bucket{kind="sale",le="+Inf"} 4`,
		`acq_txn_duration_seconds_sum{kind="sale"} 0.012`,
		`acq_txn_duration_seconds_count{kind="sale"} 4`,
		`acq_txn_stage_duration_seconds_count{stage="forward"} 4`,
		`acq_journal_flush_records_count 1`,
		`acq_journal_flush_duration_seconds_bucket{le="0.0025"} 1`,
		`acq_pos_sessions{dialect="cup-pos"} 7`,
		`acq_pos_sessions{dialect="iso87"} 2`,
		`acq_pos_bad_frames_total{cause="tls hello",dialect="iso87"} 5`,
		`# TYPE acq_txn_duration_seconds histogram`,
		`# HELP acq_txn_total Transactions answered.`,
		`go_goroutines`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, "otel_scope") || strings.Contains(body, "target_info") || strings.Contains(body, plantedPAN) {
		t.Error("the scrape has more than it should")
	}
	if t.Failed() {
		for _, line := range strings.Split(body, "\n") {
			if strings.HasPrefix(line, "acq_") {
				t.Log(line)
			}
		}
	}
}

func TestProbes(t *testing.T) {
	tel := mustNew(t, Config{Version: "1.2.3"})
	for _, c := range []struct {
		path string
		code int
		body string
	}{
		{"/healthz", 200, "ok\n"},
		{"/readyz", 503, "not ready: no link for card 476173******0119\n"},
		{"/version", 200, "acqswitch 1.2.3\n"},
		{"/nothing", 404, "404 page not found\n"},
	} {
		if code, body := scrape(t, tel, c.path); code != c.code || body != c.body {
			t.Errorf("%s: %d %q", c.path, code, body)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, cfg := range []Config{{SampleRatio: 1.5}, {Slow: -1}, {ForcedPerSecond: -1}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	if _, err := Logger(io.Discard, nil, "xml"); err == nil {
		t.Error("log format xml was taken")
	}
	tel := mustNew(t, Config{})
	for name, register := range map[string]func(){
		"twice":        func() { tel.Counter(Replayed) },
		"another kind": func() { tel.Gauge(Replayed, nil, Label{"a", "b"}) },
		"another unit": func() { tel.Counter(Metric{Name: Replayed.Name}, Label{"a", "b"}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: registered", name)
				}
			}()
			register()
		}()
	}
}

// Label values of requests come partly from answers: they are capped.
func TestRequestSeriesAreBounded(t *testing.T) {
	tel := mustNew(t, Config{})
	n := 0
	for a := range byte(36) {
		for b := range byte(36) {
			tel.requests.add(requestKey{"cup-pos", txn.KindSale, [2]byte{a + 1, b + 1}})
			n++
		}
	}
	seen := *tel.requests.seen.Load()
	if len(seen) != SeriesMax {
		t.Fatalf("%d series", len(seen))
	}
	if got := tel.requests.other.Value(); got != uint64(n-SeriesMax) {
		t.Fatalf("%d counted as other of %d", got, n)
	}
	if code, body := scrape(t, tel, "/metrics"); code != 200 || !strings.Contains(body, `acq_txn_total{dialect="other",kind="other",response_code="other"}`) {
		t.Fatalf("status %d", code)
	}
}

// traced runs Finish under a running tracer and returns the spans.
func traced(t *testing.T, cfg Config, do func(*Telemetry)) tracetest.SpanStubs {
	t.Helper()
	kept := &keeping{}
	cfg.Exporter = kept
	tel := mustNew(t, cfg)
	stop := runUntilTracing(t, tel)
	do(tel)
	stop()
	return kept.spans
}

func runUntilTracing(t *testing.T, tel *Telemetry) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- tel.Run(ctx) }()
	for tel.tracer.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// keeping is an exporter that keeps spans beyond its shutdown.
type keeping struct{ spans tracetest.SpanStubs }

func (k *keeping) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	k.spans = append(k.spans, tracetest.SpanStubsFromReadOnlySpans(spans)...)
	return nil
}
func (k *keeping) Shutdown(context.Context) error { return nil }

func TestSampling(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    Config
		reason txn.Reason
		took   time.Duration
		n      int
		min    int
		max    int
	}{
		{"all", Config{SampleRatio: 1}, txn.Approved, time.Millisecond, 10, 10, 10},
		{"failures only", Config{SampleRatio: -1}, txn.Approved, time.Millisecond, 1000, 0, 0},
		{"one in a hundred by default", Config{}, txn.Approved, time.Millisecond, 10_000, 40, 180},
		{"a decline is no failure", Config{SampleRatio: -1}, txn.IssuerDeclined, time.Millisecond, 100, 0, 0},
		{"unknown outcome always", Config{SampleRatio: -1}, txn.IssuerDidNotAnswer, time.Millisecond, 50, 50, 50},
		{"own failure always", Config{SampleRatio: -1}, txn.SwitchFailed, time.Millisecond, 50, 50, 50},
		{"slow always", Config{SampleRatio: -1, Slow: time.Second}, txn.Approved, 2 * time.Second, 50, 50, 50},
		{"failures up to the ration", Config{SampleRatio: -1, ForcedPerSecond: 10}, txn.SwitchFailed, time.Millisecond, 500, 10, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rationed uint64
			spans := traced(t, c.cfg, func(tel *Telemetry) {
				req, ans := sale(t)
				ans.Reason = c.reason
				req.Trace = txn.Trace{txn.StageAnswered: c.took}
				for range c.n {
					tel.Finish(req, ans, "cup-pos")
				}
				rationed = tel.unforced.Value()
			})
			if len(spans) < c.min || len(spans) > c.max {
				t.Errorf("%d of %d traced", len(spans), c.n)
			}
			if c.cfg.ForcedPerSecond > 0 && rationed != uint64(c.n-len(spans)) {
				t.Errorf("%d traced, %d rationed of %d", len(spans), rationed, c.n)
			}
		})
	}
}

func TestSpansTellTheTransactionAndNoCard(t *testing.T) {
	var received time.Time
	spans := traced(t, Config{SampleRatio: 1}, func(tel *Telemetry) {
		req, ans := sale(t)
		received = req.Received
		ans.Reason = txn.IssuerDidNotAnswer
		tel.Finish(req, ans, "cup-pos")
	})
	if len(spans) != 2 {
		t.Fatalf("%d spans, want a root and a client span", len(spans))
	}
	forward, root := spans[0], spans[1]
	if root.Name != "ISO8583 sale" || !root.StartTime.Equal(received) || root.EndTime.Sub(root.StartTime) != 3*time.Millisecond {
		t.Errorf("root %s from %v to %v", root.Name, root.StartTime, root.EndTime)
	}
	if forward.Parent.SpanID() != root.SpanContext.SpanID() || forward.StartTime.Before(root.StartTime) || forward.EndTime.After(root.EndTime) {
		t.Error("the forward span is not within its root")
	}
	all := fmt.Sprintf("%+v", spans)
	attrs := fmt.Sprint(root.Attributes)
	for _, want := range []string{`"acq.iso8583.mti":"0200"`, `"acq.iso8583.stan":42`, "632608000042", "alpha", "10000001", "issuer did not answer", "12345"} {
		if !strings.Contains(attrs, want) {
			t.Errorf("no %q in %s", want, attrs)
		}
	}
	if len(root.Events) != int(txn.StageCount) {
		t.Errorf("%d stage events", len(root.Events))
	}
	for _, leak := range []string{plantedPAN, "476173", "25121010000012345678"} {
		if strings.Contains(all, leak) {
			t.Errorf("the trace holds card data: %s", leak)
		}
	}
}

type broken struct{ keeping }

func (broken) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("receiver is down")
}

func TestReceiverThatIsDownCostsTracesOnly(t *testing.T) {
	tel := mustNew(t, Config{SampleRatio: 1, Exporter: &broken{}})
	stop := runUntilTracing(t, tel)
	req, ans := sale(t)
	for range 10 {
		tel.Finish(req, ans, "cup-pos")
	}
	stop()
	if tel.lost.Value() != 20 {
		t.Errorf("%d spans counted as lost", tel.lost.Value())
	}
}

// The real exporter against a port where nobody listens.
func TestDeadEndpointEndsInTime(t *testing.T) {
	tel := mustNew(t, Config{SampleRatio: 1, Endpoint: "http://127.0.0.1:1"})
	stop := runUntilTracing(t, tel)
	req, ans := sale(t)
	tel.Finish(req, ans, "cup-pos")
	at := time.Now()
	stop()
	if took := time.Since(at); took > 30*time.Second { // the exporter alone tries for a minute
		t.Errorf("the end took %v", took)
	}
}

func TestNoReceiverNoTraces(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	tel := mustNew(t, Config{SampleRatio: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := tel.Run(ctx); err != nil {
		t.Fatal(err)
	}
	req, ans := sale(t)
	tel.Finish(req, ans, "cup-pos")
}

func TestFinishAllocatesNothing(t *testing.T) {
	tel := mustNew(t, Config{SampleRatio: -1, Exporter: &keeping{}})
	stop := runUntilTracing(t, tel)
	defer stop()
	req, ans := sale(t)
	if n := testing.AllocsPerRun(1000, func() { tel.Finish(req, ans, "cup-pos") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFinish(b *testing.B) {
	tel := mustNew(b, Config{SampleRatio: -1, Exporter: &keeping{}})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- tel.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for tel.tracer.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	req, ans := sale(b)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			tel.Finish(req, ans, "cup-pos")
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				tel.Finish(req, ans, "cup-pos")
			}
		})
	})
	b.Run("scrape", func(b *testing.B) {
		h := tel.Handler(nil)
		for b.Loop() {
			h.ServeHTTP(discard{}, httptest.NewRequest("GET", "/metrics", nil))
		}
	})
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
