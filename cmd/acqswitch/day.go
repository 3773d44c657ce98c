package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/day"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func dayCommand(c *console) *cobra.Command {
	f := &terminalFlags{}
	script := ""
	cmd := &cobra.Command{
		Use: "day", Short: "Live a day by a script, from sign-on to settlement", Args: noArgs,
		Long: `day does what a script says, step by step, as one terminal with a memory, and
prints each step with the answer that it should get and got, and the totals of
the settlement as the terminal and as the switch have them. docs/terminal.md
says how a script is written.

Exit code 0 only if every step went as the script says and a settlement, if
there is one, ended even; 3 if not; 4 if the switch could not be reached.

The terminal is the script's where --terminal, --merchant or --serial does not
say another.`,
		Example: "  acqswitch terminal day --script testdata/scripts/day.yaml\n" +
			"  acqswitch terminal day --script testdata/scripts/day.yaml --store d1",
		RunE: func(cmd *cobra.Command, _ []string) error { return f.day(cmd, c, script) },
	}
	f.common(cmd)
	cmd.Flags().StringVar(&script, "script", "", "file of the day's script")
	return cmd
}

// day lives a day. Without --store its memory is a file that is left behind for
// nobody.
func (f *terminalFlags) day(cmd *cobra.Command, c *console, path string) error {
	ctx := cmd.Context()
	if _, err := dialect.ForTerminal(f.dialect); err != nil {
		return usage(fmt.Errorf("--dialect: %w", err))
	}
	if path == "" {
		return usage(errors.New("--script must name a day's script, such as testdata/scripts/day.yaml"))
	}
	file, err := os.Open(path)
	if err != nil {
		return usage(fmt.Errorf("--script: %w", err))
	}
	script, err := day.Read(file)
	file.Close()
	if err != nil {
		return usage(err)
	}
	for _, who := range [...]struct {
		flag    string
		v       *string
		scripts string
	}{{"terminal", &f.terminal, script.Terminal}, {"merchant", &f.merchant, script.Merchant}, {"serial", &f.serial, script.Serial}} {
		if who.scripts != "" && !cmd.Flags().Changed(who.flag) {
			*who.v = who.scripts
		}
	}
	profile, err := f.profile()
	if err != nil {
		return usage(err)
	}
	if f.store == "" {
		dir, err := os.MkdirTemp("", "acqswitch-terminal-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		f.store = filepath.Join(dir, "store")
	}
	store, err := f.openStore(&verb{})
	if err != nil {
		return usage(err)
	}
	defer func() { store.Close() }()
	dial := func(ctx context.Context) (*terminal.Client, error) {
		store.Close() // its power went
		again, err := terminal.OpenStore(f.store)
		if err != nil {
			return nil, err
		}
		store = again
		return terminal.Dial(ctx, f.address(), f.dialect, profile, terminal.Options{Patience: f.timeout, Store: store, STAN: f.stan})
	}
	show := func(d *day.Done) { printDone(c, d) }
	if c.json() {
		show = nil
	} else {
		fmt.Fprintf(c.out, "%-4s %-44s %-7s %-6s %-6s %-13s %s\n", "step", "", "STAN", "want", "got", "RRN", "took")
	}
	r, err := day.Run(ctx, script, dial, show)
	if err != nil {
		return unreachable(err)
	}
	if c.json() {
		err = c.print(r)
	} else {
		printDay(c, r, profile.Currency)
	}
	if err == nil && r.Off > 0 {
		err = refused()
	}
	return err
}

func printDone(c *console, d *day.Done) {
	mark := ""
	if !d.OK {
		mark = "  <- not as expected"
		if m := terminal.Meaning(d.Got); m != "" && d.Got != "00" {
			mark += ": " + m
		}
	}
	fmt.Fprintf(c.out, "%-4d %-44s %06d  %-6s %-6s %-13s %s%s\n", d.Number, d.Step, d.STAN, d.Expected, d.Got, or(d.RRN, "-"), ms(d.Latency), mark)
	if d.Err != nil {
		fmt.Fprintf(c.out, "     %v\n", d.Err)
	}
	if d.Answer.First != nil {
		fmt.Fprintf(c.out, "     %s\n", again(&d.Answer))
	}
}

func printDay(c *console, r *day.Result, currency txn.Currency) {
	fmt.Fprintf(c.out, "\n%d steps in %s, %d not as expected\n", r.Steps, ms(r.Took), r.Off)
	fmt.Fprintf(c.out, "terminal %s\nswitch   %s\n", totalsText(r.Terminal, currency), totalsText(r.Host, currency))
}
