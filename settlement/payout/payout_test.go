package payout

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

const (
	merchants = `version: 1
payer: {name: Us & Sons, accounts: [{currency: CNY, name: Us, number: "100", bank: "105290000012"}, {currency: KWD, name: Us, number: "101", bank: ACQRKWKW}]}
merchants:
  - {mid: T1, accounts: &a [{currency: CNY, name: 'Tee & <One>', number: "1", bank: "102290002433", min: "1.00"}, {currency: KWD, name: Tee, number: DE89370400440532013000, bank: SAMPDEFFXXX}, {currency: EUR, name: Tee, number: "2", bank: SAMPDEFF}]}
  - {mid: D1, cycle: D+1, accounts: *a}
  - {mid: T0, cycle: T+0, onboarded: 2026-01-01, accounts: *a}
  - {mid: D0, cycle: D+0, onboarded: 2026-01-01, accounts: *a}
  - {mid: NEW, cycle: D+0, onboarded: 2026-07-01, accounts: *a}
  - {mid: GONE, licence_until: 2026-09-01, accounts: *a}
  - {mid: SOON, licence_until: 2026-09-18, accounts: *a}
  - {mid: WEEK, on: [mon], accounts: *a}
  - {mid: NEVER, cycle: D+0, accounts: *a}
  - {mid: KEPT, reserve: {ppm: 100000, days: 30}, accounts: *a}
`
)

