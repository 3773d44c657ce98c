package txn

// ReplyHead is what a link needs of an issuer's message to find the request it
// answers. A field that the message does not carry is zero.
type ReplyHead struct {
	MTI       uint16 // 0x0210
	STAN      uint32
	Terminal  TerminalID
	Time      [10]byte // DE7
	RRN       [12]byte // DE37
	Amount    Amount   // DE4 and DE49; see HasAmount
	HasAmount bool
	Network   uint16 // DE70, such as 301
}
