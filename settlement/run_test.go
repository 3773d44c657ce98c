package settlement

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	runFees = `version: 1
interchange:
  rates:
    - {card: debit, currency: CNY, from: 2020-01-01, ppm: 3500, cap: "13.00"}
    - {card: credit, currency: CNY, from: 2020-01-01, ppm: 4500}
    - {card: any, currency: JPY, from: 2020-01-01, ppm: 12345}
    - {card: any, currency: KWD, from: 2020-01-01, ppm: 9876, fixed: "0.011"}
network:
  rates:
    - {card: any, currency: CNY, from: 2020-01-01, ppm: 325, cap: "3.25"}
    - {card: any, currency: JPY, from: 2020-01-01, ppm: 500}
    - {card: any, currency: KWD, from: 2020-01-01, ppm: 500}
plans:
  - name: returns
    rates: &rates
      - {card: debit, currency: CNY, from: 2020-01-01, ppm: 5000, cap: "20.00"}
      - {card: credit, currency: CNY, from: 2020-01-01, ppm: 6000, fixed: "0.10", min: "0.50"}
      - {card: any, currency: JPY, from: 2020-01-01, ppm: 28000, min: "10"}
      - {card: any, currency: KWD, from: 2020-01-01, ppm: 15001, fixed: "0.005", cap: "2.500"}
  - name: keeps
    refunds: keep
    rates: *rates
merchants:
  - {mid: M1, plan: returns, from: 2020-01-01}
  - {mid: M2, plan: keeps, from: 2020-01-01}
  - {mid: M3, plan: returns, from: 2020-01-01}
  - {mid: M4, plan: returns, from: 2020-01-01, agencies: [{code: a, ppm: 333333}, {code: b, ppm: 333333}]}
`
	runCards = "prefix,card\n622202,debit\n622203,credit\n"

	// M1 is paid all, of M2 and M4 a tenth is kept for a day, M3 has minimums, M9 no account.
	runPayouts = `version: 1
payer:
  name: Us
  accounts: &all
    - {currency: CNY, name: Owner, number: "1", bank: "105290000012"}
    - {currency: JPY, name: Owner, number: "2", bank: ACQRJPJT}
    - {currency: KWD, name: Owner, number: "3", bank: ACQRKWKW}
merchants:
  - {mid: M1, cycle: D+1, accounts: *all}
  - {mid: M2, cycle: D+1, reserve: {ppm: 100000, days: 1}, accounts: *all}
  - {mid: M4, cycle: D+1, reserve: {ppm: 100000, days: 1}, accounts: *all}
  - mid: M3
    accounts:
      - {currency: CNY, name: Owner, number: "1", bank: "105290000012", min: "500.00"}
      - {currency: JPY, name: Owner, number: "2", bank: ACQRJPJT, min: "1300"}
      - {currency: KWD, name: Owner, number: "3", bank: ACQRKWKW, min: "700"}
`
	runWorkdays = "version: 1\nyears: [{year: 2026, holidays: []}, {year: 2027, holidays: []}]\n"
)

func runTerms() (*payout.Terms, error) {
	return payout.Load(payout.File{Name: "payouts.yaml", Text: []byte(runPayouts)}, payout.File{Name: "calendar.yaml", Text: []byte(runWorkdays)}, payout.Registry{})
}

func runSchedule() (*fee.Schedule, error) {
	return fee.Load(fee.File{Name: "fees.yaml", Text: []byte(runFees)}, fee.File{Name: "cards.csv", Text: []byte(runCards)}, nil)
}

// town is a ledger and a journal that are filled alike, with a calendar of days.
type town struct {
	t       testing.TB
	ledger  *ledger.Ledger
	db      *sqldb.DB
	desk    *approval.Desk
	journal *memJournal
	dir     string
	entries []ledger.Entry
	now     time.Time
}

var runCalendar = txn.BusinessDay{Zone: time.FixedZone("CST", 8*3600), CutOver: 23 * time.Hour}

func newTown(t testing.TB, dsn string) *town {
	l, err := ledger.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); db.Close() })
	if err := l.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	desk := approval.New(db)
	if err := desk.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return &town{t: t, ledger: l, db: db, desk: desk, journal: newMemJournal(t), dir: t.TempDir(), now: time.Date(2026, 12, 24, 12, 0, 0, 0, time.UTC)}
}

func (w *town) close() { w.ledger.Close(); w.db.Close() }

// put appends records to the journal; drained copies them to the ledger.
func (w *town) put(recs ...*txn.Record) {
	w.journal.append(recs...)
	for _, r := range recs {
		kept := ledger.Kept(*r)
		if r.Request.Batch() { // as the drain does
			kept.Data = r.Data
		}
		w.entries = append(w.entries, ledger.Entry{Pos: uint64(len(w.entries) + 1), Rec: &kept})
	}
}

func (w *town) drained() {
	w.t.Helper()
	if err := w.ledger.Store(context.Background(), w.entries); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) input(day txn.Date) RunInput {
	return RunInput{Ledger: w.ledger, OpenJournal: func() (Journal, error) { return w.journal, nil }, Fees: runSchedule, Payouts: runTerms,
		Day: day, Calendar: runCalendar, Now: w.now, Dir: w.dir}
}

