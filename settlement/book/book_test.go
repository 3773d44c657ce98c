package book

import (
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
		if len(postings) > PostingsMax {
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
		want map[Account]int64
	}{
		{"sale", sale, map[Account]int64{IssuerReceivable: 996_17, MerchantPayable: -995_00, FeeIncome: -5_00, InterchangeExpense: 3_50, NetworkExpense: 33}},
		{"refund", refund, map[Account]int64{IssuerReceivable: -996_17, MerchantPayable: 995_00, FeeIncome: 5_00, InterchangeExpense: -3_50, NetworkExpense: -33}},
		{"without a price", parked, map[Account]int64{IssuerReceivable: 1000_00, Suspense: -1000_00}},
	} {
		got := map[Account]int64{}
		for _, p := range Post(nil, &c.r) {
			got[p.Account] += p.Minor
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
