package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/sheet"
)

func registryCommand(c *console) *cobra.Command {
	return group("registry", "Import or export merchants and terminals, and see what was changed",
		registryImport(c), registryExport(c), registryHistory(c), registryBindings(c), registryModels(c), registryModel(c), registryBlacklist(c))
}

func registryImport(c *console) *cobra.Command {
	f := &actFlags{}
	var approved bool
	cmd := f.on(&cobra.Command{
		Use:   "import FILE",
		Short: "Check a registry file or table and put it in force",
		Long: `import checks the whole file and then puts it in force in one step; a file with
one bad line changes nothing.

Where the registry is a file, FILE (YAML) replaces it, and a running switch takes
it up on SIGHUP. Where it is in the database, what is in FILE (YAML, or a table of
merchants or terminals in .csv) is added or changed, keys that are left out stay
as they are, and a running switch takes it up at once.`,
		Example: `  acqswitch registry import merchants.yaml --config acqswitch.yaml && kill -HUP $(pidof acqswitch)
  acqswitch registry import shops.csv --by li --reason "new chain"`,
		Args: args(1, "one registry file"),
		RunE: func(cmd *cobra.Command, given []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			if cfg.RegistryFrom == "database" {
				return importBook(cmd.Context(), c, cfg, given[0], office.Act{By: f.by, Reason: f.reason}, approved)
			}
			// Read once: what is checked is what is put in force, also of a pipe.
			text, err := readWhole(given[0], registry.FileSizeMax)
			if err != nil {
				return usage(fmt.Errorf("open registry: %w", err))
			}
			snapshot, err := registry.Load(bytes.NewReader(text), given[0])
			if err != nil {
				return usage(err)
			}
			target := cfg.path(cfg.Registry, "registry.yaml")
			if err := replaceFile(target, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
				return fmt.Errorf("put the registry in force: %w", err)
			}
			merchants, terminals := snapshot.Len()
			if c.json() {
				return c.print(map[string]any{"file": target, "merchants": merchants, "terminals": terminals})
			}
			_, err = fmt.Fprintf(c.out, "%d merchants with %d terminals are in %s\n", merchants, terminals, target)
			return err
		},
	}, true)
	cmd.Flags().BoolVar(&approved, "approved", false, "new merchants may have the status of approved ones: they were reviewed elsewhere")
	return cmd
}

func importBook(ctx context.Context, c *console, cfg *config, path string, who office.Act, approved bool) error {
	book, err := readAnyBook(path)
	if err != nil {
		return err
	}
	n, err := cfg.importBook(ctx, book, path, who, approved)
	if err != nil {
		return err
	}
	if c.json() {
		return c.print(n)
	}
	_, err = fmt.Fprintf(c.out, "%d merchants and %d terminals are as in %s; %d things were changed\n", n.Merchants, n.Terminals, path, n.Changed)
	return err
}

// changeOffice is withOffice for what changes something: the registry's tables and the
// keys of card numbers are made where there are none.
func (c *config) changeOffice(ctx context.Context, fn func(*office.Office) error) error {
	return c.openOffice(true, func(o *office.Office) error {
		l, err := openLedger(c)
		if err != nil {
			return err
		}
		defer l.Close()
		if err := l.Migrate(ctx); err != nil {
			return err
		}
		if err := o.Migrate(ctx); err != nil {
			return err
		}
		return fn(o)
	})
}

// importBook puts a book into the database.
func (c *config) importBook(ctx context.Context, book *registry.Book, name string, who office.Act, approved bool) (n office.Counts, err error) {
	err = c.changeOffice(ctx, func(o *office.Office) error {
		n, err = o.Import(ctx, who, book, name, approved)
		return err
	})
	return n, err
}

