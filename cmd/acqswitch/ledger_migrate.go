package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement/dispute"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/reconcile"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/registry/office"
)

// allSchemas are every part of the database, whatever the configuration uses.
var allSchemas = []sqldb.Schema{ledger.Schema, approval.Schema, alert.Schema, policy.Schema, office.Schema, dispute.Schema, reconcile.Schema}

// migrated is what migrate made of one part.
type migrated struct {
	Versions string `json:"versions"`
	Before   int64  `json:"before"`
	Now      int64  `json:"now"`
}

func ledgerMigrateCommand(c *console) *cobra.Command {
	var f dataFlags
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the tables up to date",
		Long: `migrate brings every table of the ledger's database up to date. A start of the
switch, and commands, do the same with the tables that they need: this is for a
database in PostgreSQL whose switch connects as a role that may not change tables
(deploy/postgres-roles.sql). Run it as the tables' owner before a new program starts;
the old one goes on beside it. What is up to date stays as it is.`,
		Example: `  ACQ_LEDGER_DSN=postgres://owner@db/acq acqswitch ledger migrate --config acqswitch.yaml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config()
			if err == nil {
				err = hasLedgerDir(cfg)
			}
			if err != nil {
				return err
			}
			db, err := openDatabase(cfg)
			if err != nil {
				return err
			}
			defer db.Close()
			var done []migrated
			for _, s := range allSchemas {
				before, ours, err := db.Version(cmd.Context(), s)
				if err == nil {
					err = db.Migrate(cmd.Context(), s)
				}
				if err != nil {
					return err
				}
				done = append(done, migrated{s.Versions, before, max(before, ours)})
			}
			if c.json() {
				return c.print(done)
			}
			for _, m := range done {
				fmt.Fprintf(c.out, "%-20s  %d -> %d\n", m.Versions, m.Before, m.Now)
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}
