package main

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
)

func deviceCommand(c *console) *cobra.Command {
	children := []*cobra.Command{
		deviceWriting(c, "add", "Put a new machine into stock",
			`  acqswitch device add 00002304SN0000009001 model=N910 kind=smart mac=cup-ecb capabilities="stripe, chip, contactless" --by li`,
			doneAs("is in stock", (*office.Office).AddMachine)),
		deviceWriting(c, "set", "Change what is said of a machine",
			`  acqswitch device set 00002304SN0000009001 inspected=2026-11-26 --by li --reason "seen at the shop"`,
			doneAs("set", (*office.Office).SetMachine)),
		deviceWriting(c, "bind", "Bind a machine in stock to a merchant",
			`  acqswitch device bind 00002304SN0000009001 merchant=999290054119001 tid=30000001 class=fixed region=310101 premises.lat=31.2304 premises.lng=121.4737 --by li`,
			doneAs("is bound", (*office.Office).Bind)),
		deviceWriting(c, "move", "Propose to move a machine to another merchant: another person approves it",
			`  acqswitch device move 00002304SN0000009001 merchant=999290058120001 tid=30000002 class=fixed region=310101 premises.lat=31.2 premises.lng=121.4 --by li --reason "the shop was sold"`,
			proposed((*office.Office).ProposeMove)),
		deviceShow(c),
		deviceList(c),
	}
	for _, step := range []struct{ name, short string }{
		{"activate", "Serve a bound machine"},
		{"suspend", "Stop serving a machine for now"},
		{"resume", "Serve a suspended or unverified machine again"},
		{"repair", "Take a machine away for repair; it stays its merchant's"},
		{"return", "Give a machine back from repair; it is bound, to be activated"},
		{"release", "Take a machine back into stock"},
		{"retire", "Take a machine out of use for good"},
	} {
		children = append(children, acting(c, step.name+" SERIAL", step.short, fmt.Sprintf("  acqswitch device %s 00002304SN0000009001 --by li", step.name), args(1, "one serial number"),
			func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
				if err := o.StepMachine(ctx, who, given[0], step.name); err != nil {
					return "", err
				}
				return isNow(o.Machine(ctx, given[0]))
			}))
	}
	return group("device", "Keep machines: stock, binding, repair, retirement", children...)
}

func deviceWriting(c *console, use, short, example string, do writes) *cobra.Command {
	cmd := writing(c, use+" SERIAL", "serial", "a serial number", short, example, registry.NewTerminal, do)
	cmd.Long = short + `. Keys are those of a terminal in the registry's file
(testdata/registry.yaml), flat: premises.lat. Lists have commas.`
	return cmd
}

func deviceShow(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "show SERIAL|TID", Short: "Show a machine and where it was", Args: args(1, "a serial number or a terminal id"), Example: "  acqswitch device show 10000001"}
	return reading(cmd, func(ctx context.Context, o *office.Office, given []string) error {
		e, err := o.Machine(ctx, given[0])
		if err != nil {
			return err
		}
		bindings, err := o.Bindings(ctx, e.Get("serial"))
		if err != nil {
			return err
		}
		if c.json() {
			return c.print(map[string]any{"machine": maps.Collect(e.All()), "bindings": bindings})
		}
		fmt.Fprint(c.out, e.Text())
		for _, b := range bindings {
			fmt.Fprintln(c.out, strings.TrimSuffix(fmt.Sprintf("%s %s at %s as %s by %s: %s", b.At.Format("2006-01-02 15:04"), b.Act, b.Merchant, b.Terminal, b.By, b.Reason), ": "))
		}
		return nil
	})
}

func deviceList(c *console) *cobra.Command {
	var filter office.MachineFilter
	cmd := reading(&cobra.Command{Use: "list", Short: "List machines", Args: noArgs, Example: "  acqswitch device list --status unverified"},
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
	cmd.Flags().StringVar(&filter.Status, "status", "", "only those of a status, such as stock")
	cmd.Flags().StringVar(&filter.Merchant, "merchant", "", "only those of a merchant")
	cmd.Flags().BoolVar(&filter.Overdue, "overdue", false, "only those whose inspection is due")
	return cmd
}
