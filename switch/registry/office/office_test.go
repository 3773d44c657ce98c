package office

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noon = time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC) // in Shanghai
	li   = Act{"Li", "as agreed"}
	wang = Act{"Wang", "as agreed"}
)

const (
	mid   = "999290054110001"
	other = "999290058120001"
)

// house is an office with a clock.
type house struct {
	*Office
	t   *testing.T
	now time.Time
}

func open(t *testing.T, dsn string) *house {
	t.Helper()
	db, err := sqldb.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	cards, err := keys.OpenCards(filepath.Join(t.TempDir(), "card.keys"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, now: noon}
	zone, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	h.Office = New(db, approval.New(db), cards, Config{Acquirer: "48802900", Day: txn.BusinessDay{Zone: zone, CutOver: 23 * time.Hour}})
	h.Office.now = func() time.Time { return h.now }
	if err := h.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// must fails the test on an error.
func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// refused expects an error that says want.
func (h *house) refused(err error, want string) {
	h.t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		h.t.Errorf("got:  %v\nwant: %s", err, want)
	}
}

func shop(id string, more ...string) registry.Entry {
	e := registry.NewMerchant()
	for _, kv := range append([]string{"mid=" + id, "name=Corner Shop", "city=Shanghai", "mcc=" + id[7:11], "region=310101", "country=CN", "currency=CNY", "policy=refuse",
		"kinds=sale, balance", "type=enterprise", "legal_name=Corner Shop Ltd", "licence=91310101MA1FL0X001", "account=6222020000000007", "account_owner=Corner Shop Ltd"}, more...) {
		k, v, _ := strings.Cut(kv, "=")
		e.Put(k, v)
	}
	return e
}

func set(id string, kvs ...string) registry.Entry {
	e := registry.NewMerchant()
	for _, kv := range append([]string{"mid=" + id}, kvs...) {
		k, v, _ := strings.Cut(kv, "=")
		e.Set(k, v)
	}
	return e
}

func box(serial string, more ...string) registry.Entry {
	e := registry.NewTerminal()
	for _, kv := range append([]string{"serial=" + serial, "mac=none"}, more...) {
		k, v, _ := strings.Cut(kv, "=")
		e.Set(k, v)
	}
	return e
}

// place is what Bind is told of a machine.
func place(serial, merchant, tid string, more ...string) registry.Entry {
	return box(serial, append([]string{"merchant=" + merchant, "tid=" + tid, "class=fixed", "region=310101", "premises.lat=31.23", "premises.lng=121.47"}, more...)...)
}

// approve takes a merchant through its review.
func (h *house) approve(id string) {
	h.t.Helper()
	ctx := h.t.Context()
	h.must(h.AddPaper(ctx, li, id, Paper{Kind: "licence", Name: "licence.pdf", Size: 1000, SHA256: strings.Repeat("ab", 32)}))
	h.must(h.StepMerchant(ctx, li, id, "submit"))
	h.must(h.StepMerchant(ctx, wang, id, "review"))
	h.must(h.StepMerchant(ctx, wang, id, "approve"))
}

// pay proposes and approves where a merchant is paid.
func (h *house) pay(e registry.Entry) {
	h.t.Helper()
	p, err := h.ProposeAccount(h.t.Context(), li, e)
	h.must(err)
	_, err = h.ApproveAccount(h.t.Context(), wang, p.Number)
	h.must(err)
}

func (h *house) status(id string) string {
	h.t.Helper()
	e, err := h.Merchant(h.t.Context(), id)
	h.must(err)
	return e.Get("status")
}

func (h *house) machineStatus(serial string) string {
	h.t.Helper()
	e, err := h.Machine(h.t.Context(), serial)
	h.must(err)
	return e.Get("status")
}

func each(t *testing.T, fn func(*house)) {
	ledgertest.Each(t, func(t *testing.T, dsn string) { fn(open(t, dsn)) })
}

func TestReview(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid, "account=", "licence=")))
		h.refused(h.AddMerchant(ctx, li, shop(mid)), "is there already")
		h.refused(h.AddMerchant(ctx, li, shop(other, "mcc=5411")), "mcc is \"5411\": one of them is wrong")
		h.refused(h.StepMerchant(ctx, li, mid, "approve"), "is draft: approve is not possible, but submit, close")
		h.refused(h.StepMerchant(ctx, li, mid, "submit"), "it lacks account, licence or identity_number, a paper")
		h.must(h.SetMerchant(ctx, li, set(mid, "identity_number=310101199001011234", "account=6222020000000007")))
		h.refused(h.StepMerchant(ctx, li, mid, "submit"), "it lacks a paper")
		h.must(h.AddPaper(ctx, li, mid, Paper{Kind: "licence", Name: "licence.pdf", Size: 1000, SHA256: strings.Repeat("ab", 32)}))
		h.must(h.StepMerchant(ctx, li, mid, "submit"))
		h.must(h.StepMerchant(ctx, wang, mid, "review"))
		h.refused(h.StepMerchant(ctx, Act{By: "Wang"}, mid, "reject"), "say why")
		h.must(h.StepMerchant(ctx, Act{"Wang", "the photo shows another shop"}, mid, "reject"))
		h.must(h.StepMerchant(ctx, li, mid, "submit"))
		h.must(h.StepMerchant(ctx, wang, mid, "review"))
		h.refused(h.StepMerchant(ctx, Act{By: "ＬI"}, mid, "approve"), "Li submitted merchant 999290054110001: another person must approve it")
		h.must(h.StepMerchant(ctx, wang, mid, "approve"))
		e, err := h.Merchant(ctx, mid)
		h.must(err)
		if e.Get("status") != "active" || e.Get("since") != "2026-11-26" || e.Get("account_masked") != "************0007" || len(e.Get("identity")) != 32 {
			h.t.Errorf("%s", e.Text())
		}
		if text := e.Text(); strings.Contains(text, "6222020000000007") || strings.Contains(text, "310101199001011234") {
			h.t.Errorf("a number in clear: %s", text)
		}
		if number, err := OpenAccount(h.cards, mid, e.Get("account_sealed")); err != nil || number != "6222020000000007" {
			h.t.Error(number, err)
		}
		history, err := h.History(ctx, "merchant", mid)
		h.must(err)
		var acts []string
		for i, c := range history {
			acts = append(acts, c.By+" "+c.Act)
			if strings.Contains(c.Was+c.Becomes, "6222020000000007") {
				h.t.Errorf("a number in clear in the history: %+v", c)
			}
			if i > 0 && c.Act != "paper" && history[i-1].Act != "paper" && c.Was != history[i-1].Becomes {
				h.t.Errorf("the history has a gap before %+v", c)
			}
		}
		if got, want := strings.Join(acts, ", "), "Li add, Li set, Li paper, Li submit, Wang review, Wang reject, Li submit, Wang review, Wang approve"; got != want || history[5].Reason != "the photo shows another shop" {
			h.t.Errorf("%s", got)
		}
		// What changes nothing leaves no trace, and a wrong value changes nothing.
		h.must(h.SetMerchant(ctx, li, set(mid, "account=6222020000000007", "name=Corner Shop")))
		h.refused(h.SetMerchant(ctx, li, set(mid, "name=Other", "grade=6")), `: grade: "6" must be a number from 1 to 5`)
		h.refused(h.SetMerchant(ctx, li, set(mid, "status=closed")), "merchant 999290054110001 is active: what may be done is hold, suspend, close")
		if again, err := h.History(ctx, "", ""); err != nil || len(again) != len(history) {
			h.t.Errorf("%d changes, %v", len(again), err)
		}
		h.refused(h.SetMerchant(ctx, li, set(other, "name=x")), "merchant 999290058120001: it is not in the registry")
		h.refused(h.SetMerchant(ctx, Act{By: "Wang\u200b"}, set(mid, "name=x")), "must be a person's name")
		h.refused(h.SetMerchant(ctx, Act{}, set(mid, "name=x")), `"" must be a person's name`)
	})
}