func terms(t testing.TB) *Terms {
	calendar, err := os.ReadFile("../../testdata/calendar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	terms, err := Load(File{"payouts.yaml", []byte(merchants)}, File{"calendar.yaml", calendar}, Registry{})
	if err != nil {
		t.Fatal(err)
	}
	return terms
}

func TestCalendar(t *testing.T) {
	c := terms(t).Calendar
	for _, d := range []struct{ from, want txn.Date }{
		{20260925, 20260928},                                             // Mid-Autumn, a long weekend
		{20260920, 20260920},                                             // a Sunday that is worked
		{20260930, 20260930}, {20261001, 20261008}, {20261010, 20261010}, // a Saturday that is worked
		{20261011, 20261012}, {20260214, 20260214}, {20260215, 20260224}, {20250126, 20250126}, {20250128, 20250205},
	} {
		if got, err := c.from(d.from); got != d.want || err != nil {
			t.Errorf("from %s: %s, %v, want %s", d.from, got, err, d.want)
		}
	}
	if _, err := c.from(20270101); !errors.Is(err, ErrYear) {
		t.Errorf("a year that is not there: %v", err)
	}
}

func refused(name, number, bank string) []RefusedAccount {
	return []RefusedAccount{{Account{Name: name, Number: number, Bank: bank}, "closed"}}
}

// TestDecide holds decisions; rows of one merchant are in precedence order.
func TestDecide(t *testing.T) {
	const friday, saturday, monday txn.Date = 20260918, 20260919, 20260921 // Sunday 20 is worked
	for _, c := range []struct {
		name     string
		merchant string
		day      txn.Date
		change   func(*Position)
		want     string
	}{
		{"owes nothing and is owed nothing", "T1", friday, func(p *Position) { p.Net = 0; p.Held = "x" }, "nothing is owed, 0 left"},
		{"owes", "T1", friday, func(p *Position) { p.Opening = -101_00; p.Held = "x" }, "the merchant owes: carried forward, -100 left"},
		{"held", "GONE", friday, func(p *Position) { p.Held = "x" }, "payouts are held (x), 10000 left"},
		{"licence", "GONE", friday, func(p *Position) { p.Currency = 392 }, "the merchant's licence has expired: payouts are held, 10000 left"},
		{"licence of today", "SOON", friday, nil, "10000 paid T+1 on 2026-09-20"},
		{"licence of yesterday", "SOON", saturday, nil, "the merchant's licence has expired: payouts are held, 10000 left"},
		{"stranger", "NOBODY", friday, nil, "the merchant has no payout account in this currency, 10000 left"},
		{"no account", "WEEK", friday, func(p *Position) { p.Currency = 392 }, "the merchant has no payout account in this currency, 10000 left"},
		{"the account was refused", "WEEK", friday, func(p *Position) { p.Currency = 978; p.Refused = refused("Tee", "2", "SAMPDEFF") }, "a payout to this account came back (closed), 10000 left"},
		{"another owner's was", "T1", friday, func(p *Position) { p.Refused = refused("Tee", "1", "102290002433") }, "10000 paid T+1 on 2026-09-20"},
		{"another number was", "T1", friday, func(p *Position) { p.Refused = refused("Tee & <One>", "2", "102290002433") }, "10000 paid T+1 on 2026-09-20"},
		{"another bank's was", "T1", friday, func(p *Position) { p.Refused = refused("Tee & <One>", "1", "102290002434") }, "10000 paid T+1 on 2026-09-20"},
		{"we have none", "WEEK", friday, func(p *Position) { p.Currency = 978 }, "we have no account to pay from in this currency, 10000 left"},
		{"not today", "WEEK", friday, func(p *Position) { p.Net = 1 }, "not a payout day of this merchant, 1 left"},
		{"too little", "WEEK", monday, func(p *Position) { p.Net = 99 }, "below the minimum payout, 99 left"},
		{"enough", "WEEK", monday, func(p *Position) { p.Net = 1_00 }, "100 paid T+1 on 2026-09-22"},
		{"with what was carried", "T1", friday, func(p *Position) {
			p.Opening, p.Corrections, p.Released, p.Returned, p.Disputes = -99_00, 5, 6, 700, -8000+7300
		}, "111 paid T+1 on 2026-09-20"},
		{"T+1 over a free Saturday", "T1", friday, nil, "10000 paid T+1 on 2026-09-20"},
		{"T+1 over a holiday", "T1", 20260930, nil, "10000 paid T+1 on 2026-10-08"},
		{"D+1", "D1", friday, nil, "10000 paid D+1 on 2026-09-19"},
		{"T+0 on a working day", "T0", friday, nil, "10000 paid T+0 on 2026-09-18"},
		{"T+0 on a free day", "T0", saturday, nil, "10000 paid T+0 on 2026-09-20"},
		{"D+0 on a free day", "D0", saturday, nil, "10000 paid D+0 on 2026-09-19"},
		{"reserve", "KEPT", friday, func(p *Position) { p.Net = 1_09 }, "below the minimum payout, 99 left, 10 reserved until 2026-10-18"},
		{"reserve of a large net", "KEPT", friday, func(p *Position) { p.Net = 100_000_000_00 }, "9000000000 paid T+1 on 2026-09-20, 1000000000 reserved until 2026-10-18"},
		{"reserve of less than a debt left", "KEPT", friday, func(p *Position) { p.Opening = -99_95 }, "nothing is owed, 0 left, 5 reserved until 2026-10-18"},
		{"no reserve of a debt", "KEPT", friday, func(p *Position) { p.Opening = -200_00 }, "the merchant owes: carried forward, -10000 left"},
		{"no reserve of refunds", "KEPT", friday, func(p *Position) { p.Net, p.Opening = -1, 1_01 }, "100 paid T+1 on 2026-09-20"},
	} {
		p := Position{Merchant: txn.MakeMerchantID(c.merchant), Currency: txn.CNY, Net: 100_00, TradingDays: TradingDaysMin}
		if c.change != nil {
			c.change(&p)
		}
		d, err := terms(t).Decide(&p, c.day, c.day)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if p.balance() != d.Reserved+d.Pay+d.Closing {
			t.Errorf("%s: %d becomes %+v", c.name, p.balance(), d)
		}
		got := fmt.Sprintf("%s, %d left", d.Why, d.Closing)
		if d.Held != "" {
			got = fmt.Sprintf("%s (%s), %d left", d.Why, d.Held, d.Closing)
		}
		if d.Why == Paid {
			got = fmt.Sprintf("%d paid %s on %s", d.Pay, d.Cycle, d.Executes)
		}
		if d.Reserved != 0 {
			got += fmt.Sprintf(", %d reserved until %s", d.Reserved, d.ReserveUntil)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// A run that is late does not order payments for days that are gone.
	p := Position{Merchant: txn.MakeMerchantID("D0"), Currency: txn.CNY, Net: 100_00, TradingDays: TradingDaysMin}
	if d, err := terms(t).Decide(&p, friday, monday); d.Executes != monday || err != nil {
		t.Errorf("a late run: %+v, %v", d, err)
	}
	if d, err := terms(t).Decide(&Position{Merchant: txn.MakeMerchantID("T1"), Currency: txn.CNY, Net: 100_00}, 20261231, 20261231); !errors.Is(err, ErrYear) {
		t.Errorf("a payout on a day that the calendar does not have: %+v, %v", d, err)
	}
	if err := terms(t).Ready(20261231, 20261231); !errors.Is(err, ErrYear) {
		t.Errorf("the last day of the calendar: %v", err)
	}
}

// TestM08: a same-day cycle is granted from the ninetieth day and with the thirtieth
// day of sales; before, T+1 is.
func TestM08(t *testing.T) {
	for _, c := range []struct {
		merchant string
		day      txn.Date
		trading  int
		want     Cycle
	}{
		{"NEW", 20260928, TradingDaysMin, TPlus1}, // the 89th day
		{"NEW", 20260929, TradingDaysMin, DPlus0},
		{"D0", 20260919, TradingDaysMin - 1, TPlus1},
		{"D0", 20260919, TradingDaysMin, DPlus0},
		{"NEVER", 20260919, TradingDaysMin, TPlus1}, // nobody knows since when it is here
		{"T0", 20260918, TradingDaysMin - 1, TPlus1},
		{"T0", 20260918, TradingDaysMin, TPlus0},
		{"D1", 20260918, 0, DPlus1}, // no same-day cycle needs no history
	} {
		p := Position{Merchant: txn.MakeMerchantID(c.merchant), Currency: txn.CNY, Net: 100_00, TradingDays: c.trading}
		d, err := terms(t).Decide(&p, c.day, c.day)
		if err != nil || d.Cycle != c.want || d.Demoted != (c.want == TPlus1) || d.Why != Paid {
			t.Errorf("%s on %s after %d days of sales: %+v, %v", c.merchant, c.day, c.trading, d, err)
		}
	}
}

// TestReady holds that no run begins by a year whose holidays nobody told.
func TestReady(t *testing.T) {
	for _, c := range []struct {
		years string
		want  error
	}{
		{"{year: 2026, holidays: []}, {year: 2027, holidays: [{from: 2027-01-01}]}", nil},
		{"{year: 2026, holidays: []}, {year: 2027}", ErrHolidays},
		{"{year: 2026}, {year: 2027, holidays: []}", ErrHolidays},
		{"{year: 2026, holidays: []}", ErrYear},
	} {
		l, err := Load(File{"payouts.yaml", []byte(merchants)}, File{"calendar.yaml", []byte("version: 1\nyears: [" + c.years + "]\n")}, Registry{})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Ready(20261231, 20261231); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.years, err, c.want)
		}
		if _, err := l.Calendar.works(20261231); err != nil {
			t.Errorf("%s: a run of an earlier version cannot be taken up: %v", c.years, err)
		}
	}
}

// schema is what pain.001.001.09 says of the elements that we use: their order,
// and whether they must be there (!) or may repeat (*).
var schema = map[string]string{
	"Document":         "CstmrCdtTrfInitn!",
	"CstmrCdtTrfInitn": "GrpHdr! PmtInf*",
	"GrpHdr":           "MsgId! CreDtTm! NbOfTxs! CtrlSum InitgPty! FwdgAgt",
	"InitgPty":         "Nm Id",
	"PmtInf":           "PmtInfId! PmtMtd! ReqdAdvcTp BtchBookg NbOfTxs CtrlSum PmtTpInf ReqdExctnDt! PoolgAdjstmntDt Dbtr! DbtrAcct! DbtrAgt! InstrForDbtrAgt DbtrAgtAcct UltmtDbtr ChrgBr ChrgsAcct ChrgsAcctAgt CdtTrfTxInf*",
	"ReqdExctnDt":      "Dt!",
	"Dbtr":             "Nm PstlAdr Id",
	"Cdtr":             "Nm PstlAdr Id",
	"DbtrAcct":         "Id! Tp Ccy Nm",
	"CdtrAcct":         "Id! Tp Ccy Nm",
	"Id":               "IBAN Othr",
	"Othr":             "Id! SchmeNm Issr",
	"DbtrAgt":          "FinInstnId! BrnchId",
	"CdtrAgt":          "FinInstnId! BrnchId",
	"FinInstnId":       "BICFI ClrSysMmbId LEI Nm PstlAdr Othr",
	"ClrSysMmbId":      "ClrSysId MmbId!",
	"ClrSysId":         "Cd!",
	"CdtTrfTxInf":      "PmtId! PmtTpInf Amt! XchgRateInf ChrgBr MndtRltdInf ChqInstr UltmtDbtr IntrmyAgt1 CdtrAgt CdtrAgtAcct Cdtr CdtrAcct UltmtCdtr InstrForCdtrAgt InstrForDbtrAgt Purp RgltryRptg Tax RltdRmtInf RmtInf",
	"PmtId":            "InstrId EndToEndId! UETR",
	"Amt":              "InstdAmt!",
	"RmtInf":           "Ustrd Strd",
}

type node struct {
	name string
	text string
	attr string
	kids []*node
}

func (n *node) all(name string) (found []*node) {
	for _, k := range n.kids {
		if k.name == name {
			found = append(found, k)
		}
		found = append(found, k.all(name)...)
	}
	return found
}

func (n *node) first(name string) string {
	if all := n.all(name); len(all) > 0 {
		return all[0].text
	}
	return ""
}

func parse(t *testing.T, text []byte) *node {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(text))
	root := &node{}
	stack := []*node{root}
	for {
		token, err := d.Token()
		if err == io.EOF {
			return root.kids[0]
		}
		if err != nil {
			t.Fatal(err)
		}
		top := stack[len(stack)-1]
		switch x := token.(type) {
		case xml.StartElement:
			if x.Name.Space != "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09" {
				t.Fatalf("<%s> is of namespace %q", x.Name.Local, x.Name.Space)
			}
			n := &node{name: x.Name.Local}
			if len(x.Attr) > 0 {
				n.attr = x.Attr[0].Value
			}
			top.kids = append(top.kids, n)
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			top.text += strings.TrimSpace(string(x))
		}
	}
}

