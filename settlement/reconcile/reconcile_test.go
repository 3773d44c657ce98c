package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	us    txn.AcquirerID = 48802900
	mid                  = "999290054110001"
	today txn.Date       = 20261122
)

// bank is a ledger of settled days and the queue beside it.
type bank struct {
	t       testing.TB
	ledger  *ledger.Ledger
	queue   *Queue
	desk    *approval.Desk
	entries []ledger.Entry
}

func newBank(t testing.TB, dsn string) *bank {
	l, err := ledger.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); db.Close() })
	b := &bank{t: t, ledger: l, desk: approval.New(db)}
	b.queue = NewQueue(db)
	if err := errors.Join(l.Migrate(context.Background()), b.desk.Migrate(context.Background()), b.queue.Migrate(context.Background())); err != nil {
		t.Fatal(err)
	}
	return b
}

// sale is an approved sale of 100.00 and n fen; its numbers follow from day and n.
func sale(day txn.Date, n int) *txn.Record {
	r := &txn.Record{Kind: txn.RecordOutcome, At: time.UnixMicro(1_763_800_000_000_000 + int64(n)).UTC(), ID: txn.ID(int(day)*10_000_000 + n), Request: txn.KindSale,
		Key:      txn.Key{Acquirer: us, Terminal: txn.MakeTerminalID("10000001"), Batch: 1, STAN: uint32(n), Class: txn.ClassFinancial},
		Merchant: txn.MakeMerchantID(mid), Amount: txn.Amount{Minor: int64(10_000 + n), Currency: txn.CNY}, Day: day, Held: txn.Debit,
		Leg:     txn.Leg{Issuer: txn.MakeIssuerID("east"), STAN: uint32(n)},
		Outcome: txn.OutcomeApproved, Reason: txn.Approved, Code: [2]byte{'0', '0'}}
	copy(r.Leg.Time[:], fmt.Sprintf("%04d101112", day%10_000))
	copy(r.RRN[:], fmt.Sprintf("326%09d", n))
	copy(r.Masked[:], "622202*********0128")
	copy(r.AuthCode[:], fmt.Sprintf("%06d", n))
	return r
}

func with(r *txn.Record, change func(*txn.Record)) *txn.Record { change(r); return r }

// reversed is the event that undoes r.
func reversed(r *txn.Record) *txn.Record {
	e := *r
	e.Kind, e.ID, e.Key, e.Original, e.OriginalKey, e.Outcome, e.Held = txn.RecordReversalDone, r.ID+5_000_000, txn.Key{}, r.ID, r.Key, txn.OutcomeLocal, -r.Held
	return &e
}

func (b *bank) put(recs ...*txn.Record) {
	for _, r := range recs {
		b.entries = append(b.entries, ledger.Entry{Pos: uint64(len(b.entries) + 1), Rec: r})
	}
}

// settled stores what was put, and ends the runs of days.
func (b *bank) settled(days ...txn.Date) {
	b.t.Helper()
	ctx := context.Background()
	if err := b.ledger.Store(ctx, b.entries); err != nil {
		b.t.Fatal(err)
	}
	for _, d := range days {
		r := &ledger.Run{Day: d, Position: uint64(len(b.entries)), At: time.Now()}
		if err := errors.Join(b.ledger.BeginRun(ctx, r, ledger.Schedule{}, ledger.Terms{}), b.ledger.BookRun(ctx, r, nil, nil), b.ledger.EndRun(ctx, r, "")); err != nil {
			b.t.Fatal(err)
		}
	}
}

// row is a line of a file as an issuer writes it.
type row struct {
	stan                                     int
	at, card, mti, processing, terminal, mid string
	rrn, auth, code, acquirer                string
	minor                                    int64
	originalSTAN                             int
	originalTime                             string
}

