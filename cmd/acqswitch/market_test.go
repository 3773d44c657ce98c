package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// patience is how long terminals wait for an answer: longer than the switch takes
// at most.
const patience = 2500 * time.Millisecond

// restWithin bounds what the market may take to settle everything that is owed.
const restWithin = 60 * time.Second

const marketTerminals = 8

// market is a switch and an issuer as two processes, and terminals at work on
// real connections. Any of them may be killed, and what is between them fail:
// once everything is at rest the books of all three must agree.
type market struct {
	*stack
	// The addresses that others use: of what stands between, where something does.
	toIssuer, toCUP, toISO87 string
	dsn                      string // the ledger's

	seed    uint64
	rng     *rand.Rand
	issuers *process
	tellers []*teller
	sold    sold
	last    string // what was done to it last, for a failure
}

// newMarket makes the data directory and starts the issuer. The switch's ports
// stay the same over its kills, as do the issuer's. between puts something between
// them.
func newMarket(t *testing.T, seed uint64, dsn string, between ...func(*market)) *market {
	x := &market{stack: &stack{t: t, dir: t.TempDir()}, seed: seed, rng: rand.New(rand.NewPCG(seed, 1))}
	x.sold.watch(t)
	x.issuer, x.cup, x.iso87 = x.port(), x.port(), x.port()
	x.toIssuer, x.toCUP, x.toISO87 = x.issuer, x.cup, x.iso87
	for _, put := range between {
		put(x)
	}
	write(t, x.dir, "issuer.yaml", fmt.Sprintf(`
seed: %d
rules:
  - {kind: reversal, percent: 5, lose: true}
  - {kind: reversal, percent: 5, drop: true}
  - {kind: sale, percent: 2, lose: true}
  - {percent: 2, drop: true}
  - {kind: sale, percent: 4, code: "05"}
  - {kind: preauth, percent: 4, code: "05"}
  - {percent: 1, latency: {fixed: 700ms}}
  - {percent: 1, disconnect: true}
  - {latency: {uniform: {min: 1ms, max: 15ms}}}
`, seed))
	line := registryText[strings.Index(registryText, "      - {tid:"):]
	merchants := strings.Replace(registryText, "[sale, balance]", "[sale, balance, verify, refund, preauth, offline-sale, adjustment, tip, instalment]", 1)
	for i := 2; i <= marketTerminals; i++ {
		merchants += strings.NewReplacer("10000001", fmt.Sprintf("1000000%d", i), "SN1", fmt.Sprintf("SN%d", i)).Replace(line)
	}
	write(t, x.dir, "merchants.yaml", merchants)
	write(t, x.dir, "policy.yaml", "version: 1\npatterns: {repeats: 0, repeats_day: 0, night_percent: 0, refund_percent: 0}\nplans: [{number: 0, name: all day, limits: [{of: card, transaction: 50000.00, day_amount: 20000000.00, day_count: 1000000}]}]\n")
	x.configure(dsn, "")
	x.cli("registry", "import", "--config", "acqswitch.yaml", "merchants.yaml").check(t, exitOK, "", "")
	x.startIssuer()
	return x
}

// configure writes the switch's configuration, with more lines.
func (x *market) configure(dsn, more string) {
	x.dsn = dsn
	write(x.t, x.dir, "acqswitch.yaml", fmt.Sprintf(`
answer_within: 2s
cut_over: %q
terminals:
  drain_within: 10s
  listeners: [{address: %q, dialect: cup-pos}, {address: %q, dialect: iso87}]
reversals: {retry: 20ms, retry_max: 100ms, undelivered_grace: 200ms}
admin: {address: ""}
log: {level: warn}
ledger: {dsn: %q}
risk: {policy: policy.yaml}
issuers:
  - {name: east, address: %q, bins: ["62"], timeout: 500ms, reconnect_max: 100ms, utc_offset: 8h, echo_every: 300ms, echo_timeout: 200ms,
     breaker: {failures: 1000, failure_percent: 100, requests_min: 1000000}}
`, cutOver(), x.cup, x.iso87, dsn, x.toIssuer)+more)
}

// port is an address that nobody else is given: kernels give out ports from 32768.
func (x *market) port() string {
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
}

func (x *market) startIssuer() {
	x.issuers = start(x.t, x.dir, "issuer", "--listen", x.issuer, "--script", "issuer.yaml", "--book", "issuer.book")
	x.issuers.await("issuer listens on")
}

// boot starts the switch. Built with failpoints it kills itself where spec says.
func (x *market) boot(spec string) {
	x.server = startIn(x.t, x.dir, append([]string{"FAILPOINT=" + spec}, x.env...), "serve", "--config", "acqswitch.yaml")
}

// serving waits until the switch lets terminals in.
func (x *market) serving() {
	x.server.await("cup-pos terminals can connect to")
}

// open starts the switch and its terminals.
func (x *market) open() {
	x.boot("")
	x.serving()
	for i := range marketTerminals {
		x.tellers = append(x.tellers, newTeller(x, i))
	}
}