// Where a merchant is paid is one person's word until it is submitted, and then
// what two agree on.
func TestAccountIsChangedByTwo(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid)))
		h.must(h.SetMerchant(ctx, li, set(mid, "account=6222020000000008", "bank=102290000001")))
		_, err := h.ProposeAccount(ctx, li, set(mid, "account=6222020000000009"))
		h.refused(err, "merchant 999290054110001 is draft: change it with merchant set")
		paid := func(want string) {
			h.t.Helper()
			e, err := h.Merchant(ctx, mid)
			h.must(err)
			number, err := OpenAccount(h.cards, mid, e.Get("account_sealed"))
			if got := fmt.Sprintf("%s %s of %s at %s", number, e.Get("account_masked"), e.Get("account_owner"), e.Get("bank")); err != nil || got != want {
				h.t.Errorf("%s, %v", got, err)
			}
		}
		const before = "6222020000000008 ************0008 of Corner Shop Ltd at 102290000001"
		alone := func() {
			h.t.Helper()
			for _, kv := range []string{"account=6222020000000009", "account_owner=Li", "bank=", "account_sealed=", "account_masked=1"} {
				h.refused(h.SetMerchant(ctx, li, set(mid, "name=Shop", kv)), "where it is paid is changed by two people, propose it with merchant account")
			}
			table := set(mid, "account=6222020000000009")
			_, err := h.Import(ctx, li, &registry.Book{Merchants: []registry.Entry{table}}, "shops.csv", true)
			h.refused(err, "shops.csv:1: merchants[].account: merchant 999290054110001 is "+h.status(mid)+": where it is paid")
			h.must(h.SetMerchant(ctx, li, set(mid, "account=6222020000000008", "account_owner=Corner Shop Ltd")))
			paid(before)
		}
		h.must(h.AddPaper(ctx, li, mid, Paper{Kind: "licence", Name: "licence.pdf", Size: 1000, SHA256: strings.Repeat("ab", 32)}))
		for _, act := range []string{"submit", "review", "approve", "hold", "suspend"} {
			who := wang
			if act == "submit" {
				who = li
			}
			h.must(h.StepMerchant(ctx, who, mid, act))
			alone()
		}
		propose := func(kvs ...string) (int64, error) {
			p, err := h.ProposeAccount(ctx, li, set(mid, kvs...))
			return p.Number, err
		}
		for kv, want := range map[string]string{
			"account=6222020000000008":    "is paid so already",
			"account_owner=":              "would have no account or none of an owner",
			"name=Shop":                   "merchant 999290054110001: name: does not say where it is paid",
			"account=6222-02":             `account: "6222-02" must be`,
			"account_owner=a\u202eb":      "account_owner",
			"account_sealed=0011":         "account_sealed: does not say where it is paid",
			"status=active":               "status: does not say where it is paid",
			"account_masked=************": "account_masked: does not say where it is paid",
		} {
			if _, err := propose(kv); err == nil {
				h.t.Errorf("%s was proposed", kv)
			} else if kv != "account=6222-02" && kv != "account_owner=a\u202eb" {
				h.refused(err, want)
			}
		}
		n, err := propose("account=6222020000000009", "account_owner=Corner Shop")
		h.must(err)
		p, err := h.desk.Get(ctx, n)
		h.must(err)
		if strings.Contains(p.Document, "6222020000000009") || !strings.Contains(p.Document, "************0009") {
			h.t.Errorf("proposal %s", p.Document)
		}
		paid(before)
		_, err = h.ApproveAccount(ctx, Act{"LI", "mine"}, n)
		h.refused(err, "another person must decide it")
		_, err = h.ApproveMove(ctx, wang, n)
		h.refused(err, "no such proposal of machine move")
		_, err = h.SetBlacklist(ctx, wang, []Listed{{"account", "6222020000000009", "swindle"}})
		h.must(err)
		h.must(h.StepMerchant(ctx, wang, mid, "resume"))
		_, err = h.ApproveAccount(ctx, wang, n)
		h.refused(err, "M02: merchant 999290054110001 is on the blacklist by its account (swindle)")
		_, err = h.SetBlacklist(ctx, wang, nil)
		h.must(err)
		paid(before)
		_, err = h.ApproveAccount(ctx, wang, n)
		h.must(err)
		paid("6222020000000009 ************0009 of Corner Shop at 102290000001")
		s, _, err := h.Snapshot(ctx)
		h.must(err)
		if m, _ := s.Merchant(txn.MakeMerchantID(mid)); !m.Unmatched {
			h.t.Error("an account in another name is not marked")
		}
		history, err := h.History(ctx, "merchant", mid)
		h.must(err)
		if c := history[len(history)-1]; c.By != "Wang" || c.Act != "account" || c.Reason != fmt.Sprintf("proposal %d of Li: as agreed", n) {
			h.t.Errorf("%+v", c)
		}
		_, err = h.ApproveAccount(ctx, wang, n)
		h.refused(err, "was approved by Wang")
	})
}

