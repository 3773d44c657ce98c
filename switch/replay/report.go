package replay

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what came of a replay.
type Report struct {
	Capture string   `json:"capture"`
	Targets []string `json:"targets"`
	// Reference is the host whose answers were expected, in place of what was
	// recorded.
	Reference []string      `json:"reference,omitempty"`
	Pace      string        `json:"pace"`
	Began     time.Time     `json:"began"`
	Took      time.Duration `json:"took_ns"`

	Requests   int     `json:"requests"`    // due, of the capture and its copies
	Sent       int     `json:"sent"`        // by the terminals
	Answered   int     `json:"answered"`    // of Sent
	Same       int     `json:"same"`        // answers as recorded
	Differ     int     `json:"differ"`      // answers that are not
	Missing    int     `json:"missing"`     // not answered, and answered in the capture
	Unrecorded int     `json:"unrecorded"`  // answered now, and not in the capture
	Silent     int     `json:"silent"`      // not answered, as in the capture
	SignOns    int     `json:"sign_ons"`    // that the capture does not have, before a terminal's first request
	Strays     int     `json:"strays"`      // answers that nobody waited for
	NotPlayed  int     `json:"not_played"`  // of Requests, for Problems
	PerSecond  float64 `json:"per_second"`  // answers
	Terminals  int     `json:"terminals"`   // that played
	BadMACs    int     `json:"bad_macs"`    // approvals whose MAC was wrong or missing
	MoreGroups int     `json:"more_groups"` // differences beyond the causes that are told apart

	// Load is more of a load, nil of a replay.
	Load *Load `json:"load,omitempty"`

	Groups   []Group  `json:"groups"`
	causes   []Group  // Groups before those alike became one
	Problems []string `json:"problems"` // one line each

	// Latency counts from the moment of sending; at a fixed rate from that at
	// which the request was due. Service counts from the moment of sending.
	Latency Percentiles `json:"latency"`
	Service Percentiles `json:"service"`
	// ReferenceService is that of the reference.
	ReferenceService Percentiles   `json:"reference_service,omitzero"`
	Curve            []CurvePoint  `json:"curve"`
	Series           []SeriesPoint `json:"series"`
	Codes            []CodeCount   `json:"codes"`
	// Lag is how late the player itself was with what was due. If it is not small
	// against the latencies, the player was the limit.
	Lag Percentiles `json:"lag"`
}

// OK says that something was answered, that every answer is as recorded and none is
// missing; of a load, that every answer is right; of a search, that there is a good
// rate too.
func (r *Report) OK() bool {
	if r.Load != nil {
		return r.Load.Errors() == 0 && r.Load.Keyless == 0 && r.Answered > 0 && (len(r.Load.Trials) == 0 || r.Load.Capacity > 0)
	}
	return len(r.Groups) == 0 && r.NotPlayed == 0 && r.MoreGroups == 0 && r.BadMACs == 0 && r.Answered > 0
}

// Verdict is a replay's in a sentence. What has no answers, such as a template, is
// held against nothing, and OK where the host answered.
func (r *Report) Verdict() string {
	switch {
	case r.Answered == 0:
		return "Nothing was answered."
	case !r.OK():
		return "Not as " + r.Expectation() + "."
	case r.Same == 0:
		return "There was no answer to hold these against."
	}
	return "Every answer is as " + r.Expectation() + "."
}

// Expectation is where the answers that were expected come from, as "recorded".
func (r *Report) Expectation() string {
	if len(r.Reference) > 0 {
		return "the reference answers"
	}
	return "recorded"
}

// Percentiles of a time.
type Percentiles struct {
	N    int64         `json:"n"`
	Mean time.Duration `json:"mean_ns"`
	P50  time.Duration `json:"p50_ns"`
	P90  time.Duration `json:"p90_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p999_ns"`
	Max  time.Duration `json:"max_ns"`
}

// Measure is one of a report's times by its name.
type Measure struct {
	Name string
	Percentiles
}

// Measured are the times that were measured at least once.
func (r *Report) Measured() (all []Measure) {
	for _, m := range [...]Measure{{"latency", r.Latency}, {"from sending", r.Service}, {"the reference, from sending", r.ReferenceService}, {"the sender's lag", r.Lag}} {
		if m.N > 0 {
			all = append(all, m)
		}
	}
	return all
}

// CurvePoint is one point of the curve of all percentiles.
type CurvePoint struct {
	Quantile float64       `json:"quantile"` // 0 to 1
	At       time.Duration `json:"at_ns"`
}

