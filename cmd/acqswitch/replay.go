package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/replay"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// replayFlags are those of replay.
type replayFlags struct {
	to          []string
	tls         tlsFlags
	compare     bool
	speed, rate string
	terminals   int
	identities  string
	tmk         string
	rules       string
	report      string
	stan        uint32
	patience    time.Duration
	max         int
}

func replayCommand(c *console) *cobra.Command {
	f := &replayFlags{}
	cmd := &cobra.Command{
		Use: "replay FILE [--compare A B]", Short: "Play a capture against a host and say what it answers otherwise",
		Long: `replay plays a capture (acqswitch capture) against any host that speaks its
dialect: the sessions, each terminal's order and, at --speed 1x, the pauses as
they were recorded. Trace numbers, times, batches and references to earlier
messages are rewritten, so that a capture can be played again and again; with
test keys (--tmk) terminals sign on first, MACs are made anew, and a PIN from
` + pinVariable + ` goes into the PIN blocks.

Each answer is held against the recorded one, field by field; a field that
repeated the request must repeat it again. What differs is grouped by cause. With
--rate requests are sent when they are due, whatever the host does, and latency
counts from then. docs/load-testing.md is the way from a tcpdump file to a
report.

With --compare two hosts play the capture side by side, and what B answers is held
against what A answers to the same request at the same moment. Each is an address
(DIALECT=ADDRESS,... for several dialects) or a build: the path of an acqswitch
binary, which is then started with the sample registry, test keys and issuers,
and whose journal says by which rule or for which reason it answered so.

Exit code 0: every answer as recorded; 3: something differs or is missing; 4: the
host could not be reached, or answered nothing any more. The report is written
in every case.`,
		Example: `  acqswitch replay day.acq --to 127.0.0.1:8583
  acqswitch replay day.acq --to cup-pos=127.0.0.1:8583 --to iso87=127.0.0.1:8587 --speed max --report day.html
  acqswitch replay day.acq --to 10.0.0.7:8583 --rate 500/s --terminals 2000 --identities terminals.csv
  acqswitch replay day.acq --speed max --compare ./acqswitch-released ./bin/acqswitch
  acqswitch replay day.acq --to 10.0.0.7:8583 --speed 10x --tmk test-keys.txt --rules rules.yaml -o json`,
		Args: func(cmd *cobra.Command, given []string) error {
			if f.compare {
				return args(3, "a capture's file and, with --compare, two hosts")(cmd, given)
			}
			return args(1, "a capture's file")(cmd, given)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			return f.run(cmd.Context(), c, given[0], given[1:])
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.compare, "compare", false, "play against two hosts, A and B, side by side, and hold B's answers against A's")
	fs.StringArrayVar(&f.to, "to", nil, "the host's address; DIALECT=ADDRESS for the sessions of one dialect, several times for several")
	f.tls.register(fs)
	fs.StringVar(&f.speed, "speed", "", "pace: 1x as recorded (the default), 10x ten times as fast, max as fast as answers come")
	fs.StringVar(&f.rate, "rate", "", "instead: requests a second for all terminals together, as 500/s")
	fs.IntVar(&f.terminals, "terminals", 0, "how many terminals play: those of the capture, then copies of them; 0 is those of the capture")
	fs.StringVar(&f.identities, "identities", "", "file of who plays, a line TERMINAL,MERCHANT for each; without it copies count on behind the highest terminal")
	fs.StringVar(&f.tmk, "tmk", "", "file of test master keys, a line TERMINAL KEY [SERIAL [KEY-SET [MAC]]] each, * for every other terminal. Never real ones")
	fs.StringVar(&f.rules, "rules", "", "YAML file of what is rewritten and what may differ (docs/load-testing.md)")
	fs.StringVar(&f.report, "report", "", "file for the report as one HTML page that opens offline")
	fs.Uint32Var(&f.stan, "stan", 0, "each terminal's first trace number; 0 takes the clock's")
	fs.DurationVar(&f.patience, "patience", 20*time.Second, "how long a terminal waits for an answer")
	fs.IntVar(&f.max, "max", 0, "stop after so many requests of the capture; 0 plays all")
	return cmd
}

func (f *replayFlags) options() (o replay.Options, err error) {
	o = replay.Options{Addrs: targets(f.to), Terminals: f.terminals, STAN: f.stan, Patience: f.patience, Max: f.max, Rules: replay.DefaultRules()}
	if o.TLS, err = f.tls.config(); err != nil {
		return o, err
	}
	for _, addr := range o.Addrs {
		if err := transport.Check(addr, o.TLS != nil); err != nil {
			return o, fmt.Errorf("--to: %w", err)
		}
	}
	switch {
	case len(o.Addrs) == 0 && !f.compare:
		return o, errors.New("say with --to where the host is")
	case len(o.Addrs) > 0 && f.compare:
		return o, errors.New("--compare says where the hosts are: leave --to out")
	case f.patience <= 0 || f.terminals < 0 || f.max < 0 || f.stan > txn.STANMax:
		return o, errors.New("--patience must be positive, --terminals and --max not negative, --stan up to 999999")
	}
	if f.speed != "" && f.rate != "" {
		return o, errors.New("--speed and --rate are two paces: say one of them")
	}
	if f.speed != "max" {
		if o.Speed, err = strconv.ParseFloat(strings.TrimSuffix(cmp.Or(f.speed, "1x"), "x"), 64); err != nil || !(o.Speed > 0 && o.Speed <= 1e6) {
			return o, fmt.Errorf("--speed %q must be as 1x, 10x or max", f.speed)
		}
	}
	if f.rate != "" {
		if o.Rate, err = strconv.ParseFloat(strings.TrimSuffix(f.rate, "/s"), 64); err != nil || !(o.Rate > 0 && o.Rate <= 1e7) {
			return o, fmt.Errorf("--rate %q must be as 500/s", f.rate)
		}
	}
	if pin := os.Getenv(pinVariable); pin != "" {
		o.PIN = txn.Secret(pin)
	}
	if f.rules != "" {
		err := readFile(f.rules, func(r io.Reader) (err error) { o.Rules, err = replay.ReadRules(r); return err })
		if err != nil {
			return o, fmt.Errorf("--rules: %w", err)
		}
	}
	if f.identities != "" {
		err := readFile(f.identities, func(r io.Reader) (err error) { o.Identities, err = readIdentities(r); return err })
		if err != nil {
			return o, fmt.Errorf("--identities: %w", err)
		}
	}
	o.Keys, err = playableKeysOf(f.tmk)
	return o, err
}

// playableKeysOf are the test keys of terminals that a replay or a load can play.
func playableKeysOf(file string) (map[string]replay.Key, error) {
	all, err := testKeysOf(file)
	for tid, k := range all {
		if k.Initial.Scheme.DUKPT() {
			return nil, fmt.Errorf("--tmk: terminal %s: its messages have no place for a DUKPT terminal's serial numbers; leave it out", tid)
		}
	}
	return all, err
}

// targets are the addresses of --to by dialect; "" is for every other.
func targets(to []string) map[string]string {
	addrs := map[string]string{}
	for _, one := range to {
		name, addr, named := strings.Cut(one, "=")
		named = named && !strings.Contains(name, "://") // the = is of a URL
		if !named {
			name, addr = "", one
		}
		addrs[name] = addr
	}
	return addrs
}

// testKeysOf reads the file of --tmk, if there is one.
func testKeysOf(file string) (all map[string]replay.Key, err error) {
	if file == "" {
		return nil, nil
	}
	if err = readFile(file, func(r io.Reader) (err error) { all, err = readTestKeys(r); return err }); err != nil {
		return nil, fmt.Errorf("--tmk: %w", err)
	}
	return all, nil
}

func readIdentities(r io.Reader) (all []replay.Identity, err error) {
	err = eachLine(r, func(line string) error {
		tid, mid, _ := strings.Cut(line, ",")
		if tid, mid = strings.TrimSpace(tid), strings.TrimSpace(mid); tid == "" || len(tid) > 8 || len(mid) > 15 {
			return errors.New("must be TERMINAL,MERCHANT of up to 8 and 15 characters")
		}
		all = append(all, replay.Identity{Terminal: tid, Merchant: mid})
		return nil
	})
	return all, err
}

// readTestKeys reads master keys and initial keys. Its errors quote none.
func readTestKeys(r io.Reader) (map[string]replay.Key, error) {
	all := map[string]replay.Key{}
	err := eachLine(r, func(line string) error {
		words := strings.Fields(line)
		var k replay.Key
		var err error
		if len(words) == 5 && strings.HasPrefix(words[3], "dukpt-") && words[0] != "*" {
			k.Serial = words[2]
			if k.Initial, err = terminal.ParseInitialKey(words[3], words[1], words[4]); err == nil {
				all[words[0]] = k
			}
			return err
		}
		if len(words) < 2 || len(words) > 5 {
			return errors.New("must be TERMINAL KEY [SERIAL [KEY-SET [MAC]]], or TERMINAL INITIAL-KEY SERIAL SCHEME KSN")
		}
		if k.TMK, err = terminal.ParseTMK(words[1]); err != nil {
			return err
		}
		if len(words) > 2 {
			k.Serial = words[2]
		}
		if len(words) > 3 {
			if k.Set, err = terminal.ParseKeySet(words[3]); err != nil {
				return err
			}
		}
		if len(words) > 4 {
			if k.MAC, err = algo.ParseMAC(words[4]); err != nil {
				return err
			}
		}
		name := words[0]
		if name == "*" {
			name = ""
		}
		all[name] = k
		return nil
	})
	return all, err
}

func (f *replayFlags) run(ctx context.Context, c *console, name string, hosts []string) (err error) {
	o, err := f.options()
	if err != nil {
		return usage(err)
	}
	file, err := os.Open(name)
	if err != nil {
		return usage(err)
	}
	defer file.Close()
	index, err := capture.ReadIndex(file)
	if err != nil {
		return usage(fmt.Errorf("%s: %w", name, err))
	}
	in, err := capture.NewReader(file)
	if err != nil {
		return usage(fmt.Errorf("%s: %w", name, err))
	}
	for named := range o.Addrs {
		if _, err := dialect.ForTerminal(named); named != "" && err != nil && !speaks(index, named) {
			return usage(fmt.Errorf("--to %s=: %w", named, err))
		}
	}
	if err := reachable(index, "--to", o.Addrs); err != nil {
		return err
	}
	o.Name = filepath.Base(name)
	if !c.json() {
		o.Progress = replayProgress(c.out)
	}
	var both [2]compared
	if len(hosts) > 0 {
		var stop func() error
		both, stop, err = f.sideBySide(ctx, &o, hosts)
		defer func() { err = errors.Join(err, stop()) }()
		if err == nil {
			err = reachable(index, "--compare", o.Reference)
		}
		if err == nil {
			err = reachable(index, "--compare", o.Addrs)
		}
		if err != nil {
			return err
		}
	}
	r, played := replay.Run(ctx, in, index, o)
	for _, h := range both {
		if h.own != nil && h.own.gone() {
			r.Problems = append(r.Problems, h.own.failed("ended while it was asked").Error())
		}
	}
	if r.Began.IsZero() && played != nil { // it cannot be played as asked
		return usage(played)
	}
	if n := index.Cleaned; r.Differ > 0 && len(o.Reference) == 0 && (n.MACs > 0 && len(o.Keys) == 0 || n.PINs > 0 && len(o.PIN) == 0) {
		r.Problems = append(r.Problems, fmt.Sprintf("the capture's %d MACs and %d PIN blocks are zeros: --tmk and "+pinVariable+" make them anew", n.MACs, n.PINs))
	}
	if err := becauseOf(r, both); err != nil {
		return err
	}
	if err := f.write(c, r); err != nil {
		return err
	}
	switch {
	case errors.Is(played, replay.ErrGivenUp):
		return unreachable(played)
	case played != nil && !errors.Is(played, capture.ErrCutOff):
		return played
	case !r.OK():
		return refused()
	}
	return nil
}

// reachable refuses one plain address for the sessions of several dialects: a
// listener speaks one.
func reachable(index *capture.Index, flag string, addrs map[string]string) error {
	var plain []string
	for _, d := range index.Dialects {
		if addrs[d.Name] == "" && addrs[""] != "" {
			plain = append(plain, d.Name)
		}
	}
	if len(plain) < 2 {
		return nil
	}
	return usage(fmt.Errorf("%s: the capture has sessions of %s, which no one address speaks: say DIALECT=ADDRESS for each", flag, strings.Join(plain, " and ")))
}

func speaks(index *capture.Index, name string) bool {
	for _, d := range index.Dialects {
		if d.Name == name {
			return true
		}
	}
	return false
}

func (f *replayFlags) write(c *console, r *replay.Report) error {
	if err := writeReport(f.report, r); err != nil {
		return err
	}
	if c.json() {
		return c.print(r)
	}
	return printReplay(c.out, r)
}

// writeReport writes the page, if a file is named.
func writeReport(file string, r *replay.Report) error {
	if file == "" {
		return nil
	}
	page, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(page)
	return errors.Join(r.WriteHTML(out), out.Flush(), page.Close())
}

func printReplay(out io.Writer, r *replay.Report) error {
	for _, g := range r.Groups {
		fmt.Fprintln(out, g.Cause)
		for _, e := range g.Examples[:1] {
			fmt.Fprintln(out, "    for example", e)
		}
	}
	for _, p := range r.Problems {
		fmt.Fprintln(out, "problem:", p)
	}
	if len(r.Groups)+len(r.Problems) > 0 {
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%s against %s, %s: %d requests of %d terminals in %s, %d answered (%.0f/s)\n",
		r.Capture, strings.Join(r.Targets, ", "), r.Pace, r.Requests, r.Terminals, r.Took.Round(time.Millisecond), r.Answered, r.PerSecond)
	if len(r.Reference) > 0 {
		fmt.Fprintf(out, "held against what %s answered\n", strings.Join(r.Reference, ", "))
	}
	fmt.Fprintf(out, "%d as %s, %d different, %d not answered, %d could not be played; %d unanswered as expected, %d answered where no answer was expected; %d answers to no request\n\n",
		r.Same, r.Expectation(), r.Differ, r.Missing, r.NotPlayed, r.Silent, r.Unrecorded, r.Strays)
	if err := printLatencies(out, r); err != nil {
		return err
	}
	if len(r.Measured()) > 0 {
		fmt.Fprintln(out)
	}
	_, err := fmt.Fprintln(out, r.Verdict())
	return err
}

func printLatencies(out io.Writer, r *replay.Report) error {
	all := r.Measured()
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\tmean\tp50\tp90\tp99\tp99.9\tlongest\t\n")
	for _, m := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", m.Name, fine(m.Mean), fine(m.P50), fine(m.P90), fine(m.P99), fine(m.P999), fine(m.Max))
	}
	return w.Flush()
}

// fine is a duration with microseconds.
func fine(d time.Duration) string { return fmt.Sprintf("%.3fms", float64(d)/1e6) }

// replayProgress redraws one line on a terminal and prints one now and then
// elsewhere.
func replayProgress(w io.Writer) func(replay.Progress) {
	var last time.Duration
	every, end := 2*time.Second, "\n"
	if isTerminal(w) {
		every, end = 200*time.Millisecond, "\x1b[K\r"
	}
	return func(p replay.Progress) {
		if last > p.Elapsed { // the next trial of a search
			last = 0
		}
		if p.Elapsed-last < every {
			return
		}
		rate := float64(p.Answered) / p.Elapsed.Seconds()
		last = p.Elapsed
		of := ""
		if p.Total > p.Sent {
			of = fmt.Sprintf(" of %d", p.Total)
		}
		trying := ""
		if p.Rate > 0 {
			trying = fmt.Sprintf("trying %.0f/s: ", p.Rate)
		}
		fmt.Fprintf(w, "%s%d%s requests, %d answered (%.0f/s), %d different or wrong, %.0fs%s", trying, p.Sent, of, p.Answered, rate, p.Differ, p.Elapsed.Seconds(), end)
	}
}
