package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/replay"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/script"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// scriptFlags are those of script run.
type scriptFlags struct {
	to       []string
	tls      tlsFlags
	tmk      string
	patience time.Duration
	steps    bool
}

func scriptCommand(c *console) *cobra.Command {
	f := &scriptFlags{}
	run := &cobra.Command{
		Use: "run FILE...", Short: "Play certification scripts, each a case, and say which go as they should",
		Long: `run plays scripts: what terminals and issuers do, line by line, and what must
come of it. docs/terminal.md says how a script is written.

With --to they are played against that switch, whoever's it is. Without it each
case has a switch of its own, a process of this very program with the sample
registry and two issuers, which a script may also kill and start again, and
whose issuers do what the script says. Scripts that need that are not run
against another switch.

Exit code 0 if all cases that were run went as their scripts say; 3 if one did
not, or none could be run; 4 if the switch could not be reached.`,
		Example: `  acqswitch script run testdata/script/*.txt
  acqswitch script run testdata/script/day.txt --to 127.0.0.1:8583 --steps
  acqswitch script run certification/*.txt --to cup-pos=10.0.0.7:8583 --to iso87=10.0.0.7:8587 --tmk test-keys.txt -o json`,
		Args: atLeastOne("the scripts to run"),
		RunE: func(cmd *cobra.Command, files []string) error { return f.run(cmd.Context(), c, files) },
	}
	fs := run.Flags()
	fs.StringArrayVar(&f.to, "to", nil, "address of the switch; DIALECT=ADDRESS for the terminals of one dialect, several times for several. Empty: a switch of one's own")
	f.tls.register(fs)
	fs.StringVar(&f.tmk, "tmk", "", "file of test master keys, a line TERMINAL KEY [SERIAL [KEY-SET [MAC]]] each, * for every other terminal, or TERMINAL INITIAL-KEY SERIAL SCHEME KSN of a DUKPT one. Never real ones")
	fs.DurationVar(&f.patience, "patience", 20*time.Second, "how long a terminal waits for an answer")
	fs.BoolVar(&f.steps, "steps", false, "print every step, not only those that went otherwise")
	return group("script", "Play certification scripts", run)
}

// outcome is one case's line of the report.
type outcome struct {
	File   string `json:"file"`
	Result string `json:"result"` // passed, failed, broken off or not run
	Why    string `json:"why,omitempty"`
	*script.Case
}

// scriptReport is what came of all cases.
type scriptReport struct {
	Passed int       `json:"passed"`
	Failed int       `json:"failed"`
	NotRun int       `json:"not_run"`
	Cases  []outcome `json:"cases"`
}

func (f *scriptFlags) run(ctx context.Context, c *console, files []string) error {
	if f.patience <= 0 {
		return usage(errors.New("--patience must be positive"))
	}
	host := playhouse{addrs: targets(f.to), patience: f.patience}
	var err error
	if host.tls, err = f.tls.config(); err == nil {
		host.keys, err = testKeysOf(f.tmk)
	}
	for _, addr := range host.addrs {
		err = errors.Join(err, transport.Check(addr, host.tls != nil))
	}
	switch {
	case err != nil:
		return usage(err)
	case host.tls != nil && len(host.addrs) == 0:
		return usage(errors.New("--tls-ca: a switch of one's own speaks no TLS: say --to"))
	}
	var scripts []*script.Script
	for _, name := range files { // all of them before the first is played
		var s *script.Script
		err := readFile(name, func(r io.Reader) (err error) { s, err = script.Read(r); return err })
		if named := (*fs.PathError)(nil); err != nil && !errors.As(err, &named) {
			err = fmt.Errorf("%s: %w", name, err)
		}
		if err != nil {
			return usage(err)
		}
		scripts = append(scripts, s)
	}
	var report scriptReport
	reached := true
	for i, s := range scripts {
		o, err := f.play(ctx, c, s, files[i], host)
		if err != nil && ctx.Err() != nil {
			return err
		}
		switch {
		case errors.Is(err, script.ErrNeedsOwn):
			o.Result, o.Why = "not run", err.Error()
			report.NotRun++
		case err != nil:
			o.Result, o.Why = "broken off", err.Error()
			report.Failed++
			reached = reached && o.Steps > 0
		case !o.OK():
			o.Result = "failed"
			report.Failed++
		default:
			o.Result = "passed"
			report.Passed++
		}
		report.Cases = append(report.Cases, o)
		if !c.json() {
			printCase(c.out, &o, f.steps)
		}
	}
	if c.json() {
		err = c.print(report)
	} else {
		_, err = fmt.Fprintf(c.out, "\n%s: %d passed, %d failed, %d not run\n", plural(len(report.Cases), "case"), report.Passed, report.Failed, report.NotRun)
	}
	switch {
	case err != nil:
		return err
	case !reached && report.Passed == 0:
		return unreachable(errors.New("the switch could not be reached"))
	case report.Failed > 0 || report.Passed == 0:
		return refused()
	}
	return nil
}

// play plays one case at a host, on a switch of its own where that has no address.
func (f *scriptFlags) play(ctx context.Context, c *console, s *script.Script, file string, host playhouse) (o outcome, err error) {
	o = outcome{File: file, Case: &script.Case{Title: s.Title}}
	st := &host
	st.stores = map[string]*terminal.Store{}
	defer func() { err = errors.Join(err, st.close()) }()
	if st.dir, err = os.MkdirTemp("", "acqswitch-terminals-"); err != nil {
		return o, err
	}
	if len(st.addrs) == 0 {
		self, err := os.Executable()
		if err != nil {
			return o, err
		}
		if st.own, err = startOwn(ctx, self, false); err != nil {
			return o, err
		}
		st.addrs = st.own.listens
		if st.keys == nil {
			if st.keys, err = st.own.testKeys(); err != nil {
				return o, err
			}
		}
	}
	var show func(*script.Done)
	if f.steps && !c.json() {
		fmt.Fprintf(c.out, "%s: %s\n", file, s.Title)
		show = func(d *script.Done) { printDone(c.out, d) }
	}
	o.Case, err = s.Play(ctx, st, show)
	return o, err
}

