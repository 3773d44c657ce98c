package fleet_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement/journal"
	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/testdata"
)

// stack is a whole switch with the sample registry and issuers, in process and
// over real sockets.
type stack struct {
	registry *registry.Snapshot
	addrs    map[string]string
	books    map[string]*simulator.Simulator
	switch_  *acquirer.Switch
	stop     func()
}

type observer struct{}

func (observer) Finish(*txn.Request, *txn.Answer, string) {}
func (observer) BadFrame(string, pos.Cause)               {}

func sampleFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(testdata.Files, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stackTimeout is how long an issuer has for an answer: where all terminals begin at once,
// on a machine that runs other tests too, none may be late that its rules have come in time.
const stackTimeout = 4 * time.Second

// startStack starts a switch in dir; what was started in dir before goes on.
func startStack(t testing.TB, dir string) *stack {
	t.Helper()
	return startStackOn(t, dir, "iso87", "none")
}

// stackMACKey is what issuers of tests and the switch make MACs with.
const stackMACKey = "0123456789ABCDEFFEDCBA9876543210"

// stackMAC makes them.
type stackMAC struct {
	by  algo.MACAlgorithm
	key algo.MACKey
}

func (k stackMAC) MAC(data []byte) ([algo.MACSize]byte, error) { return k.by.MAC(k.key, data) }

func makeStackMAC(name string) (k stackMAC, err error) {
	text, err := hex.DecodeString(stackMACKey)
	if err == nil {
		k.by, err = algo.ParseMAC(name)
	}
	if err == nil {
		k.key, err = algo.NewLocalMACKey(algo.TDES2, text)
	}
	return k, err
}

// startStackOn starts one whose issuers speak a dialect, with MACs or none.
func startStackOn(t testing.TB, dir, links, mac string) *stack {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var stops []func()
	run := func(name string, f func(context.Context) error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := f(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", name, err)
			}
		}()
		stops = append(stops, func() { cancel(); <-done })
	}
	s := &stack{addrs: map[string]string{}, books: map[string]*simulator.Simulator{}}
	s.stop = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
		stops = nil
	}
	t.Cleanup(s.stop)

	var err error
	s.registry, err = registry.Load(bytes.NewReader(sampleFile(t, "registry.yaml")), "registry.yaml")
	must(err)
	var issuers []issuer.Config
	for name, bins := range fleet.SampleIssuers {
		cfg, err := simulator.Load(bytes.NewReader(sampleFile(t, "issuers/"+name+".yaml")))
		must(err)
		cfg.Book, cfg.LogSync, cfg.Dialect, cfg.MAC = filepath.Join(dir, name+".book"), "none", links, mac
		for i := range cfg.Rules {
			if r := &cfg.Rules[i]; r.Latency.Fixed > time.Second { // what is answered late
				r.Latency.Fixed = 3 * stackTimeout
			}
		}
		if mac != "none" {
			cfg.MACKey = stackMACKey
		}
		sim, err := simulator.New(cfg)
		must(err)
		s.books[name] = sim
		run(name, sim.Run)
		issuers = append(issuers, issuer.Config{Name: name, Hosts: issuer.Hosts{sim.Addr()}, BINs: bins, Timeout: stackTimeout, Dialect: links, MAC: mac,
			// The day has timeouts on purpose; they must not cost other cards their issuer.
			Breaker: issuer.BreakerConfig{Failures: 1000, FailurePercent: 100, RequestsMin: 1_000_000}})
	}
	codecs := func(cfg *issuer.Config) (issuer.Codec, error) {
		d, err := dialect.ForIssuer(cfg.Dialect, "48802900", dialect.CUPS{})
		if err != nil || !cfg.Authenticated() {
			return d, err
		}
		key, err := makeStackMAC(cfg.MAC)
		d.Authenticate(key)
		return d, err
	}
	cards, err := keys.OpenCards(filepath.Join(dir, "card.keys"))
	must(err)
	text, err := fleet.SamplePolicy(sampleFile(t, "day/policy.yaml"), cards.Token)
	must(err)
	sample, err := policy.Load(text, "policy.yaml")
	must(err)
	rules, err := risk.New(risk.Config{Policy: &sample})
	must(err)
	rules.Watch(risk.WatchList{Merchants: map[txn.MerchantID]txn.Level{txn.MakeMerchantID(fleet.SampleWatched): txn.HighRisk}})
	cardTypes, problems := txn.ParseCardTable(sampleFile(t, "cards.csv"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	j, err := journal.Open(filepath.Join(dir, "journal"), journal.Config{})
	must(err)
	router, err := issuer.New(issuers, codecs, j, issuer.Hooks{Late: func(l issuer.Late) { s.switch_.Late(l.Leg, &l.Reply) }})
	must(err)
	stops = append(stops, func() { j.Close() })
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	businessDay := txn.BusinessDay{Zone: time.UTC, CutOver: time.Duration((time.Now().UTC().Hour()+12)%24) * time.Hour}
	vault, err := keys.OpenSoft(filepath.Join(dir, "lmk"))
	must(err)
	keyLog, err := journal.Open(filepath.Join(dir, "keys"), journal.Config{})
	must(err)
	ring := keyring.New(keyring.Config{Day: businessDay}, vault, keyLog, quiet)
	stops = append(stops, func() { ring.Close(); keyLog.Close() })
	s.switch_, err = acquirer.New(acquirer.Config{Acquirer: "48802900", Day: businessDay, CardType: func(pan *txn.PAN) txn.CardType { return cardTypes.TypeOf(pan) }},
		acquirer.Parts{Registry: func() acquirer.Registry { return s.registry }, Risk: rules, Issuers: router, Journal: j, Cards: cards, Guard: ring, Log: quiet})
	must(err)
	run("journal", j.Run)
	run("terminals' keys", keyLog.Run)
	must(ring.Recover())
	must(fleet.LoadSampleKeys(s.registry, vault, ring))
	_, err = s.switch_.Recover()
	must(err)
	run("issuers", router.Run)
	run("switch", s.switch_.Run)
	var listeners []pos.Listener
	names := []string{"cup-pos", "iso87"}
	for _, name := range names {
		d, err := dialect.ForTerminal(name)
		must(err)
		listeners = append(listeners, pos.Listener{Address: "127.0.0.1:0", Dialect: d})
	}
	front := pos.New(pos.Config{Listeners: listeners, DrainWithin: time.Second}, s.switch_, observer{}, quiet)
	must(front.Listen(context.Background()))
	for i, addr := range front.Addrs() {
		s.addrs[names[i]] = addr.(*net.TCPAddr).String()
	}
	run("terminals", front.Run)
	for up := 0; up < len(issuers); {
		time.Sleep(5 * time.Millisecond)
		up = 0
		for _, st := range router.Status() {
			up += st.Up
		}
	}
	return s
}

var update = flag.Bool("update", false, "record testdata/day again")

const dayFolder = "../../../testdata/day"

// TestRecordSampleDay plays the plan of the sample day. With -update it becomes
// the recording.
func TestRecordSampleDay(t *testing.T) {
	s := startStack(t, t.TempDir())
	day, err := fleet.Plan(s.registry, 1)
	if err != nil {
		t.Fatal(err)
	}
	var pcap, expected bytes.Buffer
	r, err := fleet.Record(t.Context(), day, s.addrs, &pcap, &expected, fleet.PlayOptions{TMK: fleet.SampleTMK, Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages in %v, %+v, %d bytes of capture", r.Messages, r.Elapsed, r.Latency, pcap.Len())
	if !*update {
		return
	}
	for name, b := range map[string][]byte{"day.pcap": pcap.Bytes(), "expected.jsonl": expected.Bytes()} {
		if err := os.WriteFile(filepath.Join(dayFolder, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sampleDay is the recorded day.
func sampleDay(t testing.TB) *fleet.Day {
	t.Helper()
	expected, err := fleet.ReadExpected(bytes.NewReader(sampleFile(t, "day/expected.jsonl")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := fleet.ReadCapture(bytes.NewReader(sampleFile(t, "day/day.pcap")), fleet.Ports())
	if err != nil {
		t.Fatal(err)
	}
	day, err := c.Day(expected)
	if err != nil {
		t.Fatal(err)
	}
	return day
}

// The fleet and the switch stop in the middle of the recorded day and go on in
// a next life. At its end the issuers' books hold exactly the sales that the
// terminals know approved and did not reverse.
func TestSampleDayInterrupted(t *testing.T) {
	dir := t.TempDir()
	logPath := filepath.Join(dir, "terminals.log")
	day := sampleDay(t)
	half := day.Len() / 2
	play := func(ctx context.Context, s *stack, progress func(fleet.Progress)) (*fleet.Result, error) {
		log, err := fleet.OpenLog(logPath)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		return fleet.Play(ctx, day, s.addrs, fleet.PlayOptions{TMK: fleet.SampleTMK, Patience: 20 * time.Second, Log: log, Progress: progress})
	}

	s := startStack(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := play(ctx, s, func(p fleet.Progress) {
		if p.Done > half {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, m := range r.Mismatches {
		t.Error(m.String())
	}
	s.stop()

	s = startStack(t, dir)
	r, err = play(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Earlier < half || r.Reversals == 0 {
		t.Errorf("%d messages were sent before, %d reversals owed", r.Earlier, r.Reversals)
	}
	t.Logf("%d messages before, %d after, %d reversals, %d excused", r.Earlier, r.Messages, r.Reversals, r.Excused)
	for _, m := range r.Mismatches {
		t.Error(m.String())
	}
	for s.switch_.Figures().ReversalsOwed > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	compareBooks(t, s, logPath)
}

// Over links that speak another dialect, with MACs, the terminals of the recorded day
// are told what they are told over plain ones, and the books agree at its end.
func TestSampleDayOverOtherLinks(t *testing.T) {
	for links, mac := range map[string]string{"cups": "x9.9", "iso87-binary": "x9.19"} {
		t.Run(links, func(t *testing.T) {
			dir := t.TempDir()
			logPath := filepath.Join(dir, "terminals.log")
			log, err := fleet.OpenLog(logPath)
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			s := startStackOn(t, dir, links, mac)
			r, err := fleet.Play(t.Context(), sampleDay(t), s.addrs, fleet.PlayOptions{TMK: fleet.SampleTMK, Patience: 20 * time.Second, Log: log})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range r.Mismatches {
				t.Error(m.String())
			}
			for s.switch_.Figures().ReversalsOwed > 0 {
				time.Sleep(10 * time.Millisecond)
			}
			compareBooks(t, s, logPath)
			for name, sim := range s.books {
				if n := sim.Figures().Forged.Load(); n > 0 {
					t.Errorf("%s refused %d messages for their MACs", name, n)
				}
			}
		})
	}
}

func moves(kind string) bool { k, _ := txn.ParseKind(kind); return k.MovesMoney() }

func compareBooks(t *testing.T, s *stack, logPath string) {
	t.Helper()
	events, err := fleet.ReadLog(logPath)
	if err != nil {
		t.Fatal(err)
	}
	type number struct {
		terminal string
		stan     uint32
	}
	rrns := map[number]string{} // of the sales that stand for their terminals
	for _, e := range events {
		n := number{e.Terminal, e.STAN}
		switch {
		case e.Event != fleet.EventAnswered:
		case moves(e.Kind) && e.Code == "00":
			rrns[n] = e.RRN
		case e.Kind == "reversal" && e.Code == "00":
			delete(rrns, n)
		}
	}
	known := map[string]bool{}
	for _, rrn := range rrns {
		known[rrn] = true
	}
	standing := map[string]bool{}
	for name, sim := range s.books {
		entries, err := sim.Book()
		if err != nil {
			t.Fatal(err)
		}
		undone := map[string]bool{}
		for _, e := range entries {
			if e.Kind == simulator.Reversed {
				undone[e.Terminal+e.Time+strconv.Itoa(int(e.STAN))] = true
			}
		}
		for _, e := range entries {
			if e.Kind == simulator.Approved && !undone[e.Terminal+e.Time+strconv.Itoa(int(e.STAN))] {
				standing[e.RRN] = true
				if !known[e.RRN] {
					t.Errorf("%s approved %s of terminal %s, which stands and its terminal does not know", name, e.RRN, e.Terminal)
				}
			}
		}
	}
	if len(standing) < 1000 {
		t.Errorf("only %d approvals stand", len(standing))
	}
	for n, rrn := range rrns {
		if !standing[rrn] {
			t.Errorf("terminal %s knows %06d approved as %s, which stands at no issuer", n.terminal, n.stan, rrn)
		}
	}
}
