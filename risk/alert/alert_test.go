package alert

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a workbench beside a ledger.
type desk struct {
	*Workbench
	t      *testing.T
	dsn    string
	ledger *ledger.Ledger
	stored uint64
}

func open(t *testing.T, dsn string) *desk {
	t.Helper()
	l, err := ledger.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, dsn: dsn, ledger: l}
	d.Workbench = d.another()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// another is a workbench of the same database, as of another process.
func (d *desk) another() *Workbench {
	db, err := sqldb.Open(d.dsn)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { db.Close() })
	return New(db)
}

const merchant, terminal = "999290054110001", "10000001"

func finds(letter byte, number int, action txn.Action) txn.Finding {
	return txn.Finding{Rule: txn.MakeRule(letter, number), Action: action, Seen: 3, Bound: 2}
}

// sells stores a transaction of which rules found something, as the drain does.
func (d *desk) sells(m, term string, found ...txn.Finding) {
	d.t.Helper()
	d.stored++
	n := d.stored
	r := &txn.Record{Kind: txn.RecordOutcome, At: time.UnixMicro(1_763_800_000_000_000 + int64(n)).UTC(), ID: txn.ID(1000 + n),
		Key: txn.Key{Terminal: txn.MakeTerminalID(term), Batch: 1, STAN: uint32(n), Class: txn.ClassFinancial}, Request: txn.KindSale,
		Merchant: txn.MakeMerchantID(m), Amount: txn.Amount{Minor: 4_999_00, Currency: txn.CNY}, Day: 20261122, Card: txn.CardToken{7}, Outcome: txn.OutcomeApproved}
	copy(r.RRN[:], fmt.Sprintf("326%09d", n))
	copy(r.Masked[:], "622202*********0136")
	r.Findings.Policy = 4
	for _, f := range found {
		r.Findings.Add(f)
	}
	if err := d.ledger.Store(d.t.Context(), []ledger.Entry{{Pos: n, Rec: r}}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) collect() {
	d.t.Helper()
	for {
		n, err := d.Collect(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (d *desk) list(f Filter) []Alert {
	d.t.Helper()
	all, err := d.List(d.t.Context(), f)
	if err != nil {
		d.t.Fatal(err)
	}
	return all
}

// held is the merchants whose payouts are held, one for each hold.
func (d *desk) held() (all []string) {
	d.t.Helper()
	holds := map[int64]string{}
	if err := d.ledger.Acts(d.t.Context(), 0, 1<<62, func(a *ledger.Act) error {
		if a.Kind == ledger.Hold {
			holds[a.Number] = a.Merchant.String()
		} else {
			delete(holds, a.Refers)
		}
		return nil
	}); err != nil {
		d.t.Fatal(err)
	}
	for _, m := range holds {
		all = append(all, m)
	}
	slices.Sort(all)
	return all
}

// levels is the watch list in words.
func (d *desk) levels() string {
	d.t.Helper()
	list, _, err := d.Watch(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	var s []string
	for _, x := range list {
		s = append(s, x.Merchant+x.Terminal+" "+x.Level.String())
	}
	return strings.Join(s, ", ")
}

func TestWhatBecomesAnAlert(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		d := open(t, dsn)
		shadow := finds('R', 4, txn.ActionAlert)
		shadow.Shadow = true
		own := txn.Finding{Rule: txn.RuleCustom + 7, Action: txn.ActionReview}
		for _, f := range []txn.Finding{
			shadow, finds('L', 3, txn.ActionRefuse), finds('S', 1, txn.ActionRefuse), finds('T', 1, txn.ActionRefuse), finds('M', 7, txn.ActionRefuse), // nobody's concern
			finds('L', 2, txn.ActionAlert), finds('T', 7, txn.ActionRefuse), finds('R', 4, txn.ActionAlert), finds('R', 6, txn.ActionRefuse), finds('R', 9, txn.ActionAlert), own, finds('S', 6, txn.ActionRefuse),
		} {
			d.sells(merchant, terminal, f)
		}
		d.sells(merchant, "10000002", finds('R', 6, txn.ActionAlert), finds('R', 4, txn.ActionHold))
		d.sells("999290054110002", terminal, finds('R', 9, txn.ActionAlert))
		d.sells(merchant, terminal, finds('S', 7, txn.ActionRefuse))
		d.collect()
		var got []string
		for _, a := range d.list(Filter{}) {
			got = append(got, fmt.Sprintf("%s %s/%s/%.2s %s %d", a.Rule, a.Merchant, a.Terminal, a.Card, a.Action, a.Count))
		}
		want := []string{
			"L02 999290054110001// alert 1", "T07 999290054110001/10000001/ refuse 1", "R04 999290054110001// hold 2", "R06 999290054110001/10000001/ refuse 1",
			"R09 //07 alert 2", "C1007 999290054110001// review 1", "S06 999290054110001/10000001/ refuse 1", "R06 999290054110001/10000002/ alert 1",
			"S07 999290054110001/10000001/ refuse 1",
		}
		if !slices.Equal(got, want) {
			t.Errorf("\ngot  %q\nwant %q", got, want)
		}
		if got := d.held(); !slices.Equal(got, []string{merchant}) {
			t.Errorf("payouts of %v are held, want those of %s once", got, merchant)
		}
		a, err := d.Get(t.Context(), 3)
		if err != nil || len(a.Evidence) != 2 {
			t.Fatalf("%+v, %v", a, err)
		}
		e := a.Evidence[1]
		if e.RRN != "326000000013" || e.Card != "622202*********0136" || e.Minor != 4_999_00 || e.Currency != 156 || e.Seen != 3 || e.Bound != 2 || e.Policy != 4 || e.Terminal != "10000002" || e.ID != 1013 || e.Reason != "approved" {
			t.Errorf("evidence %+v", e)
		}
	})
}

// Each finding is in one alert once, though many collect at once, some of them
// are stopped halfway, and a drain stores on.
func TestEachFindingIsInOneAlertOnce(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		d := open(t, dsn)
		const n = 60
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 3 {
			w := d.another()
			wg.Go(func() {
				for k := 0; ; k++ {
					ctx, cancel := context.WithCancel(t.Context())
					if (i+k)%3 == 0 { // killed somewhere
						time.AfterFunc(time.Duration(k%7)*200*time.Microsecond, cancel)
					}
					w.Collect(ctx)
					cancel()
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
				}
			})
		}
		for i := range n {
			d.sells(merchant, terminal, finds('R', 4, txn.ActionAlert), finds('R', 4, txn.ActionAlert), finds('T', 7, txn.ActionRefuse))
			if i == n/2 {
				d.collect()
			}
		}
		close(stop)
		wg.Wait()
		d.collect()
		all := d.list(Filter{})
		if len(all) != 2 || all[0].Count != 2*n || all[1].Count != n {
			t.Errorf("%+v, want one alert of %d findings and one of %d", all, 2*n, n)
		}
		a, err := d.Get(t.Context(), all[0].Number)
		if err != nil || len(a.Evidence) != evidenceMax {
			t.Errorf("%d findings are kept (%v), want the first %d", len(a.Evidence), err, evidenceMax)
		}
	})
}

func TestWhatCannotBeDone(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		d, ctx := open(t, dsn), t.Context()
		d.sells(merchant, terminal, finds('R', 4, txn.ActionAlert), finds('R', 9, txn.ActionAlert), finds('R', 3, txn.ActionAlert))
		d.collect()
		good := Decision{RiskType: "02", Source: "QT", Dispositions: []string{"10"}}
		with := func(f func(*Decision)) error {
			x := good
			f(&x)
			_, err := d.Dispose(ctx, 1, x, "Li Na", nil)
			return err
		}
		assign := func(n int64, to, by string) error { _, err := d.Assign(ctx, n, to, by); return err }
		dispose := func(n int64, x Decision) error { _, err := d.Dispose(ctx, n, x, "Li Na", nil); return err }
		if err := errors.Join(assign(2, "Li Na", "Wang"), assign(3, "Li Na", "Wang"), dispose(3, good)); err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			err  error
			want string
		}{
			{dispose(1, good), "assign it first"},
			{dispose(9, good), "there is no alert 9"},
			{assign(9, "Li Na", "Wang"), "there is no alert 9"},
			{assign(1, "", "Wang"), "person's name"},
			{assign(1, "Li Na", " "), "person's name"},
			{assign(1, strings.Repeat("n", 41), "Wang"), "person's name"},
			{dispose(3, good), "alert 3 is disposed of already, as 10"},
			{assign(3, "Zhou", "Wang"), "alert 3 is disposed of already"},
			{with(func(x *Decision) { x.RiskType = "16" }), `risk type "16" must be one of 01, 02`},
			{with(func(x *Decision) { x.RiskType = "" }), "risk type"},
			{with(func(x *Decision) { x.Source = "XX" }), `source "XX" must be one of GA`},
			{with(func(x *Decision) { x.Dispositions = nil }), "at least one disposition"},
			{with(func(x *Decision) { x.Dispositions = []string{"12"} }), `disposition "12"`},
			{with(func(x *Decision) { x.Dispositions = []string{"06", "06"} }), "06 is said twice"},
			{with(func(x *Decision) { x.Note = strings.Repeat("x", 501) }), "at most 500"},
			{dispose(2, good), "alert 2 is about a card"},
			{dispose(2, Decision{RiskType: "02", Source: "QT", Dispositions: []string{"09"}}), "no terminal"},
			{second(d.SetLevel(ctx, Party{}, txn.Attention, "Wang", "why")), "name a merchant or a terminal"},
			{second(d.SetLevel(ctx, Party{merchant, terminal}, txn.Attention, "Wang", "why")), "name a merchant or a terminal"},
			{second(d.SetLevel(ctx, Party{Merchant: strings.Repeat("9", 16)}, txn.Attention, "Wang", "why")), "15 characters"},
			{second(d.SetLevel(ctx, Party{Merchant: merchant}, 5, "Wang", "why")), "level 5"},
			{second(d.SetLevel(ctx, Party{Merchant: merchant}, txn.Attention, "Wang", "")), "say why"},
			{second(d.SetLevel(ctx, Party{Merchant: merchant}, txn.Attention, "", "why")), "person's name"},
		} {
			if refused := approval.Refusal(""); !errors.As(row.err, &refused) || !strings.Contains(row.err.Error(), row.want) {
				t.Errorf("said %v, want %q", row.err, row.want)
			}
		}
		if got := d.levels(); got != merchant+" suspicious" {
			t.Errorf("watched: %s", got)
		}
		if got := d.list(Filter{State: Open}); len(got) != 1 || got[0].Number != 1 {
			t.Errorf("open: %+v", got)
		}
	})
}

