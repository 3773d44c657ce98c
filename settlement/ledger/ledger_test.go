package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a migrated ledger.
func open(t testing.TB, dsn string) *Ledger {
	t.Helper()
	l, err := Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

const day txn.Date = 20261122

// sale is an approved sale; its numbers follow from n.
func sale(n int) *txn.Record {
	r := &txn.Record{
		Kind: txn.RecordOutcome, At: time.UnixMicro(1_763_800_000_000_000 + int64(n)).UTC(), ID: txn.ID(1000 + n),
		Key:         txn.Key{Acquirer: 48802900, Terminal: txn.MakeTerminalID(fmt.Sprintf("1000%04d", n%7)), Batch: 1, STAN: uint32(n), Class: txn.ClassFinancial},
		Fingerprint: 1<<63 + uint64(n), Request: txn.KindSale, MTI: 0x0200, Entry: 5,
		Merchant: txn.MakeMerchantID("999290054110001"), MCC: 5411, Region: 310115,
		Amount: txn.Amount{Minor: int64(100 + n), Currency: txn.CNY}, Day: day, Held: txn.Debit,
		Leg:     txn.Leg{Issuer: txn.MakeIssuerID("icbc"), STAN: uint32(n)},
		Outcome: txn.OutcomeApproved, Reason: txn.Approved, Code: [2]byte{'0', '0'},
	}
	copy(r.ProcessingCode[:], "000000")
	copy(r.RRN[:], fmt.Sprintf("326%09d", n))
	copy(r.Masked[:], "622202*********0128")
	r.Card = txn.CardToken{1, byte(n % 3)}
	r.SealedPAN[0], r.SealedPAN[48] = 1, byte(n)
	return r
}

// about is an event about the transaction of r.
func about(kind txn.RecordKind, r *txn.Record) *txn.Record {
	e := *r
	e.Kind, e.ID, e.Key = kind, r.ID+500_000, txn.Key{}
	e.Original, e.OriginalKey = r.ID, r.Key
	e.Outcome, e.Held, e.Fingerprint = txn.OutcomeLocal, r.Held, 0
	if kind == txn.RecordReversalDone {
		e.Held = -r.Held
	}
	return &e
}

func entries(first uint64, recs ...*txn.Record) []Entry {
	es := make([]Entry, len(recs))
	for i, r := range recs {
		es[i] = Entry{first + uint64(i), r}
	}
	return es
}

func store(t testing.TB, l *Ledger, es []Entry) {
	t.Helper()
	if err := l.Store(context.Background(), es); err != nil {
		t.Fatal(err)
	}
}

func scan(t testing.TB, l *Ledger) []Entry {
	t.Helper()
	var got []Entry
	err := l.Scan(context.Background(), func(e Entry) error {
		rec := *e.Rec
		got = append(got, Entry{e.Pos, &rec})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b Entry) int { return int(a.Pos) - int(b.Pos) })
	return got
}

func position(t testing.TB, l *Ledger) uint64 {
	t.Helper()
	pos, err := l.Position(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func TestOpenRefuses(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                           "must be sqlite:PATH or postgres://",
		"mysql://root:geheim@db/x":   `scheme "mysql"`,
		"sqlite:":                    "must name a file",
		"sqlite::memory:":            "must name a file",
		"postgres://u:geheim@h:port": "open ledger",
	} {
		_, err := Open(dsn)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("Open(%q): %v, want %q and no password", dsn, err, want)
		}
	}
}

func TestOpenNeedsNoServer(t *testing.T) {
	l, err := Open("postgres://nobody@127.0.0.1:1/none")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Position(t.Context()); err == nil {
		t.Fatal("a ledger that is away gave a position")
	}
}

func TestMigrateTwiceChangesNothing(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		store(t, l, entries(1, sale(1)))
		if err := l.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(scan(t, l)); n != 1 || position(t, l) != 1 {
			t.Fatalf("%d rows at position %d", n, position(t, l))
		}
	})
}

