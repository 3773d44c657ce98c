package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/replay"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// loadFlags are those of load.
type loadFlags struct {
	profile, to          string
	tls                  tlsFlags
	identities, registry string
	tmk                  string
	metrics, report      string
}

func loadCommand(c *console) *cobra.Command {
	f := &loadFlags{}
	cmd := &cobra.Command{
		Use: "load", Short: "Make a load by a profile and measure the host under it", Args: noArgs,
		Long: `load asks a host what a profile says: at a rate that is constant, rises, steps or
swings (open loop: requests are sent when they are due, whatever the host does, and
latency counts from then), or as terminals that think between their requests (closed
loop), or at one rate after another, for the highest that is good enough. Kinds of
requests, cards, terminals and amounts are drawn from the profile's distributions;
so are faults. docs/load-testing.md explains every key.

The terminals are those of --identities, or of a registry. A profile with mac has
them sign on with their test master keys (--tmk) and send MACs, and PINs
(` + pinVariable + `) in as many percent as it says. With --metrics the switch's own
stages are in the report.

Exit code 0: every answer was right; 3: some were wrong, late or missing, or a search
found no rate that is good enough; 4: the host could not be reached, or answered
nothing any more. The report is written in every case.`,
		Example: `  acqswitch load --profile testdata/load/steady.yaml --registry testdata/registry.yaml --to 127.0.0.1:8583
  ACQ_TEST_PIN=123456 acqswitch load --profile testdata/load/macs.yaml --registry testdata/registry.yaml --tmk test-keys.txt --to 127.0.0.1:8583
  acqswitch load --profile search.yaml --identities terminals.csv --to 10.0.0.7:8583 --report load.html --metrics http://10.0.0.7:9583/metrics`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), c) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.profile, "profile", "", "YAML file of the load")
	fs.StringVar(&f.to, "to", "", "the host's address")
	f.tls.register(fs)
	fs.StringVar(&f.identities, "identities", "", "file of the terminals, a line TERMINAL,MERCHANT each")
	fs.StringVar(&f.registry, "registry", "", "instead: the terminals of a registry file that need no position or serial number, and have a CUP MAC as the profile has")
	fs.StringVar(&f.tmk, "tmk", "", "file of test master keys for a profile with mac, a line TERMINAL KEY [SERIAL [KEY-SET [MAC]]] each, * for every other terminal. Never real ones")
	fs.StringVar(&f.metrics, "metrics", "", "URL of the switch's metrics, for the breakdown by stage")
	fs.StringVar(&f.report, "report", "", "file for the report as one HTML page that opens offline")
	return cmd
}

