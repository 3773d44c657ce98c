package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// threeDays has n sales on each of three business days with a day without any
// between the last two: of two merchants, seven terminals and three cards.
func threeDays(t testing.TB, l *Ledger, n int) {
	t.Helper()
	var es []Entry
	for i, d := range []txn.Date{day, day.Plus(1), day.Plus(3)} {
		for k := range n {
			r := sale(i*n + k)
			r.Day = d
			if k%20 == 0 {
				r.Merchant = txn.MakeMerchantID("999290054110002")
			}
			if k%10 == 3 {
				r.Outcome, r.Reason, r.Code, r.Held = txn.OutcomeDeclined, txn.IssuerDeclined, [2]byte{'5', '1'}, txn.NoEffect
			}
			if k%10 == 4 {
				r.Request = txn.KindRefund
			}
			es = append(es, Entry{uint64(len(es) + 1), r})
		}
	}
	whole, part := about(txn.RecordReversalDue, es[1].Rec), about(txn.RecordReversalDue, es[2].Rec)
	part.Stays = 60
	n = len(es)
	store(t, l, append(es, Entry{uint64(n + 1), whole}, Entry{uint64(n + 2), part}))
}

func TestSearch(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		const n = 40
		threeDays(t, l, n)
		three := func(change func(*Search)) *Search {
			s := &Search{From: day, To: day.Plus(3)}
			change(s)
			return s
		}
		many := func(from, to int, is func(int) bool) (found []int) {
			for i := from; i < to; i++ {
				if is(i % n) {
					found = append(found, i)
				}
			}
			return found
		}
		all := func(int) bool { return true }
		for _, c := range []struct {
			name string
			s    *Search
			want []int
		}{
			{"all", three(func(*Search) {}), many(0, 3*n, all)},
			{"before the first day", &Search{From: 20200101, To: day.Before()}, nil},
			{"a day without any", &Search{From: day.Plus(2), To: day.Plus(2)}, nil},
			{"one day", &Search{From: day.Plus(1), To: day.Plus(1)}, many(n, 2*n, all)},
			{"an open end", &Search{From: day.Plus(2), To: 99991231}, many(2*n, 3*n, all)},
			{"RRN", three(func(s *Search) { s.RRN = "326000000050" }), []int{50}},
			{"RRN of another merchant", three(func(s *Search) {
				s.RRN, s.Merchant = "326000000050", txn.MakeMerchantID("999290054110002")
			}), nil},
			{"merchant", three(func(s *Search) { s.Merchant = txn.MakeMerchantID("999290054110002") }), many(0, 3*n, func(k int) bool { return k%20 == 0 })},
			{"terminal", &Search{From: day, To: day, Terminal: txn.MakeTerminalID("10000002")}, many(0, n, func(k int) bool { return k%7 == 2 })},
			{"card", &Search{From: day, To: day, Card: txn.CardToken{1, 2}}, many(0, n, func(k int) bool { return k%3 == 2 })},
			{"kind", three(func(s *Search) { s.Kind = txn.KindRefund }), many(0, 3*n, func(k int) bool { return k%10 == 4 })},
			{"code", three(func(s *Search) { s.Code = "51" }), many(0, 3*n, func(k int) bool { return k%10 == 3 })},
			{"amounts", three(func(s *Search) { s.Currency, s.Min, s.Max = txn.CNY, 110, 112 }), []int{10, 11, 12}},
			{"amounts in another currency", three(func(s *Search) { s.Currency, s.Min = 840, 1 }), nil},
			{"the first", three(func(s *Search) { s.Limit = n + 1 }), many(0, n+1, all)},
			{"the last of a kind", three(func(s *Search) { s.Kind, s.Newest, s.Limit = txn.KindRefund, true, 5 }), []int{114, 104, 94, 84, 74}},
		} {
			t.Run(c.name, func(t *testing.T) {
				var got []int
				err := l.Search(t.Context(), c.s, func(f Found) error {
					k := int(f.ID) - 1000
					got = append(got, k)
					if want := map[int]int64{1: 101, 2: 102 - 60}[k]; f.Reversed != want {
						t.Errorf("of %d %d is reversed, not %d", k, f.Reversed, want)
					}
					if f.Card != (txn.CardToken{}) || f.SealedPAN != [49]byte{} {
						t.Error("a search gives what nobody may see")
					}
					return nil
				})
				if err != nil || !slices.Equal(got, c.want) {
					t.Errorf("%v %v, want %v", got, err, c.want)
				}
			})
		}
		stop := fmt.Errorf("enough")
		if err := l.Search(t.Context(), three(func(*Search) {}), func(Found) error { return stop }); err != stop {
			t.Errorf("a search goes on after %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Search(ended, three(func(*Search) {}), func(Found) error { return nil }); err == nil {
			t.Error("a search goes on without its context")
		}
	})
}

