package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
)

func merchantCommand(c *console) *cobra.Command {
	writing := func(use, short, example string, do func(*office.Office, context.Context, office.Act, registry.Entry) (string, error)) *cobra.Command {
		var cmd *cobra.Command
		cmd = acting(c, use+" MID KEY=TEXT ...", short, example, andPairs("a merchant id", 1),
			func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
				e := registry.NewMerchant()
				if err := pairs(e, append([]string{"mid=" + given[0]}, given[1:]...), cmd.InOrStdin()); err != nil {
					return "", err
				}
				return do(o, ctx, who, e)
			})
		cmd.Long = short + `. Keys are those of the registry's file (testdata/registry.yaml), flat:
limits.day_amount. Lists have commas: kinds="sale, refund". identity_number and
account are kept sealed; KEY=@- reads a text from standard input.`
		return cmd
	}
	add := writing("add", "Write a new merchant down, as a draft",
		`  acqswitch merchant add 999290054119001 name="Corner Shop" city=Shanghai mcc=5411 region=310101 country=CN currency=CNY policy=refuse kinds="sale, refund" --by li`,
		func(o *office.Office, ctx context.Context, who office.Act, e registry.Entry) (string, error) {
			return "added", o.AddMerchant(ctx, who, e)
		})
	set := writing("set", "Change what is said of a merchant",
		`  acqswitch merchant set 999290054119001 licence_ends=2030-12-31 --by li --reason "new licence"`,
		func(o *office.Office, ctx context.Context, who office.Act, e registry.Entry) (string, error) {
			return "set", o.SetMerchant(ctx, who, e)
		})
	account := writing("account", "Propose to pay a merchant elsewhere: another person approves it",
		`  acqswitch merchant account 999290054119001 account=@- account_owner="Corner Shop Ltd" bank=102290000001 --by li --reason "its letter of today"`,
		func(o *office.Office, ctx context.Context, who office.Act, e registry.Entry) (string, error) {
			if err := because(who.Reason); err != nil {
				return "", err
			}
			p, err := o.ProposeAccount(ctx, who, e)
			return fmt.Sprintf("proposal %d: another person must approve it (proposal approve %[1]d)", p.Number), err
		})
	show := reading(&cobra.Command{Use: "show MID", Short: "Show a merchant, its papers and its machines", Args: args(1, "one merchant id"),
		Example: "  acqswitch merchant show 999290054119001"},
		func(ctx context.Context, o *office.Office, given []string) error {
			e, err := o.Merchant(ctx, given[0])
			if err != nil {
				return err
			}
			papers, err := o.Papers(ctx, given[0])
			if err != nil {
				return err
			}
			machines, err := o.Machines(ctx, office.MachineFilter{Merchant: given[0]})
			if err != nil {
				return err
			}
			if c.json() {
				m := make([]map[string]string, len(machines))
				for i, x := range machines {
					m[i] = entryMap(x)
				}
				return c.print(map[string]any{"merchant": entryMap(e), "papers": papers, "machines": m})
			}
			e.Put("account_sealed", "") // for people the mask says more
			e.Put("identity_sealed", "")
			fmt.Fprint(c.out, e.Text())
			for _, p := range papers {
				fmt.Fprintf(c.out, "paper %s %s, %d bytes, sha256 %s, by %s on %s\n", p.Kind, p.Name, p.Size, p.SHA256, p.By, p.At.Format("2006-01-02"))
			}
			if len(machines) > 0 {
				fmt.Fprintln(c.out)
				return c.entries(machines, "tid", "serial", "model", "status", "class", "region")
			}
			return nil
		})
	var status string
	list := reading(&cobra.Command{Use: "list", Short: "List merchants", Args: noArgs, Example: "  acqswitch merchant list --status under-review"},
		func(ctx context.Context, o *office.Office, _ []string) error {
			if status != "" {
				if _, err := registry.Parse[registry.MerchantStatus](status); err != nil {
					return usage(fmt.Errorf("--status %w", err))
				}
			}
			found, err := o.Merchants(ctx, status)
			if err != nil {
				return err
			}
			return c.entries(found, "mid", "name", "type", "mcc", "region", "status", "grade", "licence_ends")
		})
	list.Flags().StringVar(&status, "status", "", "only those of a status, such as under-review")
	var kind string
	paper := acting(c, "paper MID FILE", "Note that a merchant handed in a file: its kind, name, size and hash are kept, not the file",
		`  acqswitch merchant paper 999290054119001 licence.pdf --kind licence --by li`, args(2, "a merchant id and a file"),
		func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
			f, err := os.Open(given[1])
			if err != nil {
				return "", usage(err)
			}
			defer f.Close()
			h := sha256.New()
			size, err := io.Copy(h, f)
			if err != nil {
				return "", err
			}
			return "noted", o.AddPaper(ctx, who, given[0], office.Paper{Kind: kind, Name: filepath.Base(given[1]), Size: size, SHA256: fmt.Sprintf("%x", h.Sum(nil))})
		})
	paper.Flags().StringVar(&kind, "kind", office.PaperKinds[0], strings.Join(office.PaperKinds, ", "))
	children := []*cobra.Command{add, set, account, show, list, paper}
	for _, act := range []struct{ name, short, by, reason string }{
		{"submit", "Submit a draft for its review", "li", "all papers are in"},
		{"review", "Take a submitted merchant into review", "wang", "its turn"},
		{"approve", "Approve a merchant: another person than submitted it", "wang", "seen the papers"},
		{"reject", "Reject a merchant, with a reason", "wang", "the licence is another shop's"},
		{"hold", "Serve a merchant, and do not pay it out", "wang", "a dispute"},
		{"suspend", "Stop serving a merchant for now", "wang", "the shop is being rebuilt"},
		{"resume", "Serve a merchant again; propose that one on hold is paid again", "wang", "inspected, in order"},
		{"close", "Close a merchant for good", "wang", "the shop has closed"},
	} {
		children = append(children, acting(c, act.name+" MID", act.short, fmt.Sprintf("  acqswitch merchant %s 999290054119001 --by %s --reason %q", act.name, act.by, act.reason), args(1, "one merchant id"),
			func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
				switch act.name {
				case "reject", "hold", "suspend", "close":
					if err := because(who.Reason); err != nil {
						return "", err
					}
				}
				e, err := o.Merchant(ctx, given[0])
				if err != nil {
					return "", err
				}
				if act.name == "resume" && e.Get("status") == registry.MerchantHeld.String() {
					if err := because(who.Reason); err != nil {
						return "", err
					}
					p, err := o.ProposeResume(ctx, who, given[0])
					return fmt.Sprintf("proposal %d: another person must approve it (proposal approve %[1]d)", p.Number), err
				}
				if err := o.StepMerchant(ctx, who, given[0], act.name); err != nil {
					return "", err
				}
				e, err = o.Merchant(ctx, given[0])
				return "is " + e.Get("status"), err
			}))
	}
	return group("merchant", "Keep merchants and their qualification review", children...)
}

