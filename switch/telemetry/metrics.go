package telemetry

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Counter counts events. It only rises.
type Counter struct{ n atomic.Uint64 }

// Add counts n more events.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value is the count so far.
func (c *Counter) Value() uint64 { return c.n.Load() }

// Counter registers a counter. Like Gauge and Histogram it panics when the
// metric exists with these labels or as another kind: that is a bug of ours.
func (t *Telemetry) Counter(m Metric, labels ...Label) *Counter {
	c := new(Counter)
	t.CounterFunc(m, c.Value, labels...)
	return c
}

// CounterFunc registers a count that its owner keeps.
func (t *Telemetry) CounterFunc(m Metric, value func() uint64, labels ...Label) {
	t.metrics.add(m, point{kind: kindCounter, counter: value}, labels)
}

// Gauge registers a level that its owner knows. It is asked at each scrape and
// must not wait.
func (t *Telemetry) Gauge(m Metric, value func() int64, labels ...Label) {
	t.metrics.add(m, point{kind: kindGauge, gauge: value}, labels)
}

// Histogram registers a histogram with these exported bounds.
func (t *Telemetry) Histogram(m Metric, bounds Bounds, labels ...Label) *Histogram {
	h := &Histogram{bounds: bounds}
	t.metrics.add(m, point{kind: kindHistogram, histogram: h}, labels)
	return h
}

// producer hands the atomics to OpenTelemetry at scrape time.
type producer struct {
	start time.Time

	// mu guards families, in order of registration. Scrapes hold it, the
	// transaction's path never waits for it.
	mu       sync.Mutex
	families []*family
}

type family struct {
	Metric
	points []point
}

type point struct {
	kind      kind
	labels    attribute.Set
	counter   func() uint64
	gauge     func() int64
	histogram *Histogram
}

type kind uint8

const (
	kindCounter kind = iota
	kindGauge
	kindHistogram
)

func (p *producer) add(m Metric, pt point, labels []Label) {
	kvs := make([]attribute.KeyValue, len(labels))
	for i, l := range labels {
		kvs[i] = attribute.String(l.Key, l.Value)
	}
	pt.labels = attribute.NewSet(kvs...)

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.start.IsZero() {
		p.start = time.Now()
	}
	for _, f := range p.families {
		if f.Name != m.Name {
			continue
		}
		for _, old := range f.points {
			if old.kind != pt.kind || f.Metric != m || old.labels.Equals(&pt.labels) {
				panic(fmt.Sprintf("telemetry: %s %v is registered twice or in two ways", m.Name, labels))
			}
		}
		f.points = append(f.points, pt)
		return
	}
	p.families = append(p.families, &family{m, []point{pt}})
}

// Produce implements OpenTelemetry's metric.Producer.
func (p *producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	metrics := make([]metricdata.Metrics, len(p.families))
	for i, f := range p.families {
		metrics[i] = metricdata.Metrics{Name: f.Name, Unit: f.Unit, Description: f.Help, Data: f.data(p.start, now)}
	}
	return []metricdata.ScopeMetrics{{Metrics: metrics}}, nil
}

func (f *family) data(start, now time.Time) metricdata.Aggregation {
	switch f.points[0].kind {
	case kindHistogram:
		h := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
		for _, pt := range f.points {
			counts, total := pt.histogram.buckets()
			h.DataPoints = append(h.DataPoints, metricdata.HistogramDataPoint[float64]{
				Attributes: pt.labels, StartTime: start, Time: now, Count: total,
				Bounds: pt.histogram.bounds.upper, BucketCounts: counts,
				Sum: float64(pt.histogram.sum.Load()) * pt.histogram.bounds.scale,
			})
		}
		return h
	case kindGauge:
		g := metricdata.Gauge[int64]{}
		for _, pt := range f.points {
			g.DataPoints = append(g.DataPoints, metricdata.DataPoint[int64]{Attributes: pt.labels, Time: now, Value: pt.gauge()})
		}
		return g
	}
	s := metricdata.Sum[int64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	for _, pt := range f.points {
		s.DataPoints = append(s.DataPoints, metricdata.DataPoint[int64]{Attributes: pt.labels, StartTime: start, Time: now, Value: int64(pt.counter())})
	}
	return s
}

// series is the counters of one metric, one for each combination of labels seen,
// SeriesMax at most; what comes after that counts as "other". Readers load an
// immutable map.
type series[K comparable] struct {
	t      *Telemetry
	metric Metric
	labels func(K) []Label
	seen   atomic.Pointer[map[K]*Counter]
	mu     sync.Mutex // serializes growth
	other  *Counter   // guarded by mu
}

// SeriesMax bounds the series of Requests, and those of Findings.
const SeriesMax = 512

type requestKey struct {
	dialect string
	kind    txn.Kind
	code    [2]byte
}

func requestLabels(k requestKey) []Label {
	return []Label{{"dialect", k.dialect}, {"kind", k.kind.String()}, {"response_code", printableCode(k.code)}}
}

type findingKey struct {
	rule   txn.Rule
	action txn.Action
	shadow bool
}

func findingLabels(k findingKey) []Label {
	action := k.action.String()
	if k.shadow {
		action = "shadow"
	}
	return []Label{{"rule", k.rule.String()}, {"action", action}}
}

func (s *series[K]) add(key K) {
	if seen := s.seen.Load(); seen != nil {
		if c := (*seen)[key]; c != nil {
			c.Add(1)
			return
		}
	}
	s.grow(key).Add(1)
}

func (s *series[K]) grow(key K) *Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[K]*Counter{}
	if seen := s.seen.Load(); seen != nil {
		if c := (*seen)[key]; c != nil {
			return c
		}
		if len(*seen) >= SeriesMax {
			if s.other == nil {
				labels := s.labels(key)
				for i := range labels {
					labels[i].Value = "other"
				}
				s.other = s.t.Counter(s.metric, labels...)
			}
			return s.other
		}
		maps.Copy(next, *seen)
	}
	next[key] = s.t.Counter(s.metric, s.labels(key)...)
	s.seen.Store(&next)
	return next[key]
}

// printableCode is a DE39 as a label; none and the unprintable have words, so
// that two codes may share a label's value only by sharing the counter.
func printableCode(code [2]byte) string {
	if code == [2]byte{} {
		return "none"
	}
	for _, c := range code {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return fmt.Sprintf("0x%04X", code)
		}
	}
	return string(code[:])
}