// TestM04: on the last day of its licence a merchant is active, on the day after it
// is on hold, served, and not resumed before it has a new one. An account in
// another name is marked in its row.
func TestM04(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid, "licence_ends=2026-11-26", "account_owner=Somebody")))
		h.approve(mid)
		never := func(context.Context, txn.MerchantID, txn.TerminalID, txn.Date) (txn.Date, error) { return 0, nil }
		if n, err := h.Sweep(ctx, never, nil); err != nil || n != (Swept{}) || h.status(mid) != "active" {
			h.t.Fatalf("on the last day: %+v, %v", n, err)
		}
		h.now = h.now.AddDate(0, 0, 1)
		if n, err := h.Sweep(ctx, never, nil); err != nil || n.Held != 1 || h.status(mid) != "hold" {
			h.t.Fatalf("the day after: %+v, %v", n, err)
		}
		if n, err := h.Sweep(ctx, never, nil); err != nil || n != (Swept{}) {
			h.t.Errorf("again: %+v, %v", n, err)
		}
		s, _, err := h.Snapshot(ctx)
		h.must(err)
		if m, ok := s.Merchant(txn.MakeMerchantID(mid)); !ok || m.Status != txn.StatusActive || !m.Unmatched || m.LicenceEnds != 20261126 {
			h.t.Errorf("%+v", m)
		}
		_, err = h.ProposeResume(ctx, wang, mid)
		h.refused(err, "M04: the licence of merchant 999290054110001 ended on 2026-11-26")
		h.must(h.SetMerchant(ctx, li, set(mid, "licence_ends=2030-01-01")))
		h.pay(set(mid, "account_owner=Corner Shop Ltd"))
		h.resume(mid)
		if s, _, err = h.Snapshot(ctx); err != nil {
			h.t.Fatal(err)
		}
		if m, _ := s.Merchant(txn.MakeMerchantID(mid)); m.Unmatched || m.LicenceEnds != 20300101 {
			h.t.Errorf("%+v", m)
		}
	})
}

// resume has two people pay a merchant on hold again.
func (h *house) resume(id string) {
	h.t.Helper()
	p, err := h.ProposeResume(h.t.Context(), li, id)
	h.must(err)
	_, err = h.ApproveResume(h.t.Context(), wang, p.Number)
	h.must(err)
}

// One person puts a merchant on hold; no way leads from there to being paid but two
// people's.
func TestHoldIsEndedByTwo(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid)))
		h.approve(mid)
		_, err := h.ProposeResume(ctx, li, mid)
		h.refused(err, "merchant 999290054110001 is active, not on hold")
		h.must(h.StepMerchant(ctx, li, mid, "hold"))
		h.refused(h.StepMerchant(ctx, wang, mid, "resume"), "is on hold: that it is paid again takes two people")
		h.refused(h.StepMerchant(ctx, wang, mid, "close"), "merchant 999290054110001 is hold: close is not possible, but suspend, resume")
		h.must(h.StepMerchant(ctx, li, mid, "suspend"))
		if h.status(mid) != "frozen" {
			h.t.Fatal(h.status(mid))
		}
		s, _, err := h.Snapshot(ctx)
		h.must(err)
		if m, _ := s.Merchant(txn.MakeMerchantID(mid)); m.Status != txn.StatusSuspended {
			h.t.Errorf("%+v", m)
		}
		h.refused(h.StepMerchant(ctx, li, mid, "close"), "close is not possible")
		h.must(h.StepMerchant(ctx, li, mid, "resume")) // served again, and not paid
		if h.status(mid) != "hold" {
			h.t.Fatal(h.status(mid))
		}
		p, err := h.ProposeResume(ctx, li, mid)
		h.must(err)
		_, err = h.ApproveResume(ctx, Act{By: "li"}, p.Number)
		h.refused(err, "another person must decide it")
		if h.status(mid) != "hold" {
			h.t.Fatal(h.status(mid))
		}
		_, err = h.ApproveResume(ctx, wang, p.Number)
		h.must(err)
		if h.status(mid) != "active" {
			h.t.Fatal(h.status(mid))
		}
		// A proposal to end one hold does not end the next.
		h.must(h.StepMerchant(ctx, li, mid, "hold"))
		first, err := h.ProposeResume(ctx, li, mid)
		h.must(err)
		h.resume(mid)
		h.must(h.StepMerchant(ctx, li, mid, "hold"))
		_, err = h.ApproveResume(ctx, wang, first.Number)
		h.refused(err, "was put on hold again since: propose it again")
		h.resume(mid)
	})
}

