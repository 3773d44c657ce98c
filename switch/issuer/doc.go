// Package issuer is the switch's side of its issuers: which one a card belongs
// to, the links to it, and whose answer a reply is.
//
// Promises. A reply completes the one request it answers or none: message
// class and STAN must agree, and the transmission time or the reference number,
// or the terminal where it carries neither, so the late approval of a sale is
// never the answer to its reversal. An answer that agrees but echoes another
// terminal or amount is nonsense: its outcome is Unknown. OutcomeNotSent is said
// only when certainly no byte left. Every wait has a deadline, every queue a
// bound: a peer that stops reading costs nobody more than Config.WriteTimeout. A
// late or unasked answer goes to Hooks.Late.
//
// A new key that an issuer sends is in force, durably, before it is answered, and before
// anything is read that came behind it on its link.
//
// Not here: retries and store-and-forward of reversals (package acquirer owns
// what is owed), message layouts (switch/dialect), the decision to send.
//
// The TCP connection is kept by moov-io/iso8583-connection, of which four
// parts are used: NewFrom over a net.Conn that we dial (for its write
// deadlines), Write with whole batches of frames, a MessageReader that never
// returns a message, and TriggerFailure. Its Send, Reply, Close and pool are
// not used, for v0.9.0 matches replies by STAN alone, deadlocks when a peer
// resets while a Send times out, waits without a deadline on a peer that stops
// reading, and loses a reply that races a timeout. Without a Send its table of
// pending requests is empty, so none of its locks is ever held across a wait.
package issuer
