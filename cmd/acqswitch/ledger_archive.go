package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// archiveFlags are those of commands that move days between ledger and files.
type archiveFlags struct {
	dataFlags
	before, into string
}

func (f *archiveFlags) on(cmd *cobra.Command) *cobra.Command {
	f.register(cmd)
	return cmd
}

// with calls fn with the ledger, its tables up to date, and what a day's work needs.
func (f *archiveFlags) with(ctx context.Context, fn func(*openedLedger, settlement.ArchiveInput) error) error {
	l, err := f.openLedger()
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := l.Position(ctx); err != nil { // makes no file where none is
		return err
	}
	if err := l.Migrate(ctx); err != nil {
		return err
	}
	return fn(l, settlement.ArchiveInput{Ledger: l.Ledger, Dir: l.config.path(l.config.Ledger.Archive, "archive"), Now: time.Now()})
}

// limit reads --before, which must not be after what may be touched.
func (f *archiveFlags) limit(cfg *config, rule string, latest func(today txn.Date) txn.Date) (txn.Date, error) {
	if f.before == "" {
		return 0, usage(errors.New("--before must say which business day is the first to stay"))
	}
	before, err := txn.ParseDate(f.before)
	if err != nil {
		return 0, usage(fmt.Errorf("--before: %w", err))
	}
	day, err := cfg.businessDay()
	if err != nil {
		return 0, err
	}
	if most := latest(day.Of(time.Now())); before > most {
		return 0, approval.Refuse("--before %s is too late: %s, which is all from %s on", before, rule, most)
	}
	return before, nil
}

// yearsBefore is the day so many years before d; before a 29th of February that is the
// 1st of March where the year has none.
func yearsBefore(d txn.Date, years int) txn.Date { return (d - txn.Date(years)*1_00_00).Plus(0) }

func ledgerArchiveCommand(c *console) *cobra.Command {
	f := &archiveFlags{}
	cmd := f.on(&cobra.Command{
		Use:   "archive",
		Short: "Move old business days from the ledger into files",
		Long: `archive writes the transactions of each settled business day before a date into
compressed files, with their hashes, reads these back, and then removes the rows from
the ledger. Postings, payouts and runs stay. It works beside a running switch, and may
be killed and called again at any time. The last ledger.keep_days are never archived.

Exit codes: 0 done; 3 a day cannot be archived, or the date is too late: what was
archived before it is listed.`,
		Example: "  acqswitch ledger archive --before 2025-01-01 --config acqswitch.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return f.with(ctx, func(l *openedLedger, in settlement.ArchiveInput) error {
				keep := l.config.Ledger.KeepDays
				before, err := f.limit(l.config, fmt.Sprintf("ledger.keep_days keeps the last %d days in the ledger", keep), func(today txn.Date) txn.Date { return today.Plus(-keep) })
				if err != nil {
					return err
				}
				begun, err := l.Archived(ctx, 0, before.Before())
				if err != nil {
					return err
				}
				for _, d := range begun { // by a call that was killed
					if d.State == ledger.Removing {
						if err := archiveDay(ctx, c, in, d.Day); err != nil {
							return err
						}
					}
				}
				for from := txn.Date(0); ; {
					day, err := l.FirstDay(ctx, from, before.Before())
					if err != nil {
						return err
					}
					if day == 0 {
						if from == 0 && len(begun) == 0 && !c.json() {
							fmt.Fprintf(c.out, "no day before %s is in the ledger or in files\n", before)
						}
						return nil
					}
					if err := archiveDay(ctx, c, in, day); err != nil {
						return err
					}
					from = day.After()
				}
			})
		},
	})
	cmd.Flags().StringVar(&f.before, "before", "", "the first business day that stays, as yyyy-mm-dd")
	return cmd
}

// archivedRow is an archived day as it is told.
type archivedRow struct {
	Date     string `json:"date"`
	Txns     int64  `json:"transactions"`
	State    string `json:"state"`
	Manifest string `json:"manifest"`
}

var archivedColumns = []listColumn{{"date", "DATE", 10}, {"transactions", "TRANSACTIONS", -12}, {"state", "STATE", 8}, {"manifest", "MANIFEST", 0}}

func (r archivedRow) cells() []string {
	return []string{r.Date, fmt.Sprint(r.Txns), r.State, r.Manifest}
}

func newArchivedRow(d *ledger.ArchivedDay) archivedRow {
	return archivedRow{d.Day.String(), d.Txns, string(d.State), d.Manifest}
}