// Whatever bytes a record holds, the ledger gives them back.
func TestRowsComeBackWhole(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		var want, pending []Entry
		rapid.Check(t, func(rt *rapid.T) {
			rec := new(txn.Record)
			fill(rt, reflect.ValueOf(rec).Elem())
			rec.Kind = rapid.SampledFrom([]txn.RecordKind{txn.RecordOutcome, txn.RecordReversalDue, txn.RecordReversalDone, txn.RecordLate}).Draw(rt, "kind")
			if rec.Request.Batch() {
				rec.Data = nil
			}
			if rec.Kind == txn.RecordOutcome {
				rec.Gone, rec.Stays = 0, 0 // only a reversal has them
			}
			rec.ID = txn.ID(len(want) + 1)
			rec.Key.STAN = uint32(len(want) + 1)
			e := Entry{uint64(len(want) + 1), rec}
			if pending = append(pending, e); rapid.Bool().Draw(rt, "store") { // alone and with others: SQLite is told differently
				store(t, l, pending)
				pending = nil
			}
			kept := Kept(*rec)
			want = append(want, Entry{e.Pos, &kept})
		})
		store(t, l, pending)
		got := scan(t, l)
		if len(got) != len(want) {
			t.Fatalf("%d rows of %d", len(got), len(want))
		}
		for i := range want {
			if !reflect.DeepEqual(want[i], got[i]) {
				t.Fatalf("\nstored %+v\nread   %+v", want[i].Rec, got[i].Rec)
			}
		}
	})
}

// fill draws every field of a struct.
func fill(rt *rapid.T, v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(rt, "at")).UTC()
		return
	case *txn.Date:
		*x = txn.Date(rapid.Uint32Range(0, 99991231).Draw(rt, "day"))
		return
	case *txn.Findings: // kept in a table of their own
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rt, v.Field(i))
		}
	case reflect.Array:
		text := rapid.Bool().Draw(rt, "text")
		n := rapid.IntRange(0, v.Len()).Draw(rt, "length")
		for i := range n {
			if text {
				v.Index(i).SetUint(uint64(rapid.ByteRange(' ', '~').Draw(rt, "c")))
			} else {
				v.Index(i).SetUint(uint64(rapid.Byte().Draw(rt, "b")))
			}
		}
	case reflect.Int8, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(rt, "n") >> (64 - v.Type().Bits()))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(rt, "b"))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Max(1<<v.Type().Bits()-1).Draw(rt, "n"))
	case reflect.Slice: // mostly what the ledger does not keep
		v.SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(rt, "bytes"))
	default:
		panic("no generator for " + v.Type().String())
	}
}

func TestFindingsComeBackInOrder(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		var want []Finding
		for i := range 5 {
			rec := sale(i + 1)
			rec.Findings.Policy = 7
			for n := range i % 3 {
				x := txn.Finding{Rule: txn.MakeRule('T', n+1), Action: txn.Action(n + 1), Shadow: n == 1, Seen: int64(n), Bound: -1}
				rec.Findings.Add(x)
				want = append(want, Finding{Position: uint64(i + 1), Merchant: rec.Merchant, Terminal: rec.Key.Terminal, Day: rec.Day, ID: rec.ID, Policy: 7, Finding: x})
			}
			store(t, l, []Entry{{uint64(i + 1), rec}})
			store(t, l, []Entry{{uint64(i + 1), rec}})
		}
		got, err := l.Findings(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("\nstored %+v\nread   %+v", want, got)
		}
		if got, err = l.Findings(t.Context(), 2, 1); err != nil || !slices.Equal(got, want[1:2]) {
			t.Errorf("behind position 2 the first is %+v (%v), want %+v", got, err, want[1])
		}
	})
}

func TestStoreIsExactlyOnce(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		intent := sale(3)
		intent.Kind = txn.RecordIntent
		all := entries(1, sale(1), sale(2), intent, sale(3), about(txn.RecordReversalDue, sale(3)), about(txn.RecordReversalDone, sale(3)))
		for _, run := range [][2]int{{0, 2}, {0, 2}, {1, 4}, {0, 6}, {5, 6}, {2, 2}} {
			store(t, l, all[run[0]:run[1]])
		}
		got := scan(t, l)
		var positions []uint64
		for _, e := range got {
			positions = append(positions, e.Pos)
		}
		if !slices.Equal(positions, []uint64{1, 2, 4, 5, 6}) || position(t, l) != 6 {
			t.Fatalf("rows at %v, position %d", positions, position(t, l))
		}
	})
}