func (f *loadFlags) run(ctx context.Context, c *console) error {
	if f.profile == "" || f.to == "" || (f.identities == "") == (f.registry == "") {
		return usage(errors.New("say --profile, --to, and one of --identities and --registry"))
	}
	var p *replay.Profile
	if err := readFile(f.profile, func(r io.Reader) (err error) { p, err = replay.ReadProfile(r); return err }); err != nil {
		return usage(fmt.Errorf("--profile: %w", err))
	}
	o := replay.LoadOptions{Name: filepath.Base(f.profile), Addr: f.to, PIN: txn.Secret(os.Getenv(pinVariable))}
	switch {
	case p.MAC && f.tmk == "":
		return usage(errors.New("--profile has mac: say with --tmk which test master keys the terminals have"))
	case p.PIN > 0 && len(o.PIN) == 0:
		return usage(fmt.Errorf("--profile has pin: put the test PIN into %s", pinVariable))
	case !p.MAC && f.tmk != "":
		return usage(errors.New("--tmk is for a profile with mac: true"))
	}
	var err error
	if o.TLS, err = f.tls.config(); err == nil {
		err = transport.Check(f.to, o.TLS != nil)
	}
	if err != nil {
		return usage(err)
	}
	if o.Keys, err = playableKeysOf(f.tmk); err != nil {
		return usage(err)
	}
	if f.registry != "" {
		reg, err := readRegistry(f.registry)
		if err != nil {
			return err
		}
		want := txn.KeysNone
		if p.MAC {
			want = txn.KeysMasterSession
		}
		for t := range reg.Terminals() {
			if m, ok := reg.Merchant(t.Merchant); ok && t.Status == txn.StatusActive && m.Status == txn.StatusActive && m.Currency == txn.CNY && m.ID.String() != fleet.DemoMerchant &&
				t.Keys == want && !t.RequirePosition && t.SerialCheck != txn.SerialRequired {
				o.Identities = append(o.Identities, replay.Identity{Terminal: t.ID.String(), Merchant: t.Merchant.String()})
			}
		}
	} else if err = readFile(f.identities, func(r io.Reader) (err error) { o.Identities, err = readIdentities(r); return err }); err != nil {
		return usage(fmt.Errorf("--identities: %w", err))
	}
	if len(o.Identities) == 0 {
		return usage(errors.New("no terminal is given that could ask"))
	}
	if !c.json() {
		o.Progress = replayProgress(c.out)
	}
	before, err := hostStages(ctx, f.metrics)
	if err != nil {
		return unreachable(fmt.Errorf("--metrics: %w", err))
	}
	r, made := replay.RunLoad(ctx, p, o)
	if after, err := hostStages(ctx, f.metrics); err == nil && r.Load != nil {
		r.Load.Stages = after.Since(before)
	}
	if err := writeReport(f.report, r); err != nil {
		return err
	}
	if c.json() {
		err = c.print(r)
	} else {
		err = printLoad(c.out, r)
	}
	switch {
	case err != nil:
		return err
	case errors.Is(made, replay.ErrGivenUp):
		return unreachable(made)
	case made != nil:
		return made
	case !r.OK():
		return refused()
	}
	return nil
}

// metricsWithin bounds asking a switch for its metrics.
const metricsWithin = 5 * time.Second

// hostStages asks a switch for the sums of its stages; an empty URL is none.
func hostStages(ctx context.Context, url string) (replay.Stages, error) {
	if url == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, metricsWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return replay.ReadStages(resp.Body), nil
}

func printLoad(out io.Writer, r *replay.Report) error {
	for _, p := range r.Problems {
		fmt.Fprintln(out, "problem:", p)
	}
	l := r.Load
	if l == nil {
		return nil
	}
	fmt.Fprintf(out, "%s against %s, %s: %d requests of %d terminals in %s, %d answered (%.0f/s)\n", r.Capture, r.Targets[0], r.Pace, r.Sent, r.Terminals, r.Took.Round(time.Millisecond), r.Answered, r.PerSecond)
	if l.Keyless > 0 {
		fmt.Fprintf(out, "%d terminals got no working keys and asked nothing\n", l.Keyless)
	}
	fmt.Fprintf(out, "%d wrong, %d without an answer, %d sessions broken, %d answers to no request; faults made: %d repeats, %d half frames, %d reversals\n\n", l.Wrong, l.Silent, l.Broken, r.Strays, l.Repeats, l.Halves, l.Undone)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, code := range r.Codes {
		fmt.Fprintf(w, "%s\t%s\t%d\n", code.Kind, code.Code, code.Now)
	}
	fmt.Fprintln(w)
	for _, t := range l.Trials {
		verdict := "good"
		if !t.Good {
			verdict = t.Why
		}
		fmt.Fprintf(w, "%.0f/s\tanswered %.0f/s\tp99 %s\t%s\n", t.Rate, t.Answered, fine(t.P99), verdict)
	}
	for _, s := range l.Stages {
		fmt.Fprintf(w, "stage %s\t%d\tmean %s\n", s.Stage, s.Count, fine(s.Mean))
	}
	w.Flush()
	if len(l.Trials) > 0 {
		fmt.Fprintf(out, "\n%s\n", l.Found())
	}
	return printLatencies(out, r)
}