func (n *node) check(t *testing.T) {
	allowed := schema[n.name]
	if n.name == "Id" && len(n.kids) == 0 { // of Othr
		return
	}
	at := 0
	words := strings.Fields(allowed)
	for _, k := range n.kids {
		i := slices.IndexFunc(words, func(w string) bool { return strings.TrimRight(w, "!*") == k.name })
		switch {
		case i < 0:
			t.Errorf("<%s> does not belong into <%s>", k.name, n.name)
		case i < at || i == at-1 && !strings.HasSuffix(words[i], "*"):
			t.Errorf("<%s> is out of order in <%s>", k.name, n.name)
		case strings.HasSuffix(words[i], "*"):
			at = i
		default:
			at = i + 1
		}
		k.check(t)
	}
	for _, w := range words {
		name := strings.TrimRight(w, "!*")
		if name != w && !slices.ContainsFunc(n.kids, func(k *node) bool { return k.name == name }) {
			t.Errorf("<%s> lacks <%s>", n.name, name)
		}
	}
	if len(n.kids) == 0 && n.text == "" {
		t.Errorf("<%s> is empty", n.name)
	}
}

// TestPain holds a message to its schema's structure, and its counts and sums to
// its payments.
func TestPain(t *testing.T) {
	terms := terms(t)
	const day txn.Date = 20260918
	var payments []Payment
	for i, minor := range []int64{100_00, 1, 12345_678, 999_99, 7} {
		c := txn.Currency(156)
		if i == 2 {
			c = 414
		}
		m := txn.MakeMerchantID([]string{"T1", "D1", "T1", "T0", "KEPT"}[i])
		payments = append(payments, Payment{m, txn.Amount{Minor: minor, Currency: c}, []txn.Date{20260920, 20260919, 20260920, 20260918, 20260920}[i],
			find(terms.merchants[m].Accounts, c), EndToEnd(day, m, c.Letters())})
	}
	var b, again bytes.Buffer
	began := time.Date(2026, 9, 18, 23, 15, 0, 0, time.FixedZone("CST", 8*3600))
	if err := errors.Join(terms.WritePain(&b, day, began, payments), terms.WritePain(&again, day, began, payments)); err != nil {
		t.Fatal(err)
	}
	if b.String() != again.String() {
		t.Error("the same payments give other bytes")
	}
	doc := parse(t, b.Bytes())
	doc.check(t)
	if head := doc.all("GrpHdr")[0]; head.first("NbOfTxs") != "5" || head.first("CtrlSum") != "13445.748" || head.first("CreDtTm") != "2026-09-18T23:15:00+08:00" || head.first("Nm") != "Us & Sons" {
		t.Errorf("head %+v", head)
	}
	got := ""
	ids := map[string]bool{}
	for _, group := range doc.all("PmtInf") {
		got += fmt.Sprintln(group.first("Dt"), group.first("NbOfTxs"), group.first("CtrlSum"), len(group.all("CdtTrfTxInf")), group.all("InstdAmt")[0].attr)
		for _, name := range []string{"PmtInfId", "EndToEndId"} {
			for _, id := range group.all(name) {
				if n := len(id.text); n > 35 || ids[id.text] {
					t.Errorf("%s %q is of %d characters, or is here twice", name, id.text, n)
				}
				ids[id.text] = true
			}
		}
	}
	if want := "2026-09-18 1 999.99 1 CNY\n2026-09-19 1 0.01 1 CNY\n2026-09-20 2 100.07 2 CNY\n2026-09-20 1 12345.678 1 KWD\n"; got != want {
		t.Errorf("groups\n%swant\n%s", got, want)
	}
	if tx := doc.all("CdtTrfTxInf")[4]; tx.first("IBAN") != "DE89370400440532013000" || tx.first("BICFI") != "SAMPDEFFXXX" || tx.first("EndToEndId") != "20260918-T1-KWD" {
		t.Errorf("%s", b.String())
	}
	if tx := doc.all("CdtTrfTxInf")[0]; tx.first("IBAN") != "" || tx.all("Othr")[0].first("Id") != "1" || tx.first("BICFI") != "" || tx.first("Cd") != "CNAPS" || tx.first("MmbId") != "102290002433" {
		t.Errorf("%s", b.String())
	}
	if method := doc.first("PmtMtd"); method != "TRF" {
		t.Errorf("by %q", method)
	}
	for room := 0; room < b.Len(); room += 97 {
		if err := terms.WritePain(&disk{room}, day, began, payments); !errors.Is(err, errFull) {
			t.Fatalf("a disk with room for %d bytes of %d: %v", room, b.Len(), err)
		}
	}
	if got := EndToEnd(day, txn.MakeMerchantID("A B/1"), "CNY"); len(got) > 35 || strings.ContainsAny(got, " /") {
		t.Errorf("end-to-end id %q", got)
	}
}

