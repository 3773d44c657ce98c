package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/download"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// downloadsDir is the folder of the data directory with the log of what
// terminals have downloaded.
const downloadsDir = "downloads"

func readDownloads(path string) (*download.Snapshot, error) {
	return loadFile("downloads", path, download.Load)
}

func downloadsCommand(c *console) *cobra.Command {
	check := &cobra.Command{
		Use: "check FILE", Short: "Say whether a file of downloads can be used", Args: args(1, "one file of downloads"),
		Example: "  acqswitch downloads check downloads.yaml && kill -HUP $(pidof acqswitch)",
		RunE: func(_ *cobra.Command, given []string) error {
			if _, err := readDownloads(given[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.out, "ok")
			return err
		},
	}
	var file string
	var all bool
	status := &cobra.Command{
		Use:   "status",
		Short: "List the terminals that lack something, and what they last said of themselves",
		Long: `status compares the file of downloads with what the log says terminals have, of a
running or stopped switch, and changes nothing. Terminals that are not CUP POS
download nothing, so they lack everything that is not on a gray list. Exit code 3
if a terminal that is asked for something lacks it.`,
		Example: "  acqswitch downloads status --config acqswitch.yaml",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			lines, err := downloadsStatus(cfg)
			if err != nil {
				return err
			}
			return lines.print(c, all)
		},
	}
	configFlag(status, &file)
	status.Flags().BoolVar(&all, "all", false, "list the terminals that lack nothing, too")
	return group("downloads", "Check what terminals download, and which have it", check, status)
}

// downloadLine is one terminal.
type downloadLine struct {
	Terminal string     `json:"terminal"`
	Merchant string     `json:"merchant"`
	Lacks    []string   `json:"lacks"`
	Status   string     `json:"status,omitempty"`
	StatusAt *time.Time `json:"status_at,omitempty"`
}

type downloadLines []downloadLine

// downloadsStatus reads the files and the log of a configuration. A log that is
// not there says that nobody has anything.
func downloadsStatus(cfg *config) (lines downloadLines, err error) {
	if cfg.Downloads == "" {
		return nil, usage(errors.New("configuration: downloads is empty: terminals download nothing"))
	}
	contents, err := readDownloads(cfg.Downloads)
	if err != nil {
		return nil, err
	}
	parties, err := cfg.parties(context.Background())
	if err != nil {
		return nil, err
	}
	l := download.New(contents, nil, func(id txn.TerminalID) [50]byte { return parties.Serial(id) }, slog.New(slog.DiscardHandler))
	dir := filepath.Join(cfg.DataDir, downloadsDir)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		taken, err := journal.Open(dir, journal.Config{SegmentSize: 16 << 20, ReadOnly: true})
		if err != nil {
			return nil, fmt.Errorf("open the log of downloads: %w", err)
		}
		defer taken.Close()
		if err := l.Recover(taken); err != nil {
			return nil, err
		}
	}
	for t := range parties.Terminals() {
		m, _ := parties.Merchant(t.Merchant)
		line := downloadLine{Terminal: t.ID.String(), Merchant: t.Merchant.String(), Lacks: l.Lacks(t.ID, m)}
		if st := l.Status(t.ID); !st.At.IsZero() {
			line.Status, line.StatusAt = st.Text, &st.At
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// print lists who lacks something; all lists the others as well.
func (lines downloadLines) print(c *console, all bool) error {
	behind := 0
	var shown downloadLines
	for _, l := range lines {
		if len(l.Lacks) > 0 {
			behind++
		}
		if all || len(l.Lacks) > 0 {
			shown = append(shown, l)
		}
	}
	if c.json() {
		if err := c.print(map[string]any{"terminals": len(lines), "behind": behind, "list": shown}); err != nil {
			return err
		}
	} else {
		if len(shown) > 0 {
			writeTable(c.out, "terminal\tmerchant\tlacks\tstatus\tas of", shown, func(l *downloadLine) []any {
				at := ""
				if l.StatusAt != nil {
					at = l.StatusAt.Format(time.DateTime)
				}
				return []any{l.Terminal, l.Merchant, strings.Join(l.Lacks, " "), l.Status, at}
			})
		}
		fmt.Fprintf(c.out, "%d of %d terminals lack something\n", behind, len(lines))
	}
	if behind > 0 {
		return refused()
	}
	return nil
}
