package settlement

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

func (w *town) answer(text string) (*Answered, error) {
	return AnswerPayouts(context.Background(), AnswersInput{Ledger: w.ledger, Name: "answers", File: strings.NewReader(text), By: "wang", Now: w.now})
}

func (w *town) answered(text, want string) {
	w.t.Helper()
	r, err := w.answer(text)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := fmt.Sprintf("%d paid, %d back, %d pending, %d known", r.Paid, r.Back, r.Pending, r.Known); got != want {
		w.t.Errorf("answered: %s; want %s", got, want)
	}
}

// clean holds that verify finds nothing.
func (w *town) clean() {
	w.t.Helper()
	r, err := Verify(context.Background(), VerifyInput{Journal: w.journal, Ledger: w.ledger})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, rule := range []Rule{RulePosting, RulePayout} {
		if c := r.check(rule); c.Breaks != 0 || c.Checked == 0 {
			w.t.Errorf("%+v\n%s", c, text(w.t, r))
		}
	}
}

// positions is a day's positions.csv in short.
func (w *town) positions(day txn.Date) string {
	s := ""
	for _, p := range rowsOf(w.t, filepath.Join(w.dir, day.String(), positionsFile)) {
		s += fmt.Sprintf("%s %s + %s + %s returned + %s disputed - %s paid = %s: %s\n", p["merchant"], p["opening"], p["net"], p["returned"], p["disputes"], p["paid"], p["closing"], p["decision"])
	}
	return s
}

