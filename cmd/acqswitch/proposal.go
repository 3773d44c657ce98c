package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/dispute"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/reconcile"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/registry/office"
)

func proposalCommand(c *console) *cobra.Command {
	return group("proposal", "Decide what another person proposed",
		proposalList(c),
		proposalShow(c),
		proposalDeciding(c, "approve", "Do what another person proposed", "approved", approve),
		proposalDeciding(c, "reject", "Decide that it is not done", "rejected",
			func(ctx context.Context, f *actFlags, desk *approval.Desk, p *approval.Proposal) error {
				if err := because(f.reason); err != nil {
					return err
				}
				return desk.Reject(ctx, p.Subject, p.Number, f.by, f.reason)
			}))
}

func proposalList(c *console) *cobra.Command {
	f := &actFlags{}
	var open bool
	cmd := f.on(&cobra.Command{
		Use: "list", Short: "List what was proposed", Args: noArgs, Example: "  acqswitch proposal list --open",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.open(cmd.Context(), func(_ *ledger.Ledger, desk *approval.Desk) error {
				found, err := desk.List(cmd.Context(), approval.Filter{Open: open})
				if err != nil {
					return err
				}
				return printTable(c, "number\tsubject\tobject\tstate\tby\treason\tdecided by", found, func(p *approval.Proposal) []any {
					return []any{p.Number, p.Subject, p.Object, p.State, p.By, oneLine(p.Reason), p.Decider}
				})
			})
		},
	}, false)
	cmd.Flags().BoolVar(&open, "open", false, "only those that nobody has decided")
	return cmd
}

func proposalShow(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "show NUMBER", Short: "Show a proposal with its document", Args: args(1, "one number"), Example: "  acqswitch proposal show 7",
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := number(given[0])
			if err != nil {
				return err
			}
			return f.open(cmd.Context(), func(_ *ledger.Ledger, desk *approval.Desk) error {
				p, err := desk.Get(cmd.Context(), n)
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(p)
				}
				c.showProposal(&p)
				return nil
			})
		},
	}, false)
}

// showProposal prints a proposal and its document for people.
func (c *console) showProposal(p *approval.Proposal) {
	fmt.Fprintf(c.out, "proposal %d: %s %s, %s\nby %s at %s: %s\n", p.Number, p.Subject, p.Object, p.State, p.By, p.At.Format("2006-01-02 15:04:05"), p.Reason)
	if p.State != approval.Open {
		fmt.Fprintf(c.out, "%s by %s at %s: %s\n", p.State, p.Decider, p.DecidedAt.Format("2006-01-02 15:04:05"), p.Why)
	}
	document := struct{ Entry string }{p.Document}
	json.Unmarshal([]byte(p.Document), &document) // of the registry; others are for people as they are
	fmt.Fprintln(c.out)
	for line := range strings.Lines(strings.TrimSpace(document.Entry) + "\n") {
		if !strings.HasPrefix(line, "account_sealed ") { // for people the mask says more
			fmt.Fprint(c.out, line)
		}
	}
}

// proposalDeciding is a command that decides about a proposal.
func proposalDeciding(c *console, verb, short, done string, do func(context.Context, *actFlags, *approval.Desk, *approval.Proposal) error) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: verb + " NUMBER", Short: short, Args: args(1, "one number"), Example: fmt.Sprintf("  acqswitch proposal %s 7 --by wang --reason \"seen the contract\"", verb),
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := number(given[0])
			if err != nil {
				return err
			}
			return f.open(cmd.Context(), func(_ *ledger.Ledger, desk *approval.Desk) error {
				p, err := desk.Get(cmd.Context(), n)
				if err == nil {
					err = do(cmd.Context(), f, desk, &p)
				}
				if err != nil {
					return err
				}
				return c.done(n, done)
			})
		},
	}, true)
}

// approve does what was proposed, unless a command of its own is for that.
func approve(ctx context.Context, f *actFlags, desk *approval.Desk, p *approval.Proposal) error {
	var inOffice func(*office.Office, context.Context, office.Act, int64) (approval.Proposal, error)
	switch p.Subject {
	case alert.WatchSubject:
		return f.bench(ctx, func(w *alert.Workbench) error { return w.ApproveLevel(ctx, p.Number, f.by, f.reason) })
	case settlement.ReleaseSubject:
		return settlement.ApproveRelease(ctx, desk, p.Number, f.by, f.reason)
	case office.MoveSubject:
		inOffice = (*office.Office).ApproveMove
	case office.AccountSubject:
		inOffice = (*office.Office).ApproveAccount
	case office.ResumeSubject:
		inOffice = (*office.Office).ApproveResume
	default:
		return usage(fmt.Errorf("proposal %d is a %s: use acqswitch %s approve", p.Number, p.Subject, map[string]string{
			policy.Subject: "risk policy", settlement.CorrectionSubject: "correction", dispute.Subject: "case", reconcile.Subject: "reconcile",
		}[p.Subject]))
	}
	return f.office(func(o *office.Office, who office.Act) error {
		_, err := inOffice(o, ctx, who, p.Number)
		return err
	})
}