func registryExport(c *console) *cobra.Command {
	f := &actFlags{}
	cmd := f.on(&cobra.Command{
		Use: "export FILE", Short: "Write the registry to a file, or - for standard output",
		Long: `export writes the registry as YAML; to a file whose name ends in merchants.csv or
terminals.csv, as that table. Account numbers and identities are written sealed:
they can be imported where the same card keys are.`,
		Example: "  acqswitch registry export - --config acqswitch.yaml",
		Args:    args(1, "one file"),
		RunE: func(cmd *cobra.Command, given []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			var book *registry.Book
			if cfg.RegistryFrom == "database" {
				err = cfg.withOffice(func(o *office.Office) error {
					book, err = o.Export(cmd.Context())
					return err
				})
			} else {
				book, err = readBook(cfg.path(cfg.Registry, "registry.yaml"))
			}
			if err != nil {
				return err
			}
			write := book.Write
			switch name := given[0]; {
			case strings.HasSuffix(name, "merchants.csv"):
				write = func(w io.Writer) error { return registry.WriteTable(w, registry.MerchantKeys(), book.Merchants) }
			case strings.HasSuffix(name, "terminals.csv"):
				write = func(w io.Writer) error { return registry.WriteTable(w, registry.TerminalKeys(), book.Terminals) }
			case strings.HasSuffix(name, ".csv"):
				return usage(fmt.Errorf("%s: a table's name ends in merchants.csv or terminals.csv", name))
			case name == "-":
				return book.Write(c.out)
			}
			return replaceFile(given[0], write)
		},
	}, false)
	return cmd
}

func registryHistory(c *console) *cobra.Command {
	var full bool
	cmd := reading(&cobra.Command{
		Use: "history [merchant|machine|ticket|model|region|blacklist [ID]]", Short: "Show what was changed, by whom, when and why", Args: argsFrom(0, 2, "at most what and which"),
		Example: "  acqswitch registry history merchant 999290054110001 --full",
	}, func(ctx context.Context, o *office.Office, given []string) error {
		given = append(given, "", "")
		if subjects := []string{"merchant", "machine", "ticket", "model", "region", "blacklist"}; given[0] != "" && !slices.Contains(subjects, given[0]) {
			return usage(oneOf(given[0], subjects...))
		}
		found, err := o.History(ctx, given[0], given[1])
		if err != nil {
			return err
		}
		if len(found) == 0 && given[1] != "" {
			return &exitError{exitRefused, fmt.Errorf("there is no %s %s, and never was", given[0], given[1])}
		}
		heads := "number\tat (UTC)\tby\twhat\tid\tact\treason"
		if full {
			heads += "\tchanged"
		}
		return printTable(c, heads, found, func(x *office.Change) []any {
			row := []any{x.Number, x.At.Format(time.DateTime), x.By, x.Subject, x.Object, x.Act, oneLine(x.Reason)}
			if full {
				row = append(row, difference(x.Was, x.Becomes))
			}
			return row
		})
	})
	cmd.Flags().BoolVar(&full, "full", false, "also what it was and what it became")
	return cmd
}

// difference is the lines of two documents that are in one of them.
func difference(was, becomes string) string {
	lines := func(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }
	var parts []string
	for _, l := range lines(was) {
		if l != "" && !slices.Contains(lines(becomes), l) {
			parts = append(parts, "-"+l)
		}
	}
	for _, l := range lines(becomes) {
		if l != "" && !slices.Contains(lines(was), l) {
			parts = append(parts, "+"+l)
		}
	}
	return strings.Join(parts, " ")
}

func registryBindings(c *console) *cobra.Command {
	return reading(&cobra.Command{
		Use: "bindings [SERIAL|MID]", Short: "Report every binding of machines to merchants", Args: argsFrom(0, 1, "at most one machine or merchant"),
		Example: "  acqswitch registry bindings 999290054110001",
	}, func(ctx context.Context, o *office.Office, given []string) error {
		found, err := o.Bindings(ctx, strings.Join(given, ""))
		if err != nil {
			return err
		}
		if len(found) == 0 && len(given) > 0 {
			return &exitError{exitRefused, fmt.Errorf("no machine %s was ever bound, and none to a merchant %s", given[0], given[0])}
		}
		return printTable(c, "at (UTC)\tact\tserial\ttid\tmerchant\tby\treason", found, func(b *office.Binding) []any {
			return []any{b.At.Format(time.DateTime), b.Act, b.Serial, b.Terminal, b.Merchant, b.By, oneLine(b.Reason)}
		})
	})
}

