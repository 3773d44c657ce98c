package office

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/registry"
)

// AddMachine puts a new machine into stock.
func (o *Office) AddMachine(ctx context.Context, who Act, e registry.Entry) error {
	serial := e.Get("serial")
	return o.do(ctx, who, "machine "+serial, func(w *work) error {
		if m, err := w.machine(serial); err != nil || m != nil {
			return errors.Join(err, refuse("T06", "serial", "machine %s is there already, and is %s", serial, stateOf(m)))
		}
		m := &machine{Entry: registry.NewTerminal()}
		m.Merge(e)
		return w.putMachine(m, "add")
	})
}

func stateOf(m *machine) string {
	switch {
	case m == nil:
		return "unknown"
	case m.Get("merchant") == "":
		return m.status.String()
	}
	return fmt.Sprintf("%s at merchant %s as terminal %s", m.status, m.Get("merchant"), m.Get("tid"))
}

// fixed are the keys of a machine that have acts of their own.
var fixed = []string{"serial", "tid", "merchant", "status"}

// SetMachine changes what is said of a machine: keys that are not in e stay,
// those with an empty text go. Whose it is and its status have acts of their own.
func (o *Office) SetMachine(ctx context.Context, who Act, e registry.Entry) error {
	serial := e.Get("serial")
	return o.do(ctx, who, "machine "+serial, func(w *work) error {
		m, err := w.knownMachine(serial)
		if err != nil {
			return err
		}
		return w.setMachine(m, e, "set")
	})
}

func (w *work) setMachine(m *machine, e registry.Entry, act string) error {
	for _, key := range fixed {
		if text := e.Get(key); text != "" && text != m.Get(key) {
			return refuse("", key, "machine %s is %s: what may be done is %s", m.Get("serial"), stateOf(m), m.status.Acts())
		}
	}
	m.Merge(e)
	return w.putMachine(m, act)
}

// Bind takes a machine from stock to a merchant: e has its serial, merchant, tid,
// class and, as its class and the merchant's need them, premises, region and
// areas. It is refused without all five elements (T08), and where the machine or
// the terminal id is in use (T06).
func (o *Office) Bind(ctx context.Context, who Act, e registry.Entry) error {
	serial := e.Get("serial")
	return o.do(ctx, who, "machine "+serial, func(w *work) error {
		m, err := w.knownMachine(serial)
		if err != nil {
			return err
		}
		return w.bindTo(m, e, registry.MachineBound, "bind")
	})
}

// bindTo binds a machine that is in stock.
func (w *work) bindTo(m *machine, e registry.Entry, status registry.MachineStatus, act string) error {
	serial := m.Get("serial")
	if _, ok := m.status.Step("bind"); !ok {
		return refuse("T06", "serial", "machine %s is %s: release it first, or propose to move it", serial, stateOf(m))
	}
	owner, err := w.knownMerchant(e.Get("merchant"))
	if err != nil {
		return err
	}
	if owner.status.Serves() == 0 { // inactive
		return refuse("T08", "merchant", "merchant %s is %s: a machine is bound to one that was approved", owner.Get("mid"), owner.status)
	}
	if err := w.vacate(e.Get("tid"), serial); err != nil {
		return err
	}
	m.Merge(e)
	if m.status = status; m.Get("since") == "" {
		m.Put("since", w.today.String())
	}
	if missing := w.missing(owner, m.Entry); len(missing) > 0 {
		return refuse("T08", "serial", "BIND-INCOMPLETE: machine %s cannot be bound to merchant %s without %s", serial, owner.Get("mid"), strings.Join(missing, ", "))
	}
	m.seen = w.today
	return w.putMachine(m, act)
}

// missing are those of the five elements that are not known: acquirer, merchant,
// licence or identity, settlement account, place (cup-pos T08).
func (w *work) missing(owner *merchant, e registry.Entry) (missing []string) {
	for _, element := range []struct {
		name  string
		there bool
	}{
		{"the acquirer's institution code", w.o.cfg.Acquirer != "" || owner.Get("agency") != ""},
		{"a merchant id", owner.Get("mid") != ""},
		{"the merchant's licence or identity document", owner.Get("licence") != "" || owner.Get("identity") != ""},
		{"the merchant's settlement account", owner.Get("account_sealed") != "" && owner.Get("account_owner") != ""},
		{"a place", e.Get("premises.lat") != "" && e.Get("premises.lng") != "" || e.Get("areas") != ""},
		{"a terminal id", e.Get("tid") != ""},
	} {
		if !element.there {
			missing = append(missing, element.name)
		}
	}
	return missing
}

