package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/testdata"
)

func policyCommand(c *console) *cobra.Command {
	initial := &cobra.Command{
		Use: "init", Short: "Print the built-in policy, with every key, its default and its meaning", Args: noArgs,
		Example: "  acqswitch risk policy init > policy.yaml",
		RunE: func(*cobra.Command, []string) error {
			text, err := testdata.Files.ReadFile("policy.yaml")
			if err != nil {
				return err
			}
			_, err = c.out.Write(text)
			return err
		},
	}
	check := &cobra.Command{
		Use: "check FILE", Short: "Say whether a policy can be used", Args: args(1, "one policy file"),
		Example: "  acqswitch risk policy check policy.yaml",
		RunE: func(_ *cobra.Command, given []string) error {
			if _, err := readPolicy(given[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.out, "ok")
			return err
		},
	}
	return group("policy", "The document in which the risk officer decides", initial, check,
		proposePolicy(c), approvePolicy(c), rejectPolicy(c), rollbackPolicy(c), listPolicies(c), showPolicy(c), diffPolicies(c))
}

// policyDesk is the stored policies as a command uses them.
type policyDesk struct {
	cfg      *config
	db       *sqldb.DB
	desk     *approval.Desk
	policies *policy.Store
}

// policies calls fn with the stored policies of the configuration.
func (f *actFlags) policies(ctx context.Context, fn func(*policyDesk) error) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	return cfg.onPolicies(ctx, fn)
}

// onPolicies opens the database of a configuration for fn, and makes its tables.
func (c *config) onPolicies(ctx context.Context, fn func(*policyDesk) error) error {
	if c.Risk.Policy != "" {
		return usage(fmt.Errorf("the switch of this configuration runs on a file, %s: take risk.policy out of it, and what two people put in force counts", c.Risk.Policy))
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	db, err := openDatabase(c)
	if err != nil {
		return err
	}
	d := &policyDesk{cfg: c, db: db, desk: approval.New(db)}
	d.policies = policy.NewStore(db, d.desk)
	err = d.desk.Migrate(ctx)
	if err == nil {
		err = d.policies.Migrate(ctx)
	}
	if err == nil {
		err = fn(d)
	}
	return errors.Join(err, db.Close())
}

func proposePolicy(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "propose FILE", Short: "Propose a policy; another person approves it", Args: args(1, "one policy file"),
		Example: `  acqswitch risk policy propose policy.yaml --by ann --reason "night sales at petrol stations"`,
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := because(f.reason); err != nil {
				return err
			}
			text, name, err := policyText(given[0])
			if err != nil {
				return err
			}
			if _, err := policy.Load(text, name); err != nil {
				return usage(err)
			}
			return f.policies(cmd.Context(), func(d *policyDesk) error {
				p, err := d.policies.Propose(cmd.Context(), text, name, f.by, f.reason)
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(p)
				}
				_, err = fmt.Fprintf(c.out, "proposal %d to replace policy %s; another person approves it: acqswitch risk policy approve %d\n", p.Number, p.Object, p.Number)
				return err
			})
		},
	}, true)
}

func approvePolicy(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "approve PROPOSAL", Short: "Put a proposed policy in force", Args: args(1, "the number of a proposal"),
		Long: `approve puts a proposal in force as the next version: every running switch of this
database decides by it within a second, from one request to the next. It is
refused, and nothing changes, if who approves proposed it, if it was decided
before, if another policy came into force since it was proposed, or if a limit
is below what a party has used already.`,
		Example: "  acqswitch risk policy approve 7 --by bob",
		RunE: func(cmd *cobra.Command, given []string) error {
			number, err := proposalNumber(given[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return f.policies(ctx, func(d *policyDesk) error {
				fits, err := d.fits(ctx)
				if err != nil {
					return err
				}
				v, err := d.policies.Approve(ctx, number, f.by, f.reason, fits)
				return inForce(c, v, err)
			})
		},
	}, true)
}

func inForce(c *console, v policy.Version, err error) error {
	if err != nil {
		return err
	}
	if c.json() {
		v.Document = ""
		return c.print(v)
	}
	_, err = fmt.Fprintf(c.out, "policy %d is in force\n", v.Number)
	return err
}

