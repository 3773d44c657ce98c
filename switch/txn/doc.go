// Package txn is the vocabulary of the switch: what a request, an answer, an
// amount, a card number and a durable record are, and how they are written
// down. Every other package speaks in these types; this one imports none of
// them.
//
// Promises: types that hold cardholder data mask themselves in every textual
// form (String, GoString, slog, JSON); enums have zero values that fail safe
// (an unset Outcome is OutcomeUnknown, which owes a reversal); rows that are
// held by the million (Terminal, Merchant) contain no pointers, so the garbage
// collector never walks them.
//
// Not here: wire formats (package iso and switch/dialect), decisions (package
// risk), the order of steps (package acquirer in the folder switch).
package txn