// SeriesPoint is one stretch of the run.
type SeriesPoint struct {
	At       time.Duration `json:"at_ns"` // since the beginning
	Span     time.Duration `json:"span_ns"`
	Answered int64         `json:"answered"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
}

// CodeCount is how often a code answered a kind of request, now and in the
// capture. "none" is no answer.
type CodeCount struct {
	Kind     string `json:"kind"`
	Code     string `json:"code"`
	Now      int    `json:"now"`
	Recorded int    `json:"recorded"`
}

// latencyMax is the longest latency told apart.
const latencyMax = 5 * time.Minute

func newHistogram(digits int) *hdrhistogram.Histogram {
	return hdrhistogram.New(1, latencyMax.Microseconds(), digits)
}

func percentiles(h *hdrhistogram.Histogram) Percentiles {
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond }
	return Percentiles{h.TotalCount(), time.Duration(h.Mean() * 1000), at(50), at(90), at(99), at(99.9), time.Duration(h.Max()) * time.Microsecond}
}

// stretches bounds the points of the series: when a run outgrows them, each two
// become one.
const stretches = 240

// series is latencies over time.
type series struct {
	span time.Duration
	all  []*hdrhistogram.Histogram
}

func (s *series) add(at, latency time.Duration) {
	if s.span == 0 {
		s.span = 100 * time.Millisecond
	}
	for int(at/s.span) >= stretches {
		s.span *= 2
		for i := range (len(s.all) + 1) / 2 {
			a := s.all[2*i]
			if 2*i+1 < len(s.all) {
				if b := s.all[2*i+1]; a == nil {
					a = b
				} else if b != nil {
					a.Merge(b)
				}
			}
			s.all[i] = a
		}
		s.all = s.all[:(len(s.all)+1)/2]
	}
	i := max(0, int(at/s.span))
	for len(s.all) <= i {
		s.all = append(s.all, nil)
	}
	if s.all[i] == nil {
		s.all[i] = newHistogram(2)
	}
	record(s.all[i], latency)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	h.RecordValue(max(1, min(d, latencyMax).Microseconds()))
}

func (s *series) points() []SeriesPoint {
	all := []SeriesPoint{}
	for i, h := range s.all {
		p := SeriesPoint{At: time.Duration(i) * s.span, Span: s.span}
		if h != nil {
			q := percentiles(h)
			p.Answered, p.P50, p.P99, p.Max = q.N, q.P50, q.P99, q.Max
		}
		all = append(all, p)
	}
	return all
}

type codeKey struct{ kind, code string }

const codesMax = 1024

// tally gathers for all terminals.
type tally struct {
	// mu guards the rest.
	mu        sync.Mutex
	r         Report
	groups    *groups
	latency   *hdrhistogram.Histogram
	service   *hdrhistogram.Histogram
	lag       *hdrhistogram.Histogram
	reference *hdrhistogram.Histogram
	series    series
	codes     map[codeKey]*CodeCount
	problems  map[string]int
	answered  time.Time // the last answer
	timeouts  int       // since then
}

func newTally() *tally {
	return &tally{groups: newGroups(), latency: newHistogram(3), service: newHistogram(3), lag: newHistogram(3), reference: newHistogram(3), codes: map[codeKey]*CodeCount{}, problems: map[string]int{}}
}

// problemsMax bounds the lines about problems.
const problemsMax = 64

// problem notes one line; the same line again is counted.
func (t *tally) problem(line string) { t.problemOf(1, line) }

// problemOf notes a line of n requests.
func (t *tally) problemOf(n int, line string) {
	if _, known := t.problems[line]; known || len(t.problems) < problemsMax {
		t.problems[line] += n
	}
}

func (t *tally) code(kind, code string, now, recorded int) {
	k := codeKey{kind, code}
	c := t.codes[k]
	if c == nil {
		if len(t.codes) >= codesMax {
			return
		}
		c = &CodeCount{Kind: kind, Code: code}
		t.codes[k] = c
	}
	c.Now += now
	c.Recorded += recorded
}

func (t *tally) report(took time.Duration) *Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.r
	r.Took = took
	if took > 0 {
		r.PerSecond = float64(r.Answered) / took.Seconds()
	}
	r.causes, r.MoreGroups = t.groups.list(), t.groups.more
	r.Groups = folded(r.causes)
	r.Latency, r.Service, r.Lag = percentiles(t.latency), percentiles(t.service), percentiles(t.lag)
	r.ReferenceService = percentiles(t.reference)
	r.Curve = []CurvePoint{}
	for _, b := range t.latency.CumulativeDistributionWithTicks(5) {
		if r.Latency.N == 0 {
			break
		}
		r.Curve = append(r.Curve, CurvePoint{b.Quantile / 100, time.Duration(b.ValueAt) * time.Microsecond})
	}
	r.Series = t.series.points()
	r.Codes = []CodeCount{}
	for _, c := range t.codes {
		r.Codes = append(r.Codes, *c)
	}
	slices.SortFunc(r.Codes, func(a, b CodeCount) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Code, b.Code)) })
	r.Problems = []string{}
	for line, n := range t.problems {
		r.Problems = append(r.Problems, counted(line, n))
	}
	slices.Sort(r.Problems)
	return &r
}
