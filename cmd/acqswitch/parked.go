package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement/journal"
	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func parkedCommand(c *console) *cobra.Command {
	resolve := parkedDeciding(c, &cobra.Command{
		Use: "resolve ID", Short: "End what is parked about a transaction: settled with the issuer, or written off", Args: args(1, "a transaction's id"),
		Long: `resolve ends what is owed about a transaction, for good: a person has settled it
with the issuer, or it is written off. What was to be undone counts as undone. An
advice counts as not taken unless --taken says that the issuer has booked it.

Like retry it asks the running switch, or does it itself where none runs. The
decision and its reason are in the journal.`,
		Example: `  acqswitch parked resolve 03186bfb71466400 --reason "reversed by the issuer's desk, case 4711"`,
	}, decision{Resolve: true})
	retry := parkedDeciding(c, &cobra.Command{
		Use: "retry ID", Short: "Have what is parked about a transaction sent again", Args: args(1, "a transaction's id"),
		Example: `  acqswitch parked retry 03186bfb71466400 --reason "the issuer has mended its format check"`,
	}, decision{})
	return group("parked", "Decide about what issuers refuse to take", parkedList(c), retry, resolve)
}

func parkedList(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use:   "list",
		Short: "Show what issuers refuse to take, which people must decide about",
		Long: `list reads the journal of a running or stopped switch: the reversals and advices
that an issuer refused too often (reversals.park_after), or takes none of
(issuers[].reversals: none). They are sent no more, and stay owed.`,
		Example: `  acqswitch parked list --config acqswitch.yaml
  acqswitch parked list -o json | jq -r .[].id`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			found, err := readParked(cfg.DataDir)
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(found)
			}
			return writeParked(c.out, found)
		},
	}, false)
}

// parkedDeciding completes a command that makes a decision about what is parked.
func parkedDeciding(c *console, cmd *cobra.Command, d decision) *cobra.Command {
	f := &actFlags{}
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		cfg, err := f.config()
		if err != nil {
			return err
		}
		if err := d.ID.UnmarshalText([]byte(given[0])); err != nil {
			return usage(err)
		}
		if strings.TrimSpace(f.reason) == "" || len(f.reason) > whyMax {
			return usage(fmt.Errorf("--reason must say why, in at most %d bytes", whyMax))
		}
		d.Why = f.reason
		if who, err := user.Current(); err == nil {
			d.Why = who.Username + ": " + f.reason
		}
		if err := decideParked(cmd.Context(), cfg, c.errs, d); errors.Is(err, acquirer.ErrNotParked) {
			return &exitError{exitRefused, fmt.Errorf("transaction %s: %w", given[0], err)}
		} else if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.out, "done")
		return err
	}
	f.on(cmd, false)
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for the records; required. No card numbers")
	if d.Resolve {
		cmd.Flags().BoolVar(&d.Taken, "taken", false, "the issuer has booked the advice")
	}
	return cmd
}

// decideParked has d done by the running switch, or as one that serves nobody.
func decideParked(ctx context.Context, cfg *config, logs io.Writer, d decision) error {
	if done, err := d.control(ctx, cfg.DataDir); done || err != nil {
		return err
	}
	return asStopped(ctx, cfg, logs, func(a *app) error { return a.decide(d) })
}

// parkedLine is one thing that is parked.
type parkedLine struct {
	ID       txn.ID    `json:"id"`
	Since    time.Time `json:"since"`
	Owed     string    `json:"owed"` // reversal or advice
	Kind     string    `json:"kind"`
	Amount   string    `json:"amount"`
	Issuer   string    `json:"issuer"`
	STAN     uint32    `json:"issuer_stan"`
	Terminal string    `json:"terminal"`
	Merchant string    `json:"merchant"`
	RRN      string    `json:"rrn,omitempty"`
	Card     string    `json:"card"`
	Code     string    `json:"code,omitempty"` // the issuer's last
	Attempts uint32    `json:"attempts"`
}

// readParked is what is parked at the journal's end, the oldest first.
func readParked(dataDir string) ([]parkedLine, error) {
	j, err := openJournalReadOnly(dataDir)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	parked := map[txn.ID]parkedLine{}
	err = j.Scan(j.First(), func(pos journal.Position, b []byte) error {
		var rec txn.Record
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("record %d: %w", pos, err)
		}
		id, key := rec.Subject()
		switch rec.Kind {
		case txn.RecordParked:
			owed := "reversal"
			if rec.Request.Remedy() == txn.Repeat {
				owed = "advice"
			}
			parked[id] = parkedLine{id, rec.At, owed, rec.Request.String(), rec.Amount.InLetters(), rec.Leg.Issuer.String(), rec.Leg.STAN,
				key.Terminal.String(), rec.Merchant.String(), txn.Text(rec.RRN[:]), txn.Text(rec.Masked[:]), txn.Text(rec.IssuerCode[:]), rec.Attempts}
		case txn.RecordReleased, txn.RecordReversalDone, txn.RecordAdviceDone:
			delete(parked, id)
		}
		return nil
	})
	lines := slices.SortedFunc(maps.Values(parked), func(a, b parkedLine) int { return a.Since.Compare(b.Since) })
	return lines, err
}

func writeParked(w io.Writer, lines []parkedLine) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "nothing is parked")
		return err
	}
	return writeTable(w, "ID\tsince\towed\tkind\tamount\tissuer\tSTAN\tterminal\tcard\tcode\tattempts", lines, func(l *parkedLine) []any {
		return []any{l.ID, l.Since.Format(time.RFC3339), l.Owed, l.Kind, l.Amount, l.Issuer, fmt.Sprintf("%06d", l.STAN), l.Terminal, l.Card, l.Code, l.Attempts}
	})
}