// disk has room for so many bytes.
type disk struct{ room int }

var errFull = errors.New("the disk is full")

func (d *disk) Write(b []byte) (int, error) {
	if d.room -= len(b); d.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestBadFiles(t *testing.T) {
	calendar := "version: 1\nyears: [{year: 2026}]\n"
	for _, c := range []struct{ merchants, calendar, want string }{
		{"", calendar, "m:1: the file is empty"},
		{"version: 2\n", calendar, `m:1: version: this program reads version 1`},
		{"version: 1\nmerchants:\n  - {mid: A}\n  - {mid: A}\n", calendar, `m:4: merchants[].mid: "A" is here twice`},
		{"version: 1\nmerchants:\n  - {mid: A, cycle: T+2}\n", calendar, `m:3: merchants[].cycle: "T+2" must be one of T+1, D+1, T+0, D+0`},
		{"version: 1\nmerchants:\n  - {mid: A, on: [monday]}\n", calendar, `m:3: merchants[].on[]: "monday" must be mon`},
		{"version: 1\nmerchants:\n  - {mid: A, onboarded: yesterday}\n", calendar, `m:3: merchants[].onboarded: "yesterday" must be a day`},
		{"version: 1\nmerchants:\n  - {mid: A, reserve: {ppm: 0, days: 3}}\n", calendar, `m:3: merchants[].reserve.ppm: "0" must be a whole number from 1 to 1000000`},
		{"version: 1\nmerchants:\n  - {mid: A, reserve: {ppm: 1000001, days: 3}}\n", calendar, `m:3: merchants[].reserve.ppm: "1000001" must be a whole number from 1 to 1000000`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '', bank: ABCDEFGH}]}\n", calendar, `accounts[].number: must be 1 to 34 letters and digits`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '12345678901234567890123456789012345', bank: ABCDEFGH}]}\n", calendar, `accounts[].number: must be 1 to 34 letters and digits`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '1{', bank: ABCDEFGH}]}\n", calendar, `accounts[].number: must be 1 to 34 letters and digits`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: 'A[', bank: ABCDEFGH}]}\n", calendar, `accounts[].number: must be 1 to 34 letters and digits`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: NO9386011117948, bank: ABCDEFGH}]}\n", calendar, `accounts[].number: looks like an IBAN`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '1', bank: ABCDEFgh}]}\n", calendar, `accounts[].bank: "ABCDEFgh" must be a BIC`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '1', bank: 10529000001X}]}\n", calendar, `accounts[].bank: "10529000001X" must be a BIC`},
		{"version: 1\nmerchants:\n  - {mid: '1234567890123456'}\n", calendar, `m:3: merchants[].mid: "1234567890123456" must be 1 to 15 characters`},
		{"version: 1\n", "version: 2\nyears: [{year: 2026}]\n", "c:1: version: this program reads version 1"},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '1:', bank: ABCDEFGH}]}\n", calendar, `accounts[].number: must be 1 to 34 letters and digits`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: DE89a70400440532013000, bank: ABCDEFGH}]}\n", calendar, `accounts[].number: looks like an IBAN`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '1', bank: ABCDE1GH}]}\n", calendar, `accounts[].bank: "ABCDE1GH" must be a BIC`},
		{"version: 1\nmerchants:\n  - mid: A\n    accounts:\n      - {currency: yuan, name: N, number: '1', bank: ABCDEFGH}\n", calendar, `m:5: merchants[].accounts[].currency: "yuan" is no ISO 4217 currency`},
		{"version: 1\nmerchants:\n  - mid: A\n    accounts:\n      - {currency: CNY, name: N, number: '1', bank: ABCDEFGH}\n      - {currency: CNY, name: N, number: '1', bank: ABCDEFGH}\n", calendar, `m:6: merchants[].accounts[].currency: CNY has an account already`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, number: '1', bank: ABCDEFGH}]}\n", calendar, `accounts[].name: "" must be the owner's name`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '1-2', bank: ABCDEFGH}]}\n", calendar, `accounts[].number: must be 1 to 34 letters and digits`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: DE88370400440532013000, bank: ABCDEFGH}]}\n", calendar, `accounts[].number: looks like an IBAN and its check digits are wrong`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: CNY, name: N, number: '1', bank: '1234'}]}\n", calendar, `accounts[].bank: "1234" must be a BIC`},
		{"version: 1\nmerchants:\n  - {mid: A, accounts: [{currency: JPY, name: N, number: '1', bank: ABCDEFGH, min: '1.00'}]}\n", calendar, `accounts[].min: amount "1.00"`},
		{"version: 1\npayer: {name: ''}\n", calendar, `m:2: payer.name: "" must be`},
		{"version: 1\nextra: 1\n", calendar, `m:2: unknown field "extra"`},
		{"version: 1\n", "version: 1\n", "c:1: years: are missing"},
		{"version: 1\n", "version: 1\nyears: [{year: 26}]\n", `c:2: years[].year: "26" must be a year`},
		{"version: 1\n", "version: 1\nyears: [{year: 2026}, {year: 2026}]\n", `c:2: years[].year: 2026 is here twice`},
		{"version: 1\n", "version: 1\nyears: [{year: 2026, holidays: [{from: 2026-12-31, to: 2027-01-01}]}]\n", `years[].holidays[].to: "2027-01-01" must be a day of 2026`},
		{"version: 1\n", "version: 1\nyears: [{year: 2026, holidays: [{from: 2026-05-03, to: 2026-05-01}]}]\n", `2026-05-01 is before 2026-05-03`},
		{"version: 1\n", "version: 1\nyears: [{year: 2026, holidays: [{from: 2026-05-01, to: 2026-05-03}, {from: 2026-05-03}]}]\n", `2026-05-03 is a holiday already`},
		{"version: 1\n", "version: 1\nyears: [{year: 2026, workdays: [2026-05-04]}]\n", `2026-05-04 is a Monday, which is worked anyway`},
		{"version: 1\n", "version: 1\nyears: [{year: 2026, holidays: [{from: 2026-05-03}], workdays: [2026-05-03]}]\n", `2026-05-03 is here as a holiday or a working day already`},
	} {
		_, err := Load(File{"m", []byte(c.merchants)}, File{"c", []byte(c.calendar)}, Registry{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %q: %v, want %q", c.merchants, c.calendar, err, c.want)
		}
	}
}