func deviceCommand(c *console) *cobra.Command {
	writing := func(use, short, example, done string, do func(context.Context, *office.Office, office.Act, registry.Entry) (string, error)) *cobra.Command {
		var cmd *cobra.Command
		cmd = acting(c, use+" SERIAL KEY=TEXT ...", short, example, andPairs("a serial number", 1),
			func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
				e := registry.NewTerminal()
				if err := pairs(e, append([]string{"serial=" + given[0]}, given[1:]...), cmd.InOrStdin()); err != nil {
					return "", err
				}
				said, err := do(ctx, o, who, e)
				if said == "" {
					said = done
				}
				return said, err
			})
		cmd.Long = short + `. Keys are those of a terminal in the registry's file
(testdata/registry.yaml), flat: premises.lat. Lists have commas.`
		return cmd
	}
	plain := func(do func(*office.Office, context.Context, office.Act, registry.Entry) error) func(context.Context, *office.Office, office.Act, registry.Entry) (string, error) {
		return func(ctx context.Context, o *office.Office, who office.Act, e registry.Entry) (string, error) {
			return "", do(o, ctx, who, e)
		}
	}
	children := []*cobra.Command{
		writing("add", "Put a new machine into stock", `  acqswitch device add 00002304SN0000009001 model=N910 kind=smart mac=cup-ecb capabilities="stripe, chip, contactless" --by li`, "is in stock", plain((*office.Office).AddMachine)),
		writing("set", "Change what is said of a machine", `  acqswitch device set 00002304SN0000009001 inspected=2026-11-26 --by li --reason "seen at the shop"`, "set", plain((*office.Office).SetMachine)),
		writing("bind", "Bind a machine in stock to a merchant", `  acqswitch device bind 00002304SN0000009001 merchant=999290054119001 tid=30000001 class=fixed region=310101 premises.lat=31.2304 premises.lng=121.4737 --by li`, "is bound", plain((*office.Office).Bind)),
		writing("move", "Propose to move a machine to another merchant: another person approves it",
			`  acqswitch device move 00002304SN0000009001 merchant=999290058120001 tid=30000002 class=fixed region=310101 premises.lat=31.2 premises.lng=121.4 --by li --reason "the shop was sold"`, "",
			func(ctx context.Context, o *office.Office, who office.Act, e registry.Entry) (string, error) {
				if err := because(who.Reason); err != nil {
					return "", err
				}
				p, err := o.ProposeMove(ctx, who, e)
				return fmt.Sprintf("proposal %d: another person must approve it (proposal approve %[1]d)", p.Number), err
			}),
		reading(&cobra.Command{Use: "show SERIAL|TID", Short: "Show a machine and where it was", Args: args(1, "a serial number or a terminal id"), Example: "  acqswitch device show 10000001"},
			func(ctx context.Context, o *office.Office, given []string) error {
				e, err := o.Machine(ctx, given[0])
				if err != nil {
					return err
				}
				bindings, err := o.Bindings(ctx, e.Get("serial"))
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(map[string]any{"machine": entryMap(e), "bindings": bindings})
				}
				fmt.Fprint(c.out, e.Text())
				for _, b := range bindings {
					fmt.Fprintln(c.out, strings.TrimSuffix(fmt.Sprintf("%s %s at %s as %s by %s: %s", b.At.Format("2006-01-02 15:04"), b.Act, b.Merchant, b.Terminal, b.By, b.Reason), ": "))
				}
				return nil
			}),
	}
	var filter office.MachineFilter
	list := reading(&cobra.Command{Use: "list", Short: "List machines", Args: noArgs, Example: "  acqswitch device list --status unverified"},
		func(ctx context.Context, o *office.Office, _ []string) error {
			if filter.Status != "" {
				if _, err := registry.Parse[registry.MachineStatus](filter.Status); err != nil {
					return usage(fmt.Errorf("--status %w", err))
				}
			}
			found, err := o.Machines(ctx, filter)
			if err != nil {
				return err
			}
			return c.entries(found, "serial", "tid", "merchant", "model", "status", "since", "inspected")
		})
	list.Flags().StringVar(&filter.Status, "status", "", "only those of a status, such as stock")
	list.Flags().StringVar(&filter.Merchant, "merchant", "", "only those of a merchant")
	list.Flags().BoolVar(&filter.Overdue, "overdue", false, "only those whose inspection is due")
	children = append(children, list)
	for _, act := range []struct{ name, short string }{
		{"activate", "Serve a bound machine"},
		{"suspend", "Stop serving a machine for now"},
		{"resume", "Serve a suspended or unverified machine again"},
		{"repair", "Take a machine away for repair; it stays its merchant's"},
		{"return", "Give a machine back from repair; it is bound, to be activated"},
		{"release", "Take a machine back into stock"},
		{"retire", "Take a machine out of use for good"},
	} {
		children = append(children, acting(c, act.name+" SERIAL", act.short, fmt.Sprintf("  acqswitch device %s 00002304SN0000009001 --by li", act.name), args(1, "one serial number"),
			func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
				if err := o.StepMachine(ctx, who, given[0], act.name); err != nil {
					return "", err
				}
				e, err := o.Machine(ctx, given[0])
				return "is " + e.Get("status"), err
			}))
	}
	return group("device", "Keep machines: stock, binding, repair, retirement", children...)
}