// A search must use the indexes that are there: a day's transactions are never
// read to find one of them, and never sorted to tell them in order.
func TestSearchPlans(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		const days, each = 20, 500
		var es []Entry
		for d := range days {
			for k := range each {
				r := sale(d*each + k)
				r.Day, r.Merchant = day.Plus(d), txn.MakeMerchantID(fmt.Sprintf("99929005411%04d", k%100))
				es = append(es, Entry{uint64(len(es) + 1), r})
			}
		}
		store(t, l, es)
		explain, prefix := "EXPLAIN QUERY PLAN ", 3
		if l.db.Postgres() {
			explain, prefix = "EXPLAIN ", 0
			if _, err := l.db.Write.Exec("ANALYZE"); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			name             string
			s                Search
			sqlite, postgres string
			sorts            bool
		}{
			{"RRN", Search{RRN: "326000000050"}, "txn_rrn", "txn_rrn", true},
			{"RRN and merchant", Search{RRN: "326000000050", Merchant: txn.MakeMerchantID("999290054110050")}, "txn_rrn", "txn_rrn", true},
			{"merchant", Search{Merchant: txn.MakeMerchantID("999290054110050")}, "sqlite_autoindex_txn_1", "txn_pkey", true},
			{"merchant's terminal", Search{Merchant: txn.MakeMerchantID("999290054110050"), Terminal: txn.MakeTerminalID("10000001")}, "sqlite_autoindex_txn_1", "txn_pkey", true},
			{"a day", Search{}, "txn_day", "txn_day", false},
			{"a day, newest", Search{Newest: true, Limit: 10}, "txn_day", "txn_day", false},
			{"card", Search{Card: txn.CardToken{1}}, "txn_day", "txn_day", false},
		} {
			query, args := c.s.statement(day.Plus(7), max(c.s.Limit, 1<<40))
			rows, err := l.db.Read.Query(explain+query, args...)
			if err != nil {
				t.Fatal(err)
			}
			var plan strings.Builder
			for rows.Next() {
				cells := make([]any, prefix+1)
				var line string
				for i := range prefix {
					cells[i] = new(any)
				}
				cells[prefix] = &line
				if err := rows.Scan(cells...); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintln(&plan, line)
			}
			if rows.Close(); rows.Err() != nil {
				t.Fatal(rows.Err())
			}
			want, sort := c.sqlite, "TEMP B-TREE"
			if l.db.Postgres() {
				want, sort = c.postgres, "Sort"
			}
			if !strings.Contains(plan.String(), want) || !c.sorts && strings.Contains(plan.String(), sort) {
				t.Errorf("%s: the plan is\n%swant %s in it, and to sort is %t", c.name, plan.String(), want, c.sorts)
			}
		}
	})
}

// BenchmarkSearch reads a day of 100,000 transactions: all of them, and those of
// one card of a thousand.
func BenchmarkSearch(b *testing.B) {
	for _, engine := range []struct {
		name string
		dsn  func(testing.TB) string
	}{{"sqlite", ledgertest.SQLite}, {"postgres", ledgertest.Postgres}} {
		l := open(b, engine.dsn(b))
		const n = 100_000
		es := make([]Entry, n)
		for i := range es {
			r := sale(i)
			r.Card = txn.CardToken{1, byte(i), byte(i >> 8 & 3)}
			es[i] = Entry{uint64(i + 1), r}
		}
		store(b, l, es)
		for name, s := range map[string]Search{"all": {}, "card": {Card: txn.CardToken{1, 2, 3}}} {
			b.Run(engine.name+"/"+name, func(b *testing.B) {
				s.From, s.To = day, day
				found := 0
				for b.Loop() {
					if err := l.Search(b.Context(), &s, func(Found) error { found++; return nil }); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}