// rowOf is how the issuer should have r.
func rowOf(r *txn.Record) row {
	processing := "000000"
	if r.Request.Totals() == txn.Credit {
		processing = "200000"
	}
	return row{stan: int(r.Leg.STAN), at: string(r.Leg.Time[:]), card: "6222020000000000128", mti: "0200", processing: processing, terminal: r.Key.Terminal.String(),
		mid: r.Merchant.String(), rrn: string(r.RRN[:]), auth: string(r.AuthCode[:]), code: "00", acquirer: fmt.Sprint(uint32(r.Key.Acquirer)), minor: r.Amount.Minor, originalTime: "0000000000"}
}

func (x row) but(change func(*row)) row { change(&x); return x }

func (x row) line() string {
	return fmt.Sprintf("%-11s %-11s %06d %s %-19s %012d %012d %012d %s %s 5411 %-8s %-15s %-12s 00 %-6s 01020000    %06d %s 051 %012d %012d D%011d 0 000 0 0 %s 01020000    0 01 00 %012d %-14s\n",
		x.acquirer, x.acquirer, x.stan, x.at, x.card, x.minor, 0, 0, x.mti, x.processing, x.terminal, x.mid, x.rrn, x.auth, x.originalSTAN, x.code, 0, 0, 0, x.originalTime, 0, "x")
}

// acom is a whole file.
func acom(day txn.Date, rows ...row) string {
	var b strings.Builder
	var debits, credits int64
	for _, x := range rows {
		b.WriteString(x.line())
		if strings.HasPrefix(x.processing, "20") {
			credits += x.minor
		} else {
			debits += x.minor
		}
	}
	fmt.Fprintf(&b, "TOTAL %08d %010d %016d %016d\n", uint32(day), len(rows), debits, credits)
	return b.String()
}

func (b *bank) input(day txn.Date, text string) Input {
	l, _ := Builtin("acom")
	return Input{Ledger: b.ledger, Name: "file", File: strings.NewReader(text), Layout: l, Issuer: txn.MakeIssuerID("east"), Day: day, Acquirer: us, Count: -1, Total: -1,
		By: "wang", Now: time.Now()}
}