func TestStoreRefuses(t *testing.T) {
	again := sale(1)
	again.ID = 77
	nextDay := sale(1)
	nextDay.ID, nextDay.Day = 78, day+1
	refused := func(id txn.ID) *txn.Record {
		r := sale(1)
		r.ID, r.Outcome, r.Reason, r.Held = id, txn.OutcomeLocal, txn.SwitchIsOverloaded, txn.NoEffect
		return r
	}
	strange := sale(2)
	strange.Kind = 9
	for _, c := range []struct {
		name string
		add  []Entry
		want error
	}{
		{"kind unknown", entries(2, strange), ErrUnknownKind},
		{"gap before the entries", entries(3, sale(2)), ErrGap},
		{"gap between the entries", []Entry{{2, sale(2)}, {4, sale(4)}}, ErrGap},
		{"entries out of order", []Entry{{2, sale(2)}, {2, sale(3)}}, ErrGap},
		{"second transaction of one key", entries(2, sale(2), again), ErrRepeated},
		{"same key on another day", entries(2, sale(2), nextDay), nil},
		{"refusals with the key of a sale", entries(2, refused(79), refused(80)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ledgertest.Each(t, func(t *testing.T, dsn string) {
				l := open(t, dsn)
				store(t, l, entries(1, sale(1)))
				err := l.Store(t.Context(), c.add)
				if !errors.Is(err, c.want) {
					t.Fatalf("%v, want %v", err, c.want)
				}
				want := 1
				if c.want == nil {
					want += len(c.add)
				}
				if n := len(scan(t, l)); n != want || position(t, l) != uint64(want) {
					t.Fatalf("%d rows at position %d after %v", n, position(t, l), err)
				}
			})
		})
	}
}

// Two drains on one ledger: whatever they do, every record is there once.
func TestF64TwoWriters(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		a, b := open(t, dsn), open(t, dsn)
		var all []Entry
		for i := range 200 {
			all = append(all, Entry{uint64(i + 1), sale(i)})
		}
		var wg sync.WaitGroup
		for _, l := range []*Ledger{a, b} {
			wg.Go(func() {
				for n := 10; n <= len(all); n += 10 {
					if err := l.Store(context.Background(), all[:n]); err != nil && !errors.Is(err, ErrMoved) && !errors.Is(err, errRaced) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		store(t, open(t, dsn), all)
		if n := len(scan(t, a)); n != len(all) || position(t, b) != 200 {
			t.Fatalf("%d rows at position %d", n, position(t, b))
		}
	})
}

// TestF77TwoJournals has two switches, each with a journal of its own, begin with
// one empty ledger: whoever finds what it did not store says so, and passes over no
// record of its own in silence.
func TestF77TwoJournals(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		a, b := open(t, dsn), open(t, dsn)
		store(t, a, entries(1, sale(1), sale(2)))
		store(t, b, entries(3, sale(13), sale(14))) // its 1 and 2 are others
		for range 2 {                               // it does not go away
			if err := a.Store(t.Context(), entries(3, sale(3))); !errors.Is(err, ErrMoved) {
				t.Errorf("the first one's next record: %v", err)
			}
		}
		store(t, b, entries(5, sale(15)))
		if n := len(scan(t, b)); n != 5 {
			t.Errorf("%d rows", n)
		}
	})
}

// TestF62CommitThatComesLate has a commit of ours, of which nothing was heard, come
// while its records are offered again: it is not taken for another switch's.
func TestF62CommitThatComesLate(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l, server := open(t, dsn), open(t, dsn)
		store(t, l, entries(1, sale(1)))
		late, err := server.db.Write.BeginTx(t.Context(), nil)
		if err == nil {
			_, err = late.Exec(claimPosition, 2, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		l.reached = 2 // it was told to commit
		again := make(chan error)
		go func() { again <- l.Store(t.Context(), entries(2, sale(2), sale(3))) }()
		time.Sleep(100 * time.Millisecond)
		if err := late.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-again; errors.Is(err, ErrMoved) {
			t.Error(err)
		}
		store(t, l, entries(2, sale(2), sale(3)))
		store(t, server, entries(4, sale(14)))
		if err := l.Store(t.Context(), entries(4, sale(4))); !errors.Is(err, ErrMoved) {
			t.Errorf("another switch's: %v", err)
		}
	})
}