func (w *town) settle(day txn.Date) *RunResult {
	w.t.Helper()
	r, err := Settle(context.Background(), w.input(day))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// content is every file of a directory.
func content(t testing.TB, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		b, err := os.ReadFile(path)
		m[strings.TrimPrefix(path, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func rowsOf(t testing.TB, path string) []map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, line := range all[1:] {
		row := map[string]string{}
		for i, name := range all[0] {
			row[name] = line[i]
		}
		rows = append(rows, row)
	}
	return rows
}

const (
	day1 txn.Date = 20261120
	day2 txn.Date = 20261121
	day3 txn.Date = 20261122
)

// deed is an approved outcome. Numbers follow from n, which is its id.
func deed(n int, kind txn.Kind, merchant string, day txn.Date, minor int64, original txn.ID) *txn.Record {
	r := &txn.Record{Kind: txn.RecordOutcome, ID: txn.ID(n), At: runCalendar.Start(day).Add(time.Hour + time.Duration(n)*time.Second).UTC(),
		Key:     txn.Key{Acquirer: 1, Terminal: txn.MakeTerminalID("T" + merchant), Batch: 1, STAN: uint32(n), Class: txn.ClassFinancial},
		Request: kind, Merchant: txn.MakeMerchantID(merchant), MCC: 5411, Amount: txn.Amount{Minor: minor, Currency: txn.CNY}, Day: day,
		Leg: txn.Leg{Issuer: txn.MakeIssuerID("east"), STAN: uint32(n)}, Outcome: txn.OutcomeApproved, Code: [2]byte{'0', '0'}, Original: original}
	copy(r.Masked[:], "622202*********0128")
	copy(r.RRN[:], fmt.Sprintf("%012d", n))
	return r
}

// later is an event about a transaction.
func later(n int, kind txn.RecordKind, r *txn.Record) *txn.Record {
	e := *r
	e.Kind, e.ID, e.Key, e.Original, e.OriginalKey, e.Outcome = kind, txn.ID(n), txn.Key{}, r.ID, r.Key, txn.OutcomeLocal
	return &e
}

func changed(r *txn.Record, change func(*txn.Record)) *txn.Record { change(r); return r }

// sampleDay has one of everything that a run treats in its own way.
func sampleDay(w *town) (sale, tipped *txn.Record) {
	sale = deed(1, txn.KindSale, "M1", day1, 1000_00, 0)
	tipped = deed(2, txn.KindSale, "M2", day1, 4000_00, 0)
	reversed := deed(3, txn.KindSale, "M1", day1, 77_00, 0)
	voided := deed(4, txn.KindSale, "M2", day1, 50_00, 0)
	w.put(sale, tipped, reversed, voided,
		later(101, txn.RecordReversalDue, reversed), later(102, txn.RecordReversalDone, reversed),
		deed(5, txn.KindVoid, "M2", day1, 50_00, 4),
		deed(6, txn.KindTip, "M2", day1, 400_00, 2), // the deal's fee is capped before
		deed(7, txn.KindRefund, "M1", day1, 250_00, 1),
		deed(8, txn.KindSale, "M9", day1, 9_99, 0), // no plan
		changed(deed(9, txn.KindSale, "M1", day1, 5, 0), func(r *txn.Record) { copy(r.Masked[:], "411111") }),
		changed(deed(10, txn.KindOfflineSale, "M3", day1, 88_00, 0), func(r *txn.Record) { r.Outcome = txn.OutcomeUnknown }),
		changed(deed(11, txn.KindSale, "M3", day1, 99_00, 0), func(r *txn.Record) { r.Outcome = txn.OutcomeUnknown }),  // owes a reversal
		changed(deed(12, txn.KindSale, "M3", day1, 99_00, 0), func(r *txn.Record) { r.Outcome = txn.OutcomeDeclined }), // no
		deed(13, txn.KindPreauth, "M3", day1, 500_00, 0),
		deed(14, txn.KindCompletion, "M3", day1, 450_00, 13),
		changed(deed(15, txn.KindSale, "M3", day1, 1234, 0), func(r *txn.Record) { r.Amount.Currency = 392 }),
		changed(deed(16, txn.KindSale, "M3", day1, 7, 0), func(r *txn.Record) { r.Amount.Currency = 1 }),
		deed(17, txn.KindRefund, "M3", day1, 30_00, 9999),                                                               // of a sale that is not here
		changed(deed(19, txn.KindRefund, "M3", day1, 2_00, 14), func(r *txn.Record) { r.Outcome = txn.OutcomeUnknown }), // told yes
	)
	w.drained()
	return sale, tipped
}

// TestSampleDay holds a day's figures, computed by hand, on both engines.
func TestSampleDay(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		sampleDay(w)
		dry := w.input(day1)
		dry.DryRun = true
		d, err := Settle(t.Context(), dry)
		if err != nil {
			t.Fatal(err)
		}
		r := w.settle(day1)
		if d.State != "dry run" || !reflect.DeepEqual(d.Totals, r.Totals) || d.Exceptions != r.Exceptions || d.Fees != r.Fees {
			t.Errorf("dry run %+v\nrun     %+v", d, r)
		}
		want := "" +
			"M1 CNY 3: 1000.05 - 250.00 - 3.75 = 746.25 and 0.05 in suspense; 746.25 paid 2026-12-24, 0.00 left: paid\n" + // 5.00 less 1.25
			"M2 CNY 4: 4450.00 - 50.00 - 20.00 = 4380.00 and 0.00 in suspense; 3942.00 paid 2026-12-24, 0.00 left: paid\n" + // the tip costs nothing: capped
			"M3 001 1: 7 - 0 - 0 = 0 and 7 in suspense; 0 paid , 0 left: nothing is owed\n" +
			"M3 CNY 4: 538.00 - 32.00 - 2.53 = 503.47 and 0.00 in suspense; 503.47 paid 2026-12-24, 0.00 left: paid\n" + // 0.44 + 2.25 - 0.15 - 0.01
			"M3 JPY 1: 1234 - 0 - 35 = 1199 and 0 in suspense; 0 paid , 1199 left: below the minimum payout\n" +
			"M9 CNY 1: 9.99 - 0.00 - 0.00 = 0.00 and 9.99 in suspense; 0.00 paid , 0.00 left: nothing is owed\n"
		got := ""
		for _, p := range rowsOf(t, filepath.Join(w.dir, day1.String(), positionsFile)) {
			got += fmt.Sprintf("%s %s %s: %s - %s - %s = %s and %s in suspense; %s paid %s, %s left: %s\n", p["merchant"], p["currency"], p["transactions"], p["sales"], p["refunds"], p["fees"], p["net"],
				p["suspense"], p["paid"], p["executes"], p["closing"], p["decision"])
		}
		if got != want {
			t.Errorf("positions\n%swant\n%s", got, want)
		}
		payouts := ""
		for _, p := range rowsOf(t, filepath.Join(w.dir, day1.String(), payoutsFile)) {
			payouts += p["end_to_end"] + " " + p["amount"] + "\n"
		}
		if want := "20261120-M1-CNY 746.25\n20261120-M2-CNY 3942.00\n20261120-M3-CNY 503.47\n"; payouts != want {
			t.Errorf("payouts\n%swant\n%s", payouts, want)
		}
		exceptions := ""
		for _, x := range rowsOf(t, filepath.Join(w.dir, day1.String(), exceptionsFile)) {
			exceptions += x["merchant"] + " " + x["amount"] + " " + x["exception"] + "\n"
		}
		if want := "" +
			"M1 0.05 the card's prefix is not in the table of cards: its amount is in suspense\n" +
			"M3 88.00 its issuer has not taken note of it yet\n" +
			"M3 7 the currency is not in ISO 4217: its amount is in suspense\n" +
			"M3 -30.00 its original is not in the ledger: priced as if it undid a deal of its amount\n" +
			"M3 -2.00 its issuer has not taken note of it yet\n" +
			"M9 9.99 the merchant has no plan on this day: its amount is in suspense\n"; exceptions != want {
			t.Errorf("exceptions\n%swant\n%s", exceptions, want)
		}
		if n := len(rowsOf(t, filepath.Join(w.dir, day1.String(), statementsFile))); n != 14 {
			t.Errorf("%d lines of statements", n)
		}
		checkBooks(t, w, day1)
	})
}

// checkBooks holds that each day's postings balance, are the sum of what each
// transaction alone gives, and that payouts are gross less fees and refunds.
func checkBooks(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
	Helper()
}, w *town, day txn.Date) {
	t.Helper()
	ctx := context.Background()
	balances, err := w.ledger.Balances(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range balances {
		if b.Minor != 0 {
			t.Fatalf("%s is off by %d in %s", b.Day, b.Minor, b.Currency)
		}
	}
	runs, err := w.ledger.Runs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(runs, func(r ledger.Run) bool { return r.Day == day })
	var prior uint64
	if at > 0 {
		prior = runs[at-1].Position
	}
	alone := map[string]int64{}
	p := newPricer(ctx, w.ledger, runs, nil)
	err = w.ledger.Read(ctx, func(s *ledger.Snapshot) error {
		return s.Facts(ctx, &runs[at], prior, func(f *ledger.Fact) error {
			one, err := p.price(f)
			for _, posting := range book.Post(nil, &one.Result) {
				issuer := txn.IssuerID{}
				if posting.Account == book.IssuerReceivable {
					issuer = f.Issuer
				}
				alone[fmt.Sprintf("%s, currency %s, %s on %s of %s", f.Merchant, f.Amount.Currency, posting.Item, posting.Account, issuer)] += posting.Minor
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	account := map[string]int64{} // by claim and account
	err = w.ledger.Postings(ctx, day, func(s *ledger.PostingSum) error {
		if item := itemsByName[s.Item]; s.Account != book.PayoutsOrdered.String() || item == book.Payout { // what the bank said to earlier ones is not of this run's payouts
			account[fmt.Sprint(ledger.Claim{Merchant: s.Merchant, Currency: s.Currency}, s.Account)] += s.Credit - s.Debit
		}
		if itemsByName[s.Item] > book.Network {
			return nil
		}
		k := fmt.Sprintf("%s, currency %s, %s on %s of %s", s.Merchant, s.Currency, s.Item, s.Account, s.Issuer)
		if alone[k] != s.Debit-s.Credit {
			t.Fatalf("%s: booked %d, its transactions give %d", k, s.Debit-s.Credit, alone[k])
		}
		delete(alone, k)
		return nil
	})
	if err != nil || len(alone) > 0 {
		t.Fatalf("%v; not booked: %v", err, alone)
	}
	err = w.ledger.Payouts(ctx, day, func(p *ledger.Payout) error {
		if p.Opening+p.Net+p.Corrections+p.Returned+p.Disputes+p.Released-p.Reserved-p.Paid != p.Closing || p.Paid < 0 || p.Reserved < 0 {
			t.Fatalf("%s does not add up: %+v", day, p)
		}
		for a, want := range map[book.Account]int64{book.MerchantPayable: p.Closing - p.Opening, book.Reserve: p.Reserved - p.Released, book.PayoutsOrdered: p.Paid} {
			k := fmt.Sprint(p.Claim, a.String())
			if account[k] != want {
				t.Fatalf("%s of %s, currency %s: %s changed by %d, its payout says %d", day, p.Merchant, p.Currency, a, account[k], want)
			}
			delete(account, k)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for k, minor := range account {
		for _, a := range []book.Account{book.MerchantPayable, book.Reserve, book.PayoutsOrdered} {
			if minor != 0 && strings.HasSuffix(k, a.String()) {
				t.Fatalf("%s: %s has %d and no payout says so", day, k, minor)
			}
		}
	}
}

var errKill = errors.New("killed")

// TestRunKeepsTheRegistry holds that a run that is taken up pays by what the
// registry said when it began, and keeps no account in clear in the ledger.
func TestRunKeepsTheRegistry(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		w.put(deed(1, txn.KindSale, "M1", day1, 100_00, 0))
		w.drained()
		in := w.input(day1)
		in.OpenAccount = func(m, sealed string) (string, error) { return "0000" + m + sealed, nil }
		in.Payouts = func() (*payout.Terms, error) {
			return payout.Load(payout.File{Name: "f", Text: []byte("version: 1\npayer: {name: Us, accounts: [{currency: CNY, name: Us, number: \"1\", bank: \"105290000012\"}]}\n")},
				payout.File{Name: "c", Text: []byte(runWorkdays)},
				payout.Registry{Open: in.OpenAccount, Merchants: []payout.Registered{{ID: "M1", Currency: "CNY", Owner: "Registered", Sealed: "5ea1", Bank: "SAMPDEFF"}}})
		}
		in.step = func(string) error { return errKill }
		if _, err := Settle(t.Context(), in); !errors.Is(err, errKill) {
			t.Fatal(err)
		}
		in.step = nil
		in.Payouts = func() (*payout.Terms, error) { return nil, errors.New("a run that was begun keeps its own") }
		for range 2 { // taken up; its files lost
			r, err := Settle(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			files := content(t, w.dir)
			paid, kept := files["/2026-11-20/"+payoutsFile], files["/2026-11-20/"+termsFile]
			if !strings.Contains(paid, "Registered,0000M15ea1,SAMPDEFF") || !strings.Contains(kept, "sealed: \"5ea1\"") || strings.Contains(kept, "0000M1") {
				t.Errorf("%s\n%s", paid, kept)
			}
			if err := os.RemoveAll(r.Directory); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestF71KilledAtEveryStep kills a run at each of its steps, and the one that takes
// it up at each of its own, while late facts arrive: files are the same as those
// of a run that nobody killed, and so is what later calls return.
func TestF71KilledAtEveryStep(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		sale, _ := sampleDay(w)
		want := w.settle(day1)
		var steps []string
		second := deed(50, txn.KindSale, "M1", day2, 10_00, 0)
		w.put(second)
		w.drained()
		in := w.input(day2)
		in.step = func(s string) error { steps = append(steps, s); return nil }
		if _, err := Settle(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if len(steps) != 1+len(fileNames)+1+1+3 { // with a page of statements
			t.Fatalf("steps: %q", steps)
		}
		// A kill between two files is like one between two others.
		steps = slices.DeleteFunc(steps, func(s string) bool {
			return strings.HasPrefix(s, "file ") && s != "file "+fileNames[0] && s != "file "+painFile && s != "file "+manifestName
		})
		whole := content(t, w.dir)
		if chain := want.Manifest + "  ../2026-11-20/SHA256SUMS\n"; !strings.HasPrefix(whole["/2026-11-21/SHA256SUMS"], chain) {
			t.Errorf("the manifest does not begin with the one before:\n%s", whole["/2026-11-21/SHA256SUMS"])
		}
		for i, first := range steps {
			for _, then := range steps[i:] {
				// PostgreSQL gets the diagonal only: its databases take time to make.
				if strings.HasPrefix(dsn, "postgres") && then != first {
					continue
				}
				fresh := freshLedger
				if strings.HasPrefix(dsn, "postgres") {
					fresh = ledgertest.Postgres
				}
				k := newTown(t, fresh(t))
				sampleDay(k)
				got := k.settle(day1)
				want.Directory = got.Directory
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("another run\n%+v\nwant\n%+v", got, want)
				}
				k.put(second)
				k.drained()
				for n, at := range []string{first, then} {
					in := k.input(day2)
					in.step = func(s string) error {
						if s == at {
							return errKill
						}
						return nil
					}
					if _, err := Settle(t.Context(), in); err != nil && !errors.Is(err, errKill) {
						t.Fatalf("killed at %s: %v", at, err)
					}
					if n == 0 { // what comes now is not of this run any more
						k.put(later(200, txn.RecordReversalDue, sale), later(201, txn.RecordReversalDue, second), deed(51, txn.KindSale, "M1", day3, 1, 0))
						k.drained()
					}
				}
				one := k.settle(day2)
				two := k.settle(day2)
				if !reflect.DeepEqual(one, two) {
					t.Errorf("killed at %s and %s: a second call gives\n%+v, the first\n%+v", first, then, two, one)
				}
				if got := content(t, k.dir); !maps.Equal(got, whole) {
					t.Errorf("killed at %s and %s: files differ: %v", first, then, slices.Sorted(maps.Keys(got)))
				}
				checkBooks(t, k, day2)
				k.close()
			}
		}
	})
}

// TestLate holds that what comes after its day was settled is in the next run,
// once, and takes back exactly what was booked.
func TestLate(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		w.put(deed(1, txn.KindSale, "M1", day1, 12345_67, 0), deed(2, txn.KindSale, "M1", day1, 100_00, 0))
		w.drained()
		w.settle(day1)
		sale := w.entries[0].Rec
		w.put(later(101, txn.RecordReversalDue, sale), deed(4, txn.KindOfflineSale, "M1", day1, 5_00, 0)) // with a day fixed before
		w.drained()
		w.settle(day2)
		gone := deed(6, txn.KindSale, "M1", day1.Plus(-3), 7_00, 0)
		w.put(later(103, txn.RecordReversalDone, sale), deed(5, txn.KindSale, "M1", day1.Plus(-2), 10_00, 0), gone) // the clock went back, to days without a run
		w.drained()
		w.settle(day3)
		day4 := day3.After()
		w.put(later(104, txn.RecordReversalDue, gone))
		w.drained()
		w.settle(day4)
		net := func(day txn.Date) string {
			s := ""
			for _, p := range rowsOf(t, filepath.Join(w.dir, day.String(), positionsFile)) {
				s += fmt.Sprintf("%s + %s - %s - %s = %s, %s\n", p["opening"], p["sales"], p["refunds"], p["fees"], p["closing"], p["decision"])
			}
			return s
		}
		if got, want := net(day1), "0.00 + 12445.67 - 0.00 - 20.50 = 0.00, paid\n"; got != want {
			t.Errorf("first day %swant %s", got, want)
		}
		// 12345.67 is gone with its 20.00; 5.00 came for 0.03.
		if got, want := net(day2), "0.00 + -12340.67 - 0.00 - -19.97 = -12320.70, the merchant owes: carried forward\n"; got != want {
			t.Errorf("second day %swant %s", got, want)
		}
		if got, want := net(day3), "-12320.70 + 17.00 - 0.00 - 0.09 = -12303.79, the merchant owes: carried forward\n"; got != want {
			t.Errorf("third day %swant %s", got, want)
		}
		if got, want := net(day4), "-12303.79 + -7.00 - 0.00 - -0.04 = -12310.75, the merchant owes: carried forward\n"; got != want {
			t.Errorf("fourth day %swant %s", got, want)
		}
		for _, d := range []txn.Date{day1, day2, day3, day4} {
			checkBooks(t, w, d)
		}
	})
}

// inPart makes an event of a reversal one that leaves something standing.
func inPart(r *txn.Record, gone, stays int64) *txn.Record { r.Gone, r.Stays = gone, stays; return r }

// TestReversedInPart holds that a run counts what stands, that later ones take
// back what was taken since, with the fees that it adds to its deal, and that what
// is refunded afterwards is priced as a part of what stands.
func TestReversedInPart(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		before, after := deed(1, txn.KindSale, "M1", day1, 1000_00, 0), deed(2, txn.KindSale, "M1", day1, 4100_00, 0)
		w.put(before, after, inPart(later(101, txn.RecordReversalDue, before), 0, 600_00), inPart(later(102, txn.RecordReversalDone, before), 0, 600_00),
			inPart(later(103, txn.RecordReversalDue, before), 400_00, 500_00))
		w.drained()
		w.settle(day1)
		w.put(inPart(later(104, txn.RecordReversalDone, before), 400_00, 500_00), // changes nothing
			inPart(later(105, txn.RecordReversalDue, after), 0, 3900_00), deed(10, txn.KindRefund, "M1", day2, 200_00, 1))
		w.drained()
		w.settle(day2)
		w.put(inPart(later(106, txn.RecordReversalDue, after), 200_00, 1000_00), inPart(later(107, txn.RecordReversalDue, after), 3100_00, 0),
			deed(11, txn.KindRefund, "M1", day3, 300_00, 1))
		w.drained()
		w.settle(day3)
		net := func(day txn.Date) string {
			s := ""
			for _, p := range rowsOf(t, filepath.Join(w.dir, day.String(), positionsFile)) {
				s += fmt.Sprintf("%s + %s - %s - %s = %s, %s", p["opening"], p["sales"], p["refunds"], p["fees"], p["closing"], p["decision"])
			}
			return s
		}
		// 0.5 percent, at most 20.00: 2.50 of 500.00, 20.00 of 4100.00; then 0.50 less of
		// 3900.00, and 1.00 less of the refund; then 19.50 and 1.50.
		for day, want := range map[txn.Date]string{
			day1: "0.00 + 4600.00 - 0.00 - 22.50 = 0.00, paid",
			day2: "0.00 + -200.00 - 200.00 - -1.50 = -398.50, the merchant owes: carried forward",
			day3: "-398.50 + -3900.00 - 300.00 - -21.00 = -4577.50, the merchant owes: carried forward",
		} {
			if got := net(day); got != want {
				t.Errorf("%s: %s, want %s", day, got, want)
			}
			checkBooks(t, w, day)
		}
		x, err := Explain(t.Context(), w.ledger, day1, string(before.RRN[:]), nil)
		if err != nil || len(x) != 1 || x[0].Amount != "1000.00" || x[0].DealAfter != "500.00" || x[0].Net != "497.50" {
			t.Errorf("explained %+v, %v", x, err)
		}
	})
}

func TestRefusals(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		intent := changed(deed(1, txn.KindSale, "M1", day1, 1_00, 0), func(r *txn.Record) { r.Kind = txn.RecordIntent })
		refused := func(day txn.Date, want string) {
			t.Helper()
			_, err := Settle(t.Context(), w.input(day))
			if why := approval.Refusal(""); !errors.As(err, &why) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		over := runCalendar.Start(day2)
		w.now = over.Add(-25 * time.Hour)
		refused(day1, "2026-11-20 cannot be settled: it is in the future")
		w.now = over.Add(-time.Second)
		refused(day1, "it is not over before 2026-11-20T23:00:00+08:00")
		w.now = over.Add(After - time.Second)
		refused(day1, "before 2026-11-20T23:15:00+08:00: its last transactions may still be reversed")
		w.now = over.Add(After)
		w.put(intent)
		w.drained()
		refused(day1, "1 of its requests are undecided, the first is 0000000000000001")
		w.put(deed(1, txn.KindSale, "M1", day1, 1_00, 0), deed(2, txn.KindSale, "M1", day2, 1_00, 0))
		refused(day1, "the ledger is at journal record 1 and the day's last is 2")
		w.drained()
		w.now = w.now.AddDate(0, 0, 3)
		refused(day2, "2026-11-20 has transactions and is not settled")
		broken := w.input(day1)
		broken.Fees = func() (*fee.Schedule, error) { return nil, errors.New("a gap") }
		if _, err := Settle(t.Context(), broken); err == nil || !strings.Contains(err.Error(), "a gap") {
			t.Error(err)
		}
		if got := content(t, w.dir); len(got) != 0 {
			t.Errorf("a refusal left %v", got)
		}
		killed := w.input(day1)
		killed.step = func(string) error { return errKill }
		if _, err := Settle(t.Context(), killed); !errors.Is(err, errKill) {
			t.Fatal(err)
		}
		refused(day2, "the run of 2026-11-20 has not ended")
		w.settle(day1)
		w.settle(day3.Before())
		refused(day1.Before(), "2026-11-21 is settled already")
	})
}

// TestPayouts lives three days of one merchant and holds what is done about what it
// is owed, on both engines.
func TestPayouts(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		today := time.Now().In(runCalendar.Zone).Format(time.DateOnly)
		positions := func(day txn.Date) string {
			s := ""
			for _, p := range rowsOf(t, filepath.Join(w.dir, day.String(), positionsFile)) {
				s += fmt.Sprintf("%s: %s + %s + %s + %s - %s - %s = %s, %s\n", p["merchant"], p["opening"], p["net"], p["corrections"], p["released"], p["reserved"], p["paid"], p["closing"], p["decision"])
			}
			for _, x := range rowsOf(t, filepath.Join(w.dir, day.String(), exceptionsFile)) {
				s += x["merchant"] + " " + x["amount"] + " " + x["exception"] + "\n"
			}
			return s
		}
		is := func(day txn.Date, want string) {
			t.Helper()
			w.settle(day)
			checkBooks(t, w, day)
			if got := positions(day); got != want {
				t.Errorf("%s\n%swant\n%s", day, got, want)
			}
		}
		w.put(deed(1, txn.KindSale, "M2", day1, 1000_00, 0), deed(2, txn.KindSale, "M9", day1, 9_99, 0))
		w.drained()
		is(day1, "M2: 0.00 + 995.00 + 0.00 + 0.00 - 99.50 - 895.50 = 0.00, paid\n"+
			"M9: 0.00 + 0.00 + 0.00 + 0.00 - 0.00 - 0.00 = 0.00, nothing is owed\n"+
			"M9 9.99 the merchant has no plan on this day: its amount is in suspense\n")
		hold := w.hold(t, "M2")
		fix := w.propose(t, Correction{"M9", txn.CNY, "suspense", "merchant payable", 9_99})
		waits := w.propose(t, Correction{"M9", txn.CNY, "suspense", "merchant payable", 1_00})
		w.approve(t, fix)
		w.put(deed(3, txn.KindSale, "M2", day2, 100_00, 0))
		w.drained()
		is(day2, "M2: 0.00 + 99.50 + 0.00 + 99.50 - 9.95 - 0.00 = 189.05, payouts are held: a reason (wang, "+today+")\n"+
			"M9: 0.00 + 0.00 + 9.99 + 0.00 - 0.00 - 0.00 = 9.99, the merchant has no payout account in this currency\n"+
			"M2 189.05 payouts are held: a reason (wang, "+today+")\n"+
			"M9 9.99 the merchant has no payout account in this currency\n")
		w.release(t, hold)
		if err := RejectCorrection(t.Context(), w.desk, waits, "li", "wrong"); err != nil {
			t.Fatal(err)
		}
		w.put(deed(4, txn.KindRefund, "M2", day3, 50_00, 1), deed(5, txn.KindRefund, "M9", day3, 1, 2))
		w.drained()
		is(day3, "M2: 189.05 + -50.00 + 0.00 + 9.95 - 0.00 - 149.00 = 0.00, paid\n"+
			"M9: 9.99 + 0.00 + 0.00 + 0.00 - 0.00 - 0.00 = 9.99, the merchant has no payout account in this currency\n"+
			"M9 -0.01 the merchant has no plan on this day: its amount is in suspense\n"+
			"M9 9.99 the merchant has no payout account in this currency\n")
		next := w.propose(t, Correction{"M9", txn.CNY, "suspense", "merchant payable", 1})
		w.approve(t, next)
		if booked, err := Booked(t.Context(), w.ledger); err != nil || !maps.Equal(booked, map[int64]txn.Date{fix: day2, next: 0}) {
			t.Errorf("%v, %v", err, booked)
		}
		if holds, err := Holds(t.Context(), w.ledger); err != nil || len(holds) != 1 || holds[0].Released == nil || holds[0].Released.Who != "li" {
			t.Errorf("%v, %+v", err, holds)
		}
	})
}

// TestTiersAndAgencies holds that a rate follows the month before, also where a
// refund comes later, and that agencies have their shares, on both engines.
func TestTiersAndAgencies(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		const october txn.Date = 20261031
		schedule := func() (*fee.Schedule, error) {
			return fee.Load(fee.File{Name: "fees.yaml", Text: []byte(`version: 1
plans: [{name: p, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 10000, tiers: [{above: "1000.00", ppm: 8000}]}]}]
merchants: [{mid: M1, plan: p, from: 2020-01-01, agencies: [{code: north, ppm: 333333}, {code: south, ppm: 333333}]}]
`)}, fee.File{Name: "cards.csv", Text: []byte(runCards)}, nil)
		}
		settle := func(day txn.Date) *RunResult {
			t.Helper()
			in := w.input(day)
			in.Fees = schedule
			r, err := Settle(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			checkBooks(t, w, day)
			return r
		}
		w.put(deed(1, txn.KindSale, "M1", october, 1000_01, 0))
		w.drained()
		// 10.00 less 3.50 interchange and 0.33 is 6.17: two thirds of it are 4.11, of which both have 2.05.
		if r := settle(october); r.Totals[0].MerchantFees != 10_00 || r.Totals[0].Agencies != 4_11 || r.Totals[0].Income != 2_06 {
			t.Errorf("%+v", r.Totals)
		}
		w.put(deed(2, txn.KindSale, "M1", day1, 100_00, 0), deed(3, txn.KindRefund, "M1", day1, 500_00, 1))
		w.drained()
		if r := settle(day1); r.Totals[0].MerchantFees != 80-5_00 { // the refund by October's rate, for September had nothing
			t.Errorf("%+v", r.Totals)
		}
		var b strings.Builder
		for _, row := range rowsOf(t, filepath.Join(w.dir, october.String(), agenciesFile)) {
			fmt.Fprintln(&b, row["agency"], row["merchant"], row["income"], row["ppm"], row["share"])
		}
		for _, row := range rowsOf(t, filepath.Join(w.dir, october.String(), generalFile)) {
			if row["item"] == "agency share" {
				fmt.Fprintln(&b, row["account"], row["issuer"], row["debit"], row["credit"])
			}
		}
		if want := "north M1 6.17 333333 2.05\nsouth M1 6.17 333333 2.05\n2400 north 0.00 2.05\n2400 south 0.00 2.05\n5300  4.11 0.00\n5900  0.00 0.01\n"; b.String() != want {
			t.Errorf("shares\n%swant\n%s", b.String(), want)
		}
		x, err := Explain(t.Context(), w.ledger, day1, "000000000002", schedule)
		if err != nil || len(x) != 1 || x[0].Volume != "1000.01" || x[0].Tier != "1000.00" || len(x[0].Agencies) != 2 || x[0].Fees[0].Fee != "0.80" {
			t.Errorf("%v, %+v", err, x)
		}
	})
}

// answers is an answer to a settlement or an upload.
func answers(n int, merchant string, day txn.Date, number uint32, f txn.BatchFact) *txn.Record {
	r := deed(n, txn.KindSettlement, merchant, day, 0, 0)
	r.Outcome, r.Key.Batch, r.Key.Class, r.Data = txn.OutcomeLocal, number, txn.ClassUpload, f.Append(nil)
	return r
}

// TestBooksAgree holds what is said of terminals' batches, of the journal and of
// issuers, on both engines.
func TestBooksAgree(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		batch := func(n uint32) func(*txn.Record) { return func(r *txn.Record) { r.Key.Batch = n } }
		theirs := [2]txn.Totals{{Debit: txn.Sum{Count: 1, Minor: 9_00}}}
		w.put(deed(1, txn.KindSale, "M1", day1, 10_00, 0),
			answers(2, "M1", day1, 1, txn.BatchFact{Step: txn.StepSettle, State: txn.BatchClosed, Result: [2]txn.Comparison{txn.Even, txn.Even}}),
			changed(deed(3, txn.KindSale, "M1", day1, 20_00, 0), batch(2)), changed(deed(4, txn.KindRefund, "M1", day1, 5_00, 3), batch(2)),
			answers(5, "M1", day1, 2, txn.BatchFact{Step: txn.StepSettle, State: txn.BatchUploading, Theirs: theirs, Result: [2]txn.Comparison{txn.Uneven}}),
			answers(6, "M1", day1, 2, txn.BatchFact{Step: txn.StepEnd, State: txn.BatchClosed, Items: []txn.BatchItem{
				{Verdict: txn.ItemAmountDiffers, Kind: txn.KindSale, STAN: 3, Minor: 9_00, Ours: 20_00}, {Verdict: txn.ItemIsNotUploaded, Kind: txn.KindRefund, STAN: 4, Ours: 5_00}}}),
			deed(7, txn.KindSale, "M3", day1, 30_00, 0), answers(8, "M3", day1, 1, txn.BatchFact{Step: txn.StepClose, State: txn.BatchClosed}),
			changed(deed(9, txn.KindSale, "M<3>", day1, 40_00, 0), func(r *txn.Record) { r.Leg.Issuer = txn.MakeIssuerID("west") }))
		w.drained()
		w.settle(day1)
		lines := func(name string, columns ...string) string {
			s := ""
			for _, row := range rowsOf(t, filepath.Join(w.dir, day1.String(), name)) {
				for _, c := range columns {
					s += row[c] + "|"
				}
				s += "\n"
			}
			return s
		}
		for _, c := range []struct{ got, want string }{
			{lines(batchesFile, "merchant", "batch", "debits", "debit_amount", "credits", "credit_amount", "ended"), "" +
				"M1|000001|1|10.00|0|0.00|settled, even|\nM1|000002|1|20.00|1|5.00|settled, uneven|\nM3|000001|1|30.00|0|0.00|closed by the switch|\n" +
				"M<3>|000001|1|40.00|0|0.00|not settled|\n"},
			{lines(exceptionsFile, "class", "merchant", "batch", "trace", "amount", "exception"), "" +
				"batch|M1|000002||9.00|the terminal's totals are not ours; its batch is listed item by item where it was uploaded|\n" +
				"batch|M1|000002|000003|9.00|amount differs: the terminal has 9.00, we have 20.00|\n" +
				"batch|M1|000002|000004|0.00|is not uploaded: the terminal has 0.00, we have 5.00|\n" +
				"unpriced|M<3>|000001|000009|40.00|the merchant has no plan on this day: its amount is in suspense|\n"},
			{lines(terminalsFile, "merchant", "terminal", "mcc", "debits", "debit_amount", "credits", "credit_amount", "first"), "" +
				"M1|TM1|5411|2|30.00|1|5.00|2026-11-20 00:00:01|\nM3|TM3|5411|1|30.00|0|0.00|2026-11-20 00:00:07|\nM<3>|TM<3>|5411|1|40.00|0|0.00|2026-11-20 00:00:09|\n"},
			{lines(proofFile, "book", "of", "debits_and_credits", "debit_amount", "credit_amount", "result"), "" +
				"ledger||5|100.00|5.00||\npostings||5|100.00|5.00|equal|\njournal||5|100.00|5.00|equal|\n" +
				"terminals|settled, even|1|10.00|0.00|equal|\nterminals|settled, uneven|2|20.00|5.00|see exceptions.csv|\n" +
				"terminals|closed by the switch|1|30.00|0.00||\nterminals|not settled|1|40.00|0.00||\n" +
				"issuer|east|4|60.00|5.00|by the ledger; acqswitch proof holds it against the issuer's file|\nissuer|west|1|40.00|0.00|by the ledger; acqswitch proof holds it against the issuer's file|\n"},
		} {
			if c.got != c.want {
				t.Errorf("got\n%swant\n%s", c.got, c.want)
			}
		}
		page, err := os.ReadFile(filepath.Join(w.dir, day1.String(), "statements-001.html"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"<h1>Merchant M&lt;3&gt;</h1>", "<td>TM1</td><td>000003</td>", `<td class="n">24.87</td>`, "paid to Owner, 1, 105290000012", "</section>\n</body></html>\n"} {
			if !strings.Contains(string(page), want) {
				t.Errorf("no %q in\n%s", want, page)
			}
		}
		if n := strings.Count(string(page), "<section>"); n != 3 || strings.Count(string(page), "<table>") != strings.Count(string(page), "</table>") {
			t.Errorf("%d sections", n)
		}

		// A ledger that has something else than the journal is not settled.
		w.put(deed(20, txn.KindSale, "M1", day2, 10_00, 0))
		w.entries[len(w.entries)-1].Rec.Amount.Minor++
		w.drained()
		_, err = Settle(t.Context(), w.input(day2))
		if why := approval.Refusal(""); !errors.As(err, &why) || !strings.Contains(err.Error(), "in CNY the journal has 1 transactions for 10.00 and 0.00, the ledger 1 transactions for 10.01 and 0.00") {
			t.Error(err)
		}
		// One that was truncated cannot be compared.
		w.journal.truncate(len(w.entries) + 1)
		w.settle(day2)
		if b, err := os.ReadFile(filepath.Join(w.dir, day2.String(), proofFile)); err != nil || !strings.Contains(string(b), "journal,,CNY,0,0.00,0.00,not compared") {
			t.Errorf("%v: %s", err, b)
		}
	})
}

// TestDecisionsRefused holds what nobody may decide. Rows are in precedence order.
func TestDecisionsRefused(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		ctx := t.Context()
		m1 := txn.MakeMerchantID("M1")
		held := w.hold(t, "M1")
		good := Correction{"M1", txn.CNY, "suspense", "merchant payable", 1}
		proposed := w.propose(t, good)
		propose := func(change func(*Correction)) error {
			c := good
			change(&c)
			_, err := ProposeCorrection(ctx, w.desk, c, "wang", "r")
			return err
		}
		hold := func(who, reason string) error {
			_, err := Hold(ctx, w.ledger, m1, who, reason)
			return err
		}
		release := func(hold int64) error {
			_, err := ProposeRelease(ctx, w.ledger, hold, "wang", "r")
			return err
		}
		for _, c := range []struct {
			err  error
			want string
		}{
			{hold("", "r"), "must be a person's name"},
			{hold("li", " "), "the reason must be given"},
			{hold("li", "two\nlines"), "the reason must be given, in one line"},
			{propose(func(c *Correction) { c.Debit = "nowhere" }), "must both be accounts"},
			{propose(func(c *Correction) { c.Credit = c.Debit }), "not from suspense to itself"},
			{propose(func(c *Correction) { c.Debit = "payouts ordered" }), "payouts ordered are payments that the bank has not answered"},
			{propose(func(c *Correction) { c.Credit = "payouts ordered" }), "payouts ordered are payments that the bank has not answered"},
			{hold("li", "not UTF-8: \xff"), "the reason must be UTF-8"},
			{hold(strings.Repeat("x", approval.NameMax+1), "r"), "must be a person's name of 1 to 40 bytes"},
			{hold("li", strings.Repeat("x", approval.TextMax+1)), "the reason is 501 bytes long"},
			{propose(func(c *Correction) { c.Minor = 0 }), "must be above zero"},
			{propose(func(c *Correction) { c.Minor = txn.AmountMax + 1 }), "of at most 12 digits"},
			{propose(func(c *Correction) { c.Currency, c.Debit = 1, "fee income" }), "currency 001 is not in ISO 4217"},
			{release(99), "there is no hold, and no payout that came back, with the number 99"},
			{release(held), ""},
			{release(held), ""}, // while nobody approves it, another one may be proposed
			{ApproveRelease(ctx, w.desk, proposed, "wang", "r"), "there is no such proposal of payout release"},
			{ApproveRelease(ctx, w.desk, proposed+1, "WANG", "r"), "another person must decide it"},
			{ApproveRelease(ctx, w.desk, proposed+1, "li", "r"), ""},
			{ApproveRelease(ctx, w.desk, proposed+1, "zhao", "r"), "was approved by li"},
			{ApproveRelease(ctx, w.desk, proposed+2, "li", "r"), "hold 1 was released already"},
			{release(held), "hold 1 was released already"},
			{ApproveCorrection(ctx, w.desk, 99, "li", "r"), "proposal 99: there is no such proposal"},
			{ApproveCorrection(ctx, w.desk, proposed, "WANG", "r"), "another person must decide it"},
			{ApproveCorrection(ctx, w.desk, proposed, "li", "r"), ""},
			{RejectCorrection(ctx, w.desk, proposed, "li", "r"), "proposal 1 was approved by li"},
		} {
			if why := approval.Refusal(""); c.want == "" && c.err != nil || c.want != "" && (!errors.As(c.err, &why) || !strings.Contains(c.err.Error(), c.want)) {
				t.Errorf("%v, want %q", c.err, c.want)
			}
		}
		var group sync.WaitGroup
		for i := range 20 { // numbers are given one by one
			group.Go(func() { w.hold(t, "M1"); _ = hold("li", fmt.Sprint(i)) })
		}
		group.Wait()
		if last, err := w.ledger.LastAct(ctx); last != 24 || err != nil {
			t.Errorf("%d: %v", last, err)
		}
		before, err := w.desk.Propose(ctx, approval.Draft{Subject: CorrectionSubject, Object: "M1", By: "wang", Reason: "by an older program",
			Document: `{"merchant":"M1","currency":156,"debit":"payouts ordered","credit":"bank","minor":1}`})
		if err != nil {
			t.Fatal(err)
		}
		if err := ApproveCorrection(ctx, w.desk, before.Number, "li", "r"); err == nil || !strings.Contains(err.Error(), "payouts ordered are") {
			t.Errorf("what may not be proposed any more is approved: %v", err)
		}
		again, once := w.propose(t, good), w.propose(t, good) // as after a call whose answer was lost
		if good.Minor++; again != once || w.propose(t, good) == again {
			t.Errorf("the same correction is proposal %d and %d", again, once)
		}
	})
}

