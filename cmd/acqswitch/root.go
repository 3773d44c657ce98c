package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"strings"
	_ "time/tzdata" // business days need zones on machines that have no zone files

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/telemetry"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// The exit codes, the same for every subcommand.
const (
	exitOK          = 0
	exitFailed      = 1 // the work could not be done
	exitUsage       = 2 // the command line, the configuration or an input file is wrong
	exitRefused     = 3 // it was done, and the answer is no: declined, not found, broken books
	exitUnreachable = 4 // the other side could not be reached or did not answer
)

// exitError carries an exit code. With a nil err nothing is printed: the
// command has said it already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

func usage(err error) error       { return &exitError{exitUsage, err} }
func unreachable(err error) error { return &exitError{exitUnreachable, err} }
func refused() error              { return &exitError{exitRefused, nil} }

func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		return e.code
	case is[approval.Refusal](err), is[*office.Refusal](err):
		return exitRefused // an answer, not a failure
	case is[*yamlfile.Problem](err), errors.Is(err, office.ErrNoCardKeys):
		return exitUsage
	case errors.Is(err, ledger.ErrNoSchema), errors.Is(err, approval.ErrNoSchema), errors.Is(err, alert.ErrNoSchema), errors.Is(err, office.ErrNoSchema):
		return exitRefused // there is nothing yet
	case sqldb.Unreachable(err):
		return exitUnreachable
	}
	return exitFailed
}

// is says that an error is, or wraps, one of a type.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// console is where a subcommand writes, and how.
type console struct {
	out, errs io.Writer
	output    string // table, json, or csv where rows are listed
}

func (c *console) json() bool { return c.output == "json" }

// print writes v as one JSON document.
func (c *console) print(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// command is the whole command tree.
func command(out, errs io.Writer) *cobra.Command {
	c := &console{out: out, errs: errs}
	root := &cobra.Command{
		Use:   "acqswitch",
		Short: "An acquiring switch for ISO 8583 terminals",
		Long: `acqswitch takes POS terminals' ISO 8583 requests over TCP, checks them, routes
them to issuers, records every result durably and keeps the settlement ledger.

Exit codes: 0 done; 1 failed; 2 wrong command line, configuration or input;
3 done, and the answer is no (declined, not found, books broken); 4 the other
side could not be reached.`,
		Example: `  acqswitch run                         # a switch, two issuers and a sample day, in one process
  acqswitch serve --config acqswitch.yaml
  acqswitch terminal sale --amount 12.50 --card 6222020000000007
  acqswitch inspect 0057600003...       # what is in this message?`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 {
				return cmd.Help()
			}
			return usage(fmt.Errorf("there is no command %q; see acqswitch --help", given[0]))
		},
		PersistentPreRunE: func(cmd *cobra.Command, given []string) error {
			if err := withoutCards(cmd, given); err != nil {
				return err
			}
			switch _, rows := cmd.Annotations[listsRows]; {
			case c.output == "table", c.output == "json", c.output == "csv" && rows:
				return nil
			case rows:
				return usage(fmt.Errorf("--output %q must be table, json or csv", c.output))
			}
			return usage(fmt.Errorf("--output %q must be table or json", c.output))
		},
	}
	root.SetOut(out)
	root.SetErr(errs)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; see %s --help", plainly(err), cmd.CommandPath()))
	})
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "table", "how to print results: table or json; csv where rows are listed")
	root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "csv"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		scriptCommand(c),
		loadCommand(c),
		runCommand(c),
		serveCommand(c),
		statusCommand(c),
		upgradeCommand(c),
		issuerCommand(c),
		terminalCommand(c),
		inspectCommand(c),
		captureCommand(c),
		replayCommand(c),
		registryCommand(c),
		merchantCommand(c),
		deviceCommand(c),
		ticketCommand(c),
		proposalCommand(c),
		riskCommand(c),
		alertCommand(c),
		downloadsCommand(c),
		keysCommand(c),
		batchesCommand(c),
		parkedCommand(c),
		ledgerCommand(c),
		backupCommand(c),
		settleCommand(c),
		reconcileCommand(c),
		proofCommand(c),
		payoutCommand(c),
		correctionCommand(c),
		caseCommand(c),
		feeCommand(c),
		verifyCommand(c),
		explainCommand(c),
		journalCommand(c),
		configCommand(c),
		versionCommand(c),
	)
	readDecimally(root)
	return root
}

