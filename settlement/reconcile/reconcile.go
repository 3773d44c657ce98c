// Package reconcile holds issuers' files against the ledger and keeps what does
// not match until two people have disposed of it.
//
// Promises: of a file that is cut off, has a wrong sum, a bad line or the wrong
// day, or that was given before, nothing is applied, and one error names the line
// and the column. A file's result is durable when Import returns, all of it or
// none. What did not match stays, with its cause, until a later file settles it or
// a disposition is approved; whatever moves money is a correction that the next run
// books. Card numbers of a file are masked as its lines are read.
//
// A file is read line by line; of our transactions of its day about 100 bytes each
// are held meanwhile.
//
// Not here: fetching files, what fees an issuer should have taken, chargebacks.
package reconcile

import (
	"fmt"

	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func refuse(format string, args ...any) error { return approval.Refuse(format, args...) }

// State is which side has what.
type State string

// The states of what did not match.
const (
	OursOnly   State = "ours only"
	TheirsOnly State = "theirs only"
	Differs    State = "differs"
	Duplicate  State = "duplicate"
)

// Cause is why something did not match.
type Cause uint8

// The causes. Of those by which two sides differ the first that holds is named.
const (
	IssuerDoesNotHaveIt Cause = iota
	IssuerDeclinedIt
	IssuerReversedIt

	ItIsAnotherAcquirers
	ItWentToAnotherIssuer
	ItMovedNoMoney
	WeReversedIt
	WeDeclinedIt
	WeDoNotKnowItsOutcome
	ItIsOfAnotherDay
	WeDoNotHaveIt

	CurrencyDiffers
	DirectionDiffers
	AmountDiffers
	CardDiffers
	MerchantDiffers
	TerminalDiffers
	RRNDiffers
	AuthCodeDiffers

	ItIsTwiceInTheFile
	ItWasGivenBefore

	Causes = int(ItWasGivenBefore) + 1
)

var causes = [Causes]struct {
	name  string
	state State
}{
	IssuerDoesNotHaveIt:   {"the issuer does not have it", OursOnly},
	IssuerDeclinedIt:      {"the issuer declined it", OursOnly},
	IssuerReversedIt:      {"the issuer reversed it", OursOnly},
	ItIsAnotherAcquirers:  {"it is another acquirer's", TheirsOnly},
	ItWentToAnotherIssuer: {"we sent it to another issuer", TheirsOnly},
	ItMovedNoMoney:        {"it moved no money with us", TheirsOnly},
	WeReversedIt:          {"we reversed it", TheirsOnly},
	WeDeclinedIt:          {"we declined it", TheirsOnly},
	WeDoNotKnowItsOutcome: {"we do not know its outcome", TheirsOnly},
	ItIsOfAnotherDay:      {"it is of another day", TheirsOnly},
	WeDoNotHaveIt:         {"we do not have it", TheirsOnly},
	CurrencyDiffers:       {"the currency differs", Differs},
	DirectionDiffers:      {"one side pays, the other gets back", Differs},
	AmountDiffers:         {"the amount differs", Differs},
	CardDiffers:           {"the card differs", Differs},
	MerchantDiffers:       {"the merchant differs", Differs},
	TerminalDiffers:       {"the terminal differs", Differs},
	RRNDiffers:            {"the reference number differs", Differs},
	AuthCodeDiffers:       {"the authorization code differs", Differs},
	ItIsTwiceInTheFile:    {"it is twice in the file", Duplicate},
	ItWasGivenBefore:      {"an earlier file has it", Duplicate},
}

func (c Cause) String() string {
	if int(c) < Causes {
		return causes[c].name
	}
	return "invalid"
}

// MarshalText is String.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// State is which side has what, by the cause.
func (c Cause) State() State { return causes[c].state }

// ParseCause reads String's form.
func ParseCause(name string) (Cause, error) {
	for i := range causes {
		if causes[i].name == name {
			return Cause(i), nil
		}
	}
	return 0, fmt.Errorf("cause %q is not known", name)
}

// Side is an amount as one side has it: below zero the cardholder gets back. The
// zero Side is one that does not have it.
type Side = txn.Amount