// TestF62StandbyWithoutTheLastCommits has a standby take over while nothing is being
// stored: what it lacks is no gap in the journal, and is offered again.
func TestF62StandbyWithoutTheLastCommits(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		store(t, l, entries(1, sale(1), sale(2), sale(3)))
		for _, lost := range []string{"DELETE FROM txn WHERE position > 1", "UPDATE drain SET position = 1"} {
			if _, err := l.db.Write.Exec(lost); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Store(t.Context(), entries(4, sale(4))); err == nil || errors.Is(err, ErrGap) {
			t.Errorf("what follows: %v", err)
		}
		store(t, l, entries(2, sale(2), sale(3), sale(4)))
		if n := len(scan(t, l)); n != 4 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestStoreAfterAnOutage(t *testing.T) {
	dsn := ledgertest.Postgres(t)
	l := open(t, dsn)
	store(t, l, entries(1, sale(1)))
	end := ledgertest.Outage(t, dsn)
	if err := l.Store(t.Context(), entries(1, sale(1), sale(2))); err == nil {
		t.Fatal("stored into a server that is away")
	}
	end()
	store(t, l, entries(1, sale(1), sale(2)))
	if n := len(scan(t, l)); n != 2 {
		t.Fatalf("%d rows", n)
	}
}

// A Store cut off at any moment stores all of its batch or none of it.
func TestF62StoreCutOff(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		var all []Entry
		for i := range 2000 {
			all = append(all, Entry{uint64(i + 1), sale(i)})
		}
		const size = 200
		for cut := range 60 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(cut)*200*time.Microsecond)
			before := position(t, l)
			next := min(before+size, 2000)
			err := l.Store(ctx, all[before:next])
			cancel()
			if after := position(t, l); after != next && (err == nil || after != before) {
				t.Fatalf("from %d to %d: position %d after %v", before, next, after, err)
			}
		}
		store(t, l, all)
		if n := len(scan(t, l)); n != len(all) {
			t.Fatalf("%d rows", n)
		}
	})
}

