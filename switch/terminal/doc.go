// Package terminal is the other end of the wire: a POS terminal as a library,
// of CUP POS and ISO 8583:1987.
//
// A Client is one terminal. It does one thing at a time, numbers its requests,
// and takes an answer only if it answers what was asked. It is faithful: what
// it asks and tells is noted in its Store before the first byte leaves. A
// reversible request without a valid answer is owed a reversal, a refund its
// repeat; what happened at the terminal is told until the switch takes note of
// it. All that goes out before the next online transaction, in the order of a
// CUP terminal, by this process or by the next one that opens the Store after a
// kill. The batch, its totals and each step of its settlement are in the Store
// too, so that a settlement goes on at the very message where it was cut off.
//
// With a test master key a Client signs on for working keys, enciphers PINs (and
// tracks, where there is a key for them), puts a MAC on its requests, and believes no
// approval without one. With an initial DUKPT key (ISO 8583:1987) each message has
// keys of its own; the transaction counter is in the Store before a byte leaves. Keys
// are in memory only, and in no store, error or printed form. Card numbers are in the
// Store only sealed; tracks and PINs not at all.
//
// Not here: the fleet that plays recorded traffic (package fleet), a certification
// script (package script), a card's own cryptography: DE55 is a sample with the
// transaction's amount and date.
package terminal
