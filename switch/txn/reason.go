package txn

// Reason is why a request was answered as it was, in the switch's own words.
// There is one list; each dialect maps it to its DE39 (see switch/dialect), so
// a code never means two things inside the house.
//
// The constants stand in precedence order: where a request breaks several
// rules, the first one is told. The order is the CUP host's: message, MAC,
// merchant, terminal, binding, duplicate, place, permission, amounts, limits,
// route, issuer.
type Reason uint8

// The reasons.
const (
	Approved Reason = iota

	FormatIsWrong
	KindIsNotOffered
	MACIsWrong
	MerchantIsUnknown
	MerchantIsNotActive
	TerminalIsUnknown
	TerminalIsNotActive
	TerminalIsBoundToAnotherMerchant
	SignOnIsRequired
	DuplicateWithOtherContent
	ReversedBeforeRequest
	SwitchIsOverloaded
	CountryIsNotAccepted
	PositionIsRequired
	TerminalIsFarFromPremises
	TerminalIsOutsideItsAreas
	RegionIsNotTheMerchants
	KindIsNotAllowed
	CurrencyIsNotAccepted
	AmountMustNotBeZero
	AmountIsOverMaximum
	CardNumberIsInvalid
	CardIsExpired
	AmountIsOverTransactionLimit
	DayAmountIsOverLimit
	DayCountIsOverLimit
	IssuerIsUnknown
	IssuerIsUnavailable
	IssuerIsBusy
	IssuerDeclined
	IssuerDidNotAnswer
	IssuerAnsweredNonsense
	OriginalIsUnknown
	OriginalAmountDiffers
	OriginalIsOfAnotherDay
	AnswerWasNotDelivered
	JournalIsUnavailable
	SwitchFailed

	reasonCount
)

var reasonNames = [...]string{
	"approved",
	"format is wrong", "kind is not offered", "MAC is wrong",
	"merchant is unknown", "merchant is not active",
	"terminal is unknown", "terminal is not active", "terminal is bound to another merchant",
	"sign-on is required", "duplicate with other content", "reversed before request", "switch is overloaded",
	"country is not accepted", "position is required", "terminal is far from premises", "terminal is outside its areas", "region is not the merchant's",
	"kind is not allowed", "currency is not accepted",
	"amount must not be zero", "amount is over maximum", "card number is invalid", "card is expired",
	"amount is over transaction limit", "day amount is over limit", "day count is over limit",
	"issuer is unknown", "issuer is unavailable", "issuer is busy", "issuer declined", "issuer did not answer", "issuer answered nonsense",
	"original is unknown", "original amount differs", "original is of another day", "answer was not delivered",
	"journal is unavailable", "switch failed",
}

// Reasons is the number of reasons; values at and above it are invalid.
const Reasons = int(reasonCount)

var _ = [1]struct{}{}[len(reasonNames)-Reasons] // one name per reason

func (r Reason) String() string { return name(reasonNames[:], r) }

// LimitScope says whose limit refused, for the explanation of a verdict.
type LimitScope uint8

// The scopes in the order they are checked.
const (
	ScopeNone LimitScope = iota
	ScopeTerminal
	ScopeMerchant
	ScopeCard
)

var scopeNames = [...]string{"", "terminal", "merchant", "card"}

func (s LimitScope) String() string { return name(scopeNames[:], s) }

// Verdict is what risk says: Reason is Approved when the request may go on, and
// Scope, Limit and Used are the values compared when a limit refused it.
type Verdict struct {
	Reason Reason
	Scope  LimitScope
	Limit  int64 // minor units or a count
	Used   int64
}

// Hold is the use of limits that one request reserved. It can be rebuilt from
// the request's record, so a restart knows what to keep and what to give back.
type Hold struct {
	Card     CardToken
	Terminal TerminalID
	Merchant MerchantID
	Day      Date
	Minor    int64
	Currency Currency // sums of different currencies are kept apart
}
