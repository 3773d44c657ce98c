package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// shortDay is a day of two terminals: sales, a repeat, a reversal, one sale
// that is given up, an echo.
func shortDay(t testing.TB, dialectName string) *Day {
	t.Helper()
	if dialectName == "iso87" {
		return shortDayOf(t, "USSF0001", "USSF0002")
	}
	return shortDayOf(t, "10000001", "10000002")
}

// keyed is a terminal of the sample registry that has keys.
const keyed = "10000012"

// startKeyed starts a peer that has the keys of that terminal.
func startKeyed(t testing.TB) *terminaltest.Peer {
	t.Helper()
	p := terminaltest.Start(t, "cup-pos")
	p.Host = &terminaltest.Host{TMK: SampleTMK(keyed), Signed: map[string]int{}}
	return p
}

// shortDayOf is that day of these terminals; one with keys makes also a sale with
// a PIN and one with wrong MACs.
func shortDayOf(t testing.TB, tids ...string) *Day {
	t.Helper()
	reg := sampleRegistry(t)
	p := &planner{reg: reg, rng: samplePlanner(), used: map[string]int{}}
	for _, tid := range tids {
		term, ok := reg.Terminal(txn.MakeTerminalID(tid))
		if !ok {
			t.Fatal("no terminal", tid)
		}
		m, _ := reg.Merchant(term.Merchant)
		pr := p.begin(term.ID, m, term)
		pr.network(txn.KindSignOn, txn.Approved)
		pr.send(pr.sale(cardGood), want{})
		pr.session++
		pr.scenario = "repeated"
		n := pr.send(pr.sale(cardGood), want{})
		pr.repeat(n, false, want{sameAs: n + 1})
		pr.scenario = "reversed"
		n = pr.send(pr.sale(cardGood), want{})
		pr.reverse(n, "06", want{})
		pr.scenario = "given up"
		n = pr.send(pr.sale(cardSlow), want{giveUp: true})
		pr.session++
		pr.reverse(n, "98", want{})
		pr.scenario = ""
		if pr.keyed() {
			pr.send(pr.withPIN(pr.sale(cardGood)), want{})
			pr.session++
			pr.scenario = "wrong MACs"
			pr.wrongMACs()
			pr.scenario = ""
		}
		pr.balance(want{})
		pr.network(txn.KindEcho, txn.Approved)
		if pr.keyed() { // the last thing may be owed too
			pr.send(pr.sale(cardGood), want{})
		}
		if err := p.end(pr); err != nil {
			t.Fatal(err)
		}
	}
	day := &Day{Scripts: p.scripts}
	for i := range day.Scripts {
		for j := range day.Scripts[i].Steps {
			if s := &day.Scripts[i].Steps[j]; s.GiveUp > 0 {
				s.GiveUp = 20 * time.Millisecond
			}
		}
	}
	return day
}

// silentFor answers everything but the sales that the day gives up.
func silentFor(day *Day) func(*txn.Request, []byte) []byte {
	given := map[string]bool{}
	for _, s := range day.Scripts {
		for _, step := range s.Steps {
			if step.GiveUp > 0 {
				given[fmt.Sprint(s.Terminal, step.STAN)] = true
			}
		}
	}
	return func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindSale && given[fmt.Sprint(req.Key.Terminal.String(), req.Key.STAN)] {
			return nil
		}
		return answer
	}
}

func TestPlayRecordReadPlay(t *testing.T) {
	for _, name := range []string{"cup-pos", "iso87"} {
		t.Run(name, func(t *testing.T) {
			p := terminaltest.Start(t, name)
			day := shortDay(t, name)
			p.SetAnswers(silentFor(day))
			var pcap, expected bytes.Buffer
			var last Progress
			r, err := Record(t.Context(), day, map[string]string{name: p.Addr}, &pcap, &expected, PlayOptions{Progress: func(p Progress) { last = p }})
			if err != nil {
				t.Fatal(err)
			}
			if r.Messages != day.Len() || r.GaveUp != 2 || r.Answered != r.Messages-2 || r.Terminals != 2 || last.Done != last.Total || last.Open != 0 {
				t.Errorf("%+v, %+v", r, last)
			}
			rows, err := ReadExpected(&expected)
			if err != nil {
				t.Fatal(err)
			}
			c, err := ReadCapture(&pcap, Ports())
			if err != nil {
				t.Fatal(err)
			}
			again, err := c.Day(rows)
			if err != nil {
				t.Fatal(err)
			}
			sameDay(t, again, day)
			// Another switch, which knows nothing, is played the capture.
			p = terminaltest.Start(t, name)
			p.SetAnswers(silentFor(day))
			if r, err = Play(t.Context(), again, map[string]string{name: p.Addr}, PlayOptions{}); err != nil || r.MismatchCount != 0 {
				t.Errorf("%v, %v", r.Mismatches, err)
			}
		})
	}
}

