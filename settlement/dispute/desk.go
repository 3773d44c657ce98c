package dispute

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Limits of what is kept, in bytes.
const (
	CodeMax      = 20
	ReferenceMax = 60
	NameMax      = 120
	DocumentsMax = 100 // of a case

	listMax = 10_000
)

// Desk is where cases lie. It is safe for concurrent use, by several processes too.
type Desk struct {
	db        *sqldb.DB
	approvals *approval.Desk
	calendar  txn.BusinessDay
	deadlines func(issuer string) Deadlines
}

// New is the desk of the ledger's database. deadlines gives those of an issuer.
func New(db *sqldb.DB, approvals *approval.Desk, calendar txn.BusinessDay, deadlines func(issuer string) Deadlines) *Desk {
	return &Desk{db, approvals, calendar, deadlines}
}

//go:embed migrations/*.sql
var migrations embed.FS

// Schema is what Migrate brings up to date.
var Schema = sqldb.Schema{Files: migrations, Versions: "dispute_version"}

// Migrate makes the tables, beside the ledger's.
func (d *Desk) Migrate(ctx context.Context) error {
	return d.db.Migrate(ctx, Schema)
}

// Opening is what an issuer disputes.
type Opening struct {
	Step Step // Retrieval or ChargeBack
	// The transaction: its id, or its business day and reference number.
	ID   txn.ID
	Date txn.Date
	RRN  string
	// Reference is the issuer's number of the case, Code its reason.
	Reference, Code string
	Minor           int64        // of a chargeback; 0: all that is left of it
	Currency        txn.Currency // of Minor
	By, Reason      string
	Now             time.Time
}

// Open opens a case, or takes up the one that the issuer's request for a copy
// opened. What was opened before with the same content is returned as it is.
func (d *Desk) Open(ctx context.Context, o Opening) (c Case, err error) {
	err = d.db.Update(ctx, func(tx *sql.Tx) error {
		c, err = d.openIn(ctx, tx, o)
		return err
	})
	return c, err
}

func (d *Desk) openIn(ctx context.Context, tx *sql.Tx, o Opening) (c Case, err error) {
	if err := o.check(); err != nil {
		return c, err
	}
	deal, err := theDeal(ctx, tx, &o)
	if err != nil {
		return c, err
	}
	if masked := txn.Text(deal.Masked[:]); cardOf(masked, o.Reference) || cardOf(masked, o.Code) {
		return c, refuse("the issuer's reference has the card number in it: it is not kept")
	}
	if o.Minor != 0 && o.Currency != deal.Paid.Currency {
		return c, refuse("the transaction is in %s, not in %s", deal.Paid.Currency.Letters(), o.Currency.Letters())
	}
	all, err := list(ctx, tx, ` WHERE d.id = $1 AND d.reference = $2`, int64(deal.ID), o.Reference)
	if err != nil {
		return c, err
	}
	if len(all) > 0 {
		c = all[0]
	} else if c, err = store(ctx, tx, &deal, o.Reference); err != nil {
		return c, err
	}
	s := Taken{At: o.Now, Step: o.Step, Code: o.Code, By: o.By, Reason: o.Reason}
	switch {
	case o.Step == Retrieval && c.State != "", o.Step == ChargeBack && c.Amount != 0 && (c.Amount == o.Minor || o.Minor == 0):
		return c, nil // it was taken before
	case o.Step == ChargeBack && c.Amount != 0:
		return c, refuse("case %d charges %s back under this reference already, not %s", c.Number, c.money(c.Amount), c.money(o.Minor))
	case o.Step == ChargeBack:
		before, err := charged(ctx, tx, deal.ID)
		if err != nil {
			return c, err
		}
		if s.Amount = o.Minor; o.Minor == 0 {
			s.Amount = deal.Left - before
		}
		if s.Amount <= 0 || s.Amount > deal.Left-before {
			return c, refuse("of %s paid %s is left after refunds and voids, and %s is charged back already: %s more cannot be",
				c.money(deal.Paid.Minor), c.money(deal.Left), c.money(before), c.money(max(s.Amount, o.Minor)))
		}
	}
	err = d.take(ctx, tx, &c, s)
	return c, err
}

