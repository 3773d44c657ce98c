package office

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// AddMerchant writes a new merchant down, as a draft.
func (o *Office) AddMerchant(ctx context.Context, who Act, e registry.Entry) error {
	id := e.Get("mid")
	return o.do(ctx, who, "merchant "+id, func(w *work) error {
		if m, err := w.merchant(id); err != nil || m != nil {
			return errors.Join(err, refuse("", "mid", "merchant %s is there already: change it with merchant set", id))
		}
		return w.newMerchant(e, registry.MerchantDraft, "add")
	})
}

// SetMerchant changes what is said of a merchant: keys that are not in e stay,
// those with an empty text go. Its status has acts of its own, and so has where it
// is paid, once it was submitted: ProposeAccount.
func (o *Office) SetMerchant(ctx context.Context, who Act, e registry.Entry) error {
	id := e.Get("mid")
	return o.do(ctx, who, "merchant "+id, func(w *work) error {
		m, err := w.knownMerchant(id)
		if err != nil {
			return err
		}
		return w.setMerchant(m, e, "set")
	})
}

func (w *work) newMerchant(e registry.Entry, status registry.MerchantStatus, act string) error {
	m := &merchant{Entry: registry.NewMerchant(), status: status}
	m.Merge(e)
	return w.mend(m, act)
}

func (w *work) setMerchant(m *merchant, e registry.Entry, act string) error {
	if s := e.Get("status"); s != "" && s != m.status.String() {
		return refuse("", "status", "merchant %s is %s: what may be done is %s", m.Get("mid"), m.status, m.status.Acts())
	}
	m.Merge(e)
	return w.mend(m, act)
}

// mend seals, checks what no row tells, and puts.
func (w *work) mend(m *merchant, act string) error {
	c, err := w.check()
	if err != nil {
		return err
	}
	m.Put("status", m.status.String())
	c.Merchant(m.Entry) // the numbers in clear, too
	if c.Err() != nil {
		return nil // told at the end, with its line
	}
	if err := w.seal(m.Entry); err != nil {
		return err
	}
	if act != accountAct {
		if err := w.paidAsBefore(m); err != nil {
			return err
		}
	}
	if err := w.put(m, act); err != nil {
		return err
	}
	if err := w.micro(m); err != nil {
		return err
	}
	if m.status.Serves() == txn.StatusActive {
		return w.blacklisted(m)
	}
	return nil
}

// micro holds M06: one person has at most so many micro merchants here.
func (w *work) micro(m *merchant) error {
	identity := m.Get("identity")
	if m.Get("type") != "micro" || identity == "" || m.status == registry.MerchantClosed || m.status == registry.MerchantRejected {
		return nil
	}
	documents, err := readEntries(w.ctx, w.tx, registry.ParseMerchant,
		`SELECT document FROM merchant WHERE identity = $1 AND status NOT IN ('closed', 'rejected')`, identity)
	if err != nil {
		return err
	}
	others := map[string]bool{}
	for _, e := range documents {
		if _, here := w.merchants[e.Get("mid")]; !here && e.Get("type") == "micro" {
			others[e.Get("mid")] = true
		}
	}
	for id, o := range w.merchants {
		if o.Get("identity") == identity && o.Get("type") == "micro" && o.status != registry.MerchantClosed && o.status != registry.MerchantRejected {
			others[id] = true
		}
	}
	delete(others, m.Get("mid"))
	if len(others) >= w.o.cfg.MicroMax {
		return refuse("M06", "identity", "its person has %d micro merchants already, and at most %d are allowed", len(others), w.o.cfg.MicroMax)
	}
	return nil
}

// StepMerchant does one of submit, review, approve, reject, hold, suspend, resume
// and close. Approving is another person's than submitting. A merchant on hold is
// resumed by two people: ProposeResume.
func (o *Office) StepMerchant(ctx context.Context, who Act, id, act string) error {
	return o.do(ctx, who, "merchant "+id, func(w *work) error {
		m, err := w.knownMerchant(id)
		if err != nil {
			return err
		}
		if act == "resume" && m.status == registry.MerchantHeld {
			return refuse("", "status", "merchant %s is on hold: that it is paid again takes two people, propose it", id)
		}
		return w.stepMerchant(m, act)
	})
}

func (w *work) stepMerchant(m *merchant, act string) error {
	id := m.Get("mid")
	to, ok := m.status.Step(act)
	if !ok {
		return refuse("", "status", "merchant %s is %s: %s is not possible, %s", id, m.status, act, nothing(m.status.Acts()))
	}
	switch act {
	case "reject", "hold", "suspend", "close":
		if strings.TrimSpace(w.who.Reason) == "" {
			return refuse("", "", "say why merchant %s: %s", id, act)
		}
	}
	if err := w.mayStep(m, act); err != nil {
		return err
	}
	if m.status = to; act == "approve" && m.Get("since") == "" {
		m.Put("since", w.today.String())
	}
	return w.put(m, act)
}

