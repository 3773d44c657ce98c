package book

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/switch/txn"
)

func drawResult(t *rapid.T) Result {
	small := rapid.Int64Range(-1000, 1000)
	return Result{
		Effect: rapid.SampledFrom([]txn.Effect{txn.NoEffect, txn.Debit, txn.Credit}).Draw(t, "effect"),
		Minor:  rapid.Int64Range(0, txn.AmountMax).Draw(t, "minor"),
		Fee:    small.Draw(t, "fee"), Interchange: small.Draw(t, "interchange"), Network: small.Draw(t, "network"),
		Parked: rapid.Bool().Draw(t, "parked"), Undo: rapid.Bool().Draw(t, "undo"),
	}
}

// Postings sum to zero, the merchant's account moves by Net, and what undoes a
// result leaves nothing on any account.
func TestPostBalances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawResult(t)
		postings := Post(nil, &r)
		if len(postings) > 8 {
			t.Fatalf("%d postings", len(postings))
		}
		var sum int64
		accounts := map[Account]int64{}
		for _, p := range postings {
			sum += p.Minor
			accounts[p.Account] += p.Minor
		}
		if sum != 0 {
			t.Fatalf("%+v is off by %d", postings, sum)
		}
		if r.Effect != txn.NoEffect && accounts[MerchantPayable] != -r.Net() {
			t.Fatalf("merchant %d, net %d", accounts[MerchantPayable], r.Net())
		}
		if r.Parked && accounts[MerchantPayable] != 0 {
			t.Fatal("a merchant is owed what has no price")
		}
		r.Undo = !r.Undo
		for _, p := range Post(nil, &r) {
			accounts[p.Account] += p.Minor
		}
		for a, minor := range accounts {
			if minor != 0 {
				t.Fatalf("%s keeps %d of a result that was undone", a, minor)
			}
		}
	})
}

// TestPostings are the table of docs/settlement.md.
func TestPostings(t *testing.T) {
	sale := Result{Effect: txn.Debit, Minor: 1000_00, Fee: 5_00, Interchange: 3_50, Network: 33}
	refund := Result{Effect: txn.Credit, Minor: 1000_00, Fee: -5_00, Interchange: -3_50, Network: -33}
	parked := Result{Effect: txn.Debit, Minor: 1000_00, Parked: true}
	for _, c := range []struct {
		name string
		r    Result
		n    int
		want map[Account]int64
	}{
		{"sale", sale, 8, map[Account]int64{IssuerReceivable: 996_17, MerchantPayable: -995_00, FeeIncome: -5_00, InterchangeExpense: 3_50, NetworkExpense: 33}},
		{"sale of nothing, for nothing", Result{Effect: txn.Debit}, 2, nil},
		{"sale with a fee alone", Result{Effect: txn.Debit, Minor: 10_00, Fee: 1}, 4, map[Account]int64{IssuerReceivable: 10_00, MerchantPayable: -9_99, FeeIncome: -1}},
		{"refund", refund, 8, map[Account]int64{IssuerReceivable: -996_17, MerchantPayable: 995_00, FeeIncome: 5_00, InterchangeExpense: -3_50, NetworkExpense: -33}},
		{"without a price", parked, 2, map[Account]int64{IssuerReceivable: 1000_00, Suspense: -1000_00}},
	} {
		got := map[Account]int64{}
		postings := Post(nil, &c.r)
		for _, p := range postings {
			got[p.Account] += p.Minor
		}
		if len(postings) != c.n {
			t.Errorf("%s: %d postings, want %d", c.name, len(postings), c.n)
		}
		for a := range Account(Accounts) {
			if got[a] != c.want[a] {
				t.Errorf("%s: %s %d, want %d", c.name, a, got[a], c.want[a])
			}
		}
	}
}

func TestSumRefusesOverflow(t *testing.T) {
	s := Sum{Debit: 1<<63 - 10}
	if s.Add(10) || !s.Add(9) || s.Debit != 1<<63-1 {
		t.Errorf("%+v", s)
	}
}

// TestMoves: between which accounts an item moves money when nobody says.
func TestMoves(t *testing.T) {
	for item, want := range map[Item][2]Account{
		Sale: {IssuerReceivable, MerchantPayable}, Refund: {IssuerReceivable, MerchantPayable}, Fee: {MerchantPayable, FeeIncome},
		Interchange: {InterchangeExpense, IssuerReceivable}, Network: {NetworkExpense, IssuerReceivable},
		Reserving: {MerchantPayable, Reserve}, Releasing: {Reserve, MerchantPayable}, Payout: {MerchantPayable, PayoutsOrdered},
	} {
		got := Move([]Posting{{Minor: 9}}, item, 5)
		if want := []Posting{{Minor: 9}, {item, want[0], 5}, {item, want[1], -5}}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", item, got, want)
		}
	}
}

// TestChart: numbers and names are in the ledger and in what accountants keep.
func TestChart(t *testing.T) {
	const accounts = "1000 bank, 1100 issuer receivable, 2100 merchant payable, 2200 payouts ordered, 2300 reserve, 2400 agency payable, 2600 disputed, 2900 suspense, " +
		"4100 fee income, 5100 interchange expense, 5200 network expense, 5300 agency expense, 5400 dispute loss, 5900 rounding"
	const items = "sale, refund, merchant fee, interchange, network fee, agency share, correction, reserve, reserve release, payout, payout paid, payout back, dispute"
	var got []string
	for a := range Account(Accounts) {
		got = append(got, a.Number()+" "+a.String())
	}
	if s := strings.Join(got, ", "); s != accounts {
		t.Errorf("accounts are %s", s)
	}
	got = got[:0]
	for i := range Item(Items) {
		got = append(got, i.String())
	}
	if s := strings.Join(got, ", "); s != items {
		t.Errorf("items are %s", s)
	}
	if Account(Accounts).String() != "invalid" || Item(Items).String() != "invalid" {
		t.Error("what is behind the last has a name")
	}
}

func TestSum(t *testing.T) {
	var s Sum
	for _, minor := range []int64{5, -7, 0, 1} {
		if !s.Add(minor) {
			t.Errorf("%d was refused", minor)
		}
	}
	if s != (Sum{Debit: 6, Credit: 7, Count: 4}) || s.Balance() != -1 {
		t.Errorf("%+v, balance %d", s, s.Balance())
	}
	s = Sum{Credit: 1<<63 - 10}
	if s.Add(-10) || !s.Add(-9) || s != (Sum{Credit: 1<<63 - 1, Count: 1}) {
		t.Errorf("%+v", s)
	}
}