// TestM06: a person has two micro merchants and no third, unless one is closed.
func TestM06(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		micro := func(n int) registry.Entry {
			return shop(fmt.Sprintf("99929005411%04d", n), "type=micro", "identity_number=31010119900101123x")
		}
		h.must(h.AddMerchant(ctx, li, micro(1)))
		h.must(h.AddMerchant(ctx, li, micro(2)))
		h.refused(h.AddMerchant(ctx, li, micro(3)), "M06: its person has 2 micro merchants already, and at most 2 are allowed")
		third := micro(3)
		third.Put("type", "enterprise")
		h.must(h.AddMerchant(ctx, li, third))
		h.refused(h.SetMerchant(ctx, li, set(third.Get("mid"), "type=micro")), "M06")
		another := micro(4)
		another.Put("identity_number", "31010119900101123Y")
		h.must(h.AddMerchant(ctx, li, another))
		h.refused(h.SetMerchant(ctx, li, set(another.Get("mid"), "identity_number=31010119900101123X")), "M06")
		h.must(h.SetMerchant(ctx, li, set(micro(1).Get("mid"), "phone=1")))
		h.must(h.StepMerchant(ctx, li, micro(1).Get("mid"), "close"))
		h.must(h.SetMerchant(ctx, li, set(third.Get("mid"), "type=micro")))
		// One import of three is refused, too.
		book := &registry.Book{}
		for n := 5; n < 8; n++ {
			e := micro(n)
			e.Put("identity_number", "110101198001011234")
			book.Merchants = append(book.Merchants, e)
		}
		_, err := h.Import(ctx, li, book, "new.csv", false)
		h.refused(err, "M06")
		book.Merchants = book.Merchants[:2]
		_, err = h.Import(ctx, li, book, "new.csv", false)
		h.must(err)
	})
}

// TestM02: who is on the blacklist is not approved, and is suspended when the list
// gets it, by its identity, its account or its name.
func TestM02(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid, "identity_number=310101199001011234")))
		h.must(h.AddMerchant(ctx, li, shop(other, "legal_name=Tea Ltd", "account_owner=Tea Ltd", "account=6228480000000001")))
		h.approve(mid)
		for _, l := range []Listed{{"identity", "310101199001011234", "x"}, {"account", "6222020000000007", "x"}, {"name", "Corner Shop Ltd", "x"}} {
			hit, err := h.SetBlacklist(ctx, Act{By: "Li"}, []Listed{l, l})
			h.must(err)
			if strings.Join(hit, " ") != mid || h.status(mid) != "suspended" {
				h.t.Errorf("%s: %v", l.Kind, hit)
			}
			h.refused(h.StepMerchant(ctx, wang, mid, "resume"), "M02: merchant 999290054110001 is on the blacklist by its "+l.Kind)
			_, err = h.SetBlacklist(ctx, li, nil)
			h.must(err)
			h.must(h.StepMerchant(ctx, wang, mid, "resume"))
		}
		for _, l := range []Listed{{"name", "corner  shop LTD", "x"}, {"name", "Ｃｏｒｎｅｒ Ｓｈｏｐ Ｌｔｄ", "x"}, {"name", "CornerShop\u200b Ltd", "x"},
			{"account", "6222 0200 0000 0007", "x"}, {"identity", "３１０１０１ 199001011234", "x"}} {
			hit, err := h.SetBlacklist(ctx, li, []Listed{l})
			h.must(err)
			if strings.Join(hit, " ") != mid {
				h.t.Errorf("%q: %v", l.Value, hit)
			}
			h.refused(h.StepMerchant(ctx, wang, mid, "resume"), "M02")
			_, err = h.SetBlacklist(ctx, li, []Listed{{"name", "Corner Shop Lt", "x"}, {"account", "622202000000000", "x"}})
			h.must(err)
			h.must(h.StepMerchant(ctx, wang, mid, "resume"))
		}
		_, err := h.SetBlacklist(ctx, li, []Listed{{"name", "Tea Ltd", "swindled"}})
		h.must(err)
		h.must(h.AddPaper(ctx, li, other, Paper{Kind: "licence", Name: "x", Size: 1, SHA256: strings.Repeat("ab", 32)}))
		h.refused(h.StepMerchant(ctx, li, other, "submit"), "M02: merchant 999290058120001 is on the blacklist by its name (swindled)")
		_, err = h.SetBlacklist(ctx, li, []Listed{{"colour", "red", ""}})
		h.refused(err, "line 1 of the blacklist")
		_, err = h.SetBlacklist(ctx, li, []Listed{{"name", " \u200b", ""}})
		h.refused(err, "line 1 of the blacklist: it has no value")
	})
}

// TestT08: each of the five elements that is missing is named.
func TestT08(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMachine(ctx, li, box("SN1")))
		h.must(h.AddMerchant(ctx, li, shop(mid)))
		h.refused(h.Bind(ctx, li, place("SN1", mid, "10000001")), "T08: merchant 999290054110001 is draft")
		bare := shop(other, "account=", "status=active") // reviewed elsewhere
		_, err := h.Import(ctx, li, &registry.Book{Merchants: []registry.Entry{bare}}, "shops.csv", true)
		h.must(err)
		h.refused(h.Bind(ctx, li, place("SN1", other, "10000001")), "without the merchant's settlement account")
		h.pay(set(other, "account=6222020000000007"))
		h.approve(mid)
		h.must(h.SetMerchant(ctx, li, set(mid, "licence=")))
		h.refused(h.Bind(ctx, li, place("SN1", mid, "10000001")), "T08: BIND-INCOMPLETE: machine SN1 cannot be bound to merchant 999290054110001 without the merchant's licence or identity document")
		h.must(h.SetMerchant(ctx, li, set(mid, "licence=91310101MA1FL0X001")))
		h.refused(h.Bind(ctx, li, place("SN1", mid, "10000001", "premises.lat=", "premises.lng=")), "without a place")
		h.refused(h.Bind(ctx, li, place("SN1", mid, "")), "without a terminal id")
		h.cfg.Acquirer = ""
		h.refused(h.Bind(ctx, li, place("SN1", mid, "10000001")), "without the acquirer's institution code")
		h.refused(h.Bind(ctx, li, place("SN1", "999290058120009", "10000001")), "merchant 999290058120009: it is not in the registry")
		h.cfg.Acquirer = "48802900"
		if h.machineStatus("SN1") != "stock" {
			h.t.Error("a refusal bound it")
		}
		h.must(h.Bind(ctx, li, place("SN1", mid, "10000001")))
		if h.machineStatus("SN1") != "bound" {
			h.t.Error("it is not bound")
		}
	})
}