func ticketCommand(c *console) *cobra.Command {
	var kind string
	open := acting(c, "open SERIAL TEXT", "Open a ticket about a machine", `  acqswitch ticket open 00002304SN0000009001 "it eats cards" --kind repair --by li`, args(2, "a serial number and what it is about"),
		func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
			if err := oneOf(kind, office.TicketKinds...); err != nil {
				return "", usage(fmt.Errorf("--kind %w", err))
			}
			t, err := o.OpenTicket(ctx, who, office.Ticket{Serial: given[0], Kind: kind, Said: given[1]})
			return fmt.Sprintf("ticket %d is open", t.Number), err
		})
	open.Flags().StringVar(&kind, "kind", "repair", "inquiry, repair or complaint")
	var all bool
	list := reading(&cobra.Command{Use: "list", Short: "List tickets", Args: noArgs, Example: "  acqswitch ticket list"},
		func(ctx context.Context, o *office.Office, _ []string) error {
			found, err := o.Tickets(ctx, all)
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(append([]office.Ticket{}, found...))
			}
			rows := make([][]string, len(found))
			for i, t := range found {
				rows[i] = []string{fmt.Sprint(t.Number), t.Kind, t.Status, t.Serial, t.Terminal, t.Merchant, t.Assignee, t.Opened.Format("2006-01-02"), oneLine(t.Said), oneLine(t.Answer)}
			}
			return c.table([]string{"number", "kind", "status", "serial", "tid", "merchant", "assignee", "opened", "said", "answer"}, rows)
		})
	list.Flags().BoolVar(&all, "all", false, "also those that are closed")
	children := []*cobra.Command{open, list}
	for _, act := range []struct {
		name, use, short string
		args             cobra.PositionalArgs
	}{
		{"assign", "assign NUMBER PERSON", "Assign a ticket to somebody", args(2, "a number and a person")},
		{"resolve", "resolve NUMBER TEXT", "Say how a ticket was resolved", args(2, "a number and a text")},
		{"reopen", "reopen NUMBER", "Open a resolved ticket again", args(1, "one number")},
		{"close", "close NUMBER", "Close a resolved ticket", args(1, "one number")},
	} {
		children = append(children, acting(c, act.use, act.short, "  acqswitch ticket "+strings.NewReplacer("NUMBER", "7", "PERSON", "zhao", "TEXT", `"new reader"`).Replace(act.use)+" --by li", act.args,
			func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
				n, err := number(given[0])
				if err != nil {
					return "", err
				}
				t, err := o.StepTicket(ctx, who, n, act.name, strings.Join(given[1:], ""))
				return "is " + t.Status, err
			}))
	}
	return group("ticket", "Keep requests for service of machines", children...)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
