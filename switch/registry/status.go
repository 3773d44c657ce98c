package registry

import (
	"fmt"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// MerchantStatus is how far a merchant is.
type MerchantStatus uint8

// The statuses.
const (
	MerchantDraft     MerchantStatus = iota // being written
	MerchantSubmitted                       // waits for its review
	MerchantReviewing                       // somebody reviews it
	MerchantRejected                        // it may be corrected and submitted again
	MerchantActive                          // approved: it is served
	MerchantHeld                            // it is served, and not paid out
	MerchantSuspended                       // not served for now
	MerchantClosed                          // for good
	MerchantFrozen                          // neither served nor paid out for now
)

var merchantStatusNames = [...]string{"draft", "submitted", "under-review", "rejected", "active", "hold", "suspended", "closed", "frozen"}

func (s MerchantStatus) String() string { return nameOf(merchantStatusNames[:], s) }

// Held says that what the merchant is owed is not paid out.
func (s MerchantStatus) Held() bool { return s == MerchantHeld || s == MerchantFrozen }

// Serves is the status as requests see it.
func (s MerchantStatus) Serves() txn.Status {
	switch s {
	case MerchantActive, MerchantHeld:
		return txn.StatusActive
	case MerchantSuspended, MerchantFrozen:
		return txn.StatusSuspended
	case MerchantClosed:
		return txn.StatusClosed
	}
	return txn.StatusInactive
}

// MachineStatus is where a machine is in its life.
type MachineStatus uint8

// The statuses.
const (
	MachineStock      MachineStatus = iota // ours, at nobody's
	MachineBound                           // a merchant's, not in use yet
	MachineActive                          // in use
	MachineUnverified                      // idle for too long, or not inspected: somebody must look at it
	MachineSuspended                       // not served for now
	MachineRepair                          // away for repair, and still the merchant's
	MachineRetired                         // for good
)

var machineStatusNames = [...]string{"stock", "bound", "active", "unverified", "suspended", "repair", "retired"}

func (s MachineStatus) String() string { return nameOf(machineStatusNames[:], s) }

// serves is the status as requests see it.
func (s MachineStatus) serves() txn.Status {
	switch s {
	case MachineActive:
		return txn.StatusActive
	case MachineUnverified, MachineSuspended, MachineRepair:
		return txn.StatusSuspended
	case MachineRetired:
		return txn.StatusClosed
	}
	return txn.StatusInactive
}

// Bound says that the machine is at a merchant's, under a terminal id.
func (s MachineStatus) Bound() bool { return s != MachineStock && s != MachineRetired }

// A step is an act that moves something from one of some statuses to another.
type step[S any] struct {
	act  string
	from []S
	to   S
}

// merchantSteps is the life of a merchant: whatever is not here is refused. From
// hold only resume lets payouts go on: a merchant that is suspended as well stays
// unpaid, and one that is closed would be paid the rest.
var merchantSteps = []step[MerchantStatus]{
	{"submit", []MerchantStatus{MerchantDraft, MerchantRejected}, MerchantSubmitted},
	{"review", []MerchantStatus{MerchantSubmitted}, MerchantReviewing},
	{"approve", []MerchantStatus{MerchantReviewing}, MerchantActive},
	{"reject", []MerchantStatus{MerchantReviewing}, MerchantRejected},
	{"hold", []MerchantStatus{MerchantActive}, MerchantHeld},
	{"hold", []MerchantStatus{MerchantSuspended}, MerchantFrozen},
	{"suspend", []MerchantStatus{MerchantActive}, MerchantSuspended},
	{"suspend", []MerchantStatus{MerchantHeld}, MerchantFrozen},
	{"resume", []MerchantStatus{MerchantHeld, MerchantSuspended}, MerchantActive},
	{"resume", []MerchantStatus{MerchantFrozen}, MerchantHeld},
	{"close", []MerchantStatus{MerchantDraft, MerchantSubmitted, MerchantReviewing, MerchantRejected, MerchantActive, MerchantSuspended}, MerchantClosed},
}

// machineSteps is the life of a machine: whatever is not here is refused.
var machineSteps = []step[MachineStatus]{
	{"bind", []MachineStatus{MachineStock}, MachineBound},
	{"activate", []MachineStatus{MachineBound}, MachineActive},
	{"idle", []MachineStatus{MachineActive}, MachineUnverified},
	{"suspend", []MachineStatus{MachineActive, MachineUnverified}, MachineSuspended},
	{"resume", []MachineStatus{MachineUnverified, MachineSuspended}, MachineActive},
	{"repair", []MachineStatus{MachineBound, MachineActive, MachineUnverified, MachineSuspended}, MachineRepair},
	{"return", []MachineStatus{MachineRepair}, MachineBound},
	{"move", []MachineStatus{MachineBound, MachineActive, MachineUnverified, MachineSuspended}, MachineBound},
	{"release", []MachineStatus{MachineBound, MachineActive, MachineUnverified, MachineSuspended, MachineRepair}, MachineStock},
	{"retire", []MachineStatus{MachineStock, MachineBound, MachineActive, MachineUnverified, MachineSuspended, MachineRepair}, MachineRetired},
}

// Step is the status to which an act moves a merchant, and whether it may.
func (s MerchantStatus) Step(act string) (MerchantStatus, bool) { return take(merchantSteps, s, act) }

// Step is the status to which an act moves a machine, and whether it may.
func (s MachineStatus) Step(act string) (MachineStatus, bool) { return take(machineSteps, s, act) }

// Acts are the acts that a merchant of this status allows.
func (s MerchantStatus) Acts() string { return acts(merchantSteps, s) }

// Acts are the acts that a machine of this status allows.
func (s MachineStatus) Acts() string { return acts(machineSteps, s) }

func take[S comparable](steps []step[S], from S, act string) (S, bool) {
	for _, st := range steps {
		if st.act == act && slices.Contains(st.from, from) {
			return st.to, true
		}
	}
	return from, false
}

func acts[S comparable](steps []step[S], from S) string {
	var names []string
	for _, st := range steps {
		if st.act != "idle" && slices.Contains(st.from, from) { // idle is no act of people
			names = append(names, st.act)
		}
	}
	return strings.Join(names, ", ")
}

func nameOf[S ~uint8](names []string, s S) string {
	if int(s) < len(names) {
		return names[s]
	}
	return "invalid"
}

// TicketStatus is how far a request for service is.
type TicketStatus uint8

// The statuses.
const (
	TicketOpen     TicketStatus = iota
	TicketAssigned              // somebody works on it
	TicketResolved              // he says it is done
	TicketClosed                // and so does who asked for it
)

var ticketStatusNames = [...]string{"open", "assigned", "resolved", "closed"}

func (s TicketStatus) String() string { return nameOf(ticketStatusNames[:], s) }

// ticketSteps is the life of a ticket.
var ticketSteps = []step[TicketStatus]{
	{"assign", []TicketStatus{TicketOpen, TicketAssigned}, TicketAssigned},
	{"resolve", []TicketStatus{TicketAssigned}, TicketResolved},
	{"reopen", []TicketStatus{TicketResolved}, TicketOpen},
	{"close", []TicketStatus{TicketResolved}, TicketClosed},
}

// Step is the status to which an act moves a ticket, and whether it may.
func (s TicketStatus) Step(act string) (TicketStatus, bool) { return take(ticketSteps, s, act) }

// Acts are the acts that a ticket of this status allows.
func (s TicketStatus) Acts() string { return acts(ticketSteps, s) }

// Parse reads the String form of something with names, or says which there are.
func Parse[S enum](text string) (S, error) {
	var names []string
	for s := S(0); s.String() != "invalid"; s++ {
		if s.String() == text {
			return s, nil
		}
		names = append(names, s.String())
	}
	return 0, fmt.Errorf("%q must be one of %s", text, strings.Join(names, ", "))
}
