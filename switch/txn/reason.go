package txn

// Reason is why a request was answered as it was, in the switch's own words.
// There is one list; each dialect maps it to its DE39 (see switch/dialect), so
// a code never means two things inside the house.
//
// The constants stand in precedence order: where a request breaks several
// rules, the first one is told. The order is the CUP host's: message, MAC,
// merchant, terminal, binding, machine, duplicate, place, permission, amounts, the
// recent past, the risk officer's rules, limits, route, issuer.
type Reason uint8

// The reasons. Their numbers are in every journal: a new one takes the next free
// number wherever it stands in the list, and no number is used again.
const (
	Approved                         Reason = 0
	FormatIsWrong                    Reason = 1
	KindIsNotOffered                 Reason = 2
	MACIsWrong                       Reason = 3
	MerchantIsUnknown                Reason = 4
	MerchantIsNotActive              Reason = 5
	MerchantIsShunned                Reason = 84
	TerminalIsUnknown                Reason = 6
	TerminalIsNotActive              Reason = 7
	TerminalIsBoundToAnotherMerchant Reason = 8
	CallerIsNotTheTerminals          Reason = 89
	TerminalInfoIsRequired           Reason = 53
	SerialIsNotTheTerminals          Reason = 54
	SerialCipherIsWrong              Reason = 55
	SoftwareIsTooOld                 Reason = 61
	TerminalHasNoKeys                Reason = 39
	SignOnIsRequired                 Reason = 9
	BatchIsNotCurrent                Reason = 51
	BatchIsNotSettling               Reason = 52
	TraceNumberWentBack              Reason = 90
	DuplicateWithOtherContent        Reason = 10
	ReversedBeforeRequest            Reason = 11
	SwitchIsOverloaded               Reason = 12
	DiskIsNearlyFull                 Reason = 87
	TerminalIsTooFast                Reason = 56
	CountryIsNotAccepted             Reason = 13
	PositionIsRequired               Reason = 14
	TerminalIsFarFromPremises        Reason = 15
	TerminalIsOutsideItsAreas        Reason = 16
	RegionIsNotTheMerchants          Reason = 17
	TerminalMovesTooFast             Reason = 85
	CategoryIsNotTheMerchants        Reason = 86
	MerchantMustBeVerified           Reason = 74
	KindIsNotAllowed                 Reason = 18
	EntryIsNotAllowed                Reason = 75
	ManualEntryIsNotAllowed          Reason = 76
	FallbackIsNotAllowed             Reason = 77
	CardTypeIsNotAllowed             Reason = 78
	CurrencyIsNotAccepted            Reason = 19
	AmountMustNotBeZero              Reason = 20
	AmountIsOverMaximum              Reason = 21
	ChipAmountDiffers                Reason = 91
	CardNumberIsInvalid              Reason = 22
	CardIsExpired                    Reason = 23
	CardIsLost                       Reason = 79
	CardIsStolen                     Reason = 80
	CardIsRestricted                 Reason = 81
	PINIsRequired                    Reason = 82
	PaymentWithoutPINIsNotAllowed    Reason = 83
	PartyIsHighRisk                  Reason = 71
	MachineServesAnotherMerchant     Reason = 62
	RefundsAreTooMany                Reason = 63
	CardIsDeclinedTooOften           Reason = 64
	TerminalTestsCards               Reason = 65
	CardRepeatsAtMerchant            Reason = 66
	CardMovesTooFast                 Reason = 67
	PaymentsLookLikeCash             Reason = 68
	TurnoverIsOverDeclared           Reason = 72
	CardIsRefusedByRule              Reason = 57 // of the risk officer's own rules, as the three below
	TransactionIsRefusedByRule       Reason = 58
	AmountIsRefusedByRule            Reason = 59
	FrequencyIsRefusedByRule         Reason = 60
	AmountIsOverTransactionLimit     Reason = 24
	DayAmountIsOverLimit             Reason = 25
	MonthAmountIsOverLimit           Reason = 69
	DayCountIsOverLimit              Reason = 26
	MonthCountIsOverLimit            Reason = 70
	IssuerIsUnknown                  Reason = 27
	IssuerIsUnavailable              Reason = 28
	PINBlockIsWrong                  Reason = 40
	PINCannotBeTranslated            Reason = 41
	IssuerIsBusy                     Reason = 29
	IssuerDeclined                   Reason = 30
	IssuerDidNotAnswer               Reason = 31
	IssuerAnsweredNonsense           Reason = 32
	RecordsAreUnavailable            Reason = 42
	OriginalIsUnknown                Reason = 33
	OriginalIsOfAnotherKind          Reason = 43
	OriginalDoesNotStand             Reason = 44
	OriginalIsBusy                   Reason = 45
	OriginalIsTooOld                 Reason = 46
	OriginalIsOfAnotherBatch         Reason = 47
	OriginalIsCompleted              Reason = 48
	CardIsNotTheOriginals            Reason = 49
	OriginalAmountDiffers            Reason = 34
	ReplacementIsNotLess             Reason = 73
	OriginalIsOfAnotherDay           Reason = 35
	ItemIsUnknown                    Reason = 50
	AnswerWasNotDelivered            Reason = 36
	JournalIsUnavailable             Reason = 37
	SwitchFailed                     Reason = 38
	ResolvedByHand                   Reason = 88 // of a debt to an issuer, not of a request
)

