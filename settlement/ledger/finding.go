package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Finding is what one rule said of one decided request.
type Finding struct {
	Position uint64 // of the request in the journal
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	Day      txn.Date
	ID       txn.ID
	Policy   uint32
	txn.Finding
}

var findingTable = newTable("finding", "merchant_id", "business_date", "position", "item", "terminal_id", "id", "rule", "action", "shadow", "policy", "seen", "bound")

// FindingsOf are those that the ledger keeps of a record at a journal position.
func FindingsOf(position uint64, rec *txn.Record) []Finding {
	if rec.Kind != txn.RecordOutcome || rec.Findings.Len() == 0 {
		return nil
	}
	all := make([]Finding, 0, rec.Findings.Len())
	for x := range rec.Findings.All() {
		all = append(all, Finding{position, rec.Merchant, rec.Key.Terminal, rec.Day, rec.ID, rec.Findings.Policy, x})
	}
	return all
}

// putFindings appends a row for each of e's.
func (l *Ledger) putFindings(e *Entry) {
	fs := &e.Rec.Findings
	if fs.Len() == 0 {
		return
	}
	item := int64(0)
	for x := range fs.All() {
		shadow := int64(0)
		if x.Shadow {
			shadow = 1
		}
		row := merchantColumn.put(l.rows[findingTable], e).day(e.Rec.Day).number(int64(e.Pos)).number(item)
		l.rows[findingTable] = terminalColumn.put(row, e).number(int64(e.Rec.ID)).texts(x.Rule.String(), nameOf(x.Action)).number(shadow).
			number(int64(fs.Policy)).number(x.Seen).number(x.Bound)
		item++
	}
}

const findingsFrom = `SELECT position, merchant_id, business_date, terminal_id, id, rule, action, shadow, policy, seen, bound
FROM finding WHERE position > $1 ORDER BY position, item LIMIT $2`

var actions = valuesOf[txn.Action]()

// Findings are the first of those behind a journal position, at most limit of
// them, in journal order.
func (q queries) Findings(ctx context.Context, after uint64, limit int) ([]Finding, error) {
	var all []Finding
	err := q.rows(ctx, "read findings", func(scan func(...any) error) error {
		var f Finding
		var merchant, day, terminal, rule, action string
		err := scan(&f.Position, &merchant, &day, &terminal, &f.ID, &rule, &action, &f.Shadow, &f.Policy, &f.Seen, &f.Bound)
		if err != nil {
			return err
		}
		if f.Day, err = txn.ParseDate(day); err == nil {
			f.Rule, err = txn.ParseRule(rule)
		}
		if err = errors.Join(err, untext(f.Merchant[:], ' ', []byte(merchant)), untext(f.Terminal[:], ' ', []byte(terminal))); err != nil {
			return fmt.Errorf("that at %d: %w", f.Position, err)
		}
		f.Action = actions[action]
		all = append(all, f)
		return nil
	}, findingsFrom, int64(after), limit)
	return all, err
}

// FindingsAt are those of the request at a journal position.
func (q queries) FindingsAt(ctx context.Context, position uint64) ([]Finding, error) {
	all, err := q.Findings(ctx, position-1, txn.FindingsMax)
	for i := range all {
		if all[i].Position != position {
			return all[:i], err
		}
	}
	return all, err
}