// check refuses what cannot be of any transaction.
func (o *Opening) check() error {
	if o.Step != Retrieval && o.Step != ChargeBack {
		return refuse("a case begins with %s or %s", Retrieval, ChargeBack)
	}
	if o.Minor < 0 || o.Minor > txn.AmountMax || o.Step == Retrieval && o.Minor != 0 {
		return refuse("the amount is that of a chargeback: above zero, and of at most 12 digits in minor units")
	}
	return cmp.Or(said(o.By, o.Reason), short("reason code", o.Code, CodeMax), short("issuer's reference", o.Reference, ReferenceMax))
}

// store begins a case of a transaction, which has no step yet.
func store(ctx context.Context, tx *sql.Tx, deal *ledger.Deal, reference string) (Case, error) {
	c := Case{ID: deal.ID, Reference: reference, Issuer: deal.Issuer.String(), Date: deal.Day, Merchant: deal.Merchant.String(), Terminal: deal.Terminal.String(),
		RRN: txn.Text(deal.RRN[:]), Card: txn.Text(deal.Masked[:]), Currency: deal.Paid.Currency, Paid: deal.Paid.Minor}
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM dispute`).Scan(&c.Number); err != nil {
		return c, fmt.Errorf("number a case: %w", err)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO dispute (number, id, reference, issuer, business_date, merchant_id, terminal_id, rrn, pan_masked, currency, paid)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, c.Number, int64(c.ID), c.Reference, c.Issuer, c.Date.String(), c.Merchant, c.Terminal, c.RRN, c.Card,
		int64(c.Currency), c.Paid)
	if err != nil {
		return c, fmt.Errorf("store case %d: %w", c.Number, err)
	}
	return c, nil
}

func theDeal(ctx context.Context, tx *sql.Tx, o *Opening) (deal ledger.Deal, err error) {
	if o.ID != 0 {
		deal, ok, err := ledger.DealIn(ctx, tx, o.ID)
		if err == nil && !ok {
			err = refuse("no transaction %s by which a cardholder paid is in the ledger", o.ID)
		}
		return deal, err
	}
	all, err := ledger.DealsIn(ctx, tx, o.Date, o.RRN)
	if err == nil && len(all) != 1 {
		err = refuse("%d transactions of %s by which a cardholder paid have the reference number %.12q", len(all), o.Date, o.RRN)
	}
	if err != nil {
		return deal, err
	}
	return all[0], nil
}

// charged is what the cases of a transaction have taken of it.
func charged(ctx context.Context, tx *sql.Tx, id txn.ID) (minor int64, err error) {
	all, err := list(ctx, tx, ` WHERE d.id = $1`, int64(id))
	for i := range all {
		if all[i].State.charged() {
			minor += all[i].Amount
		}
	}
	return minor, err
}

// Act is a step that one person takes.
type Act struct {
	Case       int64
	Step       Step
	Code       string // of a second chargeback
	By, Reason string
	Now        time.Time
}

// Act takes a step. One that was the last one already changes nothing.
func (d *Desk) Act(ctx context.Context, a Act) (c Case, err error) {
	err = d.db.Update(ctx, func(tx *sql.Tx) error {
		c, err = d.actIn(ctx, tx, a)
		return err
	})
	return c, err
}

func (d *Desk) actIn(ctx context.Context, tx *sql.Tx, a Act) (c Case, err error) {
	if err := said(a.By, a.Reason); err != nil {
		return c, err
	}
	if err := free("reason code", a.Code, CodeMax); err != nil {
		return c, err
	}
	switch a.Step {
	case WriteOff:
		return c, refuse("what we bear ourselves is proposed, and approved by another person")
	case Expire, Retrieval, ChargeBack:
		return c, refuse("%s is no step that is taken so", a.Step)
	}
	if c, err = get(ctx, tx, a.Case); err != nil {
		return c, err
	}
	if last := c.Steps[len(c.Steps)-1]; last.Step == a.Step {
		return c, nil
	}
	if a.Step == Represent && len(c.Documents) == 0 {
		if _, err := find(a.Step, c.State); err == nil {
			return c, refuse("case %d has no document to represent it with: add one", c.Number)
		}
	}
	err = d.take(ctx, tx, &c, Taken{At: a.Now, Step: a.Step, Code: a.Code, By: a.By, Reason: a.Reason})
	return c, err
}

// take adds a step to a case, and its act to the ledger.
func (d *Desk) take(ctx context.Context, tx *sql.Tx, c *Case, s Taken) error {
	m, err := find(s.Step, c.State)
	if err != nil {
		return refuse("case %d: %v", c.Number, err)
	}
	day := d.calendar.Of(s.At)
	if s.Step.timely() && c.Deadline != 0 && day > c.Deadline {
		return refuse("case %d: the last day for that was %s", c.Number, c.Deadline)
	}
	if s.State, s.Deadline = m.to, d.deadlines(c.Issuer).until(m.to, day); s.Amount == 0 {
		s.Amount = c.Amount
	}
	if s.Code == "" {
		s.Code = c.Code
	}
	s.At = s.At.UTC().Truncate(time.Microsecond)
	item := c.steps + 1
	if m.money {
		a := ledger.Act{At: s.At, Kind: ledger.Dispute, Who: s.By, Reason: reasonOf(&s), Refers: s.Proposal, About: about(c.Number, item), Debit: m.debit.String(), Credit: m.credit.String(),
			Minor: s.Amount, Claim: ledger.Claim{Merchant: txn.MakeMerchantID(c.Merchant), Currency: c.Currency}}
		if m.debit == book.IssuerReceivable || m.credit == book.IssuerReceivable {
			a.Issuer = txn.MakeIssuerID(c.Issuer)
		}
		if err := ledger.AddActIn(ctx, tx, &a); err != nil {
			return err
		}
		s.Act = a.Number
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO dispute_step (dispute, item, at, step, state, amount, code, by_whom, reason, deadline, proposal, act)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`, c.Number, item, s.At.UnixMicro(), string(s.Step), string(s.State), s.Amount, s.Code, s.By, s.Reason,
		s.Deadline.String(), s.Proposal, s.Act)
	if err != nil {
		return fmt.Errorf("store step %d of case %d: %w", item, c.Number, err)
	}
	c.Amount, c.Code, c.State, c.Deadline, c.Since, c.steps = s.Amount, s.Code, s.State, s.Deadline, s.At, item
	c.Steps = append(c.Steps, s)
	return nil
}

