package dispute

import (
	"errors"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

const head = "step,date,rrn,reference,code,amount,reason\n"

// TestImport: an issuer's file opens cases and takes them on, once, whole or not at
// all.
func TestImport(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		b.put(1, txn.KindSale, 100_00, 0)
		b.put(2, txn.KindSale, 100_00, 0)
		take := func(text string, lines, taken int) {
			t.Helper()
			r, err := b.desk.Import(t.Context(), "f", strings.NewReader(text), "wang", b.now)
			if err != nil || r.Lines != lines || r.Taken != taken {
				t.Errorf("%+v, %v; want %d, %d", r, err, lines, taken)
			}
		}
		refused := func(text, want string) {
			t.Helper()
			_, err := b.desk.Import(t.Context(), "f", strings.NewReader(text), "wang", b.now)
			if wrong := (*yamlfile.Problem)(nil); !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v; want %s", err, want)
			}
		}
		const first = head + "retrieval,2026-11-22,000000000001,A,6321,,\nchargeback,2026-11-22,000000000001,A,4853,60.00,not delivered\nchargeback,2026-11-22,000000000002,B,,,\n"
		refused(first+"chargeback,2026-11-22,000000000009,C,,,\n", "f:5: 0 transactions of 2026-11-22")
		refused(first+"chargeback,2026-11-22,000000000001,D,,40.01,\n", "f:5: of 100.00 CNY paid 100.00 CNY is left after refunds and voids, and 60.00 CNY is charged back already: 40.01 CNY more")
		refused(first+"second,2026-11-22,000000000001,A,,,\n", "f:5: case 1: it is charged back: second is not possible, but represent")
		refused(first+"win,2026-11-22,000000000001,X,,,\n", `f:5: the transaction has no case with the issuer's number "X"`)
		refused(first+"chargeback,2026-11-22,000000000002,B,,6.001,\n", "f:5: amount: ")
		if all, err := b.desk.List(t.Context(), Filter{}); err != nil || len(all) != 0 || b.acts(0) != "" {
			t.Fatalf("%+v, %v: a refused file left something", all, err)
		}
		take(first, 3, 3)
		take(first, 3, 0)
		b.document(1)
		if err := b.act(1, Represent); err != nil {
			t.Fatal(err)
		}
		take(head+"win,2026-11-22,000000000001,A,,,\n", 1, 1)
		take(first+"win,2026-11-22,000000000001,A,,,\n", 4, 0)
		if c, err := b.desk.Get(t.Context(), 1); err != nil || c.State != Won || len(c.Steps) != 4 {
			t.Errorf("%+v, %v", c, err)
		}
		if breaks, _ := b.verify(); len(breaks) > 0 {
			t.Errorf("%q", breaks)
		}
	})
}

func TestReadLines(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "f: it has no disputes"},
		{"step,date\n", "f:1: rrn: there is no such column"},
		{"step,date,rrn,card\n", `f:1: the column "card" must be one of step`},
		{"step,date,rrn,rrn\n", "f:1: rrn: is there twice"},
		{head, "f: it has no disputes"},
		{head + "refund,2026-11-22,1,,,,\n", `f:2: step: "refund" must be retrieval`},
		{head + "win,22.11.2026,1,,,,\n", `f:2: date: "22.11.2026" must be the business day`},
		{head + "win,2026-11-22,,,,,\n", "f:2: rrn: must be the reference number"},
		{head + "win,2026-11-22,1\n", "f:2: wrong number of fields"},
		{head + "win,2026-11-22,1,\"\n", "f:2: extraneous"},
	} {
		_, err := readLines("f", strings.NewReader(c.text))
		if wrong := (*yamlfile.Problem)(nil); !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v; want %s", c.text, err, c.want)
		}
	}
}

// FuzzReadLines holds that whatever an issuer sends is read or refused.
func FuzzReadLines(f *testing.F) {
	f.Add(head + "chargeback,2026-11-22,326000000017,R-881,4853,80.00,not delivered\n")
	f.Add("\ufeffstep,rrn,date\nwin,1,2026-11-22\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readLines("f", strings.NewReader(text))
		if (err == nil) == (len(all) == 0) {
			t.Errorf("%d lines, %v", len(all), err)
		}
	})
}