// A ledger restored from a backup lacks the last commits, rows and position
// together, and is fed again from there.
func TestRestoredBackupIsFedAgain(t *testing.T) {
	dsn := ledgertest.SQLite(t)
	l := open(t, dsn)
	store(t, l, entries(1, sale(1), sale(2)))
	old := filepath.Join(t.TempDir(), "old.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(strings.TrimPrefix(dsn, "sqlite:") + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(old+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := entries(1, sale(1), sale(2), sale(3), sale(4))
	store(t, l, all)

	back := open(t, "sqlite:"+old)
	if pos, n := position(t, back), len(scan(t, back)); pos != 2 || n != 2 {
		t.Fatalf("position %d with %d rows", pos, n)
	}
	store(t, back, all)
	if got, want := scan(t, back), scan(t, l); !reflect.DeepEqual(got, want) {
		t.Fatalf("fed again: %d rows, want %d", len(got), len(want))
	}
}

func TestQueries(t *testing.T) {
	declined := sale(4)
	declined.Outcome, declined.Reason, declined.Code, declined.Held = txn.OutcomeDeclined, txn.IssuerDeclined, [2]byte{'5', '1'}, txn.NoEffect
	unknown := sale(5)
	unknown.Outcome, unknown.Reason, unknown.Code = txn.OutcomeUnknown, txn.IssuerDidNotAnswer, [2]byte{'9', '8'}
	unknownDone := sale(6)
	unknownDone.Outcome, unknownDone.Reason, unknownDone.Code = txn.OutcomeUnknown, txn.IssuerDidNotAnswer, [2]byte{'9', '8'}
	asked := about(txn.RecordReversalDue, sale(2))
	asked.Key, asked.Request = sale(2).Key, txn.KindReversal
	asked.Key.Class = txn.ClassReversal
	dollars := sale(7)
	dollars.Amount.Currency = 840
	yesterday := sale(8)
	yesterday.Day = day - 1
	// Of sale 1, which is of 1.01, 0.90 and then 0.40 stands; the issuer has heard of
	// the first.
	part, partDone, less := about(txn.RecordReversalDue, sale(1)), about(txn.RecordReversalDone, sale(1)), about(txn.RecordReversalDue, sale(1))
	part.Stays, partDone.Stays, less.Gone, less.Stays = 90, 90, 11, 40
	less.Key, less.Request = asked.Key, txn.KindReversal
	recs := []*txn.Record{
		sale(1), sale(2), sale(3), declined, unknown, unknownDone, dollars, yesterday, // 1 to 8
		asked, about(txn.RecordReversalDue, sale(3)), about(txn.RecordReversalDone, sale(3)), // 9 to 11
		about(txn.RecordReversalDone, unknownDone), about(txn.RecordLate, unknown), // 12, 13
		part, partDone, less, // 14 to 16
	}
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		store(t, l, entries(1, recs...))
		ctx := t.Context()
		at := func(es []Entry, err error) (positions []uint64) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range es {
				positions = append(positions, e.Pos)
			}
			return positions
		}
		expect := func(what string, got, want any) {
			t.Helper()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		r := sale(2)
		expect("by RRN", at(l.ByRRN(ctx, day, string(r.RRN[:]))), []uint64{2})
		expect("by RRN of another day", at(l.ByRRN(ctx, day-1, string(r.RRN[:]))), []uint64(nil))
		expect("by key", at(l.ByKey(ctx, r.Merchant, day, r.Key)), []uint64{2})
		expect("events", at(l.Events(ctx, r.Merchant, sale(3).ID)), []uint64{10, 11})
		expect("open reversals", at(l.OpenReversals(ctx)), []uint64{5, 9, 16})

		archive := l.Archive()
		days := []txn.Date{day, day - 1, day - 2}
		for _, c := range []struct {
			what string
			of   *txn.Record
			days []txn.Date
			want int
		}{{"decided", sale(2), days, 1}, {"decided the day before", yesterday, days, 1}, {"decided on one day", yesterday, days[1:2], 1}, {"decided on other days", sale(2), days[1:], 0}} {
			found, err := archive.Decided(ctx, c.of.Merchant, c.days, c.of.Key)
			if err != nil {
				t.Error(err)
			}
			if expect(c.what, len(found), c.want); len(found) == 1 {
				expect(c.what, found[0].ID, c.of.ID)
			}
		}

		for position, want := range map[uint64]txn.Date{1: 0, 2: day, 9: day} {
			got, err := l.LastDayBefore(ctx, position)
			if err != nil {
				t.Error(err)
			}
			expect("last day before", got, want)
		}

		totals, err := l.Totals(ctx, day)
		expect("totals", totals, []Total{
			{txn.KindReversal, "00", txn.Approved, 2, txn.Amount{Minor: 102 + 50, Currency: txn.CNY}},
			{txn.KindSale, "00", txn.Approved, 3, txn.Amount{Minor: 306, Currency: txn.CNY}},
			{txn.KindSale, "00", txn.Approved, 1, txn.Amount{Minor: 107, Currency: 840}},
			{txn.KindSale, "51", txn.IssuerDeclined, 1, txn.Amount{Minor: 104, Currency: txn.CNY}},
			{txn.KindSale, "98", txn.IssuerDidNotAnswer, 2, txn.Amount{Minor: 211, Currency: txn.CNY}},
		})
		if err != nil {
			t.Error(err)
		}

		// Held and not given back: of 1 what stands at its issuer, 2 (reversal due, not
		// done), 5 (unknown), 7 in dollars.
		want := map[Party]Use{}
		for _, r := range []*txn.Record{recs[0], recs[1], recs[4], recs[6]} {
			for p := range Parties(r.Hold()) {
				minor := r.Amount.Minor
				if r == recs[0] {
					minor = 90
				}
				want[p] = Use{want[p].Minor + minor, want[p].Count + 1}
			}
		}
		got := map[Party]Use{}
		err = l.Usage(ctx, day, func(p Party, u Use) error { got[p] = u; return nil })
		if err != nil {
			t.Error(err)
		}
		expect("usage", got, want)
	})
}

