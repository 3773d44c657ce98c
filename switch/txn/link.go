package txn

// ReplyHead is what a link needs of an issuer's message to find the request it
// answers. A field that the message does not carry is zero.
type ReplyHead struct {
	MTI       uint16 // 0x0210
	STAN      uint32
	Terminal  TerminalID
	Time      [10]byte // DE7
	RRN       [12]byte // DE37
	Amount    Amount   // DE4 and DE49, each 0 when absent; see HasAmount
	HasAmount bool
	Network   uint16 // DE70, such as 301
	// Forwarder and Receiver are DE33 and DE100 of UnionPay's network management,
	// zero padded.
	Forwarder, Receiver [11]byte
	// Rejected is why UnionPay's network gave our message back, empty when it did not.
	Rejected string
}

// Agrees says that an issuer's DE39 is a yes, to whatever it answers: 00, 11
// (important customer), and CUP's successes with a fault (A2, A4, A5, A6): the network
// has booked and settles them, though one of its other parties has not followed yet, and
// terminals and acquirers must take them as successes.
func Agrees(code [2]byte) bool {
	switch code {
	case [2]byte{'0', '0'}, [2]byte{'1', '1'}, [2]byte{'A', '2'}, [2]byte{'A', '4'}, [2]byte{'A', '5'}, [2]byte{'A', '6'}:
		return true
	}
	return false
}
