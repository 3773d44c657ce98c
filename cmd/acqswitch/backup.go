package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement/journal"
)

func backupCommand(c *console) *cobra.Command {
	var of dataFlags
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy the books of a running or stopped switch",
		Long: `backup copies what cannot be copied file by file while a switch runs into a new
directory: first the ledger, if that is SQLite, then the journal, the log of keys and
that of downloads, each as of one moment, and their hashes, SHA256SUMS. DIR appears
when all of it is on the disk.

A ledger in PostgreSQL is copied with PostgreSQL's own tools (pg_dump, or a base
backup), before this: a ledger that is behind its journal catches up, one that is
ahead is refused. All else in the data directory is plain files that can be copied at
any time; card.keys and lmk.keys belong elsewhere.

docs/operations.md says how to restore.`,
		Example: `  acqswitch backup /backup/2026-11-22 --config acqswitch.yaml
  pg_dump -Fc -f ledger.dump acq && acqswitch backup /backup/2026-11-22`,
		Args: args(1, "the directory to make"),
		RunE: func(cmd *cobra.Command, given []string) error {
			cfg, err := of.config()
			if err != nil {
				return err
			}
			r, err := backup(cmd.Context(), cfg, given[0])
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(r)
			}
			ledger := "in PostgreSQL: not in this directory"
			if r.Ledger {
				ledger = "copied"
			}
			_, err = fmt.Fprintf(c.out, "%s: journal records %d to %d; ledger, then at record %d, %s\n", r.Directory, r.First, r.Last, r.Position, ledger)
			return err
		},
	}
	of.register(cmd)
	return cmd
}

type backupReport struct {
	Directory string `json:"directory"`
	Ledger    bool   `json:"ledger_copied"`
	Position  uint64 `json:"ledger_position"` // when the backup began
	First     uint64 `json:"journal_first"`
	Last      uint64 `json:"journal_last"`
}

// backup writes into a directory of another name and renames that to dir at the end, so
// that what is called dir is complete.
func backup(ctx context.Context, cfg *config, dir string) (_ *backupReport, err error) {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, usage(errors.Join(fmt.Errorf("%s is there already; name a directory to make", dir), err))
	}
	l, err := openLedger(cfg)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	r := &backupReport{Directory: dir}
	if r.Position, err = l.Position(ctx); err != nil {
		return nil, err
	}
	partial := dir + ".partial"
	switch err := os.Mkdir(partial, 0o700); {
	case errors.Is(err, os.ErrExist):
		return nil, fmt.Errorf("make the backup: %w; remove what an interrupted one left", err)
	case err != nil:
		return nil, fmt.Errorf("make the backup: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(partial)
		}
	}()
	// The ledger goes first: the journal then has all that it has.
	if r.Ledger, err = l.Copy(ctx, filepath.Join(partial, "ledger.db")); err != nil {
		return nil, err
	}
	for _, name := range []string{"journal", "keys", downloadsDir} {
		from := filepath.Join(cfg.DataDir, name)
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) && name != "journal" {
			continue
		}
		first, last, err := copyLog(ctx, from, filepath.Join(partial, name))
		if err != nil {
			return nil, fmt.Errorf("back up %s: %w", name, err)
		}
		if name == "journal" {
			r.First, r.Last = first, last
		}
	}
	if err := writeSums(partial); err != nil {
		return nil, fmt.Errorf("write the backup's hashes: %w", err)
	}
	if err := os.Rename(partial, dir); err != nil {
		return nil, err
	}
	return r, syncDirectory(filepath.Dir(dir))
}

// copyLog copies a journal that may be written to. Opening it fails when its oldest
// segment is truncated in that moment, which does not happen twice within seconds.
func copyLog(ctx context.Context, from, to string) (first, last uint64, err error) {
	open := func() (*journal.Journal, error) { return journal.Open(from, journal.Config{ReadOnly: true}) }
	j, err := open()
	if errors.Is(err, fs.ErrNotExist) {
		j, err = open()
	}
	if err != nil {
		return 0, 0, err
	}
	err = j.Copy(ctx, to)
	return uint64(j.First()), uint64(j.Last()), errors.Join(err, j.Close())
}

// writeSums writes SHA256SUMS of all files below dir, durably.
func writeSums(dir string) error {
	var sums bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", h.Sum(nil), strings.TrimPrefix(path, dir+string(filepath.Separator)))
		return nil
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "SHA256SUMS"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(sums.Bytes())
	return errors.Join(err, f.Sync(), f.Close(), syncDirectory(dir))
}

// syncDirectory makes the names in a directory durable.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