// work has the terminals at work until stop, which waits for what they do then.
func (x *market) work() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for _, te := range x.tellers {
		working.Go(func() { te.work(ctx) })
	}
	return func() {
		cancel()
		working.Wait()
	}
}

// check lets everything come to rest and holds the books against each other.
func (x *market) check() {
	x.t.Helper()
	var working sync.WaitGroup
	for _, te := range x.tellers {
		working.Go(func() { te.rest() })
	}
	working.Wait()
	cfg, err := loadConfig(filepath.Join(x.dir, "acqswitch.yaml"), nil)
	if err != nil {
		x.t.Fatal(err)
	}
	var r *settlement.Report
	late, cancel := running(restWithin)
	defer cancel()
	for ; ; time.Sleep(200 * time.Millisecond) { // it costs the switch its processor
		r, err = verifyFiles(context.Background(), cfg)
		if err == nil && (!r.OK() || r.OpenCount+r.OwedCount == 0 && r.Lag == 0) {
			break
		}
		if late.Err() != nil {
			text := &strings.Builder{}
			if err == nil {
				r.WriteText(text)
			}
			x.t.Fatalf("not at rest after %v: %v; %s\n%s", restWithin, err, x.last, text)
		}
	}
	if !r.OK() {
		text := &strings.Builder{}
		r.WriteText(text)
		x.t.Errorf("verify, after %s:\n%s", x.last, text)
	}
	l, err := openLedger(cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	defer l.Close()
	var told []fleet.Event
	for _, te := range x.tellers {
		told = append(told, te.told()...)
	}
	books, err := compareBooks(context.Background(), l, map[string]string{"east": filepath.Join(x.dir, "issuer.book")}, told)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, b := range books.Breaks {
		x.t.Errorf("after %s: %s%s", x.last, b, x.history(b))
	}
}

// tried fails the test if nothing was ever sold.
func (x *market) tried() {
	x.t.Helper()
	if x.sold.total() == 0 {
		x.t.Error("no sale was ever approved, so nothing is tried here")
	}
}

// breakNames are the trace number and the terminal in a difference of the books.
var breakNames = [...]*regexp.Regexp{regexp.MustCompile(`STAN (\d{6})`), regexp.MustCompile(`terminal (\d{8})`)}

var idIn = regexp.MustCompile(`(?:id|original)=([0-9a-f]+)`)

// history is what the journal has of the transaction that a break names.
func (x *market) history(broken string) string {
	stan, tid := breakNames[0].FindStringSubmatch(broken), breakNames[1].FindStringSubmatch(broken)
	if stan == nil || tid == nil {
		return ""
	}
	var found strings.Builder
	ids := map[string]bool{}
	for line := range strings.Lines(x.cli("journal", "dump", "--config", "acqswitch.yaml").out) {
		names := strings.Contains(line, "/"+stan[1]) || strings.Contains(line, "stan="+stan[1]) && strings.Contains(line, "term="+tid[1])
		for _, id := range idIn.FindAllStringSubmatch(line, -1) {
			if names = names || ids[id[1]]; names {
				ids[id[1]] = true
			}
		}
		if names {
			found.WriteString("\n\t" + strings.TrimSpace(line))
		}
	}
	return found.String()
}

// teller works at one terminal, whose store outlives the switch.
type teller struct {
	x       *market
	id      string
	path    string
	dialect string
	client  *terminal.Client
	rng     *rand.Rand
	cards   []terminal.Card
	batch   uint32   // of which the numbers below are
	sales   []uint32 // approved, of which something may be done
	fresh   uint32   // the last of them while nothing was asked about it, else 0
	holds   []uint32 // pre-authorizations
}

func newTeller(x *market, i int) *teller {
	te := &teller{x: x, id: fmt.Sprintf("1000000%d", i+1), rng: rand.New(rand.NewPCG(x.seed, uint64(100+i)))}
	te.path = filepath.Join(x.dir, "terminal-"+te.id)
	store, err := terminal.OpenStore(te.path)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { store.Close() })
	for _, number := range []string{testPAN, "6222020000000007"} {
		pan, err := txn.ParsePAN(number)
		if err != nil {
			x.t.Fatal(err)
		}
		te.cards = append(te.cards, terminal.Card{PAN: pan, Expiry: "4912", Entry: terminal.Chip})
	}
	var addr string
	if addr, te.dialect = x.toCUP, "cup-pos"; i%4 == 3 {
		addr, te.dialect = x.toISO87, "iso87"
	}
	te.client, err = terminal.Dial(context.Background(), addr, te.dialect, terminal.Profile{Terminal: txn.MakeTerminalID(te.id), Merchant: txn.MakeMerchantID("999290054110001"),
		Serial: fmt.Sprintf("SN%d", i+1), Country: 156, Position: txn.Position{}}, terminal.Options{Patience: patience, Store: store})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { te.client.Close() })
	return te
}

