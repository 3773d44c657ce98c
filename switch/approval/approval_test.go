package approval

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a desk of a database with one more table, which approvals write to.
func open(t *testing.T, dsn string) *Desk {
	t.Helper()
	db, err := sqldb.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	d := New(db)
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Write.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS done (what TEXT NOT NULL PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	return d
}

func move(by string) Draft {
	return Draft{Subject: "terminal move", Object: "10000001", Document: `{"to":"999"}`, By: by, Reason: "the shop was sold"}
}

func do(what string) func(*sql.Tx, *Proposal) error {
	return func(tx *sql.Tx, p *Proposal) error {
		_, err := tx.Exec("INSERT INTO done (what) VALUES ($1)", what)
		return err
	}
}

func TestDecide(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		d, ctx := open(t, dsn), t.Context()
		first, err := d.Propose(ctx, move("Li Na"))
		if err != nil || first.Number != 1 || first.State != Open {
			t.Fatalf("%+v, %v", first, err)
		}
		if _, err := d.Propose(ctx, Draft{Subject: "policy", By: "Wang", Reason: "night rules"}); err != nil {
			t.Fatal(err)
		}
		why := errors.New("the terminal is gone")
		for _, row := range []struct {
			name   string
			decide func() (Proposal, error)
			is     error
		}{
			{"number of nobody", func() (Proposal, error) { return d.Approve(ctx, "terminal move", 99, "Wang", "", do("x")) }, ErrUnknown},
			{"of another subject", func() (Proposal, error) { return d.Approve(ctx, "policy", 1, "Wang", "", do("x")) }, ErrUnknown},
			{"by who proposed it", func() (Proposal, error) { return d.Approve(ctx, "terminal move", 1, "Li Na", "", do("x")) }, ErrSamePerson},
			{"by who proposed it, in other letters", func() (Proposal, error) { return d.Approve(ctx, "terminal move", 1, "LI NA", "", do("x")) }, ErrSamePerson},
			{"rejected by who proposed it", func() (Proposal, error) { return Proposal{}, d.Reject(ctx, "terminal move", 1, "Li Na", "no") }, ErrSamePerson},
			{"that cannot be done", func() (Proposal, error) {
				return d.Approve(ctx, "terminal move", 1, "Wang", "", func(tx *sql.Tx, p *Proposal) error { return errors.Join(do("x")(tx, p), why) })
			}, why},
		} {
			if _, err := row.decide(); !errors.Is(err, row.is) {
				t.Errorf("%s: %v", row.name, err)
			}
		}
		if open, err := d.List(ctx, Filter{Open: true}); err != nil || len(open) != 2 {
			t.Fatalf("refused decisions decided: %+v, %v", open, err)
		}
		p, err := d.Approve(ctx, "terminal move", 1, "Wang", "seen the contract", do("moved"))
		if err != nil || p.State != Approved || p.Decider != "Wang" {
			t.Fatalf("%+v, %v", p, err)
		}
		if got, err := d.Get(ctx, 1); err != nil || got != p || got.Draft != move("Li Na") {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := d.Approve(ctx, "terminal move", 1, "Zhao", "", do("again")); !errors.As(err, new(Refusal)) || !strings.Contains(err.Error(), "proposal 1 was approved by Wang at 20") {
			t.Errorf("approved twice: %v", err)
		}
		if err := d.Reject(ctx, "policy", 2, "Zhao", "too hard"); err != nil {
			t.Error(err)
		}
		if p, err := d.Get(ctx, 2); err != nil || p.State != Rejected || p.Why != "too hard" {
			t.Errorf("%+v, %v", p, err)
		}
		if open, err := d.List(ctx, Filter{Open: true}); err != nil || len(open) != 0 {
			t.Errorf("%+v, %v", open, err)
		}
		if moves, err := d.List(ctx, Filter{Subject: "terminal move"}); err != nil || len(moves) != 1 || moves[0] != p && moves[0].Number != 1 {
			t.Errorf("%+v, %v", moves, err)
		}
		if got := done(t, d); got != "moved" {
			t.Errorf("done: %s", got)
		}
	})
}

func done(t *testing.T, d *Desk) string {
	t.Helper()
	rows, err := d.db.Read.Query("SELECT what FROM done ORDER BY what")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

// Of many who decide at once, on connections of their own, one does; the others
// are told who. Proposals made at once get numbers of their own.
func TestTogether(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		const people = 6
		desks := make([]*Desk, people)
		for i := range desks {
			desks[i] = open(t, dsn)
		}
		var wg sync.WaitGroup
		for i, d := range desks {
			wg.Go(func() {
				if _, err := d.Propose(t.Context(), move(fmt.Sprint("proposer ", i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if all, err := desks[0].List(t.Context(), Filter{}); err != nil || len(all) != people || all[people-1].Number != people {
			t.Fatalf("%+v, %v", all, err)
		}
		errs := make([]error, people)
		for i, d := range desks {
			wg.Go(func() {
				_, errs[i] = d.Approve(t.Context(), "terminal move", 1, fmt.Sprint("approver ", i), "", do(fmt.Sprint("by ", i)))
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			if err == nil {
				if winner >= 0 {
					t.Fatal("two approved it")
				}
				winner = i
			}
		}
		if winner < 0 {
			t.Fatal(errs)
		}
		for i, err := range errs {
			if i != winner && !strings.Contains(err.Error(), fmt.Sprint("proposal 1 was approved by approver ", winner)) {
				t.Errorf("approver %d is told %v", i, err)
			}
		}
		if got := done(t, desks[0]); got != fmt.Sprint("by ", winner) {
			t.Errorf("done: %s", got)
		}
	})
}

func TestRefuses(t *testing.T) {
	d := open(t, ledgertest.SQLite(t))
	long := strings.Repeat("x", TextMax+1)
	for name, draft := range map[string]Draft{
		"no name":          {Subject: "s", Reason: "r"},
		"a name of spaces": {Subject: "s", Reason: "r", By: " "},
		"a line of name":   {Subject: "s", Reason: "r", By: "a\nb"},
		"a long name":      {Subject: "s", Reason: "r", By: long[:NameMax+1]},
		"no subject":       {Reason: "r", By: "a"},
		"no reason":        {Subject: "s", By: "a", Reason: " "},
		"a long reason":    {Subject: "s", By: "a", Reason: long},
		"a long object":    {Subject: "s", By: "a", Reason: "r", Object: long},
		"a long document":  {Subject: "s", By: "a", Reason: "r", Document: strings.Repeat("x", DocumentMax+1)},
	} {
		if _, err := d.Propose(t.Context(), draft); err == nil || draft.Subject != "" && !errors.As(err, new(Refusal)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.Propose(t.Context(), move("Li")); err != nil {
		t.Fatal(err)
	}
	if err := d.Reject(t.Context(), "terminal move", 1, "Wang", " "); !errors.As(err, new(Refusal)) {
		t.Error("rejected without a reason")
	}
	if _, err := d.Approve(t.Context(), "terminal move", 1, "", "", do("x")); !errors.As(err, new(Refusal)) {
		t.Error("approved by nobody")
	}
}

func TestNoSchema(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		db, err := sqldb.Open(dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := New(db).Propose(t.Context(), move("Li")); !errors.Is(err, ErrNoSchema) {
			t.Error(err)
		}
	})
}
