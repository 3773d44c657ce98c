package fleet

// DemoMerchant is the sample registry's merchant for people to try things with.
// The sample day leaves its terminals alone: their batches are open and their
// trace numbers unused. The client on the command line is DemoTerminal unless
// told otherwise, the shipped script of a day its other one.
const (
	DemoMerchant = "999290059990001"
	DemoTerminal = "20000001"
)