// What each disposition does, and what it leaves when it is done again.
func TestR10WhatDispositionsDo(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		d, ctx := open(t, dsn), t.Context()
		number := int64(0)
		for _, row := range []struct {
			found        txn.Finding
			dispositions string
			holds        int
			watched      string
		}{
			{finds('R', 4, txn.ActionAlert), "99", 0, ""},
			{finds('R', 4, txn.ActionAlert), "11", 0, ""},
			{finds('R', 4, txn.ActionHold), "99", 1, ""}, // the rule held; it was nothing, says one person
			{finds('R', 4, txn.ActionHold), "06", 2, ""}, // its hold stands
			{finds('R', 4, txn.ActionAlert), "03,01", 3, ""},
			{finds('R', 4, txn.ActionAlert), "10", 3, "M suspicious"},
			{finds('R', 4, txn.ActionAlert), "10", 3, "M attention"},
			{finds('R', 4, txn.ActionAlert), "10", 4, "M warning"},
			{finds('R', 11, txn.ActionHold), "10", 4, "M high-risk"}, // held by the list, not by the alert
			{finds('R', 4, txn.ActionAlert), "10", 4, "M high-risk"},
			{finds('T', 7, txn.ActionAlert), "09", 4, "M high-risk, T high-risk"},
			{finds('T', 7, txn.ActionAlert), "08,09", 4, "M high-risk, T high-risk"},
		} {
			d.sells(merchant, terminal, row.found)
			d.collect()
			number++
			if _, err := d.Assign(ctx, number, "Li Na", "Wang"); err != nil {
				t.Fatal(err)
			}
			a, err := d.Dispose(ctx, number, Decision{RiskType: "02", Source: "XH", Dispositions: strings.Split(row.dispositions, ","), Note: "seen"}, "Li Na", nil)
			if err != nil || a.State != Disposed {
				t.Fatalf("%s: %+v, %v", row.dispositions, a, err)
			}
			if proposed := a.Proposal != 0; proposed != (number == 3) || (a.Hold != 0) != (row.found.Action == txn.ActionHold && row.found.Rule != txn.MakeRule('R', 11) || row.dispositions == "03,01") {
				t.Errorf("alert %d, %s: held by %d, proposal %d", number, row.dispositions, a.Hold, a.Proposal)
			}
			watched := strings.NewReplacer(merchant, "M", terminal, "T").Replace(d.levels())
			if holds := len(d.held()); holds != row.holds || watched != row.watched {
				t.Errorf("alert %d, %s: %d holds and %q watched, want %d and %q", number, row.dispositions, holds, watched, row.holds, row.watched)
			}
		}
		a, err := d.Get(ctx, 1)
		if err != nil || len(a.History) != 2 || a.History[0].By != "Wang" || a.History[0].Text != "to Li Na" || a.History[1].Act != "dispose" ||
			!strings.Contains(a.History[1].Text, "disposition 99. seen") || a.Decision.RiskType != "02" || a.Decision.Source != "XH" {
			t.Errorf("history %+v (%v)", a, err)
		}
		// R10: what a rule held goes on when a second person says so, not before.
		if err := settlement.ApproveRelease(ctx, d.desk, 1, "LI NA", "seen"); err == nil || !strings.Contains(err.Error(), "another person") {
			t.Errorf("who disposed of it releases it: %v", err)
		}
		if err := settlement.ApproveRelease(ctx, d.desk, 1, "Wang", "seen"); err != nil {
			t.Error(err)
		}
		if a, err := d.Get(ctx, 3); err != nil || a.Hold != 0 || len(d.held()) != 3 || !strings.Contains(a.History[1].Text, "approves proposal 1. seen") {
			t.Errorf("after its release: %+v (%v)", a, err)
		}
		_, before, err := d.Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		lower := func(p Party, to txn.Level) {
			t.Helper()
			n, err := d.SetLevel(ctx, p, to, "Wang", "cleared")
			if err != nil || n == 0 {
				t.Fatalf("proposal %d, %v", n, err)
			}
			stands := d.levels()
			if err := d.ApproveLevel(ctx, n, "WANG", "so do I"); !errors.Is(err, approval.ErrSamePerson) {
				t.Errorf("who proposed it approves it: %v", err)
			}
			if got := d.levels(); got != stands {
				t.Errorf("one person made it %s", got)
			}
			if err := d.ApproveLevel(ctx, n, "Li Na", "seen"); err != nil {
				t.Error(err)
			}
			if err := d.ApproveLevel(ctx, n, "Zhao", "seen"); !errors.As(err, new(approval.Refusal)) {
				t.Error("it was approved twice")
			}
		}
		lower(Party{Merchant: merchant}, txn.Attention)
		if n, err := d.SetLevel(ctx, Party{Merchant: merchant}, txn.Attention, "Wang", "cleared"); n != 0 || err != nil {
			t.Errorf("what is so already is proposal %d, %v", n, err)
		}
		if version, err := d.WatchVersion(ctx); err != nil || version != before+1 {
			t.Errorf("version %d (%v), want %d", version, err, before+1)
		}
		if holds := len(d.held()); holds != 2 {
			t.Errorf("%d holds below warning, want 2: those of alerts", holds)
		}
		stale, err := d.SetLevel(ctx, Party{Terminal: terminal}, txn.Suspicious, "Wang", "why")
		if err != nil {
			t.Fatal(err)
		}
		lower(Party{Merchant: merchant}, txn.Unwatched)
		lower(Party{Terminal: terminal}, txn.Unwatched)
		if err := d.ApproveLevel(ctx, stale, "Li Na", "why"); err == nil || !strings.Contains(err.Error(), "is watched at none meanwhile, and was at high-risk") {
			t.Errorf("a proposal about another level: %v", err)
		}
		if got := d.levels(); got != "" {
			t.Errorf("watched: %s", got)
		}
	})
}