func (b *bank) imported(in Input) *Result {
	b.t.Helper()
	r, err := b.queue.Import(context.Background(), in)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// TestPlantedBreaks plants one break of each kind among good transactions; each is
// found, named, and the only one.
func TestPlantedBreaks(t *testing.T) {
	type plant struct {
		name string
		want Cause
		// ours are records of ours besides two good ones; theirs the rows of the file besides these.
		ours   func(txn.Date) []*txn.Record
		theirs func(txn.Date) []row
		off    int64 // ours less theirs
	}
	none := func(txn.Date) []*txn.Record { return nil }
	one := func(d txn.Date) []*txn.Record { return []*txn.Record{sale(d, 7)} }
	ours := func(change func(*txn.Record)) func(txn.Date) []*txn.Record {
		return func(d txn.Date) []*txn.Record { return []*txn.Record{with(sale(d, 7), change)} }
	}
	rows := func(changes ...func(*row)) func(txn.Date) []row {
		return func(d txn.Date) (all []row) {
			for _, c := range changes {
				all = append(all, rowOf(sale(d, 7)).but(c))
			}
			return all
		}
	}
	plain := func(*row) {}
	const minor = 10_007
	planted := []plant{
		{"a line is missing", IssuerDoesNotHaveIt, one, rows(), minor},
		{"a refund is missing", IssuerDoesNotHaveIt, ours(func(r *txn.Record) { r.Request = txn.KindRefund }), rows(), -minor},
		{"a line says 05", IssuerDeclinedIt, one, rows(func(x *row) { x.code = "05" }), minor},
		{"a line is reversed by another", IssuerReversedIt, one, rows(plain, func(x *row) { x.mti, x.stan, x.originalSTAN, x.originalTime = "0420", 8, 7, x.at }), minor},
		{"a line of another acquirer", ItIsAnotherAcquirers, none, rows(func(x *row) { x.acquirer = "11111111" }), -minor},
		{"a line of what went elsewhere", ItWentToAnotherIssuer, ours(func(r *txn.Record) { r.Leg.Issuer = txn.MakeIssuerID("west") }), rows(plain), -minor},
		{"a line of a pre-authorization", ItMovedNoMoney, ours(func(r *txn.Record) { r.Request = txn.KindPreauth }), rows(plain), -minor},
		{"a line of what was reversed", WeReversedIt, func(d txn.Date) []*txn.Record { return []*txn.Record{sale(d, 7), reversed(sale(d, 7))} }, rows(plain), -minor},
		{"a line of what was declined", WeDeclinedIt, ours(func(r *txn.Record) { r.Outcome, r.Reason = txn.OutcomeDeclined, txn.IssuerDeclined }), rows(plain), -minor},
		{"a line of what nobody knows", WeDoNotKnowItsOutcome, ours(func(r *txn.Record) { r.Outcome, r.Reason = txn.OutcomeUnknown, txn.IssuerDidNotAnswer }), rows(plain), -minor},
		{"a line of yesterday, whose file is not there", ItIsOfAnotherDay, ours(func(r *txn.Record) { r.Day = r.Day.Before() }), rows(plain), -minor},
		{"a line of nothing", WeDoNotHaveIt, none, rows(plain), -minor},
		{"a credit of nothing", WeDoNotHaveIt, none, rows(func(x *row) { x.processing = "200000" }), minor},
		{"another currency", CurrencyDiffers, ours(func(r *txn.Record) { r.Amount.Currency = 840 }), rows(plain), 0},
		{"a sale as a refund", DirectionDiffers, one, rows(func(x *row) { x.processing = "200000" }), 2 * minor},
		{"a fen too little", AmountDiffers, one, rows(func(x *row) { x.minor-- }), 1},
		{"a fen too much", AmountDiffers, one, rows(func(x *row) { x.minor++ }), -1},
		{"another card", CardDiffers, one, rows(func(x *row) { x.card = "6222020000000000129" }), 0},
		{"another merchant", MerchantDiffers, one, rows(func(x *row) { x.mid = "999290054110002" }), 0},
		{"another terminal", TerminalDiffers, one, rows(func(x *row) { x.terminal = "10000002" }), 0},
		{"another reference number", RRNDiffers, one, rows(func(x *row) { x.rrn = "000000000001" }), 0},
		{"another authorization code", AuthCodeDiffers, one, rows(func(x *row) { x.auth = "ABCDEF" }), 0},
		{"a line twice", ItIsTwiceInTheFile, one, rows(plain, plain), -minor},
		{"another trace number", WeDoNotHaveIt, none, rows(func(x *row) { x.stan = 999 }), -minor},
	}
	named := map[Cause]bool{ItWasGivenBefore: true} // TestDays
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		day := today
		for _, p := range planted {
			named[p.want] = true
			good := []*txn.Record{sale(day, 1), with(sale(day, 2), func(r *txn.Record) { r.Request = txn.KindRefund })}
			b.put(good...)
			b.put(p.ours(day)...)
			b.settled(day)
			in := b.input(day, acom(day, append([]row{rowOf(good[0]), rowOf(good[1])}, p.theirs(day)...)...))
			r := b.imported(in)
			all, err := b.queue.List(t.Context(), Filter{Issuer: "east"})
			if err != nil {
				t.Fatal(err)
			}
			all = slices.DeleteFunc(all, func(e Exception) bool { return e.File != r.SHA256 })
			matched := int64(2)
			if p.want == ItIsTwiceInTheFile {
				matched++ // the first of the two
			}
			if len(all) != 1 || all[0].Cause != p.want || r.Matched != matched {
				t.Errorf("%s: %d matched, exceptions %+v; want one: %s", p.name, r.Matched, all, p.want)
				day = day.Plus(10)
				continue
			}
			e := all[0]
			if off := e.Ours.Minor - e.Theirs.Minor; p.want != CurrencyDiffers && off != p.off {
				t.Errorf("%s: off by %d, want %d", p.name, off, p.off)
			}
			if e.Act != openText || e.STAN == 0 || e.Day != day || e.Line == 0 == (len(e.Columns) > 0) || strings.Contains(fmt.Sprint(e), "6222020000000000") {
				t.Errorf("%s: %+v", p.name, e)
			}
			day = day.Plus(10) // out of the others' sight
		}
	})
	for c := range Causes {
		if !named[Cause(c)] {
			t.Errorf("no break is planted that is called %q", Cause(c))
		}
	}
}

