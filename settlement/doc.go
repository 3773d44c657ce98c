// Package settlement is what happens behind the sales: the journal is copied
// into the ledger, journal, ledger and live counters are held against each
// other, and at the end of a business day the ledger is turned into books.
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
// Settle promises that a business day is closed once and its postings balance;
// that a run can be killed, repeated or started twice anywhere and ends with the
// same files, byte for byte; and that what cannot be priced is listed, never
// guessed. Explain shows the arithmetic of one transaction by the run's function.
//
// Hold, Release and ApproveCorrection make what people decide durable, and
// AnswerPayouts what the bank says to payments; the next run that begins takes it
// into account.
//
// Not here: what issuers' files say (package reconcile), what they dispute (package
// dispute).
package settlement
