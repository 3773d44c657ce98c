package policy

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
)

// Subject is what proposals of policies are called on the desk of approvals.
const Subject = "risk policy"

// Version is one policy that was in force. It is never changed.
type Version struct {
	Number     uint32    `json:"number"`
	Hash       string    `json:"hash"` // SHA-256 of the document, hexadecimal
	Document   string    `json:"document,omitempty"`
	Proposal   int64     `json:"proposal,omitempty"`
	Restores   uint32    `json:"restores,omitempty"` // the version whose document it is, if it was a rollback
	By         string    `json:"by"`
	ApprovedBy string    `json:"approved_by,omitempty"`
	Reason     string    `json:"reason"`
	At         time.Time `json:"at"`
}

// Policy is the version as an engine takes it.
func (v *Version) Policy() (risk.Policy, error) {
	p, err := Load([]byte(v.Document), fmt.Sprintf("policy %d", v.Number))
	p.Number = v.Number
	return p, err
}

// ErrNone: no version was ever put in force.
var ErrNone = approval.Refuse("no policy was put in force yet: the built-in one is")

// errLost: the database had the policy that is in force.
var errLost = errors.New("the database has no policy any more: it was restored, or a standby took over without it; propose it again")

// ErrUnknown: no version has this number.
var ErrUnknown = approval.Refuse("there is no such policy")

// Store keeps the versions in the ledger's database. It is safe for concurrent
// use, by several processes too.
type Store struct {
	db   *sqldb.DB
	desk *approval.Desk
}

// NewStore keeps versions in a database that a desk of approvals lies in too.
func NewStore(db *sqldb.DB, desk *approval.Desk) *Store { return &Store{db, desk} }

//go:embed migrations/*.sql
var migrations embed.FS

// Schema is what Migrate brings up to date.
var Schema = sqldb.Schema{Files: migrations, Versions: "risk_policy_version"}

// Migrate makes the tables.
func (s *Store) Migrate(ctx context.Context) error {
	return s.db.Migrate(ctx, Schema)
}

// Propose lays a document on the desk, if it can be read and replaces something.
func (s *Store) Propose(ctx context.Context, text []byte, name, by, reason string) (p approval.Proposal, err error) {
	doc, err := Load(text, name)
	if err != nil {
		return p, err
	}
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		base, err := newest(ctx, tx)
		if err != nil && !errors.Is(err, ErrNone) {
			return err
		}
		if base.Document == string(text) {
			return approval.Refuse("it is policy %d, which is in force", base.Number)
		}
		if err := claimNumbers(ctx, tx, &doc, 0); err != nil {
			return err
		}
		p, err = approval.ProposeIn(ctx, tx, approval.Draft{Subject: Subject, Object: strconv.FormatUint(uint64(base.Number), 10),
			Document: string(text), By: by, Reason: reason})
		return err
	})
	return p, err
}

// Approve puts a proposal in force as the next version. check, which may be nil,
// compares the policy in force, if there is one, with the next; what it says
// against that leaves the proposal open.
func (s *Store) Approve(ctx context.Context, proposal int64, by, why string, check func(before *Version, next *risk.Policy) error) (v Version, err error) {
	_, err = s.desk.Approve(ctx, Subject, proposal, by, why, func(tx *sql.Tx, p *approval.Proposal) error {
		before, err := newest(ctx, tx)
		inForce := &before
		if errors.Is(err, ErrNone) {
			inForce = nil
		} else if err != nil {
			return err
		}
		if p.Object != strconv.FormatUint(uint64(before.Number), 10) { // it would undo what is in force
			return approval.Refuse("it was proposed to replace policy %s, and policy %d is in force since: propose it again", p.Object, before.Number)
		}
		// What could be read when it was proposed may be none to this program.
		doc, err := Load([]byte(p.Document), fmt.Sprintf("proposal %d", p.Number))
		if err != nil {
			return approval.Refuse("%v", err)
		}
		doc.Number = before.Number + 1
		if check != nil {
			if err := check(inForce, &doc); err != nil {
				return err
			}
		}
		if err := claimNumbers(ctx, tx, &doc, doc.Number); err != nil {
			return err
		}
		v = Version{Number: doc.Number, Document: p.Document, Proposal: p.Number, By: p.By, ApprovedBy: by, Reason: p.Reason}
		return insert(ctx, tx, &v)
	})
	return v, err
}

// Reject decides that a proposal is not put in force.
func (s *Store) Reject(ctx context.Context, proposal int64, by, why string) error {
	return s.desk.Reject(ctx, Subject, proposal, by, why)
}

// Rollback puts the document of the version before the one in force in force
// again, as a new version. Two people have approved it before, so one is enough;
// but once only: what is itself a rollback is replaced by a proposal.
func (s *Store) Rollback(ctx context.Context, by, reason string) (v Version, err error) {
	if err := approval.Person(by); err != nil {
		return v, err
	}
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		now, err := newest(ctx, tx)
		switch {
		case err != nil:
			return err
		case now.Restores != 0:
			return approval.Refuse("policy %d is itself a rollback, to policy %d: propose what should be in force", now.Number, now.Restores)
		case now.Number == 1:
			return approval.Refuse("policy 1 has none before it: propose what should be in force")
		}
		before, err := get(ctx, tx, now.Number-1)
		if err != nil {
			return err
		}
		v = Version{Number: now.Number + 1, Document: before.Document, Restores: before.Number, By: by, Reason: reason}
		if _, err := v.Policy(); err != nil {
			return approval.Refuse("%v", err)
		}
		return insert(ctx, tx, &v)
	})
	return v, err
}

