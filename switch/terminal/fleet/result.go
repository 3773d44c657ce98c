package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Result is what came of playing a day.
type Result struct {
	Terminals int         `json:"terminals"`
	Messages  int         `json:"messages"`  // sent in this run
	Earlier   int         `json:"earlier"`   // of the day, sent by an earlier run
	Answered  int         `json:"answered"`  // of Messages
	GaveUp    int         `json:"gave_up"`   // hung up on before the answer, as the script says
	Reversals int         `json:"reversals"` // sent for sales and reversals that had no answer
	Excused   int         `json:"excused"`   // answers that differ because of such a reversal
	Elapsed   txn.Millis  `json:"elapsed_ms"`
	PerSecond float64     `json:"per_second"`
	BytesOut  int64       `json:"bytes_out"`
	BytesIn   int64       `json:"bytes_in"`
	Latency   Percentiles `json:"latency"`
	Counts    []Count     `json:"counts"`

	// MismatchCount counts all answers that differ from the expected ones; the
	// first mismatchesMax are named.
	MismatchCount int        `json:"mismatch_count"`
	Mismatches    []Mismatch `json:"mismatches"`
}

// Count is how often a kind of message got an answer.
type Count struct {
	Kind    string      `json:"kind"`
	MTI     string      `json:"mti"`
	Code    string      `json:"code"` // empty: hung up before the answer
	Reason  string      `json:"reason,omitempty"`
	N       int         `json:"n"`
	Latency Percentiles `json:"latency"`
}

// Percentiles of a latency, from the first byte out to the last byte in.
type Percentiles struct {
	P50  txn.Millis `json:"p50_ms"`
	P90  txn.Millis `json:"p90_ms"`
	P99  txn.Millis `json:"p99_ms"`
	P999 txn.Millis `json:"p999_ms"`
	Max  txn.Millis `json:"max_ms"`
}

// Mismatch is an answer that differs from the expected one.
type Mismatch struct {
	Expected
	Got string `json:"got"`
}

func (m *Mismatch) String() string {
	want := m.Code
	if want == "" {
		want = "no answer"
	}
	if m.SameAs != nil {
		want += fmt.Sprintf(" as step %d", *m.SameAs)
	}
	if m.Reason != "" {
		want += " (" + m.Reason + ")"
	}
	return fmt.Sprintf("terminal %s step %d, %s %s %06d: expected %s, got %s", m.Terminal, m.Step, m.Kind, m.MTI, m.STAN, want, m.Got)
}

// mismatchesMax bounds the mismatches that are named.
const mismatchesMax = 100

// Progress is how far a run is.
type Progress struct {
	Done, Total int // messages; Done includes those of an earlier run
	Open        int // terminals at work
	Approved    int
	Mismatches  int
	Elapsed     time.Duration
}

// tally counts for all terminals of a run.
type tally struct {
	began time.Time
	total int

	// mu guards the rest. It is held for counting only.
	mu       sync.Mutex
	r        Result
	open     int
	approved int
	all      *hdrhistogram.Histogram
	counts   map[Count]*hdrhistogram.Histogram // keys have no N and no Latency
}

// latencyMax is the longest latency told apart.
const latencyMax = 2 * time.Minute

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, latencyMax.Microseconds(), 2) }

func newTally(day *Day, log *Log) *tally {
	t := &tally{began: time.Now(), total: day.Len(), all: newHistogram(), counts: map[Count]*hdrhistogram.Histogram{}}
	t.r.Terminals = len(day.Scripts)
	for i := range day.Scripts {
		t.r.Earlier += min(log.memory(day.Scripts[i].Terminal).Next, len(day.Scripts[i].Steps))
	}
	return t
}

func (t *tally) starts() { t.mu.Lock(); t.open++; t.mu.Unlock() }
func (t *tally) ends()   { t.mu.Lock(); t.open--; t.mu.Unlock() }

func (t *tally) answered(s *Step, a terminal.Answer) {
	reason := ""
	if a.Code == s.Code {
		reason = s.Reason
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent(s)
	t.r.Answered++
	t.r.BytesIn += int64(a.Size)
	if a.Approved() {
		t.approved++
	}
	latency := min(a.Latency, latencyMax).Microseconds()
	t.all.RecordValue(latency)
	t.histogram(s, a.Code, reason).RecordValue(latency)
}

func (t *tally) gaveUp(s *Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent(s)
	t.r.GaveUp++
	t.histogram(s, "", s.Reason).RecordValue(s.GiveUp.Microseconds())
}

func (t *tally) sent(s *Step) {
	t.r.Messages++
	t.r.BytesOut += int64(len(s.Frame))
}

func (t *tally) histogram(s *Step, code, reason string) *hdrhistogram.Histogram {
	k := Count{Kind: s.Kind, MTI: s.MTI, Code: code, Reason: reason}
	if t.counts[k] == nil {
		t.counts[k] = newHistogram()
	}
	return t.counts[k]
}

func (t *tally) reversed() { t.mu.Lock(); t.r.Reversals++; t.mu.Unlock() }
func (t *tally) excuse()   { t.mu.Lock(); t.r.Excused++; t.mu.Unlock() }

// unanswered notes that no valid answer came where one was expected.
func (t *tally) unanswered(s *Step, why error) {
	t.mu.Lock()
	t.sent(s)
	t.mu.Unlock()
	t.mismatch(s, "no valid answer: "+why.Error())
}

// mismatch names a step that did not go as expected.
func (t *tally) mismatch(s *Step, got string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.MismatchCount++
	if len(t.r.Mismatches) < mismatchesMax {
		t.r.Mismatches = append(t.r.Mismatches, Mismatch{s.Expected, got})
	}
}

func (t *tally) progress() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Progress{Done: t.r.Earlier + t.r.Messages, Total: t.total, Open: t.open,
		Approved: t.approved, Mismatches: t.r.MismatchCount, Elapsed: time.Since(t.began)}
}

// report calls show until the returned function is called, which shows the end.
func (t *tally) report(show func(Progress), every time.Duration) (stop func()) {
	if show == nil {
		return func() {}
	}
	done := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				show(t.progress())
			case <-done:
				show(t.progress())
				return
			}
		}
	})
	return func() { close(done); showing.Wait() }
}

func (t *tally) result() *Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.r
	r.Elapsed = txn.Millis(time.Since(t.began))
	r.PerSecond = float64(r.Messages) / time.Duration(r.Elapsed).Seconds()
	r.Latency = percentiles(t.all)
	for k, h := range t.counts {
		k.N, k.Latency = int(h.TotalCount()), percentiles(h)
		r.Counts = append(r.Counts, k)
	}
	slices.SortFunc(r.Counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.MTI, b.MTI), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reason, b.Reason))
	})
	return &r
}

func percentiles(h *hdrhistogram.Histogram) Percentiles {
	of := func(us int64) txn.Millis { return txn.Millis(us) * txn.Millis(time.Microsecond) }
	at := func(q float64) txn.Millis { return of(h.ValueAtQuantile(q)) }
	return Percentiles{at(50), at(90), at(99), at(99.9), of(h.Max())}
}