func registryModels(c *console) *cobra.Command {
	return reading(&cobra.Command{
		Use: "models", Short: "List the models of machines and the software they should have", Args: noArgs, Example: "  acqswitch registry models",
	}, func(ctx context.Context, o *office.Office, _ []string) error {
		found, err := o.Models(ctx)
		if err != nil {
			return err
		}
		return c.entries(found, "name", "minimum", "target", "deadline")
	})
}

func registryModel(c *console) *cobra.Command {
	return acting(c, "model NAME [KEY=TEXT ...]", "Add a model of machines, or say which software it should have",
		`  acqswitch registry model N910 minimum=310000 target=320001 deadline=2027-01-31 --by li --reason "contactless fix"`, andPairs("a model", 0),
		func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
			e := registry.NewModel()
			if err := pairs(e, append([]string{"name=" + given[0]}, given[1:]...), os.Stdin); err != nil {
				return "", err
			}
			return "set", o.SetModel(ctx, who, e)
		})
}

func registryBlacklist(c *console) *cobra.Command {
	return acting(c, "blacklist FILE", "Replace the blacklist by a table kind,value,reason, and suspend the merchants on it",
		`  acqswitch registry blacklist pcac.csv --by li    # kind is identity, account or name`, args(1, "a CSV file of kind,value,reason"),
		func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
			text, err := readWhole(given[0], registry.FileSizeMax)
			if err != nil {
				return "", usage(err)
			}
			in := csv.NewReader(bytes.NewReader(text))
			in.FieldsPerRecord = 3
			rows, err := in.ReadAll()
			if err == nil && len(rows) == 0 { // cut off, more likely than meant: it would end the list that is in force
				err = errors.New("it is empty; a list without anybody is its header alone")
			}
			if err != nil {
				return "", usage(fmt.Errorf("%s must be a table of the columns kind,value,reason: %w", given[0], err))
			}
			var list []office.Listed
			for i, row := range rows {
				if i == 0 && strings.TrimPrefix(row[0], "\ufeff") == "kind" {
					continue
				}
				list = append(list, office.Listed{Kind: row[0], Value: sheet.Text(row[1]), Reason: sheet.Text(row[2])})
			}
			suspended, err := o.SetBlacklist(ctx, who, list)
			return strings.TrimSuffix(fmt.Sprintf("%s in force, suspended: %s %s", plural(len(list), "line"), plural(len(suspended), "merchant"), strings.Join(suspended, " ")), " "), err
		})
}

// readAnyBook reads a file of YAML or a table of CSV.
func readAnyBook(path string) (*registry.Book, error) {
	if !strings.HasSuffix(path, ".csv") {
		return readBook(path)
	}
	entries, err := loadFile("registry", path, registry.ReadTable)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 && entries[0].Has("mid") {
		return &registry.Book{Merchants: entries}, nil
	}
	return &registry.Book{Terminals: entries}, nil
}

// readBook reads a registry file as people wrote it.
func readBook(path string) (*registry.Book, error) {
	return loadFile("registry", path, registry.Read)
}

// registryFile reads the registry of a configuration that has it in a file.
func (c *config) registryFile() (*registry.Snapshot, error) {
	s, err := readRegistry(c.path(c.Registry, "registry.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		err = usage(fmt.Errorf("%w; acqswitch registry import makes it", err))
	}
	return s, err
}

// readRegistry loads a registry file, whether or not the configuration works on
// one: config.parties is the registry in force.
func readRegistry(path string) (*registry.Snapshot, error) {
	return loadFile("registry", path, registry.Load)
}