func reasonOf(s *Taken) string {
	return strings.TrimSpace(string(s.Step)+" "+s.Code) + ": " + s.Reason
}

// AddDocument notes a document of a case. The same one again changes nothing.
func (d *Desk) AddDocument(ctx context.Context, number int64, x Document) (c Case, err error) {
	if err := approval.Person(x.By); err != nil {
		return c, err
	}
	if !slices.Contains(Kinds, x.Kind) {
		return c, refuse("%q must be one of %s", x.Kind, strings.Join(Kinds, ", "))
	}
	if err := free("document's name", x.Name, NameMax); err != nil {
		return c, err
	}
	if x.Name == "" || len(x.SHA256) != 64 || x.Size <= 0 {
		return c, refuse("a document has a name, a SHA-256 of 64 digits and a size")
	}
	err = d.db.Update(ctx, func(tx *sql.Tx) error {
		if c, err = get(ctx, tx, number); err != nil {
			return err
		}
		if slices.ContainsFunc(c.Documents, func(y Document) bool { return y.SHA256 == x.SHA256 }) {
			return nil
		}
		if !c.State.Open() {
			return refuse("case %d is %s: it needs no documents any more", c.Number, c.State)
		}
		if len(c.Documents) >= DocumentsMax {
			return refuse("case %d has %d documents: more are not kept", c.Number, DocumentsMax)
		}
		x.At = x.At.UTC().Truncate(time.Microsecond)
		_, err := tx.ExecContext(ctx, `INSERT INTO dispute_document (dispute, item, at, by_whom, kind, name, sha256, size) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			c.Number, int64(len(c.Documents)+1), x.At.UnixMicro(), x.By, x.Kind, x.Name, x.SHA256, x.Size)
		if err != nil {
			return fmt.Errorf("store a document of case %d: %w", c.Number, err)
		}
		c.Documents = append(c.Documents, x)
		return nil
	})
	return c, err
}

// Expire acts on the deadlines that are over by an instant's business day, one case
// after the other, and returns these cases.
func (d *Desk) Expire(ctx context.Context, now time.Time) (expired []Case, err error) {
	today := d.calendar.Of(now)
	var due []Case
	err = d.db.View(ctx, func(tx *sql.Tx) error {
		due, err = list(ctx, tx, ` WHERE s.deadline <> '0000-00-00' AND s.deadline < $1 ORDER BY d.number`, today.String())
		return err
	})
	if sqldb.NoTable(err) { // nobody has opened a case yet
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, c := range due {
		taken := false
		err := d.db.Update(ctx, func(tx *sql.Tx) error {
			now, err := get(ctx, tx, c.Number)
			if taken = err == nil && now.steps == c.steps; !taken { // somebody was first
				return err
			}
			c = now
			return d.take(ctx, tx, &c, Taken{At: d.calendar.Start(c.Deadline.After()), Step: Expire, By: "deadline", Reason: fmt.Sprintf("nothing came by %s", c.Deadline)})
		})
		if err != nil {
			return expired, err
		}
		if taken {
			expired = append(expired, c)
		}
	}
	return expired, nil
}

// Subject is what proposals of write-offs are called on the approvals' desk.
const Subject = "dispute write-off"

type writeOff struct {
	Case int64 `json:"case"`
}

// ProposeWriteOff proposes that we bear a case that is lost. It returns the
// proposal's number.
func (d *Desk) ProposeWriteOff(ctx context.Context, number int64, by, reason string) (int64, error) {
	if err := said(by, reason); err != nil {
		return 0, err
	}
	c, err := d.Get(ctx, number)
	if err != nil {
		return 0, err
	}
	if _, err := find(WriteOff, c.State); err != nil {
		return 0, refuse("case %d: %v", number, err)
	}
	document, err := json.Marshal(writeOff{number})
	if err != nil {
		return 0, err
	}
	p, err := d.approvals.Propose(ctx, approval.Draft{Subject: Subject, Object: strconv.FormatInt(number, 10), Document: string(document), By: by, Reason: reason})
	return p.Number, err
}

// Approve writes off what another person proposed.
func (d *Desk) Approve(ctx context.Context, proposal int64, by, why string) error {
	if err := said(by, why); err != nil {
		return err
	}
	_, err := d.approvals.Approve(ctx, Subject, proposal, by, why, func(tx *sql.Tx, p *approval.Proposal) error {
		var w writeOff
		if err := json.Unmarshal([]byte(p.Document), &w); err != nil {
			return fmt.Errorf("read proposal %d: %w", p.Number, err)
		}
		c, err := get(ctx, tx, w.Case)
		if err != nil {
			return err
		}
		return d.take(ctx, tx, &c, Taken{At: time.Now(), Step: WriteOff, By: by, Reason: p.Reason + " (" + p.By + ")", Proposal: p.Number})
	})
	return err
}

// Reject leaves a case as it is.
func (d *Desk) Reject(ctx context.Context, proposal int64, by, why string) error {
	if err := said(by, why); err != nil {
		return err
	}
	return d.approvals.Reject(ctx, Subject, proposal, by, why)
}

func (c *Case) money(minor int64) string {
	return txn.Amount{Minor: minor, Currency: c.Currency}.InLetters()
}