// TestEarly settles a day that is going on: what is undecided or comes later is in
// the next day's run, and the day is settled once.
func TestEarly(t *testing.T) {
	w := newTown(t, ledgertest.SQLite(t))
	w.now = runCalendar.Start(day1).Add(12 * time.Hour)
	second := deed(2, txn.KindSale, "M1", day1, 20_00, 0)
	w.put(deed(1, txn.KindSale, "M1", day1, 10_00, 0), changed(deed(2, txn.KindSale, "M1", day1, 20_00, 0), func(r *txn.Record) { r.Kind = txn.RecordIntent }))
	w.drained()
	early := func(day txn.Date) (*RunResult, error) {
		in := w.input(day)
		in.Early = true
		in.OpenJournal = func() (Journal, error) { // the switch goes on
			j := &memJournal{t: t, first: 1, recs: slices.Clone(w.journal.recs)}
			w.put(deed(3+len(w.entries), txn.KindSale, "M1", day, 40_00, 0))
			w.drained()
			return j, nil
		}
		return Settle(t.Context(), in)
	}
	if _, err := early(day2); err == nil || !strings.Contains(err.Error(), "it is in the future") {
		t.Error(err)
	}
	first, err := early(day1)
	if err != nil || len(first.Totals) != 1 || first.Totals[0].Sales != 10_00 {
		t.Fatalf("%v, %+v", err, first)
	}
	w.put(second)
	w.drained()
	if again, err := early(day1); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("%v, %+v, want %+v", err, again, first)
	}
	if due, err := NextDue(t.Context(), w.ledger, day2); due != 0 || err != nil {
		t.Errorf("%s is due: %v", due, err)
	}
	w.now = runCalendar.Start(day3)
	if r, err := early(day2); err != nil || len(r.Totals) != 1 || r.Totals[0].Sales != 20_00+40_00 {
		t.Errorf("%v, %+v", err, r)
	}
}