// playhouse is where cases are played: one's own switch or another.
type playhouse struct {
	own      *ownSwitch // nil: it is another's
	addrs    map[string]string
	tls      *tls.Config // nil: plain
	keys     map[string]replay.Key
	patience time.Duration
	dir      string // of the terminals' memories
	stores   map[string]*terminal.Store
}

func (s *playhouse) close() error {
	var err error
	for _, store := range s.stores {
		err = errors.Join(err, store.Close())
	}
	if s.own != nil {
		err = errors.Join(err, s.own.close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Dial implements script.Stage.
func (s *playhouse) Dial(ctx context.Context, w script.Who, r terminal.Recorder) (*terminal.Client, error) {
	addr := cmp.Or(s.addrs[w.Dialect], s.addrs[""])
	if addr == "" {
		return nil, fmt.Errorf("--to says no address for terminals that speak %s", w.Dialect)
	}
	position, err := readPosition(w.Position)
	if err != nil {
		return nil, err
	}
	p := terminal.Profile{Terminal: txn.MakeTerminalID(w.Terminal), Merchant: txn.MakeMerchantID(w.Merchant), Serial: w.Serial, Position: position}
	key, known := s.keys[w.Terminal]
	if !known {
		key = s.keys[""]
	}
	p.TMK, p.KeySet, p.MAC, p.Initial, p.Serial = key.TMK, key.Set, key.MAC, key.Initial, cmp.Or(w.Serial, key.Serial)
	if store := s.stores[w.Terminal]; store != nil { // its power went
		if err := store.Close(); err != nil {
			return nil, err
		}
	}
	store, err := terminal.OpenStore(filepath.Join(s.dir, w.Terminal))
	if err != nil {
		return nil, err
	}
	s.stores[w.Terminal] = store
	o := terminal.Options{Patience: s.patience, TLS: s.tls, Store: store, Recorder: r}
	if s.own == nil { // numbers that the case before did not use
		o.STAN = uint32(time.Now().UnixMilli()/10%txn.STANMax) + 1
	}
	return terminal.Dial(ctx, addr, w.Dialect, p, o)
}

// Own implements script.Stage.
func (s *playhouse) Own() script.Own {
	if s.own == nil {
		return nil
	}
	return s.own
}

// named are the issuers that a script means.
func (o *ownSwitch) named(name string) (map[string]*simulator.Simulator, error) {
	if name == "" {
		return o.issuers, nil
	}
	sim, ok := o.issuers[name]
	if !ok {
		return nil, fmt.Errorf("there is no issuer %s: there are east and west", name)
	}
	return map[string]*simulator.Simulator{name: sim}, nil
}

// Instruct implements script.Own.
func (o *ownSwitch) Instruct(name string, a script.Act) error {
	all, err := o.named(name)
	if err != nil {
		return err
	}
	rule := simulator.Rule{Kind: a.Kind, Times: a.Times, Code: a.Code, Lose: a.Lose, Drop: a.Silent, Disconnect: a.HangUp}
	rule.Latency.Fixed = a.Late
	if a.Twice {
		rule.Copies = 2
	}
	if a.Wrong {
		wrong := int64(1)
		rule.Echo.Amount = &wrong
	}
	for _, sim := range all {
		err = errors.Join(err, sim.Instruct([]simulator.Rule{rule}))
	}
	return err
}

// Booked implements script.Own.
func (o *ownSwitch) Booked(name string) (map[string]int, error) {
	all, err := o.named(name)
	if err != nil {
		return nil, err
	}
	n := map[string]int{}
	for _, sim := range all {
		entries, err := sim.Book()
		if err != nil {
			return nil, err
		}
		for i := range entries {
			n[entries[i].Kind]++
		}
	}
	return n, nil
}

func printCase(out io.Writer, o *outcome, shown bool) {
	if o.Result == "not run" || o.Result == "broken off" {
		fmt.Fprintf(out, "%-10s %s: %s\n", o.Result, o.File, o.Why)
	} else {
		fmt.Fprintf(out, "%-10s %s: %s (%d steps, %s)\n", o.Result, o.File, o.Title, o.Steps, ms(o.Took))
	}
	for _, d := range o.Done {
		if !d.OK && !shown {
			printDone(out, d)
		}
	}
	if o.Terminal != nil && (shown || *o.Terminal != *o.Host && !o.OK()) {
		fmt.Fprintf(out, "  terminal %s\n  switch   %s\n", totalsText(*o.Terminal, o.Currency), totalsText(*o.Host, o.Currency))
	}
}

func printDone(out io.Writer, d *script.Done) {
	answer := ""
	if d.Expected != "" {
		answer = fmt.Sprintf("STAN %06d  want %-6s got %-6s RRN %-13s %s", d.STAN, d.Expected, d.Got, cmp.Or(d.RRN, "-"), ms(d.Latency))
	}
	mark := ""
	if !d.OK {
		mark = "  <- not as expected"
		if m := terminal.Meaning(d.Got); m != "" && d.Got != "00" {
			mark += ": " + m
		}
	}
	fmt.Fprintf(out, "  line %-4d %-44s %s%s\n", d.Line, d.Step, answer, mark)
	if d.Why != "" {
		fmt.Fprintf(out, "            %s\n", d.Why)
	}
	if d.Answer.First != nil {
		fmt.Fprintf(out, "            %s\n", again(&d.Answer))
	}
}
