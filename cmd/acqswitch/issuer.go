package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
)

func issuerCommand(c *console) *cobra.Command {
	var script, listen, book string
	cmd := &cobra.Command{
		Use:   "issuer",
		Short: "Run a simulated issuer",
		Long: `issuer listens for a switch's link and answers ISO 8583:1987 requests as its
script says: approve, decline, answer late, twice, wrongly or never. It knows
every kind of transaction that a switch forwards, keeps what it approved and
reversed in its own book, and refuses what cannot be: a void of something
unknown, a second completion, a refund of more than is left.`,
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
			if listen != "" {
				cfg.Listen = listen
			}
			if book != "" {
				cfg.Book = book
			}
			sim, err := simulator.New(cfg)
			if err != nil {
				return usage(err)
			}
			fmt.Fprintln(c.out, "issuer listens on", sim.Addr())
			return sim.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&script, "script", "s", "", "YAML script; empty approves everything")
	f.StringVarP(&listen, "listen", "l", "127.0.0.1:9101", "address to listen on; overrides the script")
	f.StringVar(&book, "book", "issuer.book", "file of what was approved and reversed; overrides the script")
	return cmd
}