// sameDay holds a day to another: messages, sessions, expectations, and whether
// a message is given up.
func sameDay(t testing.TB, got, want *Day) {
	t.Helper()
	if len(got.Scripts) != len(want.Scripts) {
		t.Fatalf("%d terminals, want %d", len(got.Scripts), len(want.Scripts))
	}
	for i := range want.Scripts {
		g, w := got.Scripts[i], want.Scripts[i]
		if g.Terminal != w.Terminal || len(g.Steps) != len(w.Steps) {
			t.Fatalf("terminal %s has %d steps, want %s with %d", g.Terminal, len(g.Steps), w.Terminal, len(w.Steps))
		}
		for j := range w.Steps {
			a, b := g.Steps[j], w.Steps[j]
			newA, newB := j > 0 && a.Session != g.Steps[j-1].Session, j > 0 && b.Session != w.Steps[j-1].Session
			if !bytes.Equal(emptied(a), emptied(b)) || (a.GiveUp > 0) != (b.GiveUp > 0) || a.event != b.event || a.Code != b.Code || a.Reason != b.Reason || !reflect.DeepEqual(a.SameAs, b.SameAs) || a.Scenario != b.Scenario || newA != newB && !afterGiveUp(w.Steps, j) {
				t.Fatalf("terminal %s step %d:\n%+v\n%+v", g.Terminal, j, a, b)
			}
		}
	}
}

// emptied is a step's frame without what its original was answered, PIN and MAC.
func emptied(s Step) []byte {
	frame := s.Frame
	switch {
	case s.kind() == txn.KindSettlement:
		frame = totalled(s.Dialect, frame, txn.Totals{})
	case s.Original != nil:
		frame = filled(s.Dialect, frame, "000000000000", "000000", "0000")
	}
	if !s.sealed {
		return frame
	}
	frame = bytes.Clone(frame)
	var m iso.Message
	if err := s.Dialect.Codec().Parse(&m, frame[s.Dialect.PrefixSize():]); err != nil {
		panic(err)
	}
	clear(m.Value(52))
	if _, pin, ok := bytes.Cut(m.Value(59), []byte("A1016")); ok {
		clear(pin[:16])
	}
	clear(m.Value(64))
	return frame
}

func afterGiveUp(steps []Step, j int) bool { return steps[j-1].GiveUp > 0 }

// The process is killed before and after each event that the log takes; the
// next life ends the day. Whatever a terminal was not told is reversed, nothing
// it was told approved is, but by the script, and no step is lost.
func TestKilledAnywhereAndResumed(t *testing.T) {
	for _, row := range []struct{ name, dialect string }{{"cup-pos", "cup-pos"}, {"iso87", "iso87"}, {"with keys", "cup-pos"}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for n := 0; ; n++ {
				p, day := terminaltest.Start(t, row.dialect), shortDay(t, row.dialect)
				if row.name == "with keys" {
					p, day = startKeyed(t), shortDayOf(t, keyed)
				}
				if !killedAfter(t, p, day, n) {
					if n < 20 {
						t.Fatalf("the day has only %d events", n)
					}
					return
				}
			}
		})
	}
}

// killedAfter plays a day that is killed after n events. It is false when the
// day has no more.
func killedAfter(t *testing.T, p *terminaltest.Peer, day *Day, n int) bool {
	p.SetAnswers(silentFor(day))
	addrs := map[string]string{p.Dialect.Name(): p.Addr}
	path := filepath.Join(t.TempDir(), "log")
	l := openBroken(t, path, n)
	_, err := Play(t.Context(), day, addrs, PlayOptions{TMK: SampleTMK, Patience: 5 * time.Second, Log: l})
	l.Close()
	killed := errors.Is(err, errDisk)
	if err != nil && !killed {
		t.Fatal(err)
	}
	if l, err = OpenLog(path); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := Play(t.Context(), day, addrs, PlayOptions{TMK: SampleTMK, Patience: 5 * time.Second, Log: l})
	if err != nil || r.MismatchCount != 0 {
		t.Fatalf("killed after %d events: %v, %v", n, r.Mismatches, err)
	}
	events, err := ReadLog(path)
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]bool{}
	told := map[string]bool{}      // sales that a terminal knows approved
	takenBack := map[string]bool{} // and those it reversed
	for _, e := range events {
		sale := fmt.Sprint(e.Terminal, " ", e.STAN)
		switch {
		case e.Event == EventSent:
			sent[fmt.Sprint(e.Terminal, " ", e.Step)] = true
		case e.Kind == "sale" && e.Code == "00":
			told[sale] = true
		case e.Kind == "reversal":
			takenBack[sale] = true
		}
	}
	for _, s := range day.Scripts {
		for _, step := range s.Steps {
			if !sent[fmt.Sprint(s.Terminal, " ", step.Step)] {
				t.Errorf("killed after %d events: step %d of %s was never sent", n, step.Step, s.Terminal)
			}
			known, reversed := p.Sale(s.Terminal, step.event.Batch, step.STAN)
			sale := fmt.Sprint(s.Terminal, " ", step.STAN)
			if step.Kind == "sale" && known && !reversed && (!told[sale] || takenBack[sale]) {
				t.Errorf("killed after %d events: sale %s stands and its terminal does not know", n, sale)
			}
			if reversed && !takenBack[sale] {
				t.Errorf("killed after %d events: sale %s is reversed and its terminal does not know", n, sale)
			}
		}
	}
	return killed
}

