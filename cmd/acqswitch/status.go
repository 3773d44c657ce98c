package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func statusCommand(c *console) *cobra.Command {
	var of dataFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a running switch is",
		Long: `status asks the switch that serves a data directory how it is: its terminals and
issuers, what it owes, how far the ledger is, and what somebody should see to. Exit
code 3 when there is something of that kind, 4 when no switch serves there.`,
		Example: `  acqswitch status --config /etc/acqswitch/acqswitch.yaml
  acqswitch status -o json | jq -r .wrong[]`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := of.config()
			if err != nil {
				return err
			}
			var s status
			if err := control(cmd.Context(), cfg.DataDir, "/status", struct{}{}, &s); errors.Is(err, errNoSwitch) {
				return unreachable(fmt.Errorf("no switch serves %s", cfg.DataDir))
			} else if err != nil {
				return err
			}
			if c.json() {
				err = c.print(s)
			} else {
				err = s.write(c, cfg.DataDir)
			}
			if err == nil && len(s.Wrong) > 0 {
				return refused()
			}
			return err
		},
	}
	of.register(cmd)
	return cmd
}

func (s *status) write(c *console, dir string) error {
	since := ""
	if here, err := readPresence(dir); err == nil && here.PID == s.PID {
		since = ", serves since " + here.Since.Format(time.DateTime)
	}
	fmt.Fprintf(c.out, `acqswitch %s, process %d%s
business day  %s
terminals     %d of at most %d sessions; %s in hand, %d of them waiting for a processor
owed          %s and advices, %d of them parked
journal       %s; %.1f GiB are free
ledger        %s behind
policy        %d

`, s.Version, s.PID, since, s.Day, s.Sessions, s.SessionsMax, plural(int(s.InFlight), "request"), s.Waiting,
		plural(int(s.Owed), "reversal"), s.Parked, plural(int(s.Journal), "record"), float64(s.DiskFree)/(1<<30), plural(int(s.Behind), "record"), s.Policy)
	err := writeTable(c.out, "issuer\tlinks\thosts\tbreaker\tin flight", s.Issuers, func(l *linkStatus) []any {
		return []any{l.Issuer, fmt.Sprintf("%d of %d", l.Up, l.Links), strings.Join(l.Hosts, " "), l.Breaker, l.InFlight}
	})
	if err != nil {
		return err
	}
	if len(s.Wrong) == 0 {
		_, err = fmt.Fprintln(c.out, "\nnothing is wrong")
		return err
	}
	_, err = fmt.Fprintf(c.out, "\nwrong: %s\n", strings.Join(s.Wrong, "\n       "))
	return err
}
