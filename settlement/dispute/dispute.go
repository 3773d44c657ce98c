// Package dispute follows what issuers dispute: a request for a copy, a chargeback,
// what we say against it, and how it ends.
//
// Promises: a case is durable when a call returns, its steps are never changed, and
// each step that moves money is one act of the ledger, made in the same transaction,
// which the next run books. What is charged back of a transaction, of all its cases
// together, is never more than what is left of it after refunds and voids when the
// chargeback is taken. What goes against ourselves is decided by two people.
//
// Not here: what an issuer's rules are (its reason codes are kept as they come; the
// deadlines are the configuration's), and documents themselves: of these only kind,
// name, hash and size are kept.
package dispute

import (
	"fmt"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// State is how far a case is.
type State string

// The states. The first three and the last three before Written off move nothing
// any more by themselves.
const (
	Requested        State = "requested"          // a copy of the slip is asked for
	Answered         State = "answered"           // it was sent
	Unanswered       State = "unanswered"         // it was not, in time
	ChargedBack      State = "charged back"       // the issuer took the money, and the merchant's account bears it
	Represented      State = "represented"        // we got it back, and keep it until the issuer has had its time
	ChargedBackAgain State = "charged back again" // the issuer took it a second time
	Contested        State = "contested"          // the network decides
	Won              State = "won"                // the merchant has it again
	Lost             State = "lost"               // the merchant bears it
	WrittenOff       State = "written off"        // we bear it
)

// Open says that something is still to be done or waited for.
func (s State) Open() bool { return deadlineOf[s] != none || s == Contested }

// charged says that the case's amount counts against what was paid.
func (s State) charged() bool {
	switch s {
	case ChargedBack, Represented, ChargedBackAgain, Contested, Lost, WrittenOff:
		return true
	}
	return false
}

// Step is what is done about a case.
type Step string

// The steps.
const (
	Retrieval  Step = "retrieval"  // the issuer asks for a copy
	Answer     Step = "answer"     // we send it
	ChargeBack Step = "chargeback" // the issuer takes the money
	Represent  Step = "represent"  // we present it again, with documents
	Second     Step = "second"     // the issuer takes it again
	Contest    Step = "contest"    // we put it to the network
	Accept     Step = "accept"     // we say nothing against it
	Win        Step = "win"        // the issuer, or the network, gives in
	Lose       Step = "lose"       // the network decides against us
	Expire     Step = "expire"     // who had to do something did not
	WriteOff   Step = "write-off"  // the merchant cannot be charged
)

// command is what the command of a step is called.
func (s Step) command() string {
	switch s {
	case Win:
		return "won"
	case Lose:
		return "lost"
	}
	return string(s)
}

// move is one row of the rules: from a state, a step leads to another and moves the
// case's amount between two accounts.
type move struct {
	step          Step
	from          State // empty: there is no case yet
	to            State
	debit, credit book.Account
	money         bool
}

// moves are the rules. Of the accounts, IssuerReceivable is the issuer's, the
// others are the merchant's or ours.
var moves = []move{
	{step: Retrieval, to: Requested},
	{step: Answer, from: Requested, to: Answered},
	{step: Expire, from: Requested, to: Unanswered},

	{ChargeBack, "", ChargedBack, book.MerchantPayable, book.IssuerReceivable, true},
	{ChargeBack, Requested, ChargedBack, book.MerchantPayable, book.IssuerReceivable, true},
	{ChargeBack, Answered, ChargedBack, book.MerchantPayable, book.IssuerReceivable, true},
	{ChargeBack, Unanswered, ChargedBack, book.MerchantPayable, book.IssuerReceivable, true},

	{Represent, ChargedBack, Represented, book.IssuerReceivable, book.Disputed, true},
	{step: Accept, from: ChargedBack, to: Lost},
	{step: Expire, from: ChargedBack, to: Lost},

	{Win, Represented, Won, book.Disputed, book.MerchantPayable, true},
	{Expire, Represented, Won, book.Disputed, book.MerchantPayable, true},
	{Second, Represented, ChargedBackAgain, book.Disputed, book.IssuerReceivable, true},

	{step: Contest, from: ChargedBackAgain, to: Contested},
	{step: Accept, from: ChargedBackAgain, to: Lost},
	{step: Expire, from: ChargedBackAgain, to: Lost},
	{Win, ChargedBackAgain, Won, book.IssuerReceivable, book.MerchantPayable, true},
	{Win, Contested, Won, book.IssuerReceivable, book.MerchantPayable, true},
	{step: Lose, from: Contested, to: Lost},

	{WriteOff, Lost, WrittenOff, book.DisputeLoss, book.MerchantPayable, true},
}

// find is the rule of a step from a state; what does not go is an approval.Refusal that says
// what does.
func find(step Step, from State) (*move, error) {
	var may []string
	for i := range moves {
		m := &moves[i]
		if m.from != from {
			continue
		}
		if m.step == step {
			return m, nil
		}
		may = append(may, m.step.command())
	}
	if len(may) == 0 {
		return nil, refuse("it is %s: nothing can be done about it any more", from)
	}
	return nil, refuse("it is %s: %s is not possible, but %s", from, step.command(), strings.Join(may, ", "))
}

// Deadlines are how many calendar days after a step the next one may come. The
// defaults are ours: compare them with the network's rules.
type Deadlines struct {
	Answer    int // ours, to a request for a copy
	Represent int // ours, to a chargeback
	Second    int // the issuer's, after we represented
	Contest   int // ours, to a second chargeback
}

// DefaultDeadlines are those of a network of which nothing is configured.
var DefaultDeadlines = Deadlines{Answer: 10, Represent: 30, Second: 30, Contest: 10}

// DeadlineMax bounds a deadline, in days.
const DeadlineMax = 366

// Check says which deadline cannot be.
func (d Deadlines) Check() error {
	for _, x := range [...]struct {
		name string
		days int
	}{{"answer", d.Answer}, {"represent", d.Represent}, {"second", d.Second}, {"contest", d.Contest}} {
		if x.days < 1 || x.days > DeadlineMax {
			return fmt.Errorf("%s: %d must be 1 to %d days", x.name, x.days, DeadlineMax)
		}
	}
	return nil
}

type deadline uint8

const (
	none deadline = iota
	toAnswer
	toRepresent
	toSecond
	toContest
)

var deadlineOf = map[State]deadline{Requested: toAnswer, ChargedBack: toRepresent, Represented: toSecond, ChargedBackAgain: toContest}

// until is the last day for what comes after a state that began on a day; 0: none.
func (d Deadlines) until(s State, day txn.Date) txn.Date {
	switch deadlineOf[s] {
	case toAnswer:
		return day.Plus(d.Answer)
	case toRepresent:
		return day.Plus(d.Represent)
	case toSecond:
		return day.Plus(d.Second)
	case toContest:
		return day.Plus(d.Contest)
	}
	return 0
}

// timely says that a step must come by the deadline of the state before.
func (s Step) timely() bool { return s == Answer || s == Represent || s == Contest }

func refuse(format string, args ...any) error { return approval.Refuse(format, args...) }

// Case is a case with its last step.
type Case struct {
	Number    int64    `json:"number"`
	ID        txn.ID   `json:"id"`
	Reference string   `json:"reference,omitempty"`
	Issuer    string   `json:"issuer"`
	Date      txn.Date `json:"-"` // business day of the transaction
	Merchant  string   `json:"merchant"`
	Terminal  string   `json:"terminal"`
	RRN       string   `json:"rrn"`
	Card      string   `json:"card"`

	Currency txn.Currency `json:"-"`
	Paid     int64        `json:"paid"`   // minor units, when it was opened
	Amount   int64        `json:"amount"` // charged back; 0: nothing yet
	Over     int64        `json:"over"`   // of one that Get gives: by how much all cases and refunds now pass what was paid
	Code     string       `json:"code,omitempty"`
	State    State        `json:"state"`
	Deadline txn.Date     `json:"-"` // 0: none
	Since    time.Time    `json:"since"`

	Steps     []Taken    `json:"steps,omitempty"` // of one that Get gives
	Documents []Document `json:"documents,omitempty"`
	steps     int64
}

// Taken is a step that was taken.
type Taken struct {
	At       time.Time `json:"at"`
	Step     Step      `json:"step"`
	State    State     `json:"state"`
	Amount   int64     `json:"amount"`
	Code     string    `json:"code,omitempty"`
	By       string    `json:"by"`
	Reason   string    `json:"reason"`
	Deadline txn.Date  `json:"-"`
	Proposal int64     `json:"proposal,omitempty"`
	Act      int64     `json:"act,omitempty"`
}

// Document is what is known of a document.
type Document struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Kind   string    `json:"kind"` // one of Kinds
	Name   string    `json:"name"`
	SHA256 string    `json:"sha256"`
	Size   int64     `json:"size"`
}

// Kinds are what documents may be.
var Kinds = []string{"slip", "receipt", "invoice", "delivery", "agreement", "refund", "letter", "other"}

// about is the key of the act of a case's step.
func about(number, item int64) string { return fmt.Sprintf("case %d step %d", number, item) }
