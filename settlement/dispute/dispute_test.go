package dispute

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const day txn.Date = 20261122

// bank is a ledger with transactions and a desk of cases. Its issuer north has
// deadlines of its own.
type bank struct {
	t      testing.TB
	ledger *ledger.Ledger
	db     *sqldb.DB
	desk   *Desk
	pos    uint64
	now    time.Time
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
	approvals := approval.New(db)
	d := New(db, approvals, txn.BusinessDay{Zone: time.UTC}, func(issuer string) Deadlines {
		if issuer == "north" {
			return Deadlines{Answer: 1, Represent: 2, Second: 3, Contest: 4}
		}
		return DefaultDeadlines
	})
	for _, migrate := range []func(context.Context) error{l.Migrate, approvals.Migrate} {
		if err := migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := d.Expire(t.Context(), time.Now()); err != nil || len(all) > 0 { // before there are tables
		t.Fatal(all, err)
	}
	if n, note, err := d.Verify(t.Context(), nil); n != 0 || err != nil || note == "" {
		t.Fatal(n, note, err)
	}
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &bank{t: t, ledger: l, db: db, desk: d, now: time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)}
}

// put stores approved transactions: number n is its id, trace and reference number.
func (b *bank) put(n int, kind txn.Kind, minor int64, original txn.ID) {
	b.t.Helper()
	r := &txn.Record{Kind: txn.RecordOutcome, ID: txn.ID(n), At: time.Date(2026, 11, 22, 9, 0, n%60, 0, time.UTC), Request: kind,
		Key:      txn.Key{Acquirer: 1, Terminal: txn.MakeTerminalID("10000001"), Batch: 1, STAN: uint32(n), Class: txn.ClassFinancial},
		Merchant: txn.MakeMerchantID("M1"), MCC: 5411, Amount: txn.Amount{Minor: minor, Currency: txn.CNY}, Day: day, Original: original,
		Leg: txn.Leg{Issuer: txn.MakeIssuerID("east"), STAN: uint32(n)}, Outcome: txn.OutcomeApproved, Code: [2]byte{'0', '0'}}
	if n%2 == 0 {
		r.Leg.Issuer = txn.MakeIssuerID("north")
	}
	copy(r.Masked[:], "622202******0128")
	copy(r.RRN[:], fmt.Sprintf("%012d", n))
	b.pos++
	if err := b.ledger.Store(b.t.Context(), []ledger.Entry{{Pos: b.pos, Rec: r}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bank) opening(n int, step Step, minor int64) Opening {
	return Opening{Step: step, Date: day, RRN: fmt.Sprintf("%012d", n), Minor: minor, Currency: txn.CNY, Code: "4853", By: "wang", Reason: "their letter", Now: b.now}
}

func (b *bank) open(n int, step Step, minor int64) Case {
	b.t.Helper()
	c, err := b.desk.Open(b.t.Context(), b.opening(n, step, minor))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bank) act(number int64, step Step) error {
	_, err := b.desk.Act(b.t.Context(), Act{Case: number, Step: step, By: "wang", Reason: "so it is", Now: b.now})
	return err
}

func (b *bank) document(number int64) {
	b.t.Helper()
	_, err := b.desk.AddDocument(b.t.Context(), number, Document{At: b.now, By: "wang", Kind: "slip", Name: "slip.pdf", SHA256: strings.Repeat("0a", 32), Size: 10})
	if err != nil {
		b.t.Fatal(err)
	}
}

// acts are the acts of disputes after a number, in short.
func (b *bank) acts(after int64) (s string) {
	b.t.Helper()
	err := b.ledger.Acts(b.t.Context(), after, 1<<60, func(a *ledger.Act) error {
		s += fmt.Sprintf("%s: %s %d %s > %s %s; ", a.About, a.Merchant, a.Minor, a.Debit, a.Credit, a.Issuer)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bank) verify() (breaks []string, note string) {
	b.t.Helper()
	_, note, err := b.desk.Verify(b.t.Context(), func(_ txn.ID, what string) { breaks = append(breaks, what) })
	if err != nil {
		b.t.Fatal(err)
	}
	return breaks, note
}

// TestCases takes a case every way through, on both engines, and holds what each
// step moves. The account of the merchant comes to what the end says.
func TestCases(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		const taken, back = "merchant payable > issuer receivable", "issuer receivable > merchant payable"
		for n, row := range []struct {
			steps string
			state State
			moves []string
		}{
			{"retrieval answer", Answered, nil},
			{"retrieval chargeback accept", Lost, []string{"", taken, ""}},
			{"retrieval answer chargeback represent win", Won, []string{"", "", taken, "issuer receivable > disputed", "disputed > merchant payable"}},
			{"chargeback represent second win", Won, []string{taken, "issuer receivable > disputed", "disputed > issuer receivable", back}},
			{"chargeback represent second contest win", Won, []string{taken, "issuer receivable > disputed", "disputed > issuer receivable", "", back}},
			{"chargeback represent second contest lose write-off", WrittenOff,
				[]string{taken, "issuer receivable > disputed", "disputed > issuer receivable", "", "", "dispute loss > merchant payable"}},
			{"chargeback represent second accept", Lost, []string{taken, "issuer receivable > disputed", "disputed > issuer receivable", ""}},
		} {
			b.put(n+1, txn.KindSale, 100_00, 0)
			before, err := b.ledger.LastAct(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want, number := "", int64(n+1)
			for i, s := range strings.Fields(row.steps) {
				for range 2 { // the same again changes nothing
					switch step := Step(s); step {
					case Retrieval:
						b.open(n+1, step, 0)
					case ChargeBack:
						b.open(n+1, step, 60_00)
					case WriteOff:
						b.writeOff(number)
					default:
						if step == Represent {
							b.document(number)
						}
						if err := b.act(number, step); err != nil {
							t.Fatalf("%s: %s: %v", row.steps, s, err)
						}
					}
					if Step(s) == WriteOff {
						break
					}
				}
				if i < len(row.moves) && row.moves[i] != "" {
					issuer := [...]string{"east", "north"}[n%2]
					if !strings.Contains(row.moves[i], "issuer") {
						issuer = ""
					}
					want += fmt.Sprintf("case %d step %d: M1 6000 %s %s; ", number, i+1, row.moves[i], issuer)
				}
			}
			c, err := b.desk.Get(t.Context(), number)
			if err != nil || c.State != row.state || len(c.Steps) != len(strings.Fields(row.steps)) {
				t.Errorf("%s: %+v, %v", row.steps, c, err)
			}
			if got := b.acts(before); got != want {
				t.Errorf("%s\n got %s\nwant %s", row.steps, got, want)
			}
		}
		if breaks, note := b.verify(); len(breaks) > 0 || note != "" {
			t.Errorf("%q, %q", breaks, note)
		}
		all, err := b.desk.List(t.Context(), Filter{Open: true})
		if err != nil || len(all) != 0 {
			t.Errorf("%+v, %v", all, err)
		}
		if all, err = b.desk.List(t.Context(), Filter{}); err != nil || len(all) == 0 || all[0].State.Open() {
			t.Errorf("of those that are closed %+v, %v", all, err)
		}
	})
}

// TestStates: in which something is still to come, and which count against what was paid.
func TestStates(t *testing.T) {
	for state, want := range map[State][2]bool{
		Requested: {true, false}, Answered: {false, false}, Unanswered: {false, false}, ChargedBack: {true, true}, Represented: {true, true}, ChargedBackAgain: {true, true},
		Contested: {true, true}, Won: {false, false}, Lost: {false, true}, WrittenOff: {false, true},
	} {
		if got := [2]bool{state.Open(), state.charged()}; got != want {
			t.Errorf("%s: open and charged are %v, want %v", state, got, want)
		}
	}
}

func (b *bank) writeOff(number int64) {
	b.t.Helper()
	p, err := b.desk.ProposeWriteOff(b.t.Context(), number, "wang", "bankrupt")
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.desk.Approve(b.t.Context(), p, "WANG", "seen"); !errors.As(err, new(approval.Refusal)) {
		b.t.Errorf("one person wrote off alone: %v", err)
	}
	if err := b.desk.Approve(b.t.Context(), p, "li", "seen"); err != nil {
		b.t.Fatal(err)
	}
	if err := b.desk.Approve(b.t.Context(), p, "li", "again"); !errors.As(err, new(approval.Refusal)) {
		b.t.Errorf("written off twice: %v", err)
	}
}

// TestRefused: what is not done leaves nothing. Rows are in precedence order.
func TestRefused(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		b.put(1, txn.KindSale, 100_00, 0)
		b.put(2, txn.KindRefund, 30_00, 1)
		b.put(3, txn.KindPreauth, 100_00, 0)
		b.put(4, txn.KindSale, 100_00, 0)
		b.put(5, txn.KindVoid, 100_00, 4)
		opened := b.open(1, ChargeBack, 50_00)
		with := func(change func(*Opening)) error {
			o := b.opening(1, ChargeBack, 20_01)
			o.Reference = "other"
			change(&o)
			_, err := b.desk.Open(t.Context(), o)
			return err
		}
		document := func(change func(*Document)) error {
			x := Document{At: b.now, By: "wang", Kind: "slip", Name: "slip.pdf", SHA256: strings.Repeat("0", 64), Size: 1}
			change(&x)
			_, err := b.desk.AddDocument(t.Context(), opened.Number, x)
			return err
		}
		for _, c := range []struct {
			err  error
			want string
		}{
			{with(func(o *Opening) { o.By = "" }), "must be a person's name"},
			{with(func(o *Opening) { o.Reason = " " }), "the reason must be given"},
			{with(func(o *Opening) { o.Reason = "card 6222 0212 3456 7894" }), "the reason has what looks like a card number in it"},
			{with(func(o *Opening) { o.Step = Win }), "a case begins with retrieval or chargeback"},
			{with(func(o *Opening) { o.Code = strings.Repeat("9", 21) }), "the reason code must be one line of at most 20 bytes"},
			{with(func(o *Opening) { o.Reference = "R-\xff" }), "the issuer's reference must be one line of at most 60 bytes of UTF-8"},
			{with(func(o *Opening) { o.Minor = -1 }), "the amount is that of a chargeback"},
			{with(func(o *Opening) { o.Step = Retrieval }), "the amount is that of a chargeback"},
			{with(func(o *Opening) { o.RRN = "000000000099" }), "0 transactions of 2026-11-22"},
			{with(func(o *Opening) { o.ID = 3 }), "no transaction 0000000000000003 by which a cardholder paid"},
			{with(func(o *Opening) { o.Reference = "6222029999990128" }), "the issuer's reference has the card number in it"},
			{with(func(o *Opening) { o.Code = "6222029999990128" }), "the issuer's reference has the card number in it"},
			{with(func(o *Opening) { o.Currency = 392 }), "the transaction is in CNY, not in JPY"},
			{with(func(o *Opening) {}), "of 100.00 CNY paid 70.00 CNY is left after refunds and voids, and 50.00 CNY is charged back already: 20.01 CNY more cannot be"},
			{with(func(o *Opening) { o.ID = 4 }), "0.00 CNY is left after refunds and voids"},
			{with(func(o *Opening) { o.Reference = "" }), "case 1 charges 50.00 CNY back under this reference already, not 20.01 CNY"},
			{document(func(x *Document) { x.Kind = "rumour" }), `"rumour" must be one of slip`},
			{document(func(x *Document) { x.Name = "4111111111111111.pdf" }), "the document's name has what looks like a card number in it"},
			{document(func(x *Document) { x.Size = 0 }), "a document has a name, a SHA-256 of 64 digits and a size"},
			{b.act(99, Represent), "there is no case 99"},
			{b.act(opened.Number, Represent), "case 1 has no document to represent it with"},
			{b.act(opened.Number, Answer), "case 1: it is charged back: answer is not possible, but represent, accept, expire"},
			{b.act(opened.Number, WriteOff), "what we bear ourselves is proposed"},
			{b.act(opened.Number, Expire), "expire is no step that is taken so"},
			{func() error { _, err := b.desk.ProposeWriteOff(t.Context(), 1, "wang", "x"); return err }(), "case 1: it is charged back: write-off is not possible"},
			{b.desk.Approve(t.Context(), 99, "li", "x"), "there is no such proposal"},
			{b.desk.Reject(t.Context(), 99, "li", ""), "the reason must be given"},
		} {
			if !errors.As(c.err, new(approval.Refusal)) || !strings.Contains(c.err.Error(), c.want) {
				t.Errorf("%v; want %s", c.err, c.want)
			}
		}
		if all, err := b.desk.List(t.Context(), Filter{}); err != nil || len(all) != 1 || b.acts(1) != "" {
			t.Errorf("%+v, %v, %s", all, err, b.acts(1))
		}
		if err := with(func(o *Opening) { o.Minor = 0 }); err != nil { // all that is left
			t.Fatal(err)
		}
		if c, err := b.desk.Get(t.Context(), 2); err != nil || c.Amount != 20_00 || c.Over != 0 {
			t.Errorf("%+v, %v", c, err)
		}
		// A refund that comes afterwards makes it more than was paid: told, not hidden.
		b.put(6, txn.KindRefund, 5_00, 1)
		c, err := b.desk.Get(t.Context(), 2)
		if breaks, note := b.verify(); err != nil || c.Over != 5_00 || len(breaks) > 0 || !strings.HasPrefix(note, "of 2 cases refunds that came later") {
			t.Errorf("%+v, %v, %q, %q", c, err, breaks, note)
		}
	})
}

// TestDeadlines: what comes too late is refused, and what is over is acted on once.
func TestDeadlines(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		steps := [][]Step{{Retrieval}, {ChargeBack}, {ChargeBack, Represent}, {ChargeBack, Represent, Second}}
		for i, row := range steps {
			for _, n := range []int{2*i + 1, 2*i + 2} { // of east and of north
				b.put(n, txn.KindSale, 100_00, 0)
				for _, s := range row {
					c, err := b.desk.Open(t.Context(), b.opening(n, row[0], 0))
					if err != nil {
						t.Fatal(err)
					}
					if s == Represent {
						b.document(c.Number)
					}
					if s != row[0] {
						if err := b.act(c.Number, s); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		expired := func(days int) (s string) {
			t.Helper()
			b.now = time.Date(2026, 12, 1+days, 0, 30, 0, 0, time.UTC)
			all, err := b.desk.Expire(t.Context(), b.now)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range all {
				s += fmt.Sprintf("%d %s; ", c.Number, c.State)
			}
			return s
		}
		due, err := b.desk.List(t.Context(), Filter{Due: 20261202})
		if err != nil || len(due) != 1 || due[0].Number != 2 || due[0].Deadline != 20261202 {
			t.Errorf("%+v, %v", due, err)
		}
		for _, row := range []struct {
			days int
			want string
		}{{1, ""}, {2, "2 unanswered; "}, {2, ""}, {3, "4 lost; "}, {5, "6 won; 8 lost; "}, {11, "1 unanswered; 7 lost; "}, {30, ""}} {
			if got := expired(row.days); got != row.want {
				t.Errorf("after %d days %q, want %q", row.days, got, row.want)
			}
		}
		b.now = b.now.AddDate(0, 0, 1)
		b.document(3)
		if err := b.act(3, Represent); !errors.As(err, new(approval.Refusal)) || !strings.Contains(err.Error(), "case 3: the last day for that was 2026-12-31") {
			t.Error(err)
		}
		var group sync.WaitGroup
		for range 4 { // at once: one of them does it
			group.Go(func() {
				if _, err := b.desk.Expire(context.Background(), b.now); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if c, err := b.desk.Get(t.Context(), 3); err != nil || c.State != Lost || len(c.Steps) != 2 {
			t.Errorf("%+v, %v", c, err)
		}
		if breaks, _ := b.verify(); len(breaks) > 0 {
			t.Errorf("%q", breaks)
		}
	})
}

// TestRules: no step leads nowhere, money that is taken comes to rest where the end
// says, and no walk through the rules moves more than the case's amount.
func TestRules(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		at, accounts := State(""), map[book.Account]int{}
		for range 20 {
			var may []*move
			for i := range moves {
				if moves[i].from == at {
					may = append(may, &moves[i])
				}
			}
			if len(may) == 0 {
				break
			}
			m := may[rng.IntN(len(may))]
			if at = m.to; m.money {
				accounts[m.debit]++
				accounts[m.credit]--
			}
			// Whoever bears it by the state, and where it is meanwhile.
			want := map[State][4]int{Represented: {1, 0, -1, 0}, ChargedBack: {1, -1, 0, 0}, ChargedBackAgain: {1, -1, 0, 0}, Contested: {1, -1, 0, 0}, Lost: {1, -1, 0, 0}, WrittenOff: {0, -1, 0, 1}}[at]
			if got := [4]int{accounts[book.MerchantPayable], accounts[book.IssuerReceivable], accounts[book.Disputed], accounts[book.DisputeLoss]}; got != want {
				t.Fatalf("%s: payable, receivable, disputed, loss are %v, want %v", at, got, want)
			}
			if (deadlineOf[at] != none) != (func() bool { _, err := find(Expire, at); return err == nil }()) {
				t.Fatalf("%s has a deadline and nothing ends it, or the other way round", at)
			}
		}
	}
}

// TestVerify changes one thing of what is stored at a time: verify names it.
func TestVerify(t *testing.T) {
	for _, c := range []struct{ change, want string }{
		{"UPDATE dispute_step SET amount = 1 WHERE item = 2", "case 1: step 2 changes what is charged back from 100.00 CNY to 0.01 CNY"},
		{"UPDATE dispute_step SET state = 'won' WHERE item = 2", `step 2 led from "charged back" to "won", not to "represented"`},
		{"UPDATE dispute_step SET step = 'second' WHERE item = 2", "step 2: it is charged back: second is not possible"},
		{"DELETE FROM dispute_step WHERE item = 1", "it has 1 steps, its last is the 2."},
		{"DELETE FROM act WHERE number = 2", "step 2 has 0 acts, it must have one"},
		{"UPDATE act SET amount = 2 WHERE number = 2", "step 2 is booked as 2 dispute M1 0.02 CNY issuer receivable > disputed east, it must be 2 dispute M1 100.00 CNY"},
		{"UPDATE act SET credit = 'merchant payable' WHERE number = 2", "issuer receivable > merchant payable east, it must be"},
		{"UPDATE act SET about = 'case 9 step 1' WHERE number = 2", "step 2 has 0 acts"},
		{"INSERT INTO act (number, at, kind, who, reason, refers, about, merchant_id, proposer, currency, debit, credit, amount, issuer) VALUES (3, 0, 'dispute', 'x', 'x', 0, 'x', 'M1', '', 156, 'a', 'b', 1, '')",
			"the ledger has 3 acts of disputes, the cases have 2"},
	} {
		b := newBank(t, ledgertest.SQLite(t))
		b.put(1, txn.KindSale, 100_00, 0)
		b.open(1, ChargeBack, 0)
		b.document(1)
		if err := b.act(1, Represent); err != nil {
			t.Fatal(err)
		}
		if breaks, _ := b.verify(); len(breaks) > 0 {
			t.Fatalf("%q", breaks)
		}
		if _, err := b.db.Write.ExecContext(t.Context(), c.change); err != nil {
			t.Fatal(err)
		}
		if breaks, _ := b.verify(); !strings.Contains(strings.Join(breaks, "\n"), c.want) {
			t.Errorf("%s: no %q in %q", c.change, c.want, breaks)
		}
	}
}

// TestManyAtOnce: whoever charges a transaction back at the same time, together they
// take no more than was paid.
func TestManyAtOnce(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		b.put(1, txn.KindSale, 100_00, 0)
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				o := b.opening(1, ChargeBack, 30_00)
				o.Reference = fmt.Sprint(i)
				if _, err := b.desk.Open(context.Background(), o); err != nil && !errors.As(err, new(approval.Refusal)) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		all, err := b.desk.List(t.Context(), Filter{})
		if err != nil || len(all) != 3 {
			t.Errorf("%d cases, %v", len(all), err)
		}
		if breaks, note := b.verify(); len(breaks) > 0 || note != "" {
			t.Errorf("%q, %q", breaks, note)
		}
	})
}

// TestLastDay: on its last day a step is in time; what was won is the merchant's again,
// and may be charged back once more under another reference.
func TestLastDay(t *testing.T) {
	b := newBank(t, ledgertest.SQLite(t))
	b.put(2, txn.KindSale, 100_00, 0)
	c := b.open(2, ChargeBack, 100_00)
	if c.Deadline != 20261203 {
		t.Fatalf("the last day is %s", c.Deadline)
	}
	b.document(c.Number)
	b.now = time.Date(2026, 12, 3, 23, 30, 0, 0, time.UTC)
	if err := b.act(c.Number, Represent); err != nil {
		t.Error(err)
	}
	again := b.opening(2, ChargeBack, 100_00)
	again.Reference = "R2"
	if _, err := b.desk.Open(t.Context(), again); !errors.As(err, new(approval.Refusal)) {
		t.Errorf("charged back twice: %v", err)
	}
	if err := b.act(c.Number, Win); err != nil {
		t.Error(err)
	}
	if _, err := b.desk.Open(t.Context(), again); err != nil {
		t.Errorf("after the first was won: %v", err)
	}
	if breaks, _ := b.verify(); len(breaks) > 0 {
		t.Errorf("%q", breaks)
	}
}
