package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func journalCommand(c *console) *cobra.Command {
	var of dataFlags
	var from, count uint64
	dump := &cobra.Command{
		Use:   "dump",
		Short: "Print journal records, one a line",
		Long:  `dump prints the records of a running or stopped switch. Card numbers are masked.`,
		Example: `  acqswitch journal dump --data data/run/20261122-093000.000 --from 100 --count 20
  acqswitch journal dump --output json | jq 'select(.rrn == "326000000012")'`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := of.config()
			if err != nil {
				return err
			}
			j, err := openJournalReadOnly(cfg.DataDir)
			if err != nil {
				return err
			}
			defer j.Close()
			lines := json.NewEncoder(c.out)
			start := max(journal.Position(from), j.First())
			err = j.Scan(start, func(pos journal.Position, b []byte) error {
				if count > 0 && uint64(pos-start) >= count {
					return errEnough
				}
				var rec txn.Record
				if err := rec.Unmarshal(b); err != nil {
					return fmt.Errorf("record %d: %w", pos, err)
				}
				if c.json() {
					return lines.Encode(recordLine(pos, &rec))
				}
				_, err := fmt.Fprintln(c.out, recordText(pos, &rec))
				return err
			})
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		},
	}
	f := dump.Flags()
	of.register(dump)
	f.Uint64Var(&from, "from", 1, "first position")
	f.Uint64VarP(&count, "count", "n", 0, "number of records; 0 is all")
	return group("journal", "Look into the journal", dump)
}

var errEnough = errors.New("enough")

func recordText(pos journal.Position, r *txn.Record) string {
	s := fmt.Sprintf("%d %s %s id=%s %s term=%s stan=%06d batch=%06d %s rrn=%s card=%s",
		pos, r.At.Format(time.RFC3339Nano), r.Kind, r.ID, r.Request, r.Key.Terminal, r.Key.STAN, r.Key.Batch, r.Amount, txn.Text(r.RRN[:]), txn.Text(r.Masked[:]))
	if r.Leg.STAN != 0 {
		s += fmt.Sprintf(" issuer=%s/%06d", r.Leg.Issuer, r.Leg.STAN)
	}
	if r.Kind == txn.RecordOutcome {
		s += fmt.Sprintf(" outcome=%s code=%s (%s)", r.Outcome, txn.Text(r.Code[:]), r.Reason)
	}
	if r.Original != 0 {
		s += fmt.Sprintf(" original=%s", r.Original)
	}
	return s
}

func recordLine(pos journal.Position, r *txn.Record) map[string]any {
	m := map[string]any{
		"position": pos, "at": r.At, "record": r.Kind.String(), "id": r.ID, "kind": r.Request.String(), "dialect": dialect.NameOf(r.Dialect),
		"terminal": r.Key.Terminal.String(), "merchant": r.Merchant.String(), "stan": r.Key.STAN, "batch": r.Key.Batch,
		"amount": r.Amount.Minor, "currency": r.Amount.Currency, "day": r.Day.String(), "card": txn.Text(r.Masked[:]), "rrn": txn.Text(r.RRN[:]),
	}
	if r.Leg.STAN != 0 {
		m["issuer"], m["issuer_stan"], m["issuer_time"] = r.Leg.Issuer.String(), r.Leg.STAN, txn.Text(r.Leg.Time[:])
	}
	if r.Kind == txn.RecordOutcome {
		m["outcome"], m["reason"], m["code"], m["issuer_code"], m["auth_code"] = r.Outcome.String(), r.Reason.String(), txn.Text(r.Code[:]), txn.Text(r.IssuerCode[:]), txn.Text(r.AuthCode[:])
	}
	if len(r.Serial) > 0 {
		m["serial"] = string(r.Serial)
	}
	if r.Lat != 0 || r.Lng != 0 {
		m["lat"], m["lng"] = r.Lat, r.Lng
	}
	if r.Original != 0 {
		m["original"] = r.Original
	}
	if r.Attempts != 0 {
		m["attempts"] = r.Attempts
	}
	if r.Findings.Len() > 0 {
		var fs []map[string]any
		for x := range r.Findings.All() {
			f := map[string]any{"rule": x.Rule.String(), "action": x.Action.String(), "shadow": x.Shadow}
			if x.Seen != 0 || x.Bound != 0 {
				f["seen"], f["bound"] = x.Seen, x.Bound
			}
			fs = append(fs, f)
		}
		m["findings"], m["policy"] = fs, r.Findings.Policy
	}
	return m
}
