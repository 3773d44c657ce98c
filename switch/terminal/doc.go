// Package terminal is the other end of the wire: a POS terminal as a library.
//
// A Client is one terminal. It does one thing at a time, numbers its requests,
// and takes an answer only if it answers what was asked. It is faithful: with
// a Log it notes a sale before the first byte leaves, and a sale without a
// valid answer is reversed before the next sale, by this process or by the
// next one that opens the Log after a kill.
//
// With a test master key a Client signs on for working keys, sends each 0200
// and 0400 with a MAC and believes no approval without its own. Keys are in
// memory only, and in no log, error or printed form.
//
// Not here: PINs. DE52, DE53 and the serial's cipher in DE59 would be written
// by Append, with the TPK that take checks and does not keep.
package terminal