// A database that sorts as a language does has "m1" before "M2", where by their bytes
// "M2" is first; both are owed something from the day before.
func TestMerchantsInALanguagesOrder(t *testing.T) {
	w := newTown(t, ledgertest.PostgresWith(t, ledgertest.English))
	w.put(deed(1, txn.KindSale, "m1", day1, 10_00, 0), deed(2, txn.KindSale, "M2", day1, 20_00, 0),
		deed(3, txn.KindSale, "m1", day2, 30_00, 0), deed(4, txn.KindSale, "M2", day2, 40_00, 0))
	w.drained()
	for _, day := range []txn.Date{day1, day2} {
		in := w.input(day)
		in.Fees = func() (*fee.Schedule, error) {
			return fee.Load(fee.File{Name: "fees", Text: []byte(strings.NewReplacer("mid: M1", "mid: m1").Replace(runFees))}, fee.File{Name: "cards", Text: []byte(runCards)}, nil)
		}
		r, err := Settle(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		var merchants []string
		for _, row := range rowsOf(t, filepath.Join(r.Directory, positionsFile)) {
			merchants = append(merchants, row["merchant"])
		}
		if want := []string{"M2", "m1"}; !slices.Equal(merchants, want) {
			t.Errorf("%s: positions of %v, want %v", day, merchants, want)
		}
	}
}

// TestF70EightAtOnce holds that runs started at once do everything once and say the
// same.
func TestF70EightAtOnce(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		sampleDay(w)
		var group sync.WaitGroup
		results := make([]*RunResult, 8)
		for i := range results {
			group.Go(func() {
				l, err := ledger.Open(dsn)
				if err != nil {
					t.Error(err)
					return
				}
				defer l.Close()
				in := w.input(day1)
				in.Ledger = l
				if results[i], err = Settle(context.Background(), in); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for _, r := range results[1:] {
			if !reflect.DeepEqual(r, results[0]) {
				t.Errorf("%+v\n%+v", r, results[0])
			}
		}
		checkBooks(t, w, day1)
	})
}

// TestTwoMachines holds that runs on machines that share the ledger only do
// everything once, and that each has the same files.
func TestTwoMachines(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		sampleDay(w)
		var group sync.WaitGroup
		dirs, manifests := make([]string, 4), make([]string, 4)
		for i := range dirs {
			dirs[i] = t.TempDir()
			group.Go(func() {
				l, err := ledger.Open(dsn)
				if err != nil {
					t.Error(err)
					return
				}
				defer l.Close()
				in := w.input(day1)
				in.Ledger, in.Dir = l, dirs[i]
				r, err := Settle(context.Background(), in)
				if err != nil {
					t.Error(err)
					return
				}
				manifests[i] = r.Manifest
			})
		}
		group.Wait()
		for i := range dirs {
			if manifests[i] != manifests[0] || !maps.Equal(content(t, dirs[i]), content(t, dirs[0])) {
				t.Errorf("machine %d has the manifest %s, the first %s", i, manifests[i], manifests[0])
			}
		}
		checkBooks(t, w, day1)
	})
}

