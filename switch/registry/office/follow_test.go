package office

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// rows are what a snapshot says, to compare.
func rows(s *registry.Snapshot) map[string]any {
	m := map[string]any{}
	for x := range s.Merchants() {
		m["merchant "+x.ID.String()] = *x
	}
	for x := range s.Terminals() {
		m["terminal "+x.ID.String()] = *x
	}
	n, terminals := s.Len()
	m["len"] = [2]int{n, terminals}
	return m
}

// A snapshot brought up to date step by step is one that was made anew.
func TestAmend(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid)))
		h.approve(mid)
		h.must(h.AddMerchant(ctx, li, shop(other)))
		h.approve(other)
		s, version, err := h.Snapshot(ctx)
		h.must(err)
		follow := func(what string) {
			h.t.Helper()
			next, now, err := h.amend(ctx, s, version)
			h.must(err)
			anew, same, err := h.Snapshot(ctx)
			h.must(err)
			if now != same || now.Number <= version.Number {
				h.t.Errorf("%s: version %v, %v, before %v", what, now, same, version)
			}
			if a, b := rows(next), rows(anew); !reflect.DeepEqual(a, b) {
				h.t.Errorf("%s:\n%v\n%v", what, a, b)
			}
			s, version = next, now
		}
		model := registry.NewModel()
		model.Put("name", "N910")
		for _, step := range []struct {
			what string
			do   func() error
		}{
			{"a model", func() error { return h.SetModel(ctx, li, model) }},
			{"a machine in stock", func() error { return h.AddMachine(ctx, li, box("SN1", "model=N910")) }},
			{"bound", func() error { return h.Bind(ctx, li, place("SN1", mid, "10000001")) }},
			{"active", func() error { return h.StepMachine(ctx, li, "SN1", "activate") }},
			{"its merchant suspended", func() error { return h.StepMerchant(ctx, li, mid, "suspend") }},
			{"moved, and moved back under another id", func() error {
				for i, to := range []string{other, mid} {
					p, err := h.ProposeMove(ctx, li, place("SN1", to, fmt.Sprintf("2000000%d", i)))
					if err != nil {
						return err
					}
					if _, err := h.ApproveMove(ctx, wang, p.Number); err != nil {
						return err
					}
				}
				return nil
			}},
			{"released", func() error { return h.StepMachine(ctx, li, "SN1", "release") }},
			{"a third merchant", func() error { return h.AddMerchant(ctx, li, shop("999290054110003")) }},
			{"retired, its id to another", func() error {
				for _, err := range []error{h.StepMerchant(ctx, li, mid, "resume"), h.Bind(ctx, li, place("SN1", mid, "10000001")), h.StepMachine(ctx, li, "SN1", "retire"),
					h.AddMachine(ctx, li, box("SN2")), h.Bind(ctx, li, place("SN2", other, "10000001"))} {
					if err != nil {
						return err
					}
				}
				return nil
			}},
		} {
			h.must(step.do())
			follow(step.what)
		}
		again, now, err := h.amend(ctx, s, version)
		if h.must(err); again != s || now != version {
			h.t.Error("nothing was changed, and another snapshot made")
		}
	})
}

// A server that a standby took the place of, or that was restored, has lost the last
// changes: what it has is in force, also when it has as many again. One that has
// nothing left is not believed.
func TestAmendAfterALoss(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		for _, id := range []string{mid, other} {
			h.must(h.AddMerchant(ctx, li, shop(id)))
			h.approve(id)
		}
		_, kept, err := h.Snapshot(ctx)
		h.must(err)
		var document string
		h.must(h.db.Read.QueryRowContext(ctx, `SELECT document FROM merchant WHERE id = $1`, mid).Scan(&document))
		h.must(h.StepMerchant(ctx, li, mid, "suspend"))
		s, version, err := h.Snapshot(ctx)
		h.must(err)
		_, err = h.db.Write.ExecContext(ctx, `UPDATE merchant SET document = $1, status = 'active' WHERE id = $2`, document, mid)
		h.must(err)
		_, err = h.db.Write.ExecContext(ctx, `DELETE FROM change WHERE number > $1`, kept.Number)
		h.must(err)
		for _, what := range []string{"lost", "as many again"} {
			next, now, err := h.amend(ctx, s, version)
			h.must(err)
			anew, same, err := h.Snapshot(ctx)
			h.must(err)
			if a, b := rows(next), rows(anew); now != same || !reflect.DeepEqual(a, b) {
				h.t.Errorf("%s: version %v, %v\n%v\n%v", what, now, same, a, b)
			}
			if what == "lost" {
				h.now = h.now.Add(time.Second)
				h.must(h.StepMerchant(ctx, li, other, "suspend"))
			}
		}
		_, err = h.db.Write.ExecContext(ctx, `DELETE FROM change`)
		h.must(err)
		if _, _, err := h.amend(ctx, s, version); !errors.Is(err, errEmptied) {
			h.t.Errorf("%v, want %v", err, errEmptied)
		}
	})
}

