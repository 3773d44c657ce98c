package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func issuerCommand(c *console) *cobra.Command {
	var script, listen, book, dialectName string
	cmd := &cobra.Command{
		Use:   "issuer",
		Short: "Run a simulated issuer",
		Long: `issuer listens for a switch's link and answers requests, in ISO 8583:1987 or as
UnionPay's network has them (--dialect cups), as its script says: approve,
decline, answer late, twice, wrongly or never. It knows every kind of
transaction that a switch forwards, keeps what it approved and reversed in its
own book, and refuses what cannot be: a void of something unknown, a second
completion, a refund of more than is left. docs/terminal.md has the keys of a
script.`,
		Example: `  acqswitch issuer --listen 127.0.0.1:9101 --script issuer.yaml --book issuer.book`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg simulator.Config
			if script != "" {
				f, err := os.Open(script)
				if err != nil {
					return usage(fmt.Errorf("open issuer script: %w", err))
				}
				defer f.Close()
				if cfg, err = simulator.Load(f); err != nil {
					return usage(fmt.Errorf("issuer script %s: %w", script, yamlFault(err, nil)))
				}
			}
			for _, x := range [...]struct {
				flag, value string
				of          *string
			}{{"listen", listen, &cfg.Listen}, {"book", book, &cfg.Book}, {"dialect", dialectName, &cfg.Dialect}} {
				if cmd.Flags().Changed(x.flag) || *x.of == "" {
					*x.of = x.value
				}
			}
			if err := cfg.Validate(); err != nil {
				return usage(err)
			}
			sim, err := simulator.New(cfg)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.out, "issuer listens on", sim.Addr())
			err = sim.Run(cmd.Context())
			fmt.Fprintln(c.out, sim.Figures())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&script, "script", "s", "", "YAML script; empty approves everything")
	f.StringVarP(&listen, "listen", "l", "127.0.0.1:9101", "address to listen on; overrides the script")
	f.StringVarP(&dialectName, "dialect", "d", "iso87", "dialect of the link: "+strings.Join(dialect.LinkNames(), ", ")+"; overrides the script")
	f.StringVar(&book, "book", "issuer.book", "file of what was approved and reversed; overrides the script")
	cmd.AddCommand(issuerFileCommand())
	return cmd
}

func issuerFileCommand() *cobra.Command {
	var book, date, currency, zone, cutOver string
	cmd := &cobra.Command{
		Use:   "file FILE",
		Short: "Write what a simulated issuer's book has of a day as a UnionPay detail file",
		Long: `file writes what stands in the book of a simulated issuer, of one settlement day
and currency, as UnionPay's detail file for acquirers (ACOM), for acqswitch
reconcile import. The last line has its sums.`,
		Example: `  acqswitch issuer file IND26112201ACOM --book issuer.book --date 2026-11-22`,
		Args:    args(1, "the file to write"),
		RunE: func(_ *cobra.Command, given []string) error {
			day, err := readDay(date)
			if err != nil {
				return err
			}
			of, err := txn.ParseCurrency(currency)
			if err != nil {
				return usage(fmt.Errorf("--currency: %w", err))
			}
			cfg := &config{Zone: zone, CutOver: cutOver}
			calendar, err := cfg.businessDay()
			if err != nil {
				return usage(err)
			}
			entries, err := simulator.ReadBook(book)
			if err != nil {
				return usage(err)
			}
			return replaceFile(given[0], func(w io.Writer) error { return simulator.WriteACOM(w, entries, span(calendar, day), of) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&book, "book", "issuer.book", "the issuer's book")
	f.StringVar(&date, "date", "", "the settlement day as yyyy-mm-dd")
	f.StringVar(&currency, "currency", "CNY", "ISO 4217, three letters")
	f.StringVar(&zone, "zone", "Asia/Shanghai", "of the issuer's clock, in which its book is dated")
	f.StringVar(&cutOver, "cut-over", "23:00", "when its settlement day ends")
	return cmd
}