// work asks for one thing after another until ctx ends. What is under way then
// is finished: its answer may come yet.
func (te *teller) work(ctx context.Context) {
	for ctx.Err() == nil {
		if err := te.act(); err != nil {
			time.Sleep(5 * time.Millisecond) // the switch is away
		}
	}
}

// act is one thing that happens at a till.
func (te *teller) act() error {
	c, ctx, rng := te.client, context.Background(), te.rng
	if te.batch != c.Batch() {
		te.batch, te.sales, te.fresh, te.holds = c.Batch(), nil, 0, nil
	}
	card := te.cards[rng.IntN(len(te.cards))]
	amount := txn.Amount{Minor: 100 + rng.Int64N(900), Currency: txn.CNY}
	var err error
	do := func(k txn.Kind, of terminal.Original) (bool, uint32) {
		t := terminal.Transaction{Card: card, Amount: amount, Original: of}
		if k.NamesOriginal() {
			t.Card = terminal.Card{}
			if k != txn.KindRefund && k != txn.KindCompletion && k != txn.KindTip {
				t.Amount = txn.Amount{}
			}
		}
		var answer terminal.Answer
		answer, err = c.Do(ctx, k, t)
		return err == nil && answer.Approved(), c.STAN()
	}
	pick := func(of []uint32) terminal.Original {
		stan := of[rng.IntN(len(of))]
		if stan == te.fresh {
			te.fresh = 0
		}
		return terminal.Original{STAN: stan}
	}
	switch n := rng.IntN(100); {
	case n < 45 || len(te.sales) == 0:
		if ok, stan := do(txn.KindSale, terminal.Original{}); ok {
			te.x.sold.one()
			te.sales, te.fresh = append(te.sales, stan), stan
		}
	case n < 55:
		do(txn.KindVoid, pick(te.sales))
	case n < 63:
		do(txn.KindRefund, pick(te.sales))
	case n < 66:
		amount.Minor = 1 + rng.Int64N(10)
		do(txn.KindTip, pick(te.sales))
	case n < 76 || len(te.holds) == 0:
		if ok, stan := do(txn.KindPreauth, terminal.Original{}); ok {
			te.holds = append(te.holds, stan)
		}
	case n < 82:
		do(txn.KindCompletion, pick(te.holds))
	case n < 85:
		do(txn.KindPreauthVoid, pick(te.holds))
	case n < 90:
		do(txn.KindOfflineSale, terminal.Original{})
	case n < 98 && te.fresh != 0: // what a terminal has built on is not reversed: it is told yes, and nothing happens
		_, err = c.Reversal(ctx, amount, terminal.Original{STAN: te.fresh})
		te.fresh = 0
	case n >= 98:
		_, err = c.Settlement(ctx)
	}
	return err
}

// rest sends what the terminal owes until nothing is.
func (te *teller) rest() {
	var err error
	late, cancel := running(restWithin)
	defer cancel()
	for ; te.client.Owes() != 0 || te.client.Pending() > 0; time.Sleep(20 * time.Millisecond) {
		if err = te.client.Settle(context.Background()); late.Err() != nil {
			te.x.t.Errorf("terminal %s owes %06d and %d messages after %v: %v; %s", te.id, te.client.Owes(), te.client.Pending(), restWithin, err, te.x.last)
			return
		}
	}
}

// told is what the terminal's store says that it was told.
func (te *teller) told() []fleet.Event {
	events, err := fleet.ReadLog(te.path) // its lines have the same words
	if err != nil {
		te.x.t.Fatal(err)
	}
	for i := range events {
		e := &events[i]
		e.Terminal = te.id
		if te.dialect == "iso87" { // its messages have no batch number
			e.Batch = 0
		}
		if k, _ := txn.ParseKind(e.Kind); k.Told() && e.Code == "94" { // it came before
			e.Code = "00"
		}
	}
	return events
}

// sold is when sales were approved.
type sold struct {
	mu      sync.Mutex
	count   int
	before  int           // what was forgotten
	ran     time.Duration // that this process has: while the machine stands still, nothing can be sold
	last    time.Duration
	longest time.Duration // between two of them
}

// watch measures ran until the test ends.
func (s *sold) watch(t *testing.T) {
	const step = 10 * time.Millisecond
	ended, tick := make(chan struct{}), time.NewTicker(step) // which keeps one that nobody takes
	t.Cleanup(func() { close(ended) })
	go func() {
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.mu.Lock()
				s.ran += step
				s.mu.Unlock()
			case <-ended:
				return
			}
		}
	}()
}

func (s *sold) one() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.longest = max(s.longest, s.ran-s.last)
	s.last = s.ran
}

// begin forgets what was sold.
func (s *sold) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before += s.count
	s.count, s.longest, s.last = 0, 0, s.ran
}

// since is how many were sold since begin.
func (s *sold) since() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// pause is the longest time without a sale since begin.
func (s *sold) pause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.longest, s.ran-s.last)
}

func (s *sold) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.before + s.count
}