// What another process changes is in force here within a second, while requests
// look terminals up without a break; what cannot be read leaves the old in force;
// a database that was away is followed again.
func TestFollow(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		h, cli := open(t, dsn), open(t, dsn)
		ctx := t.Context()
		h.must(cli.AddMerchant(ctx, li, shop(mid)))
		cli.approve(mid)
		s, version, err := h.Snapshot(ctx)
		h.must(err)
		store := registry.NewStore(s)
		following, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		wg.Go(func() {
			if err := h.Follow(following, s, version, store.Replace, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
		var lost atomic.Int64
		wg.Go(func() {
			for following.Err() == nil {
				if _, ok := store.Snapshot().Merchant(txn.MakeMerchantID(mid)); !ok {
					lost.Add(1)
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
		inForce := func(tid string, within time.Duration) {
			t.Helper()
			start := time.Now()
			for {
				if x, ok := store.Snapshot().Terminal(txn.MakeTerminalID(tid)); ok && x.Status == txn.StatusInactive {
					t.Logf("terminal %s is in force after %v", tid, time.Since(start))
					return
				}
				if time.Since(start) > within {
					t.Fatalf("terminal %s is not in force after %v", tid, within)
				}
				time.Sleep(time.Millisecond)
			}
		}
		bind := func(n int) string {
			serial, tid := fmt.Sprint("SN", n), fmt.Sprintf("1000000%d", n)
			h.must(cli.AddMachine(ctx, li, box(serial)))
			h.must(cli.Bind(ctx, li, place(serial, mid, tid)))
			return tid
		}
		const late = time.Minute // on a machine that runs other tests too
		inForce(bind(1), late)

		// A document that cannot be read.
		before := store.Snapshot()
		if _, err := cli.db.Write.ExecContext(ctx, `UPDATE machine SET document = 'colour red' WHERE serial = 'SN1'`); err != nil {
			t.Fatal(err)
		}
		h.must(cli.StepMerchant(ctx, li, mid, "suspend"))
		if _, err := cli.db.Write.ExecContext(ctx, `INSERT INTO change VALUES ((SELECT MAX(number) + 1 FROM change), 0, 'x', '', 'machine', 'SN1', 'break', '', '')`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * pollEvery)
		if m, _ := before.Merchant(txn.MakeMerchantID(mid)); m.Status != txn.StatusActive {
			t.Error("a snapshot changed under its holder")
		}
		text := place("SN1", mid, "10000001", "status=bound", "since=2026-11-26").Text()
		if _, err := cli.db.Write.ExecContext(ctx, `UPDATE machine SET document = $1 WHERE serial = 'SN1'`, text); err != nil {
			t.Fatal(err)
		}
		h.must(cli.StepMerchant(ctx, li, mid, "resume"))
		inForce(bind(2), late)

		if strings.HasPrefix(dsn, "postgres") {
			end := ledgertest.Outage(t, dsn)
			time.Sleep(100 * time.Millisecond)
			end()
			var tid string
			for try := 0; ; try++ { // the first statement finds its connection gone
				if err := cli.AddMachine(ctx, li, box("SN3")); err == nil {
					break
				} else if try == 50 {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			tid = "10000003"
			h.must(cli.Bind(ctx, li, place("SN3", mid, tid)))
			inForce(tid, late)
		}
		if n := lost.Load(); n > 0 {
			t.Errorf("a merchant was not found %d times", n)
		}
	})
}

// A database that is away is said once, however often it is asked for.
func TestNobodyTells(t *testing.T) {
	t.Parallel()
	db, err := sqldb.Open("postgres://u:secret@127.0.0.1:1/d")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*listenAgain+listenAgain/2)
	defer cancel()
	var said bytes.Buffer
	(&Office{db: db}).listen(ctx, make(chan struct{}, 1), make(chan bool, 1), slog.New(slog.NewTextHandler(&said, nil)))
	if s := said.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "nobody tells of changes of the registry") || strings.Contains(s, `\n`) {
		t.Errorf("said %q, want one line", s)
	}
}