// A terminal whose answer fails to come reverses at once and goes on.
func TestUnansweredSaleIsReversed(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	day := shortDay(t, "cup-pos")
	quiet := silentFor(day)
	lost := 0
	p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		if req.Key.STAN == 2 && req.Kind == txn.KindSale || req.Key.STAN == 2 && lost < 3 {
			if req.Kind == txn.KindReversal {
				lost++ // the reversal, too, needs some tries
			}
			return nil
		}
		return quiet(req, answer)
	})
	r, err := Play(t.Context(), day, map[string]string{"cup-pos": p.Addr}, PlayOptions{Patience: 500 * time.Millisecond})
	if err != nil || r.MismatchCount != 2 || r.Reversals != 2 || r.Messages != day.Len() {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := r.Mismatches[0].String(); !strings.Contains(got, "expected 00 (approved), got no valid answer") {
		t.Error(got)
	}
	if _, reversed := p.Sale("10000001", 1, 2); !reversed {
		t.Error("the sale is not reversed")
	}
}

// A terminal with keys makes its MACs anew under those it was given, and believes
// no approval without a MAC: it reverses.
func TestPlayWithKeys(t *testing.T) {
	for _, row := range []struct {
		name      string
		tmk       func(string) txn.Secret
		forged    bool // the approval of the first sale
		reversals int
		first     string // mismatch; empty: none
	}{
		{"as it is", SampleTMK, false, 0, ""},
		{"a forged approval", SampleTMK, true, 1, "expected 00 (approved), got no valid answer: wrong answer: field 64"},
		{"another master key", func(string) txn.Secret { return SampleTMK("another") }, false, 0, "whose check value is wrong"},
		{"no keys", nil, false, 0, "expected 00 (approved), got A0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, day := startKeyed(t), shortDayOf(t, keyed)
			quiet := silentFor(day)
			p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
				if row.forged && req.Key.STAN == 2 && req.Kind == txn.KindSale {
					answer[len(answer)-1] ^= 1
				}
				return quiet(req, answer)
			})
			r, err := Play(t.Context(), day, map[string]string{"cup-pos": p.Addr}, PlayOptions{TMK: row.tmk})
			if err != nil || r.Reversals != row.reversals || r.Messages != day.Len() || (r.MismatchCount > 0) != (row.first != "") {
				t.Fatalf("%+v, %v", r, err)
			}
			if row.first != "" && !strings.Contains(r.Mismatches[0].String(), row.first) {
				t.Error(r.Mismatches[0].String())
			}
			if _, reversed := p.Sale(keyed, 1, 2); reversed != row.forged {
				t.Errorf("reversed: %v", reversed)
			}
		})
	}
}

func TestWrongCodesAndRepeatsAreNamed(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	day := shortDay(t, "cup-pos")
	quiet := silentFor(day)
	repeats := 0
	p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		switch {
		case req.Kind == txn.KindBalance:
			answer = bytes.Replace(answer, []byte("0010000001"), []byte("9110000001"), 1) // DE39 before DE41
		case req.Key.STAN == 3:
			if repeats++; repeats > 2 {
				answer = bytes.Replace(answer, []byte("123456"), []byte("123457"), 1) // DE38
			}
		}
		return quiet(req, answer)
	})
	day.Scripts = day.Scripts[:1]
	repeats = 1
	r, err := Play(t.Context(), day, map[string]string{"cup-pos": p.Addr}, PlayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range r.Mismatches {
		got = append(got, m.String())
	}
	slices.Sort(got)
	want := []string{
		"terminal 10000001 step 3, sale 0200 000003: expected 00 as step 2 (approved), got 00, but not the answer of step 2",
		"terminal 10000001 step 8, balance 0200 000006: expected 00 (approved), got 91",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestPlayEndsWithItsContext(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	p.SetAnswers(func(*txn.Request, []byte) []byte { return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Play(ctx, shortDay(t, "cup-pos"), map[string]string{"cup-pos": p.Addr}, PlayOptions{})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if _, err := Play(t.Context(), shortDay(t, "cup-pos"), nil, PlayOptions{}); err == nil || !strings.Contains(err.Error(), "cup-pos") {
		t.Error(err)
	}
}

// brokenFile takes some writes and fails for good.
type brokenFile struct {
	*os.File
	left int
}

var errDisk = errors.New("disk is full")

func (f *brokenFile) Write(b []byte) (int, error) {
	if f.left == 0 {
		return 0, errDisk
	}
	f.left--
	return f.File.Write(b)
}

// openBroken opens a log that fails after n more events, as if the process had
// been killed there.
func openBroken(t *testing.T, path string, n int) *Log {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLog(&brokenFile{file, n})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