var reasonNames = [...]string{
	Approved:                         "approved",
	FormatIsWrong:                    "format is wrong",
	KindIsNotOffered:                 "kind is not offered",
	MACIsWrong:                       "MAC is wrong",
	MerchantIsUnknown:                "merchant is unknown",
	MerchantIsNotActive:              "merchant is not active",
	MerchantIsShunned:                "merchant is shunned",
	TerminalIsUnknown:                "terminal is unknown",
	TerminalIsNotActive:              "terminal is not active",
	TerminalIsBoundToAnotherMerchant: "terminal is bound to another merchant",
	CallerIsNotTheTerminals:          "caller is not the terminal's",
	TerminalInfoIsRequired:           "terminal information is required",
	SerialIsNotTheTerminals:          "serial is not the terminal's",
	SerialCipherIsWrong:              "serial cipher is wrong",
	SoftwareIsTooOld:                 "software is too old",
	TerminalHasNoKeys:                "terminal has no keys",
	SignOnIsRequired:                 "sign-on is required",
	BatchIsNotCurrent:                "batch is not current",
	BatchIsNotSettling:               "batch is not settling",
	TraceNumberWentBack:              "trace number went back",
	DuplicateWithOtherContent:        "duplicate with other content",
	ReversedBeforeRequest:            "reversed before request",
	SwitchIsOverloaded:               "switch is overloaded",
	DiskIsNearlyFull:                 "disk is nearly full",
	TerminalIsTooFast:                "terminal is too fast",
	CountryIsNotAccepted:             "country is not accepted",
	PositionIsRequired:               "position is required",
	TerminalIsFarFromPremises:        "terminal is far from premises",
	TerminalIsOutsideItsAreas:        "terminal is outside its areas",
	RegionIsNotTheMerchants:          "region is not the merchant's",
	TerminalMovesTooFast:             "terminal moves too fast",
	CategoryIsNotTheMerchants:        "category is not the merchant's",
	MerchantMustBeVerified:           "merchant must be verified",
	KindIsNotAllowed:                 "kind is not allowed",
	EntryIsNotAllowed:                "entry is not allowed",
	ManualEntryIsNotAllowed:          "manual entry is not allowed",
	FallbackIsNotAllowed:             "fallback is not allowed",
	CardTypeIsNotAllowed:             "card type is not allowed",
	CurrencyIsNotAccepted:            "currency is not accepted",
	AmountMustNotBeZero:              "amount must not be zero",
	AmountIsOverMaximum:              "amount is over maximum",
	ChipAmountDiffers:                "amount differs from the chip's",
	CardNumberIsInvalid:              "card number is invalid",
	CardIsExpired:                    "card is expired",
	CardIsLost:                       "card is lost",
	CardIsStolen:                     "card is stolen",
	CardIsRestricted:                 "card is restricted",
	PINIsRequired:                    "PIN is required",
	PaymentWithoutPINIsNotAllowed:    "payment without PIN is not allowed",
	PartyIsHighRisk:                  "merchant or terminal is high-risk",
	MachineServesAnotherMerchant:     "machine serves another merchant",
	RefundsAreTooMany:                "refunds are too many",
	CardIsDeclinedTooOften:           "card is declined too often",
	TerminalTestsCards:               "terminal tests cards",
	CardRepeatsAtMerchant:            "card repeats at merchant",
	CardMovesTooFast:                 "card moves too fast",
	PaymentsLookLikeCash:             "payments look like cash",
	TurnoverIsOverDeclared:           "turnover is over declared",
	CardIsRefusedByRule:              "card is refused by rule",
	TransactionIsRefusedByRule:       "transaction is refused by rule",
	AmountIsRefusedByRule:            "amount is refused by rule",
	FrequencyIsRefusedByRule:         "frequency is refused by rule",
	AmountIsOverTransactionLimit:     "amount is over transaction limit",
	DayAmountIsOverLimit:             "day amount is over limit",
	MonthAmountIsOverLimit:           "month amount is over limit",
	DayCountIsOverLimit:              "day count is over limit",
	MonthCountIsOverLimit:            "month count is over limit",
	IssuerIsUnknown:                  "issuer is unknown",
	IssuerIsUnavailable:              "issuer is unavailable",
	PINBlockIsWrong:                  "PIN block is wrong",
	PINCannotBeTranslated:            "PIN cannot be translated",
	IssuerIsBusy:                     "issuer is busy",
	IssuerDeclined:                   "issuer declined",
	IssuerDidNotAnswer:               "issuer did not answer",
	IssuerAnsweredNonsense:           "issuer answered nonsense",
	OriginalIsUnknown:                "original is unknown",
	RecordsAreUnavailable:            "records are unavailable",
	OriginalIsOfAnotherKind:          "original is of another kind",
	OriginalDoesNotStand:             "original does not stand",
	OriginalIsBusy:                   "original is busy",
	OriginalIsTooOld:                 "original is too old",
	OriginalIsOfAnotherBatch:         "original is of another batch",
	OriginalIsCompleted:              "original is completed",
	CardIsNotTheOriginals:            "card is not the original's",
	OriginalAmountDiffers:            "original amount differs",
	ReplacementIsNotLess:             "replacement is not less than what stands",
	OriginalIsOfAnotherDay:           "original is of another day",
	ItemIsUnknown:                    "item is unknown",
	AnswerWasNotDelivered:            "answer was not delivered",
	JournalIsUnavailable:             "journal is unavailable",
	SwitchFailed:                     "switch failed",
	ResolvedByHand:                   "resolved by hand",
}

// Reasons is the number of reasons; values at and above it are invalid.
const Reasons = len(reasonNames)

func (r Reason) String() string { return name(reasonNames[:], r) }

// LimitScope says whose limit refused, for the explanation of a verdict.
type LimitScope uint8

// The scopes in the order they are checked.
const (
	ScopeNone LimitScope = iota
	ScopeTerminal
	ScopeMerchant
	ScopeCard
	ScopeIdentity // all merchants of one licence or document
)

var scopeNames = [...]string{"", "terminal", "merchant", "card", "identity"}

func (s LimitScope) String() string { return name(scopeNames[:], s) }

// Verdict is what risk says: Reason is Approved when the request may go on, and
// Scope, Limit and Used are the values compared when a limit refused it.
type Verdict struct {
	Reason Reason
	Scope  LimitScope
	Limit  int64 // minor units or a count
	Used   int64
	// Findings are what the rules said, also of a request that goes on.
	Findings Findings
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
	Identity Identity // the merchant's; zero is none
	// Method and CardType are how it was paid: limits of these count them apart.
	Method   Method
	CardType CardType
	Part     bool // an amount only: its transaction is still counted
}