// Suspend suspends a merchant, or its machine under a terminal id, as a part of a
// transaction on the office's database. What is not served anyway, or not here any
// more, stays as it is.
func (o *Office) Suspend(ctx context.Context, tx *sql.Tx, merchant, terminal, by, reason string) error {
	return o.within(ctx, tx, Act{By: by, Reason: reason}, "suspend", func(w *work) error {
		if terminal == "" {
			m, err := w.merchant(merchant)
			if err != nil || m == nil || m.status.Serves() != txn.StatusActive {
				return err
			}
			return w.stepMerchant(m, "suspend")
		}
		m, err := w.holder(terminal)
		if err != nil || m == nil || m.Get("merchant") != merchant {
			return err
		}
		if _, ok := m.status.Step("suspend"); !ok {
			return nil
		}
		return w.stepMachine(m, "suspend")
	})
}

func nothing(acts string) string {
	if acts == "" {
		return "and nothing else is"
	}
	return "but " + acts
}

// mayStep holds what an act needs besides the right status.
func (w *work) mayStep(m *merchant, act string) error {
	id := m.Get("mid")
	switch act {
	case "submit":
		var missing []string
		for _, key := range []string{"legal_name", "account_sealed", "account_owner"} {
			if m.Get(key) == "" {
				missing = append(missing, strings.TrimSuffix(key, "_sealed"))
			}
		}
		if m.Get("licence") == "" && m.Get("identity") == "" {
			missing = append(missing, "licence or identity_number")
		}
		var papers int
		if err := w.tx.QueryRowContext(w.ctx, `SELECT COUNT(*) FROM paper WHERE merchant = $1`, id).Scan(&papers); err != nil {
			return failed("count papers", err)
		}
		if papers == 0 {
			missing = append(missing, "a paper (merchant paper)")
		}
		if len(missing) > 0 {
			return refuse("", "", "merchant %s cannot be reviewed yet: it lacks %s", id, strings.Join(missing, ", "))
		}
		return w.blacklisted(m)
	case "approve":
		var submitter string
		err := w.tx.QueryRowContext(w.ctx, `SELECT by_whom FROM change WHERE subject = 'merchant' AND object = $1 AND act = 'submit' ORDER BY number DESC LIMIT 1`, id).Scan(&submitter)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return failed("read who submitted "+id, err)
		}
		if approval.SamePerson(submitter, w.who.By) {
			return refuse("", "", "%s submitted merchant %s: another person must approve it", submitter, id)
		}
		return w.blacklisted(m)
	case "resume":
		row, err := w.rowOf(m)
		if err != nil {
			return err
		}
		if row.LicenceEnds != 0 && row.LicenceEnds < w.today {
			return refuse("M04", "licence_ends", "the licence of merchant %s ended on %s: set licence_ends of its new one first", id, row.LicenceEnds)
		}
		return w.blacklisted(m)
	case "close":
		var machines int
		if err := w.tx.QueryRowContext(w.ctx, `SELECT COUNT(*) FROM machine WHERE merchant = $1 AND status <> 'retired'`, id).Scan(&machines); err != nil {
			return failed("count machines", err)
		}
		if machines > 0 {
			return refuse("", "", "merchant %s has %d machines: release or retire them first", id, machines)
		}
	}
	return nil
}

// PaperKinds are what a merchant may hand in; account is proof of where it is paid.
var PaperKinds = []string{"licence", "identity", "account", "contract", "photo", "other"}

// Paper is what is known of something that a merchant handed in.
type Paper struct {
	Kind   string    `json:"kind"` // one of PaperKinds
	Name   string    `json:"name"`
	Size   int64     `json:"size"`
	SHA256 string    `json:"sha256"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
}

// AddPaper notes that a merchant handed something in.
func (o *Office) AddPaper(ctx context.Context, who Act, id string, p Paper) error {
	if p.Name == "" || len(p.SHA256) != 64 || p.Size <= 0 {
		return errors.New("a paper has a name, a size and a SHA-256")
	}
	if !slices.Contains(PaperKinds, p.Kind) {
		return refuse("", "", "%q is no kind of paper: give %s", p.Kind, strings.Join(PaperKinds, ", "))
	}
	return o.do(ctx, who, "merchant "+id, func(w *work) error {
		if _, err := w.knownMerchant(id); err != nil {
			return err
		}
		var twice int
		if err := w.tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM paper WHERE merchant = $1 AND sha256 = $2`, id, p.SHA256).Scan(&twice); err != nil {
			return failed("read papers", err)
		}
		if twice > 0 {
			return refuse("", "", "merchant %s handed this in already", id)
		}
		w.note("merchant", id, "paper", "", fmt.Sprintf("%s %s %d bytes sha256 %s\n", p.Kind, p.Name, p.Size, p.SHA256))
		return o.insert(ctx, w.tx, "paper (merchant, sha256, kind, name, size, at, by_whom)", 7,
			[]any{id, p.SHA256, p.Kind, p.Name, p.Size, w.at.UnixMicro(), w.who.By}, "")
	})
}
