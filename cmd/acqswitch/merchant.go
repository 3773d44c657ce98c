package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
)

func merchantCommand(c *console) *cobra.Command {
	children := []*cobra.Command{
		merchantWriting(c, "add", "Write a new merchant down, as a draft",
			`  acqswitch merchant add 999290054119001 name="Corner Shop" city=Shanghai mcc=5411 region=310101 country=CN currency=CNY policy=refuse kinds="sale, refund" --by li`,
			doneAs("added", (*office.Office).AddMerchant)),
		merchantWriting(c, "set", "Change what is said of a merchant",
			`  acqswitch merchant set 999290054119001 licence_ends=2030-12-31 --by li --reason "new licence"`,
			doneAs("set", (*office.Office).SetMerchant)),
		merchantWriting(c, "account", "Propose to pay a merchant elsewhere: another person approves it",
			`  acqswitch merchant account 999290054119001 account=@- account_owner="Corner Shop Ltd" bank=102290000001 --by li --reason "its letter of today"`,
			proposed((*office.Office).ProposeAccount)),
		merchantShow(c),
		merchantList(c),
		merchantPaper(c),
	}
	for _, step := range []struct{ name, short, by, reason string }{
		{"submit", "Submit a draft for its review", "li", "all papers are in"},
		{"review", "Take a submitted merchant into review", "wang", "its turn"},
		{"approve", "Approve a merchant: another person than submitted it", "wang", "seen the papers"},
		{"reject", "Reject a merchant, with a reason", "wang", "the licence is another shop's"},
		{"hold", "Serve a merchant, and do not pay it out", "wang", "a dispute"},
		{"suspend", "Stop serving a merchant for now", "wang", "the shop is being rebuilt"},
		{"resume", "Serve a merchant again; propose that one on hold is paid again", "wang", "inspected, in order"},
		{"close", "Close a merchant for good", "wang", "the shop has closed"},
	} {
		example := fmt.Sprintf("  acqswitch merchant %s 999290054119001 --by %s --reason %q", step.name, step.by, step.reason)
		children = append(children, acting(c, step.name+" MID", step.short, example, args(1, "one merchant id"),
			func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
				return stepMerchant(ctx, o, who, given[0], step.name)
			}))
	}
	return group("merchant", "Keep merchants and their qualification review", children...)
}

func merchantWriting(c *console, use, short, example string, do writes) *cobra.Command {
	cmd := writing(c, use+" MID", "mid", "a merchant id", short, example, registry.NewMerchant, do)
	cmd.Long = short + `. Keys are those of the registry's file (testdata/registry.yaml), flat:
limits.day_amount. Lists have commas: kinds="sale, refund". identity_number and
account are kept sealed; KEY=@- reads a text from standard input.`
	return cmd
}

func merchantShow(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "show MID", Short: "Show a merchant, its papers and its machines", Args: args(1, "one merchant id"),
		Example: "  acqswitch merchant show 999290054119001"}
	return reading(cmd, func(ctx context.Context, o *office.Office, given []string) error {
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
				m[i] = maps.Collect(x.All())
			}
			return c.print(map[string]any{"merchant": maps.Collect(e.All()), "papers": papers, "machines": m})
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
}

func merchantList(c *console) *cobra.Command {
	var status string
	cmd := reading(&cobra.Command{Use: "list", Short: "List merchants", Args: noArgs, Example: "  acqswitch merchant list --status under-review"},
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
	cmd.Flags().StringVar(&status, "status", "", "only those of a status, such as under-review")
	return cmd
}

func merchantPaper(c *console) *cobra.Command {
	var kind string
	cmd := acting(c, "paper MID FILE", "Note that a merchant handed in a file: its kind, name, size and hash are kept, not the file",
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
	cmd.Flags().StringVar(&kind, "kind", office.PaperKinds[0], strings.Join(office.PaperKinds, ", "))
	return cmd
}

// stepMerchant takes a merchant one step of its review or service further. To pay one
// again that was on hold is proposed.
func stepMerchant(ctx context.Context, o *office.Office, who office.Act, mid, step string) (string, error) {
	switch step {
	case "reject", "hold", "suspend", "close":
		if err := because(who.Reason); err != nil {
			return "", err
		}
	}
	e, err := o.Merchant(ctx, mid)
	if err != nil {
		return "", err
	}
	if step == "resume" && e.Get("status") == registry.MerchantHeld.String() {
		if err := because(who.Reason); err != nil {
			return "", err
		}
		p, err := o.ProposeResume(ctx, who, mid)
		return toApprove(p), err
	}
	if err := o.StepMerchant(ctx, who, mid, step); err != nil {
		return "", err
	}
	return isNow(o.Merchant(ctx, mid))
}