// TestDays: what one day's file leaves open another day's settles, whichever comes
// first; what an earlier file has already is a duplicate.
func TestDays(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		next := today.After()
		late1, late2, early, wrong := sale(today, 1), sale(today, 2), sale(next, 3), sale(today, 4)
		again := sale(today, 5)
		b.put(late1, late2, early, wrong, again)
		b.settled(today, next)
		r := b.imported(b.input(today, acom(today, rowOf(early), rowOf(again))))
		if r.Exceptions != 4 || r.Causes[IssuerDoesNotHaveIt.String()] != 3 || r.Causes[ItIsOfAnotherDay.String()] != 1 || r.Matched != 1 {
			t.Fatalf("%+v", r)
		}
		r = b.imported(b.input(next, acom(next, rowOf(late1), rowOf(late2), rowOf(wrong).but(func(x *row) { x.minor += 100 }), rowOf(again))))
		if r.Late != 4 || r.Matched != 0 || r.Causes[AmountDiffers.String()] != 1 || r.Causes[ItWasGivenBefore.String()] != 1 || r.Exceptions != 2 {
			t.Fatalf("%+v", r)
		}
		open, err := b.queue.List(t.Context(), Filter{Act: "open"})
		if err != nil || len(open) != 2 || open[0].Cause != AmountDiffers && open[1].Cause != AmountDiffers {
			t.Fatalf("open %+v, %v", open, err)
		}
		if old, err := b.queue.List(t.Context(), Filter{Act: "open", Before: next}); err != nil || len(old) != 0 {
			t.Errorf("of before %s: %+v, %v", next, old, err)
		}
		if age := open[0].Age(next.Plus(3)); age != 3 {
			t.Errorf("age %d", age)
		}
		e, err := b.queue.Get(t.Context(), 1)
		if err != nil || e.Act != "late" || len(e.Acts) != 1 || e.Acts[0].File != r.SHA256 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// TestRefused: of a file that is wrong nothing is applied, and the right one is
// taken afterwards.
func TestRefused(t *testing.T) {
	b := newBank(t, ledgertest.SQLite(t))
	b.put(sale(today, 1), sale(today, 2))
	b.settled(today)
	one, two := rowOf(sale(today, 1)), rowOf(sale(today, 2))
	right := acom(today, one, two)
	cut := strings.LastIndexByte(right[:len(right)-1], '\n') + 1
	input := func(text string) Input { return b.input(today, text) }
	for _, row := range []struct {
		name, want string
		in         Input
	}{
		{"empty", "file: the file is empty", input("")},
		{"cut off in a line", "file:2: the file is cut off: its last line does not end", input(right[:cut-20])},
		{"cut off between lines", "file: it has 1 lines where 2 should be", with2(input(acom(today, one)), func(in *Input) { in.Count = 2 })},
		{"another total", "file: its amounts come to 20003 where 20004 should be", with2(input(right), func(in *Input) { in.Total = 20004 })},
		{"trailer: count", "file:2: count: it says 2, the lines come to 1", input(one.line() + right[cut:])},
		{"trailer: debits", "file:3: debits: it says 20003, the lines come to 20004", input(one.line() + two.but(func(x *row) { x.minor++ }).line() + right[cut:])},
		{"trailer: day", "file: date: the file is of 2026-11-21, not of 2026-11-22", input(acom(today.Before(), one, two))},
		{"behind the trailer", "file:4: there is a line behind the trailer", input(right + one.line())},
		{"another day's lines", "file: none of its lines is of 2026-11-22 or a day beside it", input(acom(today, rowOf(sale(today.Plus(-9), 1))))},
		{"another day's name", "IND26112101ACOM: by its name it is of another day", with2(input(right), func(in *Input) { in.Name = "IND26112101ACOM" })},
		{"width", "file:1: it is 298 bytes long, 299 are expected", input(right[1:])},
		{"separator", `file:1: forwarder: 'x' is in front of it`, input(right[:11] + "x" + right[12:])},
		{"STAN", `file:1: stan: "00 001" is no trace number of 1 to 6 digits`, input(right[:26] + " " + right[27:])},
		{"STAN zero", `file:1: stan: "000000" is no trace number`, input(acom(today, one.but(func(x *row) { x.stan = 0 })))},
		{"time", `file:1: time: "1322101112" is no time of the form 0102150405`, input(acom(today, one.but(func(x *row) { x.at = "1322101112" })))},
		{"amount", `file:1: amount: "-00000000001" is no amount of 1 to 12 digits`, input(acom(today, one.but(func(x *row) { x.minor = -1 })))},
		{"acquirer", `file:1: acquirer: "4880 2900" is no institution code`, input(acom(today, one.but(func(x *row) { x.acquirer = "4880 2900" })))},
		{"direction", `file:1: processing-code: "" is no sign of which way money goes`, input(acom(today, one.but(func(x *row) { x.processing = "      " })))},
		{"not settled", "2026-11-23 is not settled yet", b.input(today.After(), right)},
		{"nobody", "who imports it", with2(input(right), func(in *Input) { in.By = "" })},
		{"unreadable", "read file, line 1: disk", with2(input(""), func(in *Input) { in.File = io.MultiReader(strings.NewReader("x"), broken{}) })},
	} {
		_, err := b.queue.Import(t.Context(), row.in)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v; want %s", row.name, err, row.want)
		}
	}
	// What is wrong with the command line is no refusal.
	own, err := LoadLayout("l", []byte("version: 1\nform: csv\ncolumns: [{name: a, as: stan}, {name: b, as: time}, {name: c, as: amount}, {name: d, as: currency}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var wrong *yamlfile.Problem
	_, err = b.queue.Import(t.Context(), with2(input(right), func(in *Input) { in.Layout, in.Currency = own, txn.CNY }))
	if !errors.As(err, &wrong) || err.Error() != "l: has a column for the currency: leave --currency out" {
		t.Errorf("a currency beside a column for it: %v", err)
	}
	if all, err := b.queue.List(t.Context(), Filter{}); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if r := b.imported(input(right)); r.Matched != 2 || r.Exceptions != 0 {
		t.Errorf("%+v", r)
	}
	for name, text := range map[string]string{"the same": right, "another": acom(today, one)} {
		if _, err := b.queue.Import(t.Context(), input(text)); !errors.Is(err, ErrGiven) {
			t.Errorf("%s of the day: %v", name, err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("disk") }

func with2(in Input, change func(*Input)) Input { change(&in); return in }

// TestDispositions: two people dispose; what moves money is one correction on the
// issuer's account, and a claim may be settled by a later file.
func TestDispositions(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		ctx := t.Context()
		b.put(sale(today, 1), sale(today, 2), sale(today, 3), sale(today, 4))
		next := today.After()
		b.settled(today, next)
		b.imported(b.input(today, acom(today, rowOf(sale(today, 9)), rowOf(sale(today, 4)).but(func(x *row) { x.minor -= 4 }), rowOf(sale(today, 3)).but(func(x *row) { x.rrn = "1" }))))
		// 1 is the RRN or amount, in the order of the file; find them by STAN.
		byStan := map[uint32]int64{}
		all, err := b.queue.List(ctx, Filter{})
		if err != nil || len(all) != 5 {
			t.Fatalf("%+v, %v", all, err)
		}
		for _, e := range all {
			byStan[e.STAN] = e.Number
		}
		for _, row := range []struct {
			name, want string
			d          Disposition
			by, reason string
		}{
			{"unknown", "there is no exception 99", Disposition{Exception: 99, As: Claim}, "wang", "x"},
			{"as", `"forget" must be one of write-off, adjust, claim, resend`, Disposition{Exception: 1, As: "forget"}, "wang", "x"},
			{"nobody", "must be a person's name", Disposition{Exception: 1, As: Claim}, "", "x"},
			{"no reason", "the reason must be given", Disposition{Exception: 1, As: Claim}, "wang", " "},
		} {
			_, err := b.queue.Propose(ctx, []Disposition{row.d}, row.by, row.reason)
			if why := approval.Refusal(""); !errors.As(err, &why) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s: %v; want %s", row.name, err, row.want)
			}
		}
		dispose := func(stan uint32, as string) {
			t.Helper()
			n, err := b.queue.Propose(ctx, []Disposition{{Exception: byStan[stan], As: as}}, "wang", "looked into it")
			if err != nil {
				t.Fatal(err)
			}
			if err := b.queue.Approve(ctx, n, "Wang", "x"); err == nil {
				t.Error("one person disposed alone")
			}
			if err := b.queue.Approve(ctx, n, "li", "checked"); err != nil {
				t.Fatal(err)
			}
		}
		dispose(1, WriteOff) // ours only 100.01
		dispose(4, Adjust)   // theirs is 0.04 less
		dispose(9, Adjust)   // theirs only 100.09
		dispose(3, WriteOff) // nothing to move
		dispose(2, Claim)
		twice, err := b.queue.Propose(ctx, []Disposition{{Exception: byStan[2], As: Resend}}, "wang", "again")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.queue.Reject(ctx, twice, "li", "wait for the claim"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.queue.Propose(ctx, []Disposition{{Exception: byStan[1], As: Claim}}, "wang", "x"); err == nil {
			t.Error("what is written off was disposed of again")
		}
		last, err := b.ledger.LastAct(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = b.ledger.Acts(ctx, 0, last, func(a *ledger.Act) error {
			got = append(got, fmt.Sprintf("%s %s %s > %s %d %s %s/%s", a.Kind, a.Merchant, a.Debit, a.Credit, a.Minor, a.Issuer, a.Proposer, a.Who))
			return nil
		})
		want := []string{
			"correction " + mid + " rounding > issuer receivable 10001 east wang/li",
			"correction " + mid + " merchant payable > issuer receivable 4 east wang/li",
			"correction " + mid + " issuer receivable > merchant payable 10009 east wang/li",
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("acts %q, %v; want %q", got, err, want)
		}
		// The claim is paid; what was written off is not settled again.
		r := b.imported(b.input(next, acom(next, rowOf(sale(today, 2)), rowOf(sale(today, 1)))))
		if r.Late != 1 || r.Causes[ItWasGivenBefore.String()] != 1 {
			t.Errorf("%+v", r)
		}
		e, err := b.queue.Get(ctx, byStan[2])
		if err != nil || e.Act != "late" || len(e.Acts) != 2 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// TestManyDispositions: many exceptions are disposed of at once, each by a proposal of
// its own; all of them, or none.
func TestManyDispositions(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		ctx := t.Context()
		b.put(sale(today, 1), sale(today, 2), sale(today, 3), sale(today, 4), sale(today, 5))
		b.settled(today)
		b.imported(b.input(today, acom(today, rowOf(sale(today, 4)).but(func(x *row) { x.minor -= 4 }), rowOf(sale(today, 9)))))
		lacks := Filter{Issuer: "east", Day: today, Cause: IssuerDoesNotHaveIt.String(), Act: "open"}
		numbers := func(f Filter) (all []int64) {
			t.Helper()
			found, err := b.queue.List(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range found {
				all = append(all, e.Number)
			}
			return all
		}
		chosen := numbers(lacks)
		if len(chosen) != 4 {
			t.Fatalf("%d exceptions of one cause, want 4", len(chosen))
		}
		for _, f := range []Filter{{Issuer: "west", Day: today}, {Day: today.Before()}, {Day: today.After()}, {Day: today, Before: today}, {Cause: ItIsAnotherAcquirers.String()}} {
			if n := numbers(f); len(n) != 0 {
				t.Errorf("%+v chooses %v", f, n)
			}
		}
		all := func(as string, numbers ...int64) (ds []Disposition) {
			for _, n := range numbers {
				ds = append(ds, Disposition{Exception: n, As: as})
			}
			return ds
		}
		open := func() int {
			t.Helper()
			found, err := b.desk.List(ctx, approval.Filter{Subject: Subject, Open: true})
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		}
		if _, err := b.queue.Propose(ctx, all(WriteOff, append(slices.Clone(chosen), 99)...), "wang", "x"); err == nil || open() != 0 {
			t.Errorf("%v; %d proposals are open, want none", err, open())
		}
		proposals, err := b.queue.Propose(ctx, all(WriteOff, chosen...), "wang", "their second file is missing")
		if err != nil || len(proposals) != 4 || open() != 4 {
			t.Fatalf("%v, %v", proposals, err)
		}
		other, err := b.desk.Propose(ctx, approval.Draft{Subject: "policy", By: "wang", Reason: "x"})
		if err != nil {
			t.Fatal(err)
		}
		acts := func() (n int) {
			t.Helper()
			last, err := b.ledger.LastAct(ctx)
			if err == nil {
				err = b.ledger.Acts(ctx, 0, last, func(*ledger.Act) error { n++; return nil })
			}
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		twice, err := b.queue.Propose(ctx, all(Claim, chosen[0]), "zhao", "x")
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			name, by string
			numbers  []int64
		}{
			{"by who proposed them", "Wang", proposals},
			{"one is of another subject", "li", append(slices.Clone(proposals), other.Number)},
			{"one is by who approves", "zhao", append(slices.Clone(proposals), twice...)},
			{"two are about one exception", "li", append(slices.Clone(proposals), twice...)},
			{"one is unknown", "li", append(slices.Clone(proposals), 99)},
		} {
			if err := b.queue.Approve(ctx, row.numbers, row.by, "x"); !errors.As(err, new(approval.Refusal)) || open() != 5 || acts() != 0 {
				t.Errorf("%s: %v; %d are open, %d corrections", row.name, err, open(), acts())
			}
		}
		if err := b.queue.Approve(ctx, proposals, "li", "confirmed"); err != nil || open() != 1 || acts() != 4 {
			t.Errorf("%v; %d are open, %d corrections", err, open(), acts())
		}
		for i, n := range chosen {
			if e, err := b.queue.Get(ctx, n); err != nil || e.Act != WriteOff || len(e.Acts) != 1 || e.Acts[0].Proposal != proposals[i] || e.Acts[0].By != "li" {
				t.Errorf("%+v, %v", e, err)
			}
		}
		if n := numbers(lacks); len(n) != 0 {
			t.Errorf("%v are open still", n)
		}
		if err := b.queue.Reject(ctx, append(twice, proposals[0]), "li", "x"); !errors.As(err, new(approval.Refusal)) || open() != 1 {
			t.Errorf("%v; %d are open", err, open())
		}
		if err := b.queue.Reject(ctx, twice, "li", "x"); err != nil || open() != 0 {
			t.Errorf("%v; %d are open", err, open())
		}
	})
}

// TestTolerance: what differs by less is matched and counted.
func TestTolerance(t *testing.T) {
	b := newBank(t, ledgertest.SQLite(t))
	b.put(sale(today, 1), sale(today, 2))
	b.settled(today)
	in := b.input(today, acom(today, rowOf(sale(today, 1)).but(func(x *row) { x.minor += 2 }), rowOf(sale(today, 2)).but(func(x *row) { x.minor -= 3 })))
	in.Tolerance = 2
	if r := b.imported(in); r.Matched != 1 || r.Tolerated != 1 || r.Causes[AmountDiffers.String()] != 1 {
		t.Errorf("%+v", r)
	}
}

// TestPartReversed: what is left of a transaction is what its issuer must have.
func TestPartReversed(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		part := with(reversed(sale(today, 1)), func(r *txn.Record) { r.Kind, r.Stays, r.Held = txn.RecordReversalDue, 4_000, txn.NoEffect })
		b.put(sale(today, 1), part)
		b.settled(today)
		if r := b.imported(b.input(today, acom(today, rowOf(sale(today, 1)).but(func(x *row) { x.minor = 4_000 })))); r.Matched != 1 || r.Exceptions != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// TestTotals: of a file's day both sides are kept, and what makes the difference, by
// exceptions, another day and the tolerance.
// TestLinesThatAreNotOurs: of two lines alike that nobody here knows, the second is twice
// in the file; lines and amounts that were announced and came are taken.
func TestLinesThatAreNotOurs(t *testing.T) {
	bk := newBank(t, ledgertest.SQLite(t))
	bk.put(sale(today, 1))
	bk.settled(today)
	ghost := rowOf(sale(today, 99))
	in := bk.input(today, acom(today, rowOf(sale(today, 1)), ghost, ghost))
	in.Count, in.Total = 3, 10_001+2*10_099
	r := bk.imported(in)
	if r.Matched != 1 || r.Exceptions != 2 || r.Causes[WeDoNotHaveIt.String()] != 1 || r.Causes[ItIsTwiceInTheFile.String()] != 1 || r.Lines != 3 {
		t.Errorf("%+v", r)
	}
}

func TestTotals(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		next := today.After()
		b.put(sale(today, 1), sale(today, 2), sale(today, 3), sale(next, 4), sale(next, 5), with(sale(today, 6), func(r *txn.Record) { r.Request, r.Original = txn.KindRefund, 1 }))
		b.settled(today)
		b.settled(next)
		back := rowOf(with(sale(today, 6), func(r *txn.Record) { r.Request = txn.KindRefund }))
		in := b.input(today, acom(today, rowOf(sale(today, 1)).but(func(x *row) { x.minor += 2 }), rowOf(sale(today, 2)).but(func(x *row) { x.minor -= 50 }), back,
			rowOf(sale(next, 4)))) // 3 is missing, 4 is tomorrow's
		in.Tolerance = 2
		b.imported(in)
		in = b.input(next, acom(next, rowOf(sale(next, 5)), rowOf(sale(today, 3))))
		b.imported(in)
		for day, want := range map[txn.Date]string{
			today: "ours {4 30006 10006}, theirs {4 29959 10006}: excepted -49, late 0, tolerated 2; 3 exceptions, 1 open",
			next:  "ours {2 20009 0}, theirs {2 20008 0}: excepted 0, late -1, tolerated 0; 0 exceptions, 0 open",
		} {
			all, err := b.queue.Totals(t.Context(), day)
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			x := all[0]
			if got := fmt.Sprintf("ours %v, theirs %v: excepted %d, late %d, tolerated %d; %d exceptions, %d open", x.Ours, x.Theirs, x.Excepted, x.Late, x.Tolerated, x.Exceptions, x.Open); got != want {
				t.Errorf("%s: %s; want %s", day, got, want)
			}
		}
	})
}