// TestT06: one machine, one merchant and terminal id; moved only by two persons.
func TestT06(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		for _, id := range []string{mid, other} {
			h.must(h.AddMerchant(ctx, li, shop(id)))
			h.approve(id)
		}
		for _, serial := range []string{"SN1", "SN2"} {
			h.must(h.AddMachine(ctx, li, box(serial)))
		}
		h.refused(h.AddMachine(ctx, li, box("SN1")), "T06: machine SN1 is there already, and is stock")
		h.must(h.Bind(ctx, li, place("SN1", mid, "10000001")))
		h.refused(h.Bind(ctx, li, place("SN1", other, "10000009")), "T06: machine SN1 is bound at merchant 999290054110001 as terminal 10000001: release it first, or propose to move it")
		h.refused(h.Bind(ctx, li, place("SN1", mid, "10000002")), "T06: machine SN1 is bound")
		h.refused(h.Bind(ctx, li, place("SN2", other, "10000001")), "T06: terminal 10000001 is machine SN1 already")
		h.refused(h.SetMachine(ctx, li, box("SN1", "merchant="+other)), "machine SN1 is bound at merchant 999290054110001")
		h.must(h.Bind(ctx, li, place("SN2", mid, "10000002"))) // several terminals per merchant
		h.must(h.StepMachine(ctx, li, "SN1", "activate"))

		// A move is proposed by one and approved by another, once.
		_, err := h.ProposeMove(ctx, li, place("SN1", other, "10000002"))
		h.refused(err, "T06: terminal 10000002 is machine SN2 already")
		p, err := h.ProposeMove(ctx, li, place("SN1", other, "20000001"))
		h.must(err)
		if h.machineStatus("SN1") != "active" {
			h.t.Error("a proposal moved it")
		}
		_, err = h.ApproveMove(ctx, Act{By: "li"}, p.Number)
		h.refused(err, "another person must decide it")
		_, err = h.ApproveMove(ctx, wang, p.Number)
		h.must(err)
		_, err = h.ApproveMove(ctx, Act{By: "Zhao"}, p.Number)
		h.refused(err, "was approved by Wang")
		e, err := h.Machine(ctx, "20000001")
		h.must(err)
		if e.Get("merchant") != other || e.Get("serial") != "SN1" || e.Get("status") != "bound" {
			h.t.Errorf("%s", e.Text())
		}
		bindings, err := h.Bindings(ctx, "SN1")
		h.must(err)
		var told []string
		for _, b := range bindings {
			told = append(told, fmt.Sprint(b.Act, " ", b.Terminal, " ", b.Merchant[7:11], " ", b.By))
		}
		if got, want := strings.Join(told, ", "), "bound 10000001 5411 Li, released 10000001 5411 Wang, bound 20000001 5812 Wang"; got != want || !strings.Contains(bindings[2].Reason, "proposal 1 of Li: as agreed") {
			h.t.Errorf("%s, %+v", got, bindings)
		}
		s, _, err := h.Snapshot(ctx)
		h.must(err)
		if _, ok := s.Terminal(txn.MakeTerminalID("10000001")); ok {
			h.t.Error("the old terminal id is still there")
		}
		// The terminal id of a retired machine is known until another one gets it.
		h.must(h.StepMachine(ctx, li, "SN2", "retire"))
		if s, _, err = h.Snapshot(ctx); err != nil {
			h.t.Fatal(err)
		}
		if term, ok := s.Terminal(txn.MakeTerminalID("10000002")); !ok || term.Status != txn.StatusClosed {
			h.t.Errorf("retired: %+v", term)
		}
		h.must(h.AddMachine(ctx, li, box("SN3")))
		h.must(h.Bind(ctx, li, place("SN3", mid, "10000002")))
		h.refused(h.StepMerchant(ctx, li, mid, "close"), "has 1 machines")
		h.must(h.StepMachine(ctx, li, "SN3", "release"))
		if e, err := h.Machine(ctx, "SN3"); err != nil || e.Text() != "serial SN3\nstatus stock\nmac none\n" {
			h.t.Errorf("released: %v\n%s", err, e.Text())
		}
		h.must(h.StepMerchant(ctx, li, mid, "close"))
	})
}

// TestSuspend: what decides elsewhere in the database suspends here in the same
// transaction, or not at all.
func TestSuspend(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid)))
		h.approve(mid)
		for serial, tid := range map[string]string{"SN1": "10000001", "SN2": "10000002"} {
			h.must(h.AddMachine(ctx, li, box(serial)))
			h.must(h.Bind(ctx, li, place(serial, mid, tid)))
		}
		h.must(h.StepMachine(ctx, li, "SN1", "activate"))
		undone := errors.New("undone")
		for _, row := range []struct {
			merchant, terminal string
			err                error
			want               string // of the merchant and both machines
		}{
			{mid, "10000001", undone, "active active bound"},
			{other, "10000001", nil, "active active bound"}, // it is another's by now
			{other, "", nil, "active active bound"},
			{mid, "10000009", nil, "active active bound"},
			{mid, "10000002", nil, "active active bound"}, // not served anyway
			{mid, "10000001", nil, "active suspended bound"},
			{mid, "10000001", nil, "active suspended bound"},
			{mid, "", nil, "suspended suspended bound"},
			{mid, "", nil, "suspended suspended bound"},
		} {
			err := h.db.Update(ctx, func(tx *sql.Tx) error {
				return errors.Join(h.Suspend(ctx, tx, row.merchant, row.terminal, "Wang", "alert 7"), row.err)
			})
			if !errors.Is(err, row.err) {
				h.t.Fatal(err)
			}
			if got := h.status(mid) + " " + h.machineStatus("SN1") + " " + h.machineStatus("SN2"); got != row.want {
				h.t.Errorf("%+v: %s", row, got)
			}
		}
		history, err := h.History(ctx, "merchant", mid)
		h.must(err)
		if c := history[len(history)-1]; c.By != "Wang" || c.Reason != "alert 7" || c.Act != "suspend" {
			h.t.Errorf("%+v", c)
		}
	})
}

