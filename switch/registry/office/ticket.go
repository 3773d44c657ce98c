package office

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/registry"
)

// Ticket is a request for service of a machine.
type Ticket struct {
	Number   int64     `json:"number"`
	Serial   string    `json:"serial"`
	Terminal string    `json:"terminal"` // as it was bound when the ticket was opened
	Merchant string    `json:"merchant"`
	Kind     string    `json:"kind"` // inquiry, repair, complaint
	Status   string    `json:"status"`
	Said     string    `json:"said"`
	Assignee string    `json:"assignee,omitempty"`
	Answer   string    `json:"answer,omitempty"`
	Opened   time.Time `json:"opened"`
	By       string    `json:"by"`
}

// TicketKinds are the words for what a ticket may be.
var TicketKinds = []string{"inquiry", "repair", "complaint"}

// ticketTextMax bounds what a ticket says, in bytes.
const ticketTextMax = 2000

// OpenTicket opens a ticket: Serial, Kind and Said are given.
func (o *Office) OpenTicket(ctx context.Context, who Act, t Ticket) (Ticket, error) {
	if !slices.Contains(TicketKinds, t.Kind) {
		return t, fmt.Errorf("kind %q must be one of %s", t.Kind, strings.Join(TicketKinds, ", "))
	}
	if t.Said == "" || len(t.Said) > ticketTextMax {
		return t, fmt.Errorf("say in 1 to %d bytes what it is about", ticketTextMax)
	}
	err := o.do(ctx, who, "ticket", func(w *work) error {
		m, err := w.knownMachine(t.Serial)
		if err != nil {
			return err
		}
		if err := w.tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM ticket`).Scan(&t.Number); err != nil {
			return failed("number a ticket", err)
		}
		t.Terminal, t.Merchant, t.Status, t.Opened, t.By = m.Get("tid"), m.Get("merchant"), registry.TicketOpen.String(), w.at, who.By
		w.note("ticket", fmt.Sprint(t.Number), "open", "", t.text())
		return o.insert(ctx, w.tx, "ticket (number, serial, terminal, merchant, kind, status, said, assignee, answer, opened, opened_by)", 11,
			[]any{t.Number, t.Serial, t.Terminal, t.Merchant, t.Kind, t.Status, t.Said, "", "", t.Opened.UnixMicro(), t.By}, "")
	})
	return t, err
}

func (t *Ticket) text() string {
	return fmt.Sprintf("status %s\nserial %s\nkind %s\nsaid %q\nassignee %s\nanswer %q\n", t.Status, t.Serial, t.Kind, t.Said, t.Assignee, t.Answer)
}

// StepTicket does one of assign (text is to whom), resolve (text is the answer),
// reopen and close.
func (o *Office) StepTicket(ctx context.Context, who Act, number int64, act, text string) (t Ticket, err error) {
	err = o.do(ctx, who, "ticket", func(w *work) error {
		if t, err = scanTicket(w.tx.QueryRowContext(ctx, selectTickets+` WHERE number = $1`, number).Scan); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("ticket %d: %w", number, ErrUnknown)
			}
			return failed(fmt.Sprintf("read ticket %d", number), err)
		}
		was := t.text()
		status, err := registry.Parse[registry.TicketStatus](t.Status)
		if err != nil {
			return err
		}
		to, ok := status.Step(act)
		if !ok {
			return refuse("", "status", "ticket %d is %s: %s is not possible, %s", number, status, act, nothing(status.Acts()))
		}
		if act == "assign" || act == "resolve" {
			if text == "" || len(text) > ticketTextMax {
				return fmt.Errorf("say in 1 to %d bytes to whom it is assigned, or how it is resolved", ticketTextMax)
			}
		}
		switch t.Status = to.String(); act {
		case "assign":
			t.Assignee = text
		case "resolve":
			t.Answer = text
		}
		w.note("ticket", fmt.Sprint(number), act, was, t.text())
		if _, err := w.tx.ExecContext(ctx, `UPDATE ticket SET status = $1, assignee = $2, answer = $3 WHERE number = $4`, t.Status, t.Assignee, t.Answer, number); err != nil {
			return failed("write a ticket", err)
		}
		return nil
	})
	return t, err
}

const selectTickets = `SELECT number, serial, terminal, merchant, kind, status, said, assignee, answer, opened, opened_by FROM ticket`

func scanTicket(into func(...any) error) (t Ticket, err error) {
	var opened int64
	err = into(&t.Number, &t.Serial, &t.Terminal, &t.Merchant, &t.Kind, &t.Status, &t.Said, &t.Assignee, &t.Answer, &opened, &t.By)
	t.Opened = time.UnixMicro(opened).UTC()
	return t, err
}