func TestSnapshotStaysTheSame(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		store(t, l, entries(1, sale(1)))
		err := l.Read(t.Context(), func(s *Snapshot) error {
			before, err := s.Position(t.Context())
			if err != nil {
				return err
			}
			store(t, l, entries(2, sale(2)))
			n := 0
			if err := s.Scan(t.Context(), func(Entry) error { n++; return nil }); err != nil {
				return err
			}
			if before != 1 || n != 1 {
				t.Errorf("position %d, %d rows", before, n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestScanStopsWithTheCallersError(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		store(t, l, entries(1, sale(1), sale(2)))
		stop := errors.New("enough")
		if err := l.Scan(t.Context(), func(Entry) error { return stop }); !errors.Is(err, stop) {
			t.Fatal(err)
		}
	})
}

// BenchmarkStore loads a ledger in the drain's batches, in which every other record
// is an intent; an op is one record. Of 1,000 terminals each buys in its turn.
func BenchmarkStore(b *testing.B) {
	for name, dsn := range map[string]func(testing.TB) string{"sqlite": ledgertest.SQLite, "postgres": ledgertest.Postgres} {
		for _, size := range []int{128, 8192} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				l := open(b, dsn(b))
				batch := make([]Entry, 0, size)
				var used time.Duration
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; {
					b.StopTimer()
					for batch = batch[:0]; len(batch) < size && n < b.N; n++ {
						batch = append(batch, Entry{uint64(n + 1), drained(n)})
					}
					b.StartTimer()
					before := processorTime()
					store(b, l, batch)
					used += processorTime() - before
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(used.Seconds()*1e6/max(1, float64(b.N/2)), "cpu-us/sale")
			})
		}
	}
}

// drained is the n-th record of a journal: an intent or, with all that an issuer and
// a terminal say, the outcome after it.
func drained(n int) *txn.Record {
	r, terminal := sale(n/2), n/2*7919%1000
	if n%2 == 0 {
		r.Kind = txn.RecordIntent
	}
	r.Key.Terminal, r.Key.Batch, r.Key.STAN = txn.MakeTerminalID(fmt.Sprintf("%08d", 10_000_001+terminal)), 6, uint32(1+n/2000)
	r.Merchant = txn.MakeMerchantID(fmt.Sprintf("99929005411%04d", terminal/5+1))
	for i := range r.Card {
		r.Card[i] = byte(i*37 + terminal)
	}
	for i := range r.SealedPAN {
		r.SealedPAN[i] = byte(i*73 + n)
	}
	for _, f := range []struct {
		field []byte
		value string
	}{
		{r.Leg.Time[:], "1122090000"}, {r.AuthCode[:], fmt.Sprintf("%06d", n%1_000_000)}, {r.Time[:], "090000"}, {r.Date[:], "1122"},
		{r.SettlementDate[:], "1122"}, {r.IssuerCode[:], "00"}, {r.Condition[:], "00"},
	} {
		copy(f.field, f.value)
	}
	r.Serial, r.Lat, r.Lng = fmt.Appendf(nil, "00002304SN%010d", terminal), 31_230_400, 121_473_700
	r.PIN, r.Method = true, txn.MakeMethod(r.Entry.Way(), true)
	return r
}

func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestLastApproved(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		first, declined, another := sale(1), sale(2), sale(3)
		for _, r := range []*txn.Record{declined, another} {
			r.Day = day.After()
		}
		declined.Key.Terminal, declined.Outcome, declined.Reason, declined.Held = first.Key.Terminal, txn.OutcomeDeclined, txn.IssuerDeclined, txn.NoEffect
		store(t, l, entries(1, first, declined, another))
		for _, row := range []struct {
			terminal    txn.TerminalID
			since, want txn.Date
		}{
			{first.Key.Terminal, day.Before(), day},
			{first.Key.Terminal, day, day},
			{first.Key.Terminal, day.After(), 0},
			{another.Key.Terminal, day, day.After()},
			{txn.MakeTerminalID("99999999"), day, 0},
		} {
			if got, err := l.LastApproved(t.Context(), first.Merchant, row.terminal, row.since); err != nil || got != row.want {
				t.Errorf("%s since %s: %s, %v", row.terminal, row.since, got, err)
			}
		}
	})
}