// Many bind one machine at once, each through a process of its own: one does.
func TestT06Together(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		h := open(t, dsn)
		ctx := t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid)))
		h.approve(mid)
		h.must(h.AddMachine(ctx, li, box("SN1")))
		var wg sync.WaitGroup
		errs := make([]error, 5)
		for i := range errs {
			one := open(t, dsn)
			wg.Go(func() { errs[i] = one.Bind(ctx, li, place("SN1", mid, fmt.Sprintf("1000000%d", i))) })
		}
		wg.Wait()
		bound := 0
		for _, err := range errs {
			if err == nil {
				bound++
			} else if !strings.Contains(err.Error(), "T06") {
				t.Error(err)
			}
		}
		if bindings, err := h.Bindings(ctx, ""); bound != 1 || err != nil || len(bindings) != 1 {
			t.Errorf("%d bound it: %v, %v", bound, errs, bindings)
		}
	})
}

// idling is an office with two machines in use since a day; on sweeps so many days
// after it. The machine "sold" sold last on the day in sold.
type idling struct {
	*house
	start time.Time
	sold  txn.Date
	asked int // of the ledger
	told  []string
}

func idle(h *house) *idling {
	ctx := h.t.Context()
	h.must(h.AddMerchant(ctx, li, shop(mid)))
	h.approve(mid)
	for i, serial := range []string{"idle", "sold"} {
		h.must(h.AddMachine(ctx, li, box(serial)))
		h.must(h.Bind(ctx, li, place(serial, mid, fmt.Sprintf("1000000%d", i))))
		h.must(h.StepMachine(ctx, li, serial, "activate"))
	}
	return &idling{house: h, start: h.now}
}

func (i *idling) on(days int) Swept {
	i.t.Helper()
	i.now = i.start.AddDate(0, 0, days)
	n, err := i.Sweep(i.t.Context(), func(_ context.Context, m txn.MerchantID, id txn.TerminalID, since txn.Date) (txn.Date, error) {
		if i.asked++; m.String() != mid {
			i.t.Errorf("asked of %s", m)
		}
		if id.String() == "10000001" && i.sold >= since {
			return i.sold, nil
		}
		return 0, nil
	}, func(_ context.Context, tx *sql.Tx, d Due) error {
		if tx == nil || !d.At.Equal(i.now) || d.Merchant.String() != mid {
			i.t.Errorf("told %+v", d)
		}
		i.told = append(i.told, fmt.Sprintf("%s %s of %s, since %s: %s", d.Rule, d.Action, d.Terminal, d.Since.In(i.cfg.Day.Zone).Format(time.DateTime), d.Why))
		return nil
	})
	i.must(err)
	return n
}

// tells holds what was told since the last call.
func (i *idling) tells(want ...string) {
	i.t.Helper()
	if !slices.Equal(i.told, want) {
		i.t.Errorf("told %q, want %q", i.told, want)
	}
	i.told = nil
}

func (i *idling) sells(days int) { i.sold = i.cfg.Day.Of(i.start.AddDate(0, 0, days)) }

// TestT15: a terminal is unverified on the ninetieth day after its last approved
// transaction, or after it was bound, and then it is not served.
func TestT15(t *testing.T) {
	each(t, func(h *house) {
		i := idle(h)
		if n := i.on(89); n != (Swept{}) || i.asked != 0 {
			h.t.Errorf("day 89: %+v", n)
		}
		i.sells(50)
		if n := i.on(90); n != (Swept{Unverified: 1}) || h.machineStatus("idle") != "unverified" || h.machineStatus("sold") != "active" {
			h.t.Errorf("day 90: %+v", n)
		}
		i.tells("T15 refuse of 10000000, since 2026-11-26 23:00:00: no approved transaction since 2026-11-26")
		s, _, err := h.Snapshot(h.t.Context())
		h.must(err)
		if term, _ := s.Terminal(txn.MakeTerminalID("10000000")); term.Status != txn.StatusSuspended {
			h.t.Errorf("%+v", term)
		}
		i.asked = 0
		if n := i.on(139); n != (Swept{}) || i.asked != 0 {
			h.t.Errorf("day 89 after its sale: %+v, asked %d times", n, i.asked)
		}
		if n := i.on(140); n != (Swept{Unverified: 1}) || h.machineStatus("sold") != "unverified" {
			h.t.Errorf("day 90 after its sale: %+v", n)
		}
	})
}

// TestT16: a terminal is retired on the 365th day.
func TestT16(t *testing.T) {
	each(t, func(h *house) {
		i := idle(h)
		i.sells(1)
		i.on(90)
		if n := i.on(364); n.Retired != 0 || h.machineStatus("idle") != "unverified" {
			h.t.Errorf("day 364: %+v", n)
		}
		i.told = nil
		if n := i.on(365); n.Retired != 1 || h.machineStatus("idle") != "retired" || h.machineStatus("sold") != "unverified" {
			h.t.Errorf("day 365: %+v", n)
		}
		i.tells()
		history, err := h.History(h.t.Context(), "machine", "idle")
		h.must(err)
		if c := history[len(history)-1]; c.By != Sweeper || c.Reason != "T16: no approved transaction since 2026-11-26" {
			h.t.Errorf("%+v", c)
		}
	})
}

// TestT17: an inspection is due 180 days after the last one or the binding, and
// 30 days later the terminal is unverified.
func TestT17(t *testing.T) {
	each(t, func(h *house) {
		i := idle(h)
		ctx := h.t.Context()
		due := func() (serials string) {
			h.t.Helper()
			found, err := h.Machines(ctx, MachineFilter{Overdue: true})
			h.must(err)
			for _, e := range found {
				serials += " " + e.Get("serial")
			}
			return serials
		}
		i.sells(80)
		i.on(90) // the other one is idle
		i.sells(170)
		if i.on(180); due() != "" {
			h.t.Errorf("day 180: due are%s", due())
		}
		i.told = nil
		if i.on(181); due() != " sold" {
			h.t.Errorf("day 181: due are%s", due())
		}
		i.tells("T17 alert of 10000001, since 2026-11-26 23:00:00: nobody inspected it since 2026-11-26")
		if n := i.on(210); n != (Swept{}) {
			h.t.Errorf("day 210: %+v", n)
		}
		if n := i.on(211); n != (Swept{Unverified: 1}) || h.machineStatus("sold") != "unverified" {
			h.t.Errorf("day 211: %+v", n)
		}
		h.must(h.SetMachine(ctx, li, box("sold", "inspected="+h.cfg.Day.Of(h.now).String())))
		h.must(h.StepMachine(ctx, li, "sold", "resume"))
		if n := i.on(212); n != (Swept{}) || due() != "" {
			h.t.Errorf("after its inspection: %+v, due are%s", n, due())
		}
	})
}