// A standby that took over, or a restored backup, has no run of a day whose files may
// be with the bank: they are not replaced by others.
func TestRunThatTheLedgerLost(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		sampleDay(w)
		w.settle(day1)
		before := content(t, w.dir)
		for _, table := range []string{"posting", "payout", "run"} {
			if _, err := w.db.Write.ExecContext(t.Context(), "DELETE FROM "+table); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Settle(t.Context(), w.input(day1)); !errors.As(err, new(approval.Refusal)) || !strings.Contains(err.Error(), "the ledger has lost its run") {
			t.Errorf("%v, want a refusal", err)
		}
		in := w.input(day1)
		in.DryRun = true
		if _, err := Settle(t.Context(), in); err != nil {
			t.Error(err)
		}
		if after := content(t, w.dir); !reflect.DeepEqual(after, before) {
			t.Error("the files were changed")
		}
		if err := os.Rename(filepath.Join(w.dir, day1.String()), filepath.Join(w.dir, "aside")); err != nil {
			t.Fatal(err)
		}
		w.settle(day1)
	})
}

// TestFilesAreHealed holds that files that were changed or lost are put back as
// they were, and that what was there is kept.
func TestFilesAreHealed(t *testing.T) {
	w := newTown(t, ledgertest.SQLite(t))
	sampleDay(w)
	first := w.settle(day1)
	before := content(t, w.dir)
	path := filepath.Join(w.dir, day1.String(), payoutsFile)
	if err := os.WriteFile(path, []byte("pay me\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.settle(day1); !reflect.DeepEqual(got, first) {
		t.Errorf("%+v, want %+v", got, first)
	}
	after := content(t, w.dir)
	if aside := "/" + day1.String() + ".changed/" + payoutsFile; after[aside] != "pay me\n" {
		t.Errorf("what was changed is not kept: %v", slices.Sorted(maps.Keys(after)))
	}
	maps.DeleteFunc(after, func(name, _ string) bool { return strings.Contains(name, ".changed/") })
	if !maps.Equal(after, before) {
		t.Error("the files are not what they were")
	}
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	w.settle(day1)
	if !maps.Equal(content(t, w.dir), before) {
		t.Error("lost files are not what they were")
	}
}

// Random days of merchants in currencies of 0, 2 and 3 decimals: postings
// balance, payouts are gross less refunds and fees, and the fees are those of
// what each deal came to, computed apart with big integers.
func TestRandomDays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newTown(t, freshLedger(t))
		defer w.close()
		type open struct {
			rec  *txn.Record
			left int64
		}
		var deals []*open
		standing := map[txn.ID]int64{} // by root
		roots := map[txn.ID]*txn.Record{}
		days := []txn.Date{day1, day2, day3}
		corrected := map[ledger.Claim]int64{}
		n := 0
		for _, day := range days {
			for range rapid.IntRange(0, 12).Draw(rt, "transactions") {
				n++
				what := rapid.IntRange(0, 5).Draw(rt, "what")
				if what < 3 || len(deals) == 0 {
					merchant := rapid.SampledFrom([]string{"M1", "M3", "M4"}).Draw(rt, "merchant")
					r := deed(n, txn.KindSale, merchant, day, rapid.Int64Range(1, 500_000).Draw(rt, "minor"), 0)
					r.Amount.Currency = rapid.SampledFrom([]txn.Currency{156, 392, 414}).Draw(rt, "currency")
					copy(r.Masked[:], rapid.SampledFrom([]string{"622202", "622203"}).Draw(rt, "card"))
					w.put(r)
					roots[r.ID], standing[r.ID] = r, r.Amount.Minor
					deals = append(deals, &open{r, r.Amount.Minor})
					continue
				}
				d := rapid.SampledFrom(deals).Draw(rt, "deal")
				if d.left == 0 {
					continue
				}
				switch {
				case what == 3: // reversed, today or after its day was settled, while nothing was built on it
					if d.left == d.rec.Amount.Minor {
						w.put(later(10_000+n, txn.RecordReversalDue, d.rec))
						d.left, standing[d.rec.ID] = 0, 0
					}
				case what == 4:
					minor := rapid.Int64Range(1, d.left).Draw(rt, "refund")
					r := deed(n, txn.KindRefund, d.rec.Merchant.String(), day, minor, d.rec.ID)
					r.Amount.Currency, r.Masked = d.rec.Amount.Currency, d.rec.Masked
					w.put(r)
					if d.left -= minor; d.left == d.rec.Amount.Minor {
						d.left-- // a deal with refunds is not reversed
					}
					standing[d.rec.ID] -= minor
				default:
					if d.rec.Day == day && d.left == d.rec.Amount.Minor {
						r := deed(n, txn.KindVoid, d.rec.Merchant.String(), day, d.left, d.rec.ID)
						r.Amount.Currency, r.Masked = d.rec.Amount.Currency, d.rec.Masked
						w.put(r)
						d.left, standing[d.rec.ID] = 0, 0
					}
				}
			}
			if len(w.entries) > 0 {
				w.drained()
			}
			for range rapid.IntRange(0, 2).Draw(rt, "acts") {
				merchant := txn.MakeMerchantID(rapid.SampledFrom([]string{"M1", "M3", "M4"}).Draw(rt, "whose"))
				if rapid.Bool().Draw(rt, "hold") {
					w.hold(rt, merchant.String())
					continue
				}
				minor := rapid.Int64Range(1, 100_000).Draw(rt, "correction")
				c := Correction{Merchant: merchant.String(), Currency: 414, Debit: "fee income", Credit: "merchant payable", Minor: minor}
				if rapid.Bool().Draw(rt, "to us") {
					c.Debit, c.Credit, minor = c.Credit, c.Debit, -minor
				}
				n := w.propose(rt, c)
				if rapid.Bool().Draw(rt, "approved") {
					w.approve(rt, n)
					k := ledger.Claim{Merchant: merchant, Currency: 414}
					if corrected[k] += minor; corrected[k] == 0 {
						delete(corrected, k)
					}
				}
			}
			w.settle(day)
			checkBooks(rt, w, day)
		}
		// What was paid is gross less refunds and fees, with what was corrected, less
		// what is carried forward and in reserve.
		type money struct{ net, corrected, paid, reserve, closing int64 }
		claims := map[ledger.Claim]*money{}
		for _, day := range days {
			for _, c := range claims {
				c.closing = 0 // a claim without a row has nothing left
			}
			err := w.ledger.Payouts(context.Background(), day, func(p *ledger.Payout) error {
				c := claims[p.Claim]
				if c == nil {
					c = new(money)
					claims[p.Claim] = c
				}
				c.net, c.corrected, c.paid, c.reserve, c.closing = c.net+p.Net, c.corrected+p.Corrections, c.paid+p.Paid, c.reserve+p.Reserved-p.Released, p.Closing
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
		}
		for k, c := range claims {
			if c.paid != c.net+corrected[k]-c.reserve-c.closing || c.corrected != corrected[k] {
				rt.Fatalf("%s, currency %s: %+v, corrected by %d", k.Merchant, k.Currency, *c, corrected[k])
			}
			delete(corrected, k)
		}
		if len(corrected) > 0 {
			rt.Fatalf("corrections without a payout row: %v", corrected)
		}
		got := map[string]int64{}
		for _, day := range days {
			err := w.ledger.Postings(context.Background(), day, func(p *ledger.PostingSum) error {
				key := fmt.Sprint(p.Currency, " ", p.Merchant)
				switch p.Account {
				case book.FeeIncome.String():
					if p.Item == book.Fee.String() {
						got[key+" fee"] += p.Credit - p.Debit
					}
				case book.MerchantPayable.String():
					if itemsByName[p.Item] <= book.Network {
						got[key+" net"] += p.Credit - p.Debit
					}
				case book.Suspense.String():
					rt.Fatal("suspense")
				}
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
		}
		want := map[string]int64{}
		for id, minor := range standing {
			r := roots[id]
			f := oracleFee(r, minor)
			key := fmt.Sprint(r.Amount.Currency, " ", r.Merchant)
			want[key+" fee"] += f
			want[key+" net"] += minor - f
		}
		for k := range got {
			want[k] += 0
		}
		for k, w := range want {
			if got[k] != w {
				rt.Fatalf("%s: %d, want %d", k, got[k], w)
			}
		}
	})
}

type fataler interface{ Fatal(...any) }

// What wang wants, and li allows.
func (w *town) hold(t fataler, merchant string) int64 {
	n, err := Hold(context.Background(), w.ledger, txn.MakeMerchantID(merchant), "wang", "a reason")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *town) propose(t fataler, c Correction) int64 {
	n, err := ProposeCorrection(context.Background(), w.desk, c, "wang", "a reason")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *town) approve(t fataler, n int64) {
	if err := ApproveCorrection(context.Background(), w.desk, n, "li", "checked"); err != nil {
		t.Fatal(err)
	}
}

// release ends a hold, by two people.
func (w *town) release(t fataler, hold int64) {
	n, err := ProposeRelease(context.Background(), w.ledger, hold, "wang", "inspected")
	if err == nil {
		err = ApproveRelease(context.Background(), w.desk, n, "li", "seen")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// oracleFee is the merchant's fee of runFees, written down a second time.
func oracleFee(r *txn.Record, minor int64) int64 {
	if minor <= 0 {
		return 0
	}
	share := func(ppm int64) int64 {
		x := new(big.Rat).SetFrac64(minor*ppm, 1_000_000)
		x.Add(x, big.NewRat(1, 2))
		return new(big.Int).Div(x.Num(), x.Denom()).Int64()
	}
	switch {
	case r.Amount.Currency == 392:
		return max(share(28000), 10)
	case r.Amount.Currency == 414:
		return min(share(15001)+5, 2500)
	case strings.HasPrefix(string(r.Masked[:]), "622202"):
		return min(share(5000), 2000)
	}
	return max(share(6000)+10, 50)
}

func TestExplain(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		sampleDay(w)
		explain := func(n int) string {
			t.Helper()
			x, err := Explain(t.Context(), w.ledger, day1, fmt.Sprintf("%012d", n), runSchedule)
			if err != nil || len(x) != 1 {
				t.Fatalf("%v, %d found", err, len(x))
			}
			var b strings.Builder
			if err := x[0].WriteText(&b); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		for range 2 { // before and after the run
			for n, wants := range map[int][]string{
				1:  {"plan returns, card debit", "merchant fee: 5.00", "1000.00 x 5000 ppm = 5.00", "interchange: 3.50", "network fee: 0.33", "1100 issuer receivable    1000.00", "to the merchant: 995.00 CNY"},
				6:  {"its deal came to 4000.00 before and comes to 4400.00 after", "merchant fee: 0.00", "4400.00 x 5000 ppm = 22.00, at most 20.00: 20.00"},
				7:  {"merchant fee: -1.25", "to the merchant: -248.75 CNY"},
				8:  {"exception: the merchant has no plan on this day", "2900 suspense"},
				3:  {"It is not in the books"},
				12: {"declined", "It is not in the books"},
			} {
				got := explain(n)
				for _, want := range wants {
					if !strings.Contains(got, want) {
						t.Errorf("%d: no %q in\n%s", n, want, got)
					}
				}
			}
			w.settle(day1)
		}
	})
}

// TestVerifyPostings holds that verify sums up what runs booked, and names a run
// that does not balance.
func TestVerifyPostings(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		sampleDay(w)
		check := func() (Check, string) {
			t.Helper()
			r, err := Verify(t.Context(), VerifyInput{Journal: w.journal, Ledger: w.ledger})
			if err != nil {
				t.Fatal(err)
			}
			return *r.check(RulePosting), text(t, r)
		}
		if c, _ := check(); c.Checked != 0 || !strings.Contains(c.Note, "no day has been settled") {
			t.Errorf("before any run: %+v", c)
		}
		w.settle(day1)
		if c, _ := check(); c.Checked == 0 || c.Breaks != 0 {
			t.Errorf("after a run: %+v", c)
		}
		run := ledger.Run{Day: day2, Prior: day1}
		if err := w.ledger.BeginRun(t.Context(), &run, ledger.Schedule{Sum: "x"}, ledger.Terms{Sum: "x"}); err != nil {
			t.Fatal(err)
		}
		if err := w.ledger.BookRun(t.Context(), &run, []ledger.PostingSum{{Currency: 156, Item: "sale", Account: "suspense", Credit: 101, Count: 1}}, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.ledger.BookRun(t.Context(), &run, nil, nil); !errors.Is(err, ledger.ErrRunMoved) {
			t.Errorf("booked twice: %v", err)
		}
		if c, s := check(); c.Breaks != 1 || !strings.Contains(s, "the run of 2026-11-21: debits less credits are -1.01 156") {
			t.Errorf("an unbalanced run: %+v", c)
		}
	})
}
