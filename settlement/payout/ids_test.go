package payout

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestEndToEnd: a payment's id is its merchant's own where a bank takes that, else a
// digest of it, and names its day in either.
func TestEndToEnd(t *testing.T) {
	const day txn.Date = 20260918
	seen := map[string]string{}
	for id, want := range map[string]string{
		"azAZ09": "20260918-azAZ09-CNY", "A B": "", "A/": "", "A:": "", "A@": "", "A[": "", "A`": "", "A{": "", "123456789/12345": "",
	} {
		got := EndToEnd(day, txn.MakeMerchantID(id), "CNY")
		if want == "" && (len(got) != len("20260918-x12345678901234-CNY") || got[:10] != "20260918-x") || want != "" && got != want {
			t.Errorf("%q: %s", id, got)
		}
		if of, err := DayOf(got); of != day || err != nil {
			t.Errorf("%s is of %s, %v", got, of, err)
		}
		if other := seen[got]; other != "" {
			t.Errorf("%q and %q have one id", id, other)
		}
		seen[got] = id
	}
}

func TestDayOf(t *testing.T) {
	for id, want := range map[string]txn.Date{"20260918-M1-CNY": 20260918, "20260918-": 0, "20260918": 0, "20260231-M1-CNY": 0, "PAYOUT-20260918": 0, "": 0} {
		if got, err := DayOf(id); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %s, %v", id, got, err)
		}
	}
	for id, want := range map[string]txn.Date{MessageID(20260918): 20260918, GroupID(20260918, 20260919, "CNY"): 20260918, "20260918": 0, "PAYOUT-": 0, "PAYOUT-20260231": 0} {
		if got, err := DayOfMessage(id); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %s, %v", id, got, err)
		}
	}
}

func TestControlSum(t *testing.T) {
	amount := func(minor int64, c txn.Currency) Payment {
		return Payment{Amount: txn.Amount{Minor: minor, Currency: c}}
	}
	const jpy, kwd txn.Currency = 392, 414
	for want, payments := range map[string][]Payment{
		"123":            {amount(120, jpy), amount(3, jpy)},
		"0.05":           {amount(5, txn.CNY)},
		"1.005":          {amount(1, jpy), amount(5, kwd)},
		"19999999999.98": {amount(txn.AmountMax, txn.CNY), amount(txn.AmountMax, txn.CNY)},
	} {
		if got := controlSum(payments); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestExceptions: people look at what only they can change.
func TestExceptions(t *testing.T) {
	for why := Paid; why <= BelowMinimum; why++ {
		want := slices.Contains([]Why{PayoutsAreHeld, LicenceHasExpired, AccountIsMissing, AccountWasRefused, PayerAccountIsMissing}, why)
		if why.Exception() != want {
			t.Errorf("%s: %v", why, !want)
		}
	}
}

func TestAccountOf(t *testing.T) {
	terms := terms(t)
	if a := terms.AccountOf(txn.MakeMerchantID("T1"), txn.CNY); a == nil || a.Number != "1" {
		t.Errorf("%+v", a)
	}
	for _, m := range []string{"NOBODY", "T1"} {
		if a := terms.AccountOf(txn.MakeMerchantID(m), 392); a != nil {
			t.Errorf("%s: %+v", m, a)
		}
	}
}

// TestWeek: a merchant may be paid after each day of a week alone.
func TestWeek(t *testing.T) {
	for i, day := range []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} {
		terms, err := Load(File{"m", []byte("version: 1\nmerchants: [{mid: A, on: [" + day + "]}]\n")}, File{"c", []byte("version: 1\nyears: [{year: 2027}, {year: 2026, holidays: []}, {year: 2025}]\n")}, Registry{})
		if err != nil {
			t.Fatal(err)
		}
		if on := terms.merchants[txn.MakeMerchantID("A")].Weekdays; len(on) != 1 || int(on[0]) != i {
			t.Errorf("%s is %v", day, on)
		}
		if known, untold := terms.Calendar.Years(); fmt.Sprint(known, untold) != "[2025 2026 2027] [2025 2027]" {
			t.Errorf("the calendar has %v and lacks the holidays of %v", known, untold)
		}
	}
}

// TestSum: what a run pays by has another sum for any other text.
func TestSum(t *testing.T) {
	const days = "version: 1\nyears: [{year: 2026}]\n"
	seen := map[string]string{}
	for name, texts := range map[string][2]string{
		"the files": {merchants, days}, "another reserve": {strings.Replace(merchants, "ppm: 100000", "ppm: 100001", 1), days}, "another year": {merchants, strings.Replace(days, "2026", "2027", 1)},
	} {
		terms, err := Load(File{"m", []byte(texts[0])}, File{"c", []byte(texts[1])}, Registry{})
		if err != nil {
			t.Fatal(name, err)
		}
		if same := seen[terms.Sum()]; same != "" || len(terms.Sum()) != 64 {
			t.Errorf("%s: %q, as %s", name, terms.Sum(), same)
		}
		seen[terms.Sum()] = name
	}
}

// TestAccounts: numbers and banks to the last letter and digit.
func TestAccounts(t *testing.T) {
	for number, bank := range map[string]string{"azAZ09": "AZAZAZ09", "1234567890123456789012345678901234": "ABCDEFGHXZ9", "NO9386011117947": "105290000012", "NOX386011117947": "ABCDEFGH", "NO938601111794": "ABCDEFGH"} {
		if _, err := Load(File{"m", []byte("version: 1\nmerchants: [{mid: A, accounts: [{currency: CNY, name: N, number: '" + number + "', bank: '" + bank + "'}]}]\n")},
			File{"c", []byte("version: 1\nyears: [{year: 2026}]\n")}, Registry{}); err != nil {
			t.Error(err)
		}
	}
}