func TestTickets(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMachine(ctx, li, box("SN1")))
		_, err := h.OpenTicket(ctx, li, Ticket{Serial: "SN1", Kind: "praise", Said: "x"})
		h.refused(err, `kind "praise" must be one of inquiry, repair, complaint`)
		_, err = h.OpenTicket(ctx, li, Ticket{Serial: "SN9", Kind: "repair", Said: "x"})
		h.refused(err, "machine SN9: it is not in the registry")
		ticket, err := h.OpenTicket(ctx, li, Ticket{Serial: "SN1", Kind: "repair", Said: "it eats cards"})
		h.must(err)
		step := func(act, text, want string) {
			h.t.Helper()
			if got, err := h.StepTicket(ctx, wang, ticket.Number, act, text); err != nil || got.Status != want {
				h.t.Errorf("%s: %+v, %v", act, got, err)
			}
		}
		_, err = h.StepTicket(ctx, wang, 1, "resolve", "done")
		h.refused(err, "ticket 1 is open: resolve is not possible, but assign")
		_, err = h.StepTicket(ctx, wang, 1, "assign", "")
		h.refused(err, "to whom")
		_, err = h.StepTicket(ctx, wang, 2, "assign", "x")
		h.refused(err, "ticket 2: it is not in the registry")
		step("assign", "Zhao", "assigned")
		step("assign", "Chen", "assigned")
		step("resolve", "new reader", "resolved")
		step("reopen", "", "open")
		step("assign", "Chen", "assigned")
		step("resolve", "another reader", "resolved")
		if list, err := h.Tickets(ctx, false); err != nil || len(list) != 1 || list[0].Answer != "another reader" || list[0].Assignee != "Chen" {
			h.t.Errorf("%+v, %v", list, err)
		}
		step("close", "", "closed")
		if list, err := h.Tickets(ctx, false); err != nil || len(list) != 0 {
			h.t.Errorf("%+v, %v", list, err)
		}
		if list, err := h.Tickets(ctx, true); err != nil || len(list) != 1 {
			h.t.Errorf("%+v, %v", list, err)
		}
		if history, err := h.History(ctx, "ticket", "1"); err != nil || len(history) != 8 {
			h.t.Errorf("%d changes, %v", len(history), err)
		}
	})
}

// Cells and the line of a terminal go through table, database, history and file,
// and stay at the merchant's when the machine leaves.
func TestCellsAndLine(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		h.must(h.AddMerchant(ctx, li, shop(mid)))
		h.approve(mid)
		cells := [txn.CellsMax]txn.CellID{{Country: 460, Area: 6243, Cell: 7}, {Operator: 13824, Area: 16, Cell: 1234}}
		row := func() *txn.Terminal {
			h.t.Helper()
			s, _, err := h.Snapshot(ctx)
			h.must(err)
			found, ok := s.Terminal(txn.MakeTerminalID("10000001"))
			if !ok {
				h.t.Fatal("the terminal is not there")
			}
			return found
		}
		entries, err := registry.ReadTable(strings.NewReader("serial,merchant,tid,class,status,mac,region,premises.lat,premises.lng,cells,phone\n"+
			"SN1,"+mid+",10000001,fixed,active,none,310101,31.23,121.47,\"460-0-6243-7, 13824-16-1234\",02112345678\n"), "t.csv")
		h.must(err)
		_, err = h.Import(ctx, li, &registry.Book{Terminals: entries}, "t.csv", false)
		h.must(err)
		if r := row(); r.Cells != cells || r.Phone != 2112345678 {
			h.t.Errorf("%+v", r)
		}
		book, err := h.Export(ctx)
		h.must(err)
		var file bytes.Buffer
		h.must(book.Write(&file))
		if s, err := registry.Read(bytes.NewReader(file.Bytes()), "export.yaml"); err != nil || s.Terminals[0].Get("cells") != "460-0-6243-7, 13824-16-1234" || s.Terminals[0].Get("phone") != "02112345678" {
			h.t.Errorf("%v\n%s", err, file.Bytes())
		}
		h.refused(h.SetMachine(ctx, li, box("SN1", "cells=460-0")), `machine SN1: cells[]: "460-0" must be country-operator-area-cell`)
		h.must(h.SetMachine(ctx, li, box("SN1", "cells=460-0-6243-8", "phone=")))
		if r := row(); r.Cells[0].Cell != 8 || r.Cells[1] != (txn.CellID{}) || r.Phone != 0 {
			h.t.Errorf("%+v", r)
		}
		history, err := h.History(ctx, "machine", "SN1")
		h.must(err)
		if c := history[len(history)-1]; !strings.Contains(c.Was, "phone 02112345678\n") || !strings.Contains(c.Becomes, "cells 460-0-6243-8\n") {
			h.t.Errorf("%+v", c)
		}
		h.must(h.StepMachine(ctx, li, "SN1", "release"))
		if e, err := h.Machine(ctx, "SN1"); err != nil || e.Get("cells") != "" {
			h.t.Errorf("%v, %v", e, err)
		}
	})
}

