package office

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/registry"
)

// ResumeSubject is the subject of proposals to pay a merchant on hold again.
const ResumeSubject = "merchant resume"

// resumption is the document of such a proposal: the merchant as it would be, and
// the last change of the registry that its proposer knew.
type resumption struct {
	Entry string `json:"entry"`
	After int64  `json:"after"`
}

// ProposeResume proposes that a merchant on hold is paid again. What resuming would
// be refused for is refused now, and again when it is approved.
func (o *Office) ProposeResume(ctx context.Context, who Act, id string) (p approval.Proposal, err error) {
	err = o.db.Update(ctx, func(tx *sql.Tx) error {
		document := resumption{Entry: fmt.Sprintf("mid %s\nstatus %s\n", id, registry.MerchantActive)}
		err := o.within(ctx, tx, who, "merchant "+id, func(w *work) error {
			document.After = w.next - 1
			if err := w.payAgain(id); err != nil {
				return err
			}
			return errTried
		})
		if !errors.Is(err, errTried) {
			return err
		}
		text, err := json.Marshal(document)
		if err != nil {
			return err
		}
		p, err = approval.ProposeIn(ctx, tx, approval.Draft{Subject: ResumeSubject, Object: id, Document: string(text), By: who.By, Reason: who.Reason})
		return err
	})
	return p, err
}

// ApproveResume does what somebody else proposed, unless the merchant was put on
// hold once more since: that is another reason than he looked at.
func (o *Office) ApproveResume(ctx context.Context, who Act, number int64) (approval.Proposal, error) {
	return o.desk.Approve(ctx, ResumeSubject, number, who.By, who.Reason, func(tx *sql.Tx, p *approval.Proposal) error {
		var document resumption
		if err := json.Unmarshal([]byte(p.Document), &document); err != nil {
			return fmt.Errorf("read proposal %d: %w", number, err)
		}
		why := Act{who.By, fmt.Sprintf("proposal %d of %s: %s", number, p.By, p.Reason)}
		return o.within(ctx, tx, why, "merchant "+p.Object, func(w *work) error {
			var again int
			err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM change WHERE subject = 'merchant' AND object = $1 AND act = 'hold' AND number > $2`,
				p.Object, document.After).Scan(&again)
			if err != nil {
				return failed("read the holds of "+p.Object, err)
			}
			if again > 0 {
				return refuse("", "status", "merchant %s was put on hold again since: propose it again", p.Object)
			}
			return w.payAgain(p.Object)
		})
	})
}

func (w *work) payAgain(id string) error {
	m, err := w.knownMerchant(id)
	if err != nil {
		return err
	}
	if m.status != registry.MerchantHeld {
		return refuse("", "status", "merchant %s is %s, not on hold", id, m.status)
	}
	return w.stepMerchant(m, "resume")
}