func rejectPolicy(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "reject PROPOSAL", Short: "Decide that a proposed policy is not put in force", Args: args(1, "the number of a proposal"),
		Example: `  acqswitch risk policy reject 7 --by bob --reason "refuses every night sale"`,
		RunE: func(cmd *cobra.Command, given []string) error {
			number, err := proposalNumber(given[0])
			if err == nil {
				err = because(f.reason)
			}
			if err != nil {
				return err
			}
			return f.policies(cmd.Context(), func(d *policyDesk) error {
				if err := d.policies.Reject(cmd.Context(), number, f.by, f.reason); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.out, "proposal %d is rejected\n", number)
				return err
			})
		},
	}, true)
}

func rollbackPolicy(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "rollback", Short: "Put the policy before the one in force in force again, at once", Args: noArgs,
		Long: `rollback makes a new version of the document before the one in force. Two people
have approved it once, so one is enough; but what is itself a rollback is not
rolled back: propose what should be in force.`,
		Example: `  acqswitch risk policy rollback --by ann --reason "refuses every night sale"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := because(f.reason); err != nil {
				return err
			}
			return f.policies(cmd.Context(), func(d *policyDesk) error {
				v, err := d.policies.Rollback(cmd.Context(), f.by, f.reason)
				return inForce(c, v, err)
			})
		},
	}, true)
}

func listPolicies(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "list", Short: "List the policies that were in force, and open proposals", Args: noArgs,
		Example: "  acqswitch risk policy list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.policies(cmd.Context(), func(d *policyDesk) error {
				versions, err := d.policies.List(cmd.Context())
				if err != nil {
					return err
				}
				open, err := d.desk.List(cmd.Context(), approval.Filter{Subject: policy.Subject, Open: true})
				if err != nil {
					return err
				}
				if c.json() {
					for i := range open {
						open[i].Document = ""
					}
					return c.print(map[string]any{"policies": versions, "proposals": open})
				}
				w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "POLICY\tIN FORCE FROM\tPROPOSED BY\tAPPROVED BY\tHASH\tREASON")
				for _, v := range versions {
					approver := v.ApprovedBy
					if v.Restores != 0 {
						approver = fmt.Sprintf("(restores %d)", v.Restores)
					}
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", v.Number, v.At.Format(time.RFC3339), v.By, approver, v.Hash[:12], v.Reason)
				}
				for _, p := range open {
					fmt.Fprintf(w, "proposal %d\t(open)\t%s\t\t\t%s\n", p.Number, p.By, p.Reason)
				}
				return w.Flush()
			})
		},
	}, false)
}

func showPolicy(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "show [NUMBER]", Short: "Print a policy's document: the one in force, a version, or pNUMBER, a proposal", Args: argsFrom(0, 1, "at most one number"),
		Example: "  acqswitch risk policy show\n  acqswitch risk policy show 3\n  acqswitch risk policy show p7",
		RunE: func(cmd *cobra.Command, given []string) error {
			name := ""
			if len(given) == 1 {
				name = given[0]
			}
			return f.policies(cmd.Context(), func(d *policyDesk) error {
				text, _, _, err := d.document(cmd.Context(), name)
				if err != nil {
					return err
				}
				_, err = c.out.Write(text)
				return err
			})
		},
	}, false)
}

func diffPolicies(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "diff NEW [OLD]", Short: "Say what is different in a policy from the one in force, or from another", Args: argsFrom(1, 2, "one or two policies"),
		Long: `diff compares two policies, by what they say and not how they are written. Each is
the number of a version, pNUMBER for a proposal, or a file. Without OLD it is the
policy in force. Exit code 3 if they differ.`,
		Example: "  acqswitch risk policy diff p7\n  acqswitch risk policy diff policy.yaml 3",
		RunE: func(cmd *cobra.Command, given []string) error {
			return f.policies(cmd.Context(), func(d *policyDesk) error {
				var ps [2]risk.Policy
				for i, name := range append(given, "")[:2] {
					text, called, _, err := d.document(cmd.Context(), name)
					if err != nil {
						return err
					}
					if ps[i], err = policy.Load(text, called); err != nil {
						return usage(err)
					}
				}
				changes := policy.Diff(&ps[1], &ps[0])
				if c.json() {
					if err := c.print(append([]policy.Change{}, changes...)); err != nil {
						return err
					}
				}
				if len(changes) == 0 && !c.json() {
					fmt.Fprintln(c.out, "nothing is different")
				}
				for _, x := range changes {
					if c.json() {
						break
					}
					fmt.Fprintln(c.out, x.Where)
					for _, line := range x.Was {
						fmt.Fprintln(c.out, "  -", line)
					}
					for _, line := range x.Is {
						fmt.Fprintln(c.out, "  +", line)
					}
				}
				if len(changes) > 0 {
					return refused()
				}
				return nil
			})
		},
	}, false)
}

// document is a policy by its name: a version's number, p and a proposal's, a
// file, or nothing for the one in force. called is what errors call it; number is
// 0 of what has none.
func (d *policyDesk) document(ctx context.Context, name string) (text []byte, called string, number uint32, err error) {
	if name == "" {
		v, err := d.policies.InForce(ctx)
		if errors.Is(err, policy.ErrNone) {
			text, called, err = policyText("")
			return text, called, 0, err
		}
		return []byte(v.Document), fmt.Sprintf("policy %d", v.Number), v.Number, err
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		v, err := d.policies.Get(ctx, uint32(n))
		return []byte(v.Document), "policy " + name, v.Number, err
	}
	if number, ok := strings.CutPrefix(name, "p"); ok {
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			p, err := d.desk.Get(ctx, n)
			if err == nil && p.Subject != policy.Subject {
				err = fmt.Errorf("proposal %d is a %s: %w of a policy", n, p.Subject, approval.ErrUnknown)
			}
			return []byte(p.Document), "proposal " + number, 0, err
		}
	}
	text, called, err = policyText(name)
	return text, called, 0, err
}

func proposalNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(s, "p"), 10, 64)
	if err != nil || n < 1 {
		return 0, usage(fmt.Errorf("%q must be the number of a proposal, as acqswitch risk policy list shows them", s))
	}
	return n, nil
}

// fits holds the limits of the next policy against what is used by now, as the
// ledger has it: a second or so behind the switch.
func (d *policyDesk) fits(ctx context.Context) (func(*policy.Version, *risk.Policy) error, error) {
	day, err := d.cfg.businessDay()
	if err != nil {
		return nil, err
	}
	today := day.Of(time.Now())
	parties, err := d.cfg.parties(context.Background())
	if err != nil {
		return nil, err
	}
	used, err := usedUp(ctx, d.cfg, today)
	if err != nil {
		return nil, err
	}
	plan := func(scope txn.LimitScope, id [16]byte) (uint16, bool) {
		merchant := txn.MerchantID(id[:15])
		if scope == txn.ScopeTerminal {
			t, ok := parties.Terminal(txn.TerminalID(id[:8]))
			if !ok {
				return 0, false
			}
			if t.Plan != 0 {
				return t.Plan, true
			}
			merchant = t.Merchant
		}
		m, ok := parties.Merchant(merchant)
		if !ok {
			return 0, false
		}
		return m.Plan, true
	}
	return func(before *policy.Version, next *risk.Policy) error {
		had, err := readPolicy("")
		if before != nil {
			had, err = before.Policy()
		}
		if err != nil {
			return err
		}
		return policy.Exceeded(&had, next, today, used, plan)
	}, nil
}

// usedUp is what every party used of a day and of its month until then. A ledger
// without tables has seen nothing.
func usedUp(ctx context.Context, cfg *config, today txn.Date) (used []policy.Use, err error) {
	l, err := openLedger(cfg)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := l.Migrate(ctx); err != nil {
		return nil, err
	}
	type key struct {
		scope    txn.LimitScope
		id       [16]byte
		currency txn.Currency
	}
	at := map[key]int{}
	err = l.Read(ctx, func(s *ledger.Snapshot) error {
		for d := today/100*100 + 1; d <= today; d = d.After() {
			if err := s.Usage(ctx, d, func(p ledger.Party, u ledger.Use) error {
				k := key{p.Scope, p.ID, p.Currency}
				i, known := at[k]
				if !known {
					i, at[k] = len(used), len(used)
					used = append(used, policy.Use{Scope: p.Scope, ID: p.ID, Currency: p.Currency})
				}
				x := &used[i]
				x.MonthAmount += u.Minor
				x.MonthCount += int64(u.Count)
				if d == today {
					x.DayAmount += u.Minor
					x.DayCount += int64(u.Count)
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return used, err
}
