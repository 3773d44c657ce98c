// Package settlement is what happens behind the sales: the journal is copied
// into the ledger, and journal, ledger and live counters are held against each
// other.
//
// Drain promises that each journal record reaches the ledger exactly once and
// in order, whatever fails on the way; that a ledger which is away is waited
// for, without a limit and without holding up a sale; and that a record it
// cannot read or place stops it, named, rather than being passed over.
//
// Verify promises to change nothing, on a running switch as on a stopped one,
// and to say what it checked and how often: a check that could not be made is
// not reported as passed.
//
// Not here yet: postings, fees and the end-of-day run.
package settlement
