// Package approval is how what one person wants done is done by two: one
// proposes it, another one approves it or rejects it, once.
//
// Promises: a proposal is durable when Propose returns, and never changed; of
// two people who decide it one does, and the other is told who did; nobody
// decides his own. What an approval does is done in its transaction: both are
// there, or neither.
//
// Not here: who people are and what they may do. A name is what the command was
// told; names that differ in case or width only are one person's.
package approval

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
)

// Limits of a proposal, in bytes.
const (
	DocumentMax = 4 << 20
	TextMax     = 500 // of a reason, a subject and an object
	NameMax     = 40  // of a person
)

// State is what became of a proposal.
type State uint8

// The states.
const (
	Open State = iota
	Approved
	Rejected
)

var stateNames = [...]string{"open", "approved", "rejected"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

// MarshalText is String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// parseState reads String's form.
func parseState(text string) (State, error) {
	for i, n := range stateNames {
		if n == text {
			return State(i), nil
		}
	}
	return 0, fmt.Errorf("state %q must be one of %s", text, strings.Join(stateNames[:], ", "))
}

// Draft is what somebody proposes.
type Draft struct {
	Subject  string `json:"subject"`  // what kind of change, such as "terminal move"
	Object   string `json:"object"`   // what it is about, such as a terminal's id
	Document string `json:"document"` // the change itself, in its subject's form
	By       string `json:"by"`
	Reason   string `json:"reason"`
}

// Proposal is a draft with a number, and what was decided about it.
type Proposal struct {
	Number int64 `json:"number"`
	Draft
	At    time.Time `json:"at"`
	State State     `json:"state"`
	// Who decided, why and when; empty while it is open.
	Decider   string    `json:"decider,omitempty"`
	Why       string    `json:"why,omitempty"`
	DecidedAt time.Time `json:"decided_at,omitzero"`
}

// ErrUnknown: no proposal has this number, or none of this subject.
var ErrUnknown = Refuse("there is no such proposal")

// ErrSamePerson: who proposes something does not decide it.
var ErrSamePerson = Refuse("another person must decide it than the one who proposed it")

// ErrNoSchema: nobody has called Migrate on this database yet.
var ErrNoSchema = errors.New("the database has no tables of proposals yet; a switch makes them when it starts")

// Desk is where proposals lie. It is safe for concurrent use, by several
// processes too.
type Desk struct{ db *sqldb.DB }

// New is the desk of a database.
func New(db *sqldb.DB) *Desk { return &Desk{db} }

//go:embed migrations/*.sql
var migrations embed.FS

// Schema is what Migrate brings up to date.
var Schema = sqldb.Schema{Files: migrations, Versions: "approval_version"}

// Migrate makes the tables.
func (d *Desk) Migrate(ctx context.Context) error {
	return d.db.Migrate(ctx, Schema)
}

// Propose puts a draft on the desk. While nobody has decided it, the same draft is the
// same proposal: whoever was not told that it lies there may propose it again.
func (d *Desk) Propose(ctx context.Context, draft Draft) (p Proposal, err error) {
	err = d.db.Update(ctx, func(tx *sql.Tx) error {
		open, err := listIn(ctx, tx, Filter{Subject: draft.Subject, Open: true})
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(open, func(p Proposal) bool { return p.Draft == draft }); i >= 0 {
			p = open[i]
			return nil
		}
		p, err = ProposeIn(ctx, tx, draft)
		return err
	})
	return p, err
}

// ProposeIn is Propose as part of a transaction of the same database.
func ProposeIn(ctx context.Context, tx *sql.Tx, draft Draft) (Proposal, error) {
	p := Proposal{Draft: draft, At: now()}
	if err := p.check(); err != nil {
		return p, err
	}
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM proposal`).Scan(&p.Number); err != nil {
		return p, failed("number a proposal", err)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO proposal (number, subject, object, document, by_whom, reason, at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		p.Number, p.Subject, p.Object, p.Document, p.By, p.Reason, p.At.UnixMicro())
	if err != nil {
		return p, failed("store a proposal", err)
	}
	return p, nil
}

// Approve decides a proposal of a subject, if apply does what it asks for in the
// same transaction. apply must have no other effect than on tx: it may be called
// again. Whatever apply returns as its error leaves the proposal open.
func (d *Desk) Approve(ctx context.Context, subject string, number int64, by, why string, apply func(*sql.Tx, *Proposal) error) (p Proposal, err error) {
	err = d.db.Update(ctx, func(tx *sql.Tx) error {
		p, err = ApproveIn(ctx, tx, subject, number, by, why, apply)
		return err
	})
	return p, err
}

// ApproveIn is Approve as part of a transaction of the same database.
func ApproveIn(ctx context.Context, tx *sql.Tx, subject string, number int64, by, why string, apply func(*sql.Tx, *Proposal) error) (Proposal, error) {
	return decide(ctx, tx, Approved, subject, number, by, why, apply)
}

// Reject decides that a proposal of a subject is not done. why must be said.
func (d *Desk) Reject(ctx context.Context, subject string, number int64, by, why string) error {
	return d.db.Update(ctx, func(tx *sql.Tx) error { return RejectIn(ctx, tx, subject, number, by, why) })
}

// RejectIn is Reject as part of a transaction of the same database.
func RejectIn(ctx context.Context, tx *sql.Tx, subject string, number int64, by, why string) error {
	if strings.TrimSpace(why) == "" {
		return Refuse("say why it is rejected")
	}
	_, err := decide(ctx, tx, Rejected, subject, number, by, why, func(*sql.Tx, *Proposal) error { return nil })
	return err
}

func decide(ctx context.Context, tx *sql.Tx, to State, subject string, number int64, by, why string, apply func(*sql.Tx, *Proposal) error) (p Proposal, err error) {
	if err := cmp.Or(Person(by), Short("reason", why)); err != nil {
		return p, err
	}
	if p, err = get(ctx, tx, number); err != nil {
		return p, err
	}
	switch {
	case p.Subject != subject:
		return p, fmt.Errorf("proposal %d is a %s: %w of %s", number, p.Subject, ErrUnknown, subject)
	case p.State != Open:
		return p, Refuse("proposal %d was %s by %s at %s", number, p.State, p.Decider, p.DecidedAt.Format(time.RFC3339))
	case SamePerson(p.By, by):
		return p, fmt.Errorf("proposal %d is %s's: %w", number, p.By, ErrSamePerson)
	}
	if err := apply(tx, &p); err != nil {
		return p, err
	}
	p.State, p.Decider, p.Why, p.DecidedAt = to, by, why, now()
	_, err = tx.ExecContext(ctx, `INSERT INTO proposal_decision (number, state, by_whom, reason, at) VALUES ($1, $2, $3, $4, $5)`,
		number, to.String(), by, why, p.DecidedAt.UnixMicro())
	if err != nil {
		return p, failed("store a decision", err)
	}
	return p, nil
}

// Get is one proposal.
func (d *Desk) Get(ctx context.Context, number int64) (p Proposal, err error) {
	err = d.db.View(ctx, func(tx *sql.Tx) error {
		p, err = get(ctx, tx, number)
		return err
	})
	return p, err
}

const selectProposals = `SELECT p.number, p.subject, p.object, p.document, p.by_whom, p.reason, p.at,
	COALESCE(d.state, 'open'), COALESCE(d.by_whom, ''), COALESCE(d.reason, ''), COALESCE(d.at, 0)
	FROM proposal AS p LEFT JOIN proposal_decision AS d ON d.number = p.number`

func get(ctx context.Context, tx *sql.Tx, number int64) (Proposal, error) {
	p, err := scan(tx.QueryRowContext(ctx, selectProposals+` WHERE p.number = $1`, number).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return p, fmt.Errorf("proposal %d: %w", number, ErrUnknown)
	}
	if err != nil {
		return p, failed(fmt.Sprintf("read proposal %d", number), err)
	}
	return p, nil
}

// Filter chooses proposals. Empty fields choose all.
type Filter struct {
	Subject string
	Open    bool // only those nobody has decided
}

// List is the chosen proposals, by number, the newest last, at most ListMax of
// them: the newest.
func (d *Desk) List(ctx context.Context, f Filter) (list []Proposal, err error) {
	err = d.db.View(ctx, func(tx *sql.Tx) error {
		list, err = listIn(ctx, tx, f)
		return err
	})
	return list, err
}

// ListMax bounds a list.
const ListMax = 1000

func listIn(ctx context.Context, tx *sql.Tx, f Filter) ([]Proposal, error) {
	onlyOpen := 0
	if f.Open {
		onlyOpen = 1
	}
	var list []Proposal
	err := sqldb.Each(ctx, tx, func(row func(...any) error) error {
		p, err := scan(row)
		list = append(list, p)
		return err
	}, `SELECT * FROM (`+selectProposals+` WHERE (p.subject = $1 OR $1 = '') AND (d.number IS NULL OR $2 = 0)
		ORDER BY p.number DESC LIMIT $3) AS newest ORDER BY number`, f.Subject, onlyOpen, ListMax)
	return list, failed("list proposals", err)
}

func scan(into func(...any) error) (p Proposal, err error) {
	var at, decided int64
	var state string
	if err = into(&p.Number, &p.Subject, &p.Object, &p.Document, &p.By, &p.Reason, &at, &state, &p.Decider, &p.Why, &decided); err != nil {
		return p, err
	}
	p.At = time.UnixMicro(at).UTC()
	if decided != 0 {
		p.DecidedAt = time.UnixMicro(decided).UTC()
	}
	p.State, err = parseState(state)
	return p, err
}

func (p *Draft) check() error {
	if err := Person(p.By); err != nil {
		return err
	}
	switch {
	case p.Subject == "":
		return errors.New("a proposal must have a subject")
	case strings.TrimSpace(p.Reason) == "":
		return Refuse("say why it is proposed")
	case len(p.Document) > DocumentMax:
		return Refuse("the document is %d bytes long, at most %d are proposed at once", len(p.Document), DocumentMax)
	}
	return cmp.Or(Short("subject", p.Subject), Short("object", p.Object), Short("reason", p.Reason))
}

// failed says what could not be done, if there is an error.
func failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case sqldb.NoTable(err):
		err = ErrNoSchema
	}
	return fmt.Errorf("%s: %w", what, err)
}

// now is in the precision of the database.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