func second(_ int64, err error) error { return err }

func TestNobodyHasMigrated(t *testing.T) {
	d := &desk{t: t, dsn: ledgertest.SQLite(t)}
	w := d.another()
	if _, err := w.List(t.Context(), Filter{}); err == nil {
		t.Error("a database without tables has alerts")
	}
}

func TestStates(t *testing.T) {
	for _, s := range []State{Open, Assigned, Disposed} {
		if got, err := ParseState(string(s)); got != s || err != nil {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	if _, err := ParseState("closed"); err == nil {
		t.Error("closed is a state")
	}
}

// What is found beside transactions is an alert of its rule and terminal: counted while
// that is pending, another one after it, and none where it was told since.
func TestNotices(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		d := open(t, dsn)
		day := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
		notice := func(days int) Notice {
			return Notice{Rule: txn.MakeRule('T', 17), Merchant: merchant, Terminal: terminal, Action: txn.ActionAlert, At: day.AddDate(0, 0, days), Why: fmt.Sprintf("day %d", days)}
		}
		since := func(days, since int) {
			t.Helper()
			db, err := sqldb.Open(dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			n := notice(days)
			if err := db.Update(t.Context(), func(tx *sql.Tx) error { return RaiseIn(t.Context(), tx, &n, day.AddDate(0, 0, since)) }); err != nil {
				t.Fatal(err)
			}
		}
		counts := func(want ...int64) {
			t.Helper()
			var got []int64
			for number := range int64(len(want)) {
				a, err := d.Get(t.Context(), number+1)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, a.Count)
			}
			if _, err := d.Get(t.Context(), int64(len(want))+1); !slices.Equal(got, want) || err == nil {
				t.Errorf("alerts count %v, want %v; and then %v", got, want, err)
			}
		}
		since(1, 0)
		since(2, 0)
		counts(1)
		if err := d.Raise(t.Context(), notice(3), notice(0)); err != nil {
			t.Fatal(err)
		}
		a, err := d.Get(t.Context(), 1)
		if err != nil || a.Count != 3 || !a.First.Equal(day) || !a.Last.Equal(day.AddDate(0, 0, 3)) || a.Action != "alert" || a.Rule != "T17" || a.Terminal != terminal ||
			len(a.Evidence) != 0 || len(a.History) != 1 || a.History[0].Act != "raise" || a.History[0].Text != "day 1" {
			t.Errorf("%+v, %v", a, err)
		}
		if _, err := d.Assign(t.Context(), 1, "Li Na", "Wang"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Dispose(t.Context(), 1, Decision{RiskType: "99", Source: "QT", Dispositions: []string{"99"}, Note: "seen"}, "Li Na", nil); err != nil {
			t.Fatal(err)
		}
		since(4, 0) // told, and decided
		counts(3)
		since(5, 4) // another one
		counts(3, 1)
		since(6, 6)
		counts(3, 2)
	})
}