// The sample registry is imported, exported, and imported again without a change.
func TestImportSample(t *testing.T) {
	each(t, func(h *house) {
		ctx := h.t.Context()
		file, err := os.ReadFile("../../../testdata/registry.yaml")
		h.must(err)
		book, err := registry.Read(bytes.NewReader(file), "registry.yaml")
		h.must(err)
		_, err = h.Import(ctx, li, book, "registry.yaml", false)
		h.refused(err, "registry.yaml:")
		h.refused(err, "a new merchant is a draft; --approved says")
		n, err := h.Import(ctx, li, book, "registry.yaml", true)
		h.must(err)
		if n.Changed != n.Regions+n.Models+n.Merchants+n.Terminals || n.Merchants < 40 {
			h.t.Errorf("%+v", n)
		}
		s, version, err := h.Snapshot(ctx)
		h.must(err)
		file2, err := registry.Load(bytes.NewReader(file), "registry.yaml")
		h.must(err)
		for m := range file2.Merchants() {
			if got, ok := s.Merchant(m.ID); !ok || *got != *m {
				h.t.Errorf("\n%+v\n%+v", got, m)
			}
		}
		for x := range file2.Terminals() {
			got, ok := s.Terminal(x.ID)
			if !ok {
				h.t.Fatalf("terminal %s is not there", x.ID)
			}
			row := *got
			if x.Since == 0 {
				row.Since = 0 // it was bound today
			}
			if row != *x {
				h.t.Errorf("\n%+v\n%+v", row, x)
			}
		}
		if n, err = h.Import(ctx, li, book, "registry.yaml", true); err != nil || n.Changed != 0 {
			h.t.Errorf("again: %+v, %v", n, err)
		}
		exported, err := h.Export(ctx)
		h.must(err)
		var out bytes.Buffer
		h.must(exported.Write(&out))
		again, err := registry.Read(&out, "export.yaml")
		h.must(err)
		if n, err = h.Import(ctx, li, again, "export.yaml", true); err != nil || n.Changed != 0 {
			h.t.Errorf("what was exported: %+v, %v", n, err)
		}
		if _, now, err := h.Snapshot(ctx); err != nil || now != version {
			h.t.Errorf("version %v and %v, %v", version, now, err)
		}
	})
}

// What is there twice in a table is refused with both lines, and nothing is imported.
func TestImportRefusesTwins(t *testing.T) {
	const head = "mid,name,city,mcc,region,country,currency,policy,kinds,legal_name,licence,account,account_owner\n"
	line := func(id, name string) string {
		return id + "," + name + ",Shanghai,5411,310101,CN,CNY,refuse,sale,Shop Ltd,L1,6222020000000007,Shop Ltd\n"
	}
	const box = "serial,merchant,tid,class,mac,region,premises.lat,premises.lng\n"
	machine := func(serial, tid string) string {
		return serial + "," + mid + "," + tid + ",fixed,none,310101,31.23,121.47\n"
	}
	each(t, func(h *house) {
		ctx := h.t.Context()
		imports := func(text string) error {
			h.t.Helper()
			entries, err := registry.ReadTable(strings.NewReader(text), "t.csv")
			h.must(err)
			book := &registry.Book{Merchants: entries}
			if !entries[0].Has("mid") {
				book = &registry.Book{Terminals: entries}
			}
			_, err = h.Import(ctx, li, book, "t.csv", false)
			return err
		}
		second := "999290054110002"
		h.refused(imports(head+line(mid, "A")+line(second, "B")+line(mid, "C")), "t.csv:4: merchants[].mid: merchant 999290054110001 stands on line 2 already: remove one of the two")
		h.refused(imports(head+line(mid, "A")+line(mid, "A")), "t.csv:3:")
		if list, err := h.Merchants(ctx, ""); err != nil || len(list) != 0 {
			h.t.Fatalf("%d merchants were imported, %v", len(list), err)
		}
		h.must(imports(head + line(mid, "A") + line(second, "B")))
		h.approve(mid)
		h.refused(imports(box+machine("SN1", "10000001")+machine("SN2", "10000002")+machine("SN1", "10000003")), "t.csv:4: terminals[].serial: machine SN1 stands on line 2 already")
		h.refused(imports(box+machine("SN1", "10000001")+machine("SN2", "10000001")), "t.csv:3: terminals[].tid: terminal 10000001 stands on line 2 already")
		h.refused(imports(box+machine("SN1", "10000001")+machine("SN1", "10000001")), "t.csv:3: terminals[].tid:")
		if list, err := h.Machines(ctx, MachineFilter{}); err != nil || len(list) != 0 {
			h.t.Fatalf("%d machines were imported, %v", len(list), err)
		}
		h.must(imports(box + machine("SN1", "10000001") + machine("SN2", "10000002")))
	})
}

// One bad line of many names its line and field, and nothing is imported.
func TestImportIsAllOrNothing(t *testing.T) {
	table := func(lines int, bad string) *registry.Book {
		var b strings.Builder
		b.WriteString("mid,name,city,mcc,region,country,currency,policy,kinds,legal_name,licence,account,account_owner\n")
		for i := range lines {
			name := "Shop"
			if i == lines-2 && bad != "" {
				name = bad
			}
			fmt.Fprintf(&b, "99929%02d5411%04d,%s,Shanghai,5411,310101,CN,CNY,refuse,\"sale, balance\",Shop %d Ltd,L%d,62220200%08d,Shop %d Ltd\n", i/10000, i%10000, name, i, i, i, i)
		}
		entries, err := registry.ReadTable(strings.NewReader(b.String()), "shops.csv")
		if err != nil {
			t.Fatal(err)
		}
		return &registry.Book{Merchants: entries}
	}
	each(t, func(h *house) {
		ctx := h.t.Context()
		lines := 100_000
		if testing.Short() || h.db.Postgres() {
			lines = 2000
		}
		long := strings.Repeat("x", 41)
		_, err := h.Import(ctx, li, table(lines, long), "shops.csv", false)
		h.refused(err, fmt.Sprintf("shops.csv:%d: merchants[].name: %q must be 1 to 40 bytes", lines, long))
		if list, err := h.Merchants(ctx, ""); err != nil || len(list) != 0 {
			h.t.Fatalf("%d merchants were imported, %v", len(list), err)
		}
		if n, err := h.Import(ctx, li, table(2000, ""), "shops.csv", false); err != nil || n.Changed != 2000 {
			h.t.Fatalf("%+v, %v", n, err)
		}
	})
}
