package acquirer

import (
	"errors"
	"sync"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// faulty is a journal whose n-th append from now fails, and whose later ones
// fail too, as a journal does that has closed itself. With persisted set the
// failing record is on disk all the same: nobody can know.
type faulty struct {
	Recorder
	persisted bool

	mu sync.Mutex
	n  int
}

var errDisk = errors.New("disk is gone")

func (f *faulty) Append(rec []byte) (journal.Position, error) { return f.add(rec, f.Recorder.Append) }
func (f *faulty) Queue(rec []byte) (journal.Position, error)  { return f.add(rec, f.Recorder.Queue) }

func (f *faulty) add(rec []byte, to func([]byte) (journal.Position, error)) (journal.Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n--
	if f.n > 0 {
		return to(rec)
	}
	if f.n == 0 && f.persisted {
		to(rec)
	}
	return 0, errDisk
}

func (f *faulty) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n <= 0
}

// Every append of a short day fails once, lost or persisted; the process then
// restarts. What the terminal was told must hold afterwards, and what the
// issuer approved must be answered or reversed.
func TestF49EveryAppendFails(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		for n := 1; ; n++ {
			if !crashDay(t, n, persisted) {
				if n < 5 {
					t.Fatalf("the day has only %d appends", n)
				}
				break
			}
		}
	}
}

// crashDay runs the day with the n-th append failing and says whether it did.
func crashDay(t *testing.T, n int, persisted bool) bool {
	h := newHouse(t)
	h.stop()
	fault := &faulty{n: n, persisted: persisted}
	h.open(func(r Recorder) Recorder { fault.Recorder = r; return fault })
	steps := []struct {
		req    txn.Request
		behave txn.Outcome
	}{
		{sale("10000001", 1, 500), txn.OutcomeApproved},
		{sale("10000001", 2, 600), txn.OutcomeDeclined},
		{sale("10000001", 3, 700), txn.OutcomeUnknown},
		{sale("10000001", 4, 800), txn.OutcomeApproved},
		{reversal("10000001", 4, 800), 0},
	}
	var told []txn.Answer
	for _, st := range steps {
		h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			switch st.behave {
			case txn.OutcomeApproved:
				return txn.OutcomeApproved, txn.Approved, "00"
			case txn.OutcomeDeclined:
				return txn.OutcomeDeclined, txn.IssuerDeclined, "51"
			}
			return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
		}
		ans := h.ask(st.req)
		told = append(told, ans)
		if ans.Silent {
			break
		}
	}
	h.restart()
	failed := fault.failed()
	h.settle()
	for i, before := range told {
		if before.Silent {
			// The terminal heard nothing and reverses what it asked for.
			if steps[i].req.Kind == txn.KindSale {
				h.want("reversal of the unanswered sale", h.ask(reversal("10000001", steps[i].req.Key.STAN, steps[i].req.Amount.Minor)), txn.Approved, "00")
			} else {
				h.want("repeated reversal", h.ask(steps[i].req), txn.Approved, "00")
			}
			continue
		}
		undone := steps[i].req.Kind == txn.KindSale && steps[i].req.Key.STAN == 4 && len(told) == len(steps)
		if again := h.ask(steps[i].req); !undone && !same(before, again) {
			t.Errorf("append %d (persisted %v), step %d: told %v %s, after the restart %v %s", n, persisted, i, before.Reason, before.Code, again.Reason, again.Code)
		}
	}
	h.settle()
	answered := map[txn.ID]bool{}
	for i, a := range told {
		if !a.Silent && a.Reason == txn.Approved && steps[i].req.Key.STAN != 4 {
			answered[a.ID] = true
		}
	}
	for stan, id := range h.bank.approved {
		if stan == 4 && len(told) < len(steps) && len(told) == 4 && !told[3].Silent {
			continue // approved and told; its reversal was never asked for
		}
		if !answered[id] && h.bank.reversed[stan] == 0 {
			t.Errorf("append %d (persisted %v): the issuer's approval %d is neither answered nor reversed", n, persisted, stan)
		}
		if answered[id] && h.bank.reversed[stan] > 0 {
			t.Errorf("append %d (persisted %v): approval %d was told and reversed", n, persisted, stan)
		}
	}
	if u := h.risk.Unmatched(); u != 0 {
		t.Errorf("append %d (persisted %v): %d uses given back twice", n, persisted, u)
	}
	return failed
}