func archiveDay(ctx context.Context, c *console, in settlement.ArchiveInput, day txn.Date) error {
	in.Day = day
	d, err := settlement.ArchiveDay(ctx, in)
	if err != nil {
		return err
	}
	if c.json() {
		return c.print(newArchivedRow(d))
	}
	_, err = fmt.Fprintf(c.out, "%s is archived: %d transactions, manifest %.12s\n", day, d.Txns, d.Manifest)
	return err
}

func ledgerArchivedCommand(c *console) *cobra.Command {
	var of dataFlags
	cmd := &cobra.Command{
		Use: "archived", Short: "List the business days that are in files", Args: noArgs,
		Example:     "  acqswitch ledger archived --config acqswitch.yaml",
		Annotations: map[string]string{listsRows: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listLedger(c, &of, archivedColumns, func(l *openedLedger, add func(listed) error) error {
				days, err := l.Archived(cmd.Context(), 0, dateMax)
				for i := range days {
					err = errors.Join(err, add(newArchivedRow(&days[i])))
				}
				return err
			})
		},
	}
	of.register(cmd)
	return cmd
}

// dateMax is after every business day.
const dateMax txn.Date = 99991231

func ledgerRestoreCommand(c *console) *cobra.Command {
	f := &archiveFlags{}
	cmd := f.on(&cobra.Command{
		Use:   "restore DAY",
		Short: "Bring an archived business day back",
		Long: `restore verifies the files of an archived business day and puts its rows back into
the ledger, as they were: all or none. With --into it puts them into another database,
whose tables it makes, and the ledger stays as it is. The files stay; a day that was
brought back is archived again by ledger archive.

Exit codes: 0 done; 1 the files are missing or damaged; 3 the day is in the ledger, or
was never archived.`,
		Example: `  acqswitch ledger restore 2021-03-05 --config acqswitch.yaml
  acqswitch ledger restore 2021-03-05 --into sqlite:/tmp/inquiry.db`,
		Args: args(1, "one business day"),
		RunE: func(cmd *cobra.Command, given []string) error {
			ctx := cmd.Context()
			day, err := txn.ParseDate(given[0])
			if err != nil {
				return usage(err)
			}
			return f.with(ctx, func(_ *openedLedger, in settlement.ArchiveInput) error {
				in.Day = day
				if f.into != "" {
					other, err := ledger.Open(f.into)
					if err != nil {
						return usage(fmt.Errorf("--into: %w", err))
					}
					defer other.Close()
					if err := other.Migrate(ctx); err != nil {
						return err
					}
					in.Ledger = other
				}
				n, err := settlement.RestoreDay(ctx, in)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.out, "%s is restored: %d rows\n", day, n)
				return err
			})
		},
	})
	cmd.Flags().StringVar(&f.into, "into", "", "another database, sqlite:PATH or postgres://...")
	return cmd
}

func ledgerPurgeCommand(c *console) *cobra.Command {
	f := &archiveFlags{}
	cmd := f.on(&cobra.Command{
		Use:   "purge",
		Short: "Remove the files of archived days whose time is over, for ever",
		Long: `purge removes the files of archived business days before a date, which must be
ledger.retention_years ago: records of transactions are kept five years by rule.
Exit code 3: the date is too late, or the archive of a day is not there (is its disk
mounted?); nothing was removed of it.`,
		Example: "  acqswitch ledger purge --before 2020-01-01 --config acqswitch.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return f.with(ctx, func(l *openedLedger, in settlement.ArchiveInput) error {
				years := l.config.Ledger.RetentionYears
				before, err := f.limit(l.config, fmt.Sprintf("ledger.retention_years keeps %d years", years), func(today txn.Date) txn.Date { return yearsBefore(today, years) })
				if err != nil {
					return err
				}
				days, err := l.Archived(ctx, 0, before.Before())
				if err != nil {
					return err
				}
				if len(days) == 0 && !c.json() {
					fmt.Fprintf(c.out, "no day before %s is in files\n", before)
				}
				for _, d := range days {
					if d.State != ledger.Removed {
						continue
					}
					in.Day = d.Day
					if err := settlement.PurgeDay(ctx, in); err != nil {
						return err
					}
					if d.State = ledger.Purged; c.json() {
						if err := c.print(newArchivedRow(&d)); err != nil {
							return err
						}
					} else {
						fmt.Fprintln(c.out, d.Day, "is purged")
					}
				}
				return nil
			})
		},
	})
	cmd.Flags().StringVar(&f.before, "before", "", "the first business day whose files stay, as yyyy-mm-dd")
	return cmd
}