// readDecimally has every number among a command's flags, and those of its commands,
// read as people write it: 000042, as trace numbers are printed, is 42, and not the 34
// that a program makes of it.
func readDecimally(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		switch f.Value.Type() {
		case "int", "int64", "uint16", "uint32", "uint64":
			f.Value = decimal{f.Value}
		}
	})
	for _, child := range cmd.Commands() {
		readDecimally(child)
	}
}

// decimal is a number whose leading zeros say nothing.
type decimal struct{ pflag.Value }

func (d decimal) Set(text string) error {
	if digits := strings.TrimLeft(text, "0"); digits != "" {
		return d.Value.Set(digits)
	}
	return d.Value.Set(text) // 0, or nothing
}

// withoutCards refuses a card number in what people write for those who read it
// later: it is kept for as long as the records are, and shown as it is.
func withoutCards(cmd *cobra.Command, given []string) error {
	has := func(what, text string) error {
		if telemetry.Mask(text) == text {
			return nil
		}
		return usage(fmt.Errorf("%s has what looks like a card number in it: leave it out, what is written here is kept and shown", what))
	}
	for _, name := range []string{"by", "reason", "note"} {
		if f := cmd.Flags().Lookup(name); f != nil {
			if err := has("--"+name, f.Value.String()); err != nil {
				return err
			}
		}
	}
	if cmd.HasParent() && cmd.Parent().Name() == "ticket" && len(given) > 1 {
		return has("the text", strings.Join(given[1:], " "))
	}
	return nil
}

// plainly says of a flag's value what it must be, not how reading it failed.
func plainly(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	want, flag := "have another form", invalid.GetFlag()
	switch flag.Value.Type() {
	case "uint16":
		want = "be a number from 0 to 65535"
	case "uint32":
		want = "be a number from 0 to 4294967295"
	case "int", "int64", "uint64", "uint":
		want = "be a number"
	case "duration":
		want = "be a time with its unit, as 10s"
	case "bool":
		want = "be true or false"
	}
	return fmt.Errorf("--%s %q must %s", flag.Name, invalid.GetValue(), want)
}

// taking makes arguments that do not fit a usage error that says what is meant.
func taking(what string, fits func(given []string) bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if !fits(given) {
			return usage(fmt.Errorf("%s takes %s; see %s --help", called(cmd), what, cmd.CommandPath()))
		}
		return nil
	}
}

// called is a command without the program, with whose name errors begin.
func called(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

func argsFrom(least, most int, what string) cobra.PositionalArgs {
	return taking(what, func(given []string) bool { return least <= len(given) && len(given) <= most })
}

func args(n int, what string) cobra.PositionalArgs { return argsFrom(n, n, what) }

func atLeastOne(what string) cobra.PositionalArgs { return argsFrom(1, math.MaxInt, what) }

// andPairs is args for what has a name and then so many KEY=TEXT pairs at least.
func andPairs(name string, least int) cobra.PositionalArgs {
	return taking(name+" and KEY=TEXT pairs", func(given []string) bool { return len(given) > least && !strings.Contains(given[0], "=") })
}

var noArgs = args(0, "no arguments")

// group is a command that only holds others; its examples are their first ones.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, given []string) error {
		if len(given) == 0 {
			return cmd.Help()
		}
		return usage(fmt.Errorf("%s has no %q; see %s --help", called(cmd), given[0], cmd.CommandPath()))
	}}
	g.AddCommand(children...)
	var examples []string
	for _, child := range children {
		first, _, _ := strings.Cut(child.Example, "\n")
		examples = append(examples, first)
	}
	g.Example = strings.Join(examples, "\n")
	return g
}

func versionCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version and the commit it was built from", Args: noArgs,
		Example: "  acqswitch version\n  acqswitch version -o json",
		RunE: func(*cobra.Command, []string) error {
			if c.json() {
				return c.print(map[string]string{"version": version()})
			}
			_, err := fmt.Fprintln(c.out, "acqswitch", version())
			return err
		},
	}
}

// version is the module's version, the commit it was built from where that is
// known, and Go's version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	words := []string{info.Main.Version}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			words = append(words, "commit "+s.Value)
		case s.Key == "vcs.modified" && s.Value == "true":
			words = append(words, "(changed since)")
		}
	}
	return strings.Join(append(words, info.GoVersion), " ")
}