// TestSamples holds that the samples can be used.
func TestSamples(t *testing.T) {
	payouts, err := os.ReadFile("../../testdata/payouts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	calendar, err := os.ReadFile("../../testdata/calendar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := yamlfile.Decode[document](payouts, "payouts.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	known := Registry{Open: func(_, sealed string) (string, error) { return sealed, nil }}
	for _, m := range doc.Merchants {
		known.Merchants = append(known.Merchants, Registered{ID: m.ID.Text, Currency: m.Accounts[0].Currency.Text, Owner: "Owner", Sealed: "1", Bank: "SAMPDEFF"})
	}
	if terms, err := Load(File{"payouts.yaml", payouts}, File{"calendar.yaml", calendar}, known); err != nil || len(terms.Unusable) > 0 {
		t.Error(err)
	}
}

// TestRegistry holds what a registry says of merchants, and that what a run keeps
// of it gives the same terms again, without a number in clear.
func TestRegistry(t *testing.T) {
	const file = `version: 1
payer: {name: Us, accounts: [{currency: CNY, name: Us, number: "100", bank: "105290000012"}]}
merchants:
  - {mid: B, on: [fri], accounts: [{currency: CNY, min: "200.00"}, {currency: EUR, name: Bee, number: "7", bank: SAMPDEFF}]}
  - {mid: A, accounts: [{currency: CNY, min: "5.00"}]}
`
	const calendar = "version: 1\nyears: [{year: 2026}]\n"
	open := func(m, sealed string) (string, error) {
		if number, ok := strings.CutPrefix(sealed, "sealed for "+m+" "); ok {
			return strings.Repeat(number, 8), nil
		}
		return "", errors.New("it is sealed with other keys")
	}
	of := func(id string) Registered {
		return Registered{ID: id, Currency: "CNY", Owner: "Owner <" + id + ">", Sealed: "sealed for " + id + " 42", Bank: "102290002433"}
	}
	with := func(r Registered, change func(*Registered)) Registered { change(&r); return r }
	known := Registry{Open: open, Merchants: []Registered{
		with(of("B"), func(r *Registered) { r.Cycle = "D+1" }),
		of("A"),
		with(of("H"), func(r *Registered) { r.Held = true }),
		with(of("L"), func(r *Registered) { r.LicenceUntil = "2026-09-01" }),
		with(of("N"), func(r *Registered) { r.Cycle, r.Onboarded = "D+0", "2026-09-01" }),
		with(of("X"), func(r *Registered) { r.Bank = "Bank of X" }),
		{ID: "Y"},
	}}
	first, err := Load(File{"payouts.yaml", []byte(file)}, File{"calendar.yaml", []byte(calendar)}, known)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Unusable) != 1 || !strings.HasPrefix(first.Unusable[0], `merchant X: account.bank "Bank of X" must be a BIC`) || strings.Contains(string(first.Text()), "4242") {
		t.Errorf("%q\n%s", first.Unusable, first.Text())
	}
	again, err := Load(File{"kept", first.Text()}, File{"kept", first.CalendarText()}, Registry{Open: open})
	if err != nil || again.Sum() != first.Sum() {
		t.Fatal(again, err)
	}
	slices.Reverse(known.Merchants)
	if other, err := Load(File{"payouts.yaml", []byte(file)}, File{"calendar.yaml", []byte(calendar)}, known); err != nil || other.Sum() != first.Sum() {
		t.Errorf("the order of the registry matters: %v", err)
	}
	const friday txn.Date = 20260918
	for _, terms := range []*Terms{first, again} {
		for id, want := range map[string]string{
			"A": "paid 10000 on 2026-09-21 to Owner <A> 4242424242424242", "B": "below the minimum payout", "H": "payouts are held: the merchant is on hold in the registry",
			"L": "the merchant's licence has expired: payouts are held", "N": "demoted paid 10000 on 2026-09-21 to Owner <N> 4242424242424242",
			"X": "the merchant has no payout account in this currency", "Y": "the merchant has no payout account in this currency",
		} {
			d, err := terms.Decide(&Position{Merchant: txn.MakeMerchantID(id), Currency: txn.CNY, Net: 100_00}, friday, friday)
			got := d.Why.String()
			if d.Held != "" {
				got += ": " + d.Held
			}
			if d.Account != nil {
				got = fmt.Sprintf("paid %d on %s to %s %s", d.Pay, d.Executes, d.Account.Name, d.Account.Number)
			}
			if d.Demoted {
				got = "demoted " + got
			}
			if err != nil || got != want {
				t.Errorf("%s: %q, %v, want %q", id, got, err, want)
			}
		}
	}
	for _, c := range []struct {
		file  string
		known Registered
		want  string
	}{
		{"merchants: [{mid: A, cycle: T+1}]", with(of("A"), func(r *Registered) { r.Cycle = "D+1" }), "f:2: merchants[].cycle: the registry says this of the merchant: change it there and remove it here"},
		{"merchants: [{mid: A, onboarded: 2026-01-01}]", with(of("A"), func(r *Registered) { r.Onboarded = "2026-01-01" }), "f:2: merchants[].onboarded: the registry says"},
		{"merchants: [{mid: A, licence_until: 2026-01-01}]", with(of("A"), func(r *Registered) { r.LicenceUntil = "2026-01-01" }), "f:2: merchants[].licence_until: the registry says"},
		{"merchants: [{mid: A, accounts: [{currency: CNY, number: \"1\"}]}]", of("A"), "f:2: merchants[].accounts[].number: the registry says"},
		{"merchants: [{mid: A, accounts: [{currency: CNY, name: A}]}]", of("A"), "f:2: merchants[].accounts[].name: the registry says"},
		{"merchants: [{mid: A, accounts: [{currency: CNY, bank: SAMPDEFF}]}]", of("A"), "f:2: merchants[].accounts[].bank: the registry says"},
		{"merchants: [{mid: A, accounts: [{currency: CNY, min: x}]}]", of("A"), "f:2: merchants[].accounts[].min:"},
		{"merchants: [{mid: B}]", of("A"), `f:2: merchants[].mid: the registry has no merchant "B"`},
		{"merchants: []", with(of("A"), func(r *Registered) { r.Sealed = "torn" }), "the account of merchant A: it is sealed with other keys"},
		{"merchants: [{mid: A, held: no}]", of("A"), `f:2: merchants[].held: "no" must be yes`},
	} {
		_, err := Load(File{"f", []byte("version: 1\n" + c.file + "\n")}, File{"c", []byte(calendar)}, Registry{[]Registered{c.known}, open})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.file, err, c.want)
		}
	}
	if _, err := Load(File{"f", first.Text()}, File{"c", []byte(calendar)}, Registry{}); err == nil || !strings.Contains(err.Error(), "is for accounts of the registry, and there is none") {
		t.Error(err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(merchants), []byte("version: 1\nyears: [{year: 2026, holidays: [{from: 2026-05-01, to: 2026-05-03}], workdays: [2026-05-09]}]\n"))
	f.Add([]byte("version: 1\nmerchants: [{mid: A, accounts: [{currency: CNY}]}]\n"), []byte("version: 1\nyears: [{year: 9999, holidays: [{from: 9999-12-31}]}]\n"))
	f.Fuzz(func(t *testing.T, merchants, calendar []byte) {
		terms, err := Load(File{"m", merchants}, File{"c", calendar}, Registry{})
		if err != nil {
			for e := range strings.Lines(err.Error()) {
				if p := (*yamlfile.Problem)(nil); !errors.As(err, &p) {
					t.Errorf("%q names no line", e)
				}
			}
			return
		}
		for id := range terms.merchants {
			p := Position{Merchant: id, Currency: txn.CNY, Net: 100_00}
			if d, err := terms.Decide(&p, 20260918, 20260918); err == nil && d.Reserved+d.Pay+d.Closing != 100_00 {
				t.Errorf("%s: %+v", id, d)
			}
		}
	})
}

