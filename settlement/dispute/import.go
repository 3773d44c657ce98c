package dispute

import (
	"context"
	"database/sql"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// LinesMax bounds a file of disputes, and FileSizeMax its bytes.
const (
	LinesMax    = 100_000
	FileSizeMax = 64 << 20
)

// Line is one dispute of an issuer's file.
type Line struct {
	Number int
	Step   Step // one that an issuer takes
	Date   txn.Date
	RRN    string
	Reference, Code,
	Amount, // in major units; empty: all that is left, or as before
	Reason string
}

// Imported is what a file came to.
type Imported struct {
	Lines int `json:"lines"`
	Taken int `json:"taken"` // steps that were not there before
}

var (
	columns   = []string{"step", "date", "rrn", "reference", "code", "amount", "reason"}
	fileSteps = []Step{Retrieval, ChargeBack, Second, Win, Lose}
)

// readLines reads an issuer's disputes: a CSV whose first line names its columns, of
// which step (retrieval, chargeback, second, win, lose), date and rrn must be there. It
// returns all of them or a *yamlfile.Problem.
func readLines(name string, r io.Reader) (all []Line, err error) {
	wrong := func(line int, field, format string, args ...any) ([]Line, error) {
		return nil, &yamlfile.Problem{File: name, Line: line, Field: field, What: fmt.Sprintf(format, args...)}
	}
	in := &io.LimitedReader{R: r, N: FileSizeMax + 1}
	rows := csv.NewReader(in)
	rows.ReuseRecord = true
	at := map[string]int{}
	for n := 0; ; n++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
			return wrong(parse.Line, "", "%v", parse.Err)
		}
		if err != nil {
			return wrong(0, "", "%v", err)
		}
		if in.N == 0 {
			return wrong(0, "", "it is larger than %d bytes", FileSizeMax)
		}
		if n == 0 {
			for i, c := range row {
				c = strings.TrimPrefix(c, "\ufeff")
				if !slices.Contains(columns, c) {
					return wrong(1, "", "the column %.30q must be one of %s", c, strings.Join(columns, ", "))
				}
				if _, twice := at[c]; twice {
					return wrong(1, c, "is there twice")
				}
				at[c] = i
			}
			for _, c := range columns[:3] {
				if _, ok := at[c]; !ok {
					return wrong(1, c, "there is no such column")
				}
			}
			continue
		}
		line, _ := rows.FieldPos(0)
		get := func(c string) string {
			if i, ok := at[c]; ok {
				return strings.Clone(row[i])
			}
			return ""
		}
		x := Line{Number: line, Step: Step(get("step")), RRN: get("rrn"), Reference: get("reference"), Code: get("code"), Amount: get("amount"), Reason: get("reason")}
		if !slices.Contains(fileSteps, x.Step) {
			return wrong(line, "step", "%.30q must be retrieval, chargeback, second, win or lose", x.Step)
		}
		if x.Date, err = txn.ParseDate(get("date")); err != nil {
			return wrong(line, "date", "%.30q must be the business day of the transaction, yyyy-mm-dd", get("date"))
		}
		if x.RRN == "" || len(x.RRN) > 12 {
			return wrong(line, "rrn", "must be the reference number of the transaction, of 12 characters at most")
		}
		if len(all) >= LinesMax {
			return wrong(line, "", "a file has at most %d disputes", LinesMax)
		}
		all = append(all, x)
	}
	if len(all) == 0 {
		return wrong(0, "", "it has no disputes")
	}
	return all, nil
}

// Import takes an issuer's disputes, all or none: cases are opened, and go on where
// they are. What was taken before is left as it is, so the same file may be given
// again. A line that does not go is a *yamlfile.Problem.
func (d *Desk) Import(ctx context.Context, name string, r io.Reader, by string, now time.Time) (res Imported, err error) {
	lines, err := readLines(name, r)
	if err != nil {
		return res, err
	}
	err = d.db.Update(ctx, func(tx *sql.Tx) error {
		res = Imported{Lines: len(lines)}
		for i := range lines {
			taken, err := d.line(ctx, tx, &lines[i], by, now)
			if errors.As(err, new(approval.Refusal)) {
				return &yamlfile.Problem{File: name, Line: lines[i].Number, What: err.Error()}
			}
			if err != nil {
				return err
			}
			if taken {
				res.Taken++
			}
		}
		return nil
	})
	return res, err
}

// line takes one dispute; it says no if it was taken before.
func (d *Desk) line(ctx context.Context, tx *sql.Tx, x *Line, by string, now time.Time) (bool, error) {
	o := Opening{Step: x.Step, Date: x.Date, RRN: x.RRN, Reference: x.Reference, Code: x.Code, By: by, Reason: x.Reason, Now: now}
	if o.Reason == "" {
		o.Reason = "the issuer's file"
	}
	deal, err := theDeal(ctx, tx, &o)
	if err != nil {
		return false, err
	}
	if x.Amount != "" {
		parsed, err := txn.ParseAmount(x.Amount, deal.Paid.Currency)
		if err != nil {
			return false, refuse("amount: %v", err)
		}
		o.Minor, o.Currency = parsed.Minor, deal.Paid.Currency
	}
	before, err := list(ctx, tx, ` WHERE d.id = $1 AND d.reference = $2`, int64(deal.ID), x.Reference)
	if err != nil {
		return false, err
	}
	var c Case
	if x.Step == Retrieval || x.Step == ChargeBack {
		if x.Step == Retrieval {
			o.Minor = 0
		}
		c, err = d.openIn(ctx, tx, o)
	} else {
		if len(before) == 0 {
			return false, refuse("the transaction has no case with the issuer's number %q", x.Reference)
		}
		if c, err = get(ctx, tx, before[0].Number); err != nil {
			return false, err
		}
		if slices.ContainsFunc(c.Steps, func(s Taken) bool { return s.Step == x.Step }) {
			return false, nil // a case has each of these once
		}
		c, err = d.actIn(ctx, tx, Act{Case: c.Number, Step: x.Step, Code: x.Code, By: by, Reason: o.Reason, Now: now})
	}
	return err == nil && (len(before) == 0 || c.steps > before[0].steps), err
}