// vacate makes sure that a terminal id is free for a machine. A retired machine
// gives its id up.
func (w *work) vacate(tid, serial string) error {
	other, err := w.holder(tid)
	if err != nil || other == nil || other.Get("serial") == serial {
		return err
	}
	if other.status != registry.MachineRetired {
		return refuse("T06", "tid", "terminal %s is machine %s already, which is %s", tid, other.Get("serial"), stateOf(other))
	}
	w.strip(other)
	return w.putMachine(other, "give up its terminal id")
}

// strip leaves of a machine what it keeps in stock.
func (w *work) strip(m *machine) {
	for _, key := range registry.TerminalKeys() {
		if key != "status" && !slices.Contains(registry.StockKeys, key) {
			m.Put(key, "")
		}
	}
	m.seen, m.inspected = 0, 0
}

// StepMachine does one of activate, suspend, resume, repair, return, release and
// retire. A retired machine keeps its terminal id until another one gets it:
// requests are told that it is not active.
func (o *Office) StepMachine(ctx context.Context, who Act, serial, act string) error {
	return o.do(ctx, who, "machine "+serial, func(w *work) error {
		m, err := w.knownMachine(serial)
		if err != nil {
			return err
		}
		if act == "bind" || act == "move" || act == "idle" {
			return refuse("", "status", "%s is no act of people on a machine's status", act)
		}
		return w.stepMachine(m, act)
	})
}

func (w *work) stepMachine(m *machine, act string) error {
	to, ok := m.status.Step(act)
	if !ok {
		return refuse("", "status", "machine %s is %s: %s is not possible, %s", m.Get("serial"), stateOf(m), act, nothing(m.status.Acts()))
	}
	switch m.status = to; act {
	case "resume", "activate":
		m.seen = w.today // somebody looked at it: what it did before counts no more
	case "release":
		w.strip(m)
	}
	return w.putMachine(m, act)
}

// MoveSubject is the subject of proposals to move a machine to another merchant.
const MoveSubject = "machine move"

// errTried ends an act before it writes anything.
var errTried = errors.New("only tried")

// ProposeMove proposes to move a bound machine to another merchant, as terminal
// tid: e has its serial, merchant, tid and place. What Bind would refuse is
// refused now, and again when it is approved.
func (o *Office) ProposeMove(ctx context.Context, who Act, e registry.Entry) (p approval.Proposal, err error) {
	text, err := json.Marshal(map[string]string{"entry": e.Text()})
	if err != nil {
		return p, err
	}
	err = o.db.Update(ctx, func(tx *sql.Tx) error {
		err := o.within(ctx, tx, who, "machine "+e.Get("serial"), func(w *work) error {
			if err := errors.Join(w.move(e), w.problems()); err != nil {
				return err
			}
			return errTried
		})
		if !errors.Is(err, errTried) {
			return err
		}
		p, err = approval.ProposeIn(ctx, tx, approval.Draft{Subject: MoveSubject, Object: e.Get("serial"), Document: string(text), By: who.By, Reason: who.Reason})
		return err
	})
	return p, err
}

// ApproveMove moves a machine as somebody else proposed it.
func (o *Office) ApproveMove(ctx context.Context, who Act, number int64) (approval.Proposal, error) {
	return o.approve(ctx, MoveSubject, registry.ParseTerminal, who, number, (*work).move)
}

func (w *work) move(e registry.Entry) error {
	m, err := w.knownMachine(e.Get("serial"))
	if err != nil {
		return err
	}
	if _, ok := m.status.Step("move"); !ok {
		return refuse("", "status", "machine %s is %s and cannot be moved, %s", m.Get("serial"), stateOf(m), nothing(m.status.Acts()))
	}
	if m.Get("merchant") == e.Get("merchant") {
		return refuse("", "merchant", "machine %s is at merchant %s already", m.Get("serial"), e.Get("merchant"))
	}
	w.strip(m)
	m.status = registry.MachineStock
	return w.bindTo(m, e, registry.MachineBound, "move")
}