func (w *town) accounts(day txn.Date, merchant string) string {
	s := ""
	err := w.ledger.MerchantAccounts(context.Background(), day, func(a ledger.AccountSum) error {
		if a.Party == merchant {
			s += fmt.Sprintf("%s %d; ", a.Account, a.Credit-a.Debit)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestPayoutAnswers follows payments that the bank paid, rejected and returned:
// the money is the merchant's again once, waits for another account or somebody's
// word, and is paid again.
func TestPayoutAnswers(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		w.put(deed(1, txn.KindSale, "M1", day1, 1000_00, 0), deed(2, txn.KindSale, "M3", day1, 2000_00, 0), deed(3, txn.KindSale, "M2", day1, 100_00, 0))
		w.drained()
		w.settle(day1)
		const head = "end_to_end,status,amount,reason\n"
		w.answered(head+"20261120-M1-CNY,paid,995.00,\n20261120-M3-CNY,rejected,1990.00,AC01 no such account\n20261120-M2-CNY,pending,,\n", "1 paid, 1 back, 1 pending, 0 known")
		w.answered(head+"20261120-M1-CNY,paid,995.00,\n20261120-M3-CNY,returned,,\n", "0 paid, 0 back, 0 pending, 2 known")
		last, err := w.ledger.LastAct(t.Context())
		if err != nil || last != 2 {
			t.Fatal(last, err)
		}
		for _, c := range []struct{ text, want string }{ // nothing of these is applied
			{head + "20261120-M2-CNY,paid,,\n20261120-M9-CNY,paid,,\n", "answers:3: end_to_end: no run ordered the payment 20261120-M9-CNY"},
			{head + "20261120-M2-CNY,paid,,\n20261121-M1-CNY,paid,,\n", "answers:3: end_to_end: no run ordered the payment 20261121-M1-CNY"},
			{head + "20261120-M2-CNY,paid,89.56,\n", `answers:2: amount: the bank has "89.56" of payment 20261120-M2-CNY, we ordered 89.55`},
			{head + "20261120-M2-CNY,paid,,\n20261120-M3-CNY,paid,,\n", "answers:3: status: payment 20261120-M3-CNY came back by an earlier answer: it cannot be paid"},
			{head + "20261120-M2-CNY,returned,,\n20261120-M2-CNY,paid,,\n", "answers:3: status: payment 20261120-M2-CNY came back by an earlier answer: it cannot be paid"},
			{pain002(`<OrgnlMsgId>PAYOUT-20261121</OrgnlMsgId><GrpSts>ACSC</GrpSts>`, ""), `answers:2: no run ordered payments under the id "PAYOUT-20261121"`},
		} {
			_, err := w.answer(c.text)
			if wrong := (*yamlfile.Problem)(nil); !errors.As(err, &wrong) || err.Error() != c.want {
				t.Errorf("%v; want %s", err, c.want)
			}
		}
		if after, err := w.ledger.LastAct(t.Context()); err != nil || after != last {
			t.Errorf("a refused file left %d acts, there were %d: %v", after, last, err)
		}
		w.settle(day2)
		if got, want := w.positions(day2), ""+
			"M1 0.00 + 0.00 + 0.00 returned + 0.00 disputed - 0.00 paid = 0.00: nothing is owed\n"+
			"M2 0.00 + 0.00 + 0.00 returned + 0.00 disputed - 9.95 paid = 0.00: paid\n"+ // from its reserve
			"M3 0.00 + 0.00 + 1990.00 returned + 0.00 disputed - 0.00 paid = 1990.00: a payout to this account came back: AC01 no such account (2026-12-24, payment 20261120-M3-CNY): correct the account, or release 2\n"; got != want {
			t.Errorf("second day\n%swant\n%s", got, want)
		}
		files := content(t, w.dir)
		for name, want := range map[string]string{
			"/2026-11-21/" + statementsFile: "M3,2026-11-21,2026-12-24 20:00:00,,,,,,payout back,CNY,0.00,0.00,1990.00,20261120-M3-CNY: AC01 no such account\n",
			"/2026-11-21/" + entriesFile: "payout paid,20261120-M1-CNY,M1,CNY,995.00,payouts ordered,bank,0.00,,,wang,2026-12-24 20:00:00\n" +
				"payout back,20261120-M3-CNY,M3,CNY,1990.00,payouts ordered,merchant payable,1990.00,AC01 no such account,,wang,2026-12-24 20:00:00\n",
			"/2026-11-21/" + exceptionsFile:        "payout,M3,2026-11-21,,,,,,payout,CNY,1990.00,\"a payout to this account came back",
			"/2026-11-21/" + "statements-001.html": "<td>payout back</td>",
		} {
			if !strings.Contains(files[name], want) {
				t.Errorf("%s lacks %q:\n%s", name, want, files[name])
			}
		}
		checkBooks(t, w, day2)
		w.clean()
		if got, want := w.accounts(day2, "M1"), "bank 99500; fee income 500; interchange expense -350; merchant payable 0; network expense -33; payouts ordered 0; "; got != want {
			t.Errorf("M1 has %s, want %s", got, want)
		}

		// What was paid comes back after all; M2's is answered with its message.
		w.answered(pain002(`<OrgnlMsgId>PAYOUT-20261120</OrgnlMsgId><GrpSts>ACSC</GrpSts>`,
			tx("20261120-M1-CNY", "RJCT", "AC04", "995.00")+tx("20261120-M3-CNY", "RJCT", "AC01", "")), "1 paid, 1 back, 0 pending, 1 known")
		in := w.input(day3)
		in.Payouts = func() (*payout.Terms, error) { // M3 has another account
			return payout.Load(payout.File{Name: "p", Text: []byte(strings.Replace(runPayouts, `- {currency: CNY, name: Owner, number: "1", bank: "105290000012", min: "500.00"}`,
				`- {currency: CNY, name: Owner, number: "77", bank: "105290000012", min: "500.00"}`, 1))}, payout.File{Name: "c", Text: []byte(runWorkdays)}, payout.Registry{})
		}
		if _, err := Settle(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if got, want := w.positions(day3), ""+
			"M1 0.00 + 0.00 + 995.00 returned + 0.00 disputed - 0.00 paid = 995.00: a payout to this account came back: AC04 (2026-12-24, payment 20261120-M1-CNY): correct the account, or release 3\n"+
			"M2 0.00 + 0.00 + 0.00 returned + 0.00 disputed - 0.00 paid = 0.00: nothing is owed\n"+
			"M3 1990.00 + 0.00 + 0.00 returned + 0.00 disputed - 1990.00 paid = 0.00: paid\n"; got != want {
			t.Errorf("third day\n%swant\n%s", got, want)
		}
		checkBooks(t, w, day3)
		w.clean()

		// M1's account is in order; and of M3 the bank has paid since.
		w.release(t, 3)
		w.answered(head+"20261122-M3-CNY,paid,,to 6222029999990128\n", "1 paid, 0 back, 0 pending, 0 known")
		day4 := day3.After()
		w.put(deed(9, txn.KindSale, "M3", day4, 3000_00, 0))
		w.drained()
		w.settle(day4) // with the old account of M3
		if got, want := w.positions(day4), ""+
			"M1 995.00 + 0.00 + 0.00 returned + 0.00 disputed - 995.00 paid = 0.00: paid\n"+
			"M3 0.00 + 2985.00 + 0.00 returned + 0.00 disputed - 2985.00 paid = 0.00: paid\n"; got != want {
			t.Errorf("fourth day\n%swant\n%s", got, want)
		}
		w.clean()
		var payments []string
		err = Payments(t.Context(), w.ledger, day1, func(p *Payment) error {
			payments = append(payments, fmt.Sprintf("%s %s %s", p.EndToEnd, p.Status, p.Reason))
			return nil
		})
		err = errors.Join(err, Payments(t.Context(), w.ledger, day3, func(p *Payment) error {
			payments = append(payments, p.Reason)
			return nil
		}))
		if want := []string{"20261120-M1-CNY back AC04", "20261120-M2-CNY paid ", "20261120-M3-CNY back AC01 no such account", "to 622202******0128"}; err != nil || fmt.Sprint(payments) != fmt.Sprint(want) {
			t.Errorf("%q, %v; want %q", payments, err, want)
		}
	})
}

// pain002 is a report on a message: what is said of the whole, and of payments.
func pain002(whole, payments string) string {
	return "<?xml version=\"1.0\"?>\n<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.002.001.10\"><CstmrPmtStsRpt><GrpHdr><MsgId>x</MsgId></GrpHdr><OrgnlGrpInfAndSts>" + whole +
		"</OrgnlGrpInfAndSts>\n<OrgnlPmtInfAndSts><OrgnlPmtInfId>any</OrgnlPmtInfId>" + payments + "</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"
}

func tx(id, status, reason, amount string) string {
	s := "\n<TxInfAndSts><OrgnlEndToEndId>" + id + "</OrgnlEndToEndId><TxSts>" + status + "</TxSts><StsRsnInf><Rsn><Cd>" + reason + "</Cd></Rsn></StsRsnInf>"
	if amount != "" {
		s += "<OrgnlTxRef><Amt><InstdAmt Ccy=\"CNY\">" + amount + "</InstdAmt></Amt></OrgnlTxRef>"
	}
	return s + "</TxInfAndSts>"
}

// TestAnswersBetweenSteps holds that a run books what was said before it began, and
// that a kill anywhere changes nothing about it.
func TestAnswersBetweenSteps(t *testing.T) {
	var want map[string]string
	for _, at := range []string{"", "begun", "file " + entriesFile, "booked", "published"} {
		w := newTown(t, ledgertest.SQLite(t))
		w.put(deed(1, txn.KindSale, "M1", day1, 1000_00, 0), deed(2, txn.KindSale, "M3", day1, 2000_00, 0))
		w.drained()
		w.settle(day1)
		w.answered("end_to_end,status\n20261120-M1-CNY,rejected\n", "0 paid, 1 back, 0 pending, 0 known")
		if at != "" {
			in := w.input(day2)
			in.step = func(s string) error {
				if s == at {
					return errKill
				}
				return nil
			}
			if _, err := Settle(t.Context(), in); !errors.Is(err, errKill) {
				t.Fatal(at, err)
			}
			w.answered("end_to_end,status\n20261120-M3-CNY,rejected\n", "0 paid, 1 back, 0 pending, 0 known")
		}
		w.settle(day2)
		got := content(t, w.dir)
		if want == nil {
			want = got
		}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("killed at %q: %s differs\n%s\n%s", at, name, got[name], want[name])
			}
		}
		w.clean()
	}
}

// TestVerifyPayouts changes one thing of what is stored at a time: verify names it.
func TestVerifyPayouts(t *testing.T) {
	for _, c := range []struct{ change, want string }{
		{"UPDATE payout SET paid = paid + 1 WHERE merchant_id = 'M1'", "merchant M1, CNY: paid is 995.01 in its payout, 995.00 in the books"},
		{"UPDATE payout SET closing = 5 WHERE merchant_id = 'M1'", "its payout comes to 0.00 and carries 0.05 forward"},
		{"UPDATE payout SET net = net - 1, paid = paid - 1 WHERE merchant_id = 'M1'", "net is 994.99 in its payout, 995.00 in the books"},
		{"DELETE FROM payout WHERE business_date = '2026-11-21' AND merchant_id = 'M3'", "returned is 0.00 in its payout, 1990.00 in the books"},
		{"UPDATE act SET amount = 4 WHERE number = 2", "act 2 moves 0.04 of payment 20261120-M3-CNY of 1990.00"},
		{"UPDATE act SET about = '20261120-M4-CNY' WHERE number = 2", "act 2 is about payment 20261120-M4-CNY, which no run ordered"},
		{"UPDATE act SET debit = 'bank' WHERE number = 2", "act 2 books payment 20261120-M3-CNY from bank to merchant payable, it must be from payouts ordered"},
		{"UPDATE run SET acts = 1 WHERE business_date = '2026-11-21'", "payout back on merchant payable differs from what was decided by -1990.00"},
		{"DELETE FROM posting WHERE business_date = '2026-11-21' AND item = 'payout paid'", "payout paid on bank differs from what was decided by 995.00"},
		{"UPDATE payout SET reserved = 0 WHERE merchant_id = 'M2' AND business_date = '2026-11-20'", "9.95 came back from the reserve, 0.00 was due"},
	} {
		w := newTown(t, ledgertest.SQLite(t))
		w.put(deed(1, txn.KindSale, "M1", day1, 1000_00, 0), deed(2, txn.KindSale, "M3", day1, 2000_00, 0), deed(3, txn.KindSale, "M2", day1, 100_00, 0))
		w.drained()
		w.settle(day1)
		w.answered("end_to_end,status\n20261120-M1-CNY,paid\n20261120-M3-CNY,rejected\n", "1 paid, 1 back, 0 pending, 0 known")
		w.settle(day2)
		w.clean()
		if r, err := w.db.Write.ExecContext(t.Context(), c.change); err != nil {
			t.Fatal(err)
		} else if n, _ := r.RowsAffected(); n != 1 && n != 2 {
			t.Fatalf("%s changed %d rows", c.change, n)
		}
		r, err := Verify(t.Context(), VerifyInput{Journal: w.journal, Ledger: w.ledger})
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, r); r.check(RulePayout).Breaks == 0 || !strings.Contains(got, c.want) {
			t.Errorf("%s: no %q in\n%s", c.change, c.want, got)
		}
	}
}