// FuzzRegistry holds that what a run keeps gives the same terms again, whatever a
// registry and a file say.
func FuzzRegistry(f *testing.F) {
	f.Add([]byte("version: 1\nmerchants: [{mid: A, on: [mon], reserve: {ppm: 1, days: 1}, accounts: [{currency: CNY, min: 1}]}]\n"), "A", "A", "102290002433")
	f.Add([]byte(merchants), "T1", "Tee: \"& {One}\" # \u2028", "SAMPDEFF")
	f.Fuzz(func(t *testing.T, file []byte, id, owner, bank string) {
		calendar := File{"c", []byte("version: 1\n")}
		open := func(_, sealed string) (string, error) { return sealed, nil }
		first, err := Load(File{"m", file}, calendar, Registry{[]Registered{{ID: id, Currency: "CNY", Owner: owner, Sealed: "42", Bank: bank}}, open})
		if err != nil {
			return
		}
		again, err := Load(File{"kept", first.Text()}, calendar, Registry{Open: open})
		if err != nil || again.Payer != first.Payer || !reflect.DeepEqual(again.merchants, first.merchants) || !reflect.DeepEqual(again.payer, first.payer) {
			t.Fatalf("%v: %+v\n%+v\n%s", err, first, again, first.Text())
		}
	})
}