// InForce is the newest version, or ErrNone.
func (s *Store) InForce(ctx context.Context) (v Version, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		v, err = newest(ctx, tx)
		return err
	})
	return v, err
}

// Get is one version.
func (s *Store) Get(ctx context.Context, number uint32) (v Version, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		v, err = get(ctx, tx, number)
		return err
	})
	return v, err
}

// ListMax bounds a list of versions.
const ListMax = 1000

// List is the newest versions without their documents, the newest last.
func (s *Store) List(ctx context.Context) (list []Version, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		return failed("list policies", sqldb.Each(ctx, tx, func(row func(...any) error) error {
			v, err := scan(row)
			list = append(list, v)
			return err
		}, `SELECT * FROM (SELECT number, hash, '', proposal, restores, by_whom, approved_by, reason, at
			FROM risk_policy ORDER BY number DESC LIMIT $1) AS newest ORDER BY number`, ListMax))
	})
	return list, err
}

// InForceAs is which version is in force. Its hash tells it from another one of that
// number: a database that was restored may have lost versions and got new ones since.
type InForceAs struct {
	Number uint32
	Hash   string
}

// Follow calls take with the version in force whenever that has changed, first if it
// is not since, until ctx ends. It looks at the given interval. An error of take, and
// that the database is away, goes to complain once, and is tried again.
func (s *Store) Follow(ctx context.Context, since InForceAs, every time.Duration, take func(*Version) error, complain func(error)) error {
	said := "" // what complain was told of: a version, that there is none, or that the database is away
	for {
		now, err := s.follow(ctx, since, take)
		if ctx.Err() != nil {
			return nil
		}
		about := ""
		switch {
		case err != nil:
			if about = fmt.Sprint(now, err == errLost); about != said {
				complain(err)
			}
		case now.Number != 0:
			since = now
		}
		said = about
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func (s *Store) follow(ctx context.Context, since InForceAs, take func(*Version) error) (now InForceAs, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	err = s.db.Read.QueryRowContext(ctx, `SELECT number, hash FROM risk_policy ORDER BY number DESC LIMIT 1`).Scan(&now.Number, &now.Hash)
	switch {
	case errors.Is(err, sql.ErrNoRows) && since.Number > 0:
		return now, errLost
	case errors.Is(err, sql.ErrNoRows):
		return now, nil
	case err != nil:
		return now, failed("look for a policy", err)
	case now == since:
		return now, nil
	}
	v, err := s.Get(ctx, now.Number)
	if err == nil {
		err = take(&v)
	}
	return now, err
}

const lookWithin = 10 * time.Second

const selectVersions = `SELECT number, hash, document, proposal, restores, by_whom, approved_by, reason, at FROM risk_policy`

func newest(ctx context.Context, tx *sql.Tx) (Version, error) {
	v, err := scan(tx.QueryRowContext(ctx, selectVersions+` ORDER BY number DESC LIMIT 1`).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return v, ErrNone
	}
	if err != nil {
		return v, failed("read the policy in force", err)
	}
	return v, nil
}

func get(ctx context.Context, tx *sql.Tx, number uint32) (Version, error) {
	v, err := scan(tx.QueryRowContext(ctx, selectVersions+` WHERE number = $1`, int64(number)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return v, fmt.Errorf("policy %d: %w", number, ErrUnknown)
	}
	if err != nil {
		return v, failed(fmt.Sprintf("read policy %d", number), err)
	}
	if v.Hash != HashOf(v.Document) {
		return v, fmt.Errorf("policy %d was changed in the database: its document has not its hash", number)
	}
	return v, nil
}

func scan(into func(...any) error) (v Version, err error) {
	var at int64
	err = into(&v.Number, &v.Hash, &v.Document, &v.Proposal, &v.Restores, &v.By, &v.ApprovedBy, &v.Reason, &at)
	v.At = time.UnixMicro(at).UTC()
	return v, err
}

func insert(ctx context.Context, tx *sql.Tx, v *Version) error {
	v.Hash, v.At = HashOf(v.Document), time.Now().UTC().Truncate(time.Microsecond)
	_, err := tx.ExecContext(ctx, `INSERT INTO risk_policy (number, hash, document, proposal, restores, by_whom, approved_by, reason, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		int64(v.Number), v.Hash, v.Document, v.Proposal, int64(v.Restores), v.By, v.ApprovedBy, v.Reason, v.At.UnixMicro())
	return failed("store a policy", err)
}

// claimNumbers holds that no rule has a number which was another one's, and
// notes those that are new in policy, unless that is 0.
func claimNumbers(ctx context.Context, tx *sql.Tx, p *risk.Policy, policy uint32) error {
	for i := range p.Own {
		r := &p.Own[i]
		var name string
		var first uint32
		err := tx.QueryRowContext(ctx, `SELECT name, policy FROM risk_rule WHERE number = $1`, int64(r.Number)).Scan(&name, &first)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			if policy == 0 {
				continue
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO risk_rule (number, name, policy) VALUES ($1, $2, $3)`, int64(r.Number), r.Name, int64(policy)); err != nil {
				return failed("note a rule's number", err)
			}
		case err != nil:
			return failed("read a rule's number", err)
		case name != r.Name:
			return approval.Refuse("rule %q: number %d is rule %q since policy %d, and its findings are kept: give another number, or that name", r.Name, uint16(r.Number), name, first)
		}
	}
	return nil
}

// HashOf is the hash of a document.
func HashOf(document string) string {
	sum := sha256.Sum256([]byte(document))
	return hex.EncodeToString(sum[:])
}

// failed says what could not be done, if there is an error.
func failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case sqldb.NoTable(err):
		err = approval.ErrNoSchema
	}
	return fmt.Errorf("%s: %w", what, err)
}
