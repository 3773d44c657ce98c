package issuer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestRoutes(t *testing.T) {
	var r routes
	for i, bin := range []string{"62", "622202", "6222021", "6222021234567890128", "4"} {
		if err := r.add(bin, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		pan    string
		issuer int
		ok     bool
	}{
		{"6222021234567890128", 3, true}, // the whole card number is a prefix too
		{"6222021234567890136", 2, true},
		{"6222029234567890128", 1, true},
		{"6212029234567890128", 0, true},
		{"4111111111111111", 4, true},
		{"622202123456", 2, true},
		{"5111111111111111", 0, false},
		{"6000000000000000", 0, false},
	} {
		pan, err := txn.ParsePAN(c.pan)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := r.find(&pan); ok != c.ok || ok && got != c.issuer {
			t.Errorf("%s...: issuer %d, %v; want %d, %v", c.pan[:6], got, ok, c.issuer, c.ok)
		}
	}
	for _, bin := range []string{"", "62220212345678901281", "62a", "622202"} {
		if err := r.add(bin, 0); err == nil {
			t.Errorf("prefix %q was taken", bin)
		}
	}
}

// The longest prefix is what a search of the plain list finds.
func TestRoutesAgainstList(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r routes
	list := map[string]int{}
	for i := range 2000 {
		bin := fmt.Sprint(rng.Uint64N(1e18))[:1+rng.IntN(8)]
		if r.add(bin, i) == nil {
			list[bin] = i
		}
	}
	for range 20_000 {
		digits := fmt.Sprintf("%016d", rng.Uint64N(1e16))
		pan, _ := txn.ParsePAN(digits)
		want, found := 0, false
		for n := len(digits); n > 0 && !found; n-- {
			want, found = list[digits[:n]]
		}
		if got, ok := r.find(&pan); ok != found || ok && got != want {
			t.Fatalf("%s: %d, %v; want %d, %v", digits, got, ok, want, found)
		}
	}
}

var (
	terminal = txn.MakeTerminalID("10000001")
	other    = txn.MakeTerminalID("10000002")
	ten      = txn.Amount{Minor: 1000, Currency: txn.CNY}
	noon     = [10]byte{'1', '1', '2', '2', '1', '2', '0', '0', '0', '0'}
	ours     = [12]byte([]byte("633012000042"))
	later    = [10]byte{'1', '1', '2', '2', '1', '2', '0', '0', '0', '1'}
)

// Which message answers a request (STAN 42, noon, terminal 10000001, 10.00),
// and if none, the reason given. Rows are in precedence order.
func TestF40Match(t *testing.T) {
	head := func(change func(*txn.ReplyHead)) txn.ReplyHead {
		h := txn.ReplyHead{MTI: 0x0210, STAN: 42, Terminal: terminal, Time: noon, RRN: [12]byte([]byte("000000000001")), Amount: ten, HasAmount: true}
		if change != nil {
			change(&h)
		}
		return h
	}
	for _, c := range []struct {
		name   string
		head   txn.ReplyHead
		unsent bool
		want   ending
		why    string // empty: it is the answer
	}{
		{"a request", head(func(h *txn.ReplyHead) { h.MTI = 0x0200 }), false, 0, "not a response"},
		{"an unknown class", head(func(h *txn.ReplyHead) { h.MTI = 0x0610 }), false, 0, "not a response"},
		{"other STAN", head(func(h *txn.ReplyHead) { h.STAN = 43 }), false, 0, "no such STAN"},
		{"other class", head(func(h *txn.ReplyHead) { h.MTI = 0x0410 }), false, 0, "no such STAN"},
		{"the answer of an advice", head(func(h *txn.ReplyHead) { h.MTI = 0x0230 }), false, 0, "no such STAN"},
		{"not sent yet", head(nil), true, 0, "not sent"},
		{"other time", head(func(h *txn.ReplyHead) { h.Time = later }), false, 0, "DE7"},
		{"other time and terminal", head(func(h *txn.ReplyHead) { h.Time, h.Terminal = later, other }), false, 0, "DE7"},
		{"no time, other terminal", head(func(h *txn.ReplyHead) { h.Time, h.Terminal = [10]byte{}, other }), false, 0, "DE41"},
		{"neither time nor terminal", head(func(h *txn.ReplyHead) { h.Time, h.Terminal = [10]byte{}, txn.TerminalID{} }), false, 0, "DE41"},
		{"a time of its own, our reference number", head(func(h *txn.ReplyHead) { h.Time, h.RRN = later, ours }), false, endedAnswered, ""},
		{"a time of its own, our reference number, other terminal", head(func(h *txn.ReplyHead) { h.Time, h.RRN, h.Terminal = later, ours, other }), false, endedNonsense, ""},
		{"our reference number alone", head(func(h *txn.ReplyHead) { h.Time, h.RRN, h.Terminal = [10]byte{}, ours, txn.TerminalID{} }), false, endedAnswered, ""},
		{"other terminal", head(func(h *txn.ReplyHead) { h.Terminal = other }), false, endedNonsense, ""},
		{"other amount", head(func(h *txn.ReplyHead) { h.Amount.Minor++ }), false, endedNonsense, ""},
		{"other currency", head(func(h *txn.ReplyHead) { h.Amount.Currency = 840 }), false, endedNonsense, ""},
		{"no currency", head(func(h *txn.ReplyHead) { h.Amount.Currency = 0 }), false, endedAnswered, ""},
		{"no amount", head(func(h *txn.ReplyHead) { h.Amount, h.HasAmount = txn.Amount{}, false }), false, endedAnswered, ""},
		{"no time", head(func(h *txn.ReplyHead) { h.Time = [10]byte{} }), false, endedAnswered, ""},
		{"no terminal", head(func(h *txn.ReplyHead) { h.Terminal = txn.TerminalID{} }), false, endedAnswered, ""},
		{"the answer", head(nil), false, endedAnswered, ""},
		{"no amount, other currency", head(func(h *txn.ReplyHead) { h.Amount, h.HasAmount = txn.Amount{Currency: 840}, false }), false, endedNonsense, ""},
		{"the answer of an authorization", head(func(h *txn.ReplyHead) { h.MTI = 0x0110 }), false, endedNonsense, ""},
		{"the answer of a repeat", head(func(h *txn.ReplyHead) { h.MTI = 0x0211 }), false, endedAnswered, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := newTable(41)
			sent := table.begin(1, classRequest, txn.IssuerID{}, terminal, ten, noon)
			sent.rrn, sent.mti = ours, 0x0200
			if !c.unsent {
				sent.wire.Store(&wire{})
			}
			got, why := table.match(&c.head)
			switch {
			case c.why != "":
				if got != nil || !strings.Contains(why, c.why) {
					t.Errorf("matched %v, why %q; want why %q", got != nil, why, c.why)
				}
			case got != sent:
				t.Errorf("no match: %s", why)
			case got.ending != c.want:
				t.Errorf("ending %d, want %d", got.ending, c.want)
			}
			if taken := table.take(sent); taken != (got == nil) {
				t.Errorf("taken %v after a match of %v", taken, got != nil)
			}
			if _, why := table.match(&c.head); why == "" {
				t.Error("one message was the answer twice")
			}
		})
	}
}

// Reversals are known by STAN and terminal: their time may be their own. An answer
// that names no terminal must have the time.
func TestMatchReversals(t *testing.T) {
	table := newTable(0)
	begin := func(id txn.TerminalID, at [10]byte) *call {
		c, err := table.again(10, classReversal, txn.Leg{STAN: 42, Time: at}, id, ten)
		if err != nil {
			t.Fatal(err)
		}
		c.wire.Store(&wire{})
		return c
	}
	nobody, never, later2 := txn.TerminalID{}, [10]byte{}, [10]byte([]byte("1122120002"))
	third := begin(txn.MakeTerminalID("10000004"), later2)
	first, second := begin(terminal, noon), begin(other, noon)
	if _, err := table.again(10, classReversal, txn.Leg{STAN: 42, Time: later}, terminal, ten); err == nil {
		t.Fatal("a second reversal with one STAN and terminal was let in")
	}
	if _, err := table.again(3, classReversal, txn.Leg{STAN: 43}, terminal, ten); err == nil {
		t.Fatal("the limit was passed")
	}
	for _, c := range []struct {
		id   txn.TerminalID
		at   [10]byte
		want *call
	}{{txn.MakeTerminalID("10000003"), later, nil}, {nobody, later, nil}, {nobody, never, nil}, {terminal, later, first}, {terminal, later, nil}, {other, never, second},
		{txn.MakeTerminalID("10000003"), later2, nil}, {nobody, later2, third}} {
		h := txn.ReplyHead{MTI: 0x0430, STAN: 42, Terminal: c.id, Time: c.at}
		if got, why := table.match(&h); got != c.want {
			t.Errorf("terminal %s, time %s: %v, %s", c.id, c.at, got, why)
		}
	}
	if table.used(classReversal, 42) || table.busy(classReversal) != 0 {
		t.Error("the table is not empty")
	}
}

// Advices have STANs of the same numbering, are known by their time as requests
// are, and may be told again under the number of a newer one.
func TestMatchAdvices(t *testing.T) {
	table := newTable(41)
	fresh := table.begin(10, sentAs(txn.KindRefund), txn.IssuerID{}, terminal, ten, noon)
	if next := table.begin(10, sentAs(txn.KindSale), txn.IssuerID{}, terminal, ten, noon); fresh.class != classAdvice || next.class != classRequest || next.leg.STAN != 43 {
		t.Fatalf("a refund is of class %d, the sale after it of class %d with STAN %d", fresh.class, next.class, next.leg.STAN)
	}
	old, err := table.again(10, classAdvice, txn.Leg{STAN: 42, Time: later}, terminal, ten)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.again(10, classAdvice, old.leg, terminal, ten); err == nil {
		t.Error("one advice was told twice at a time")
	}
	if table.find(&old.leg) != old || table.find(&fresh.leg) != fresh {
		t.Error("a leg is not found by its time")
	}
	fresh.wire.Store(&wire{})
	old.wire.Store(&wire{})
	for _, c := range []struct {
		mti  uint16
		time [10]byte
		want *call
	}{{0x0210, later, nil}, {0x0230, later, old}, {0x0230, later, nil}, {0x0230, noon, fresh}} {
		h := txn.ReplyHead{MTI: c.mti, STAN: 42, Terminal: terminal, Time: c.time}
		if got, why := table.match(&h); got != c.want {
			t.Errorf("%04x at %s: %v, %s", c.mti, c.time, got, why)
		}
	}
}

func TestNumbersWrapAndSkipThoseInFlight(t *testing.T) {
	table := newTable(txn.STANMax - 1)
	var got []uint32
	for range 3 {
		got = append(got, table.begin(10, classRequest, txn.IssuerID{}, terminal, ten, noon).leg.STAN)
	}
	table.stan = txn.STANMax - 1
	got = append(got, table.begin(10, classRequest, txn.IssuerID{}, terminal, ten, noon).leg.STAN)
	if want := []uint32{txn.STANMax, 1, 2, 3}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("numbers %v, want %v", got, want)
	}
	if table.begin(4, classRequest, txn.IssuerID{}, terminal, ten, noon) != nil {
		t.Error("a fifth call at a limit of four")
	}
}

// What is certainly unsent when a connection is lost, and what is not.
func TestLost(t *testing.T) {
	table := newTable(0)
	gone, stays := &wire{}, &wire{}
	var calls []*call
	for i, w := range []*wire{gone, gone, gone, stays, nil} {
		c := table.begin(10, classRequest, txn.IssuerID{}, terminal, ten, noon)
		c.flush = uint64(i + 1)
		c.wire.Store(w)
		calls = append(calls, c)
	}
	table.lost(gone, 2, false)
	for i, want := range []ending{endedLost, endedLost, endedUnsent} {
		select {
		case <-calls[i].done:
			if calls[i].ending != want {
				t.Errorf("flush %d: ending %d, want %d", i+1, calls[i].ending, want)
			}
			if says := calls[i].lossSays(); (says == errFailed) != (i == 0) {
				t.Errorf("flush %d: of the issuer it says %v", i+1, says)
			}
		default:
			t.Errorf("flush %d was not decided", i+1)
		}
	}
	if !table.take(calls[3]) || !table.take(calls[4]) {
		t.Error("a call of another connection, or of none, was decided too")
	}
}

// A process that was late itself looks for the answer once more: one that came in
// time is taken, and the issuer is not blamed.
func TestF46AnswerThatWasInTimeIsTakenByALateProcess(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		taken bool
	}{{time.Second, true}, {time.Second + lookAgain - 1, true}, {time.Second + lookAgain + 1, false}} {
		synctest.Test(t, func(t *testing.T) {
			is := &issuer{table: newTable(1)}
			call := is.table.begin(1, classRequest, txn.MakeIssuerID("east"), txn.MakeTerminalID("10000001"), txn.Amount{}, [10]byte{'1'})
			w := &wire{}
			w.written.Store(1)
			call.flush = 1
			call.wire.Store(w)
			go func() {
				time.Sleep(c.after)
				if got, _ := is.table.match(&txn.ReplyHead{MTI: 0x0210, STAN: call.leg.STAN, Time: call.leg.Time}); got != nil {
					got.done <- struct{}{}
				}
			}()
			is.table.expect(call, time.Now().Add(time.Second))
			if taken := is.await(call, nil, nil); taken != c.taken {
				t.Errorf("read after %v: taken %v, want %v", c.after, taken, c.taken)
			}
			if n := is.table.busy(classRequest); n != 0 {
				t.Errorf("%d calls are in flight", n)
			}
			synctest.Wait()
			time.Sleep(time.Second)
		})
	}
}

// Each call ends when its own time is up, also one that came later and has less: never
// before, and within expireEvery for each of the two looks. Those that are answered end
// by that.
func TestCallsEndWhenTheirTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, w := newTable(1), &wire{}
		w.written.Store(1)
		var calls sync.WaitGroup
		for i := range 500 {
			wait := time.Duration(1+i*7919%500) * 3 * time.Millisecond
			c := table.begin(500, classRequest, txn.IssuerID{}, terminal, ten, noon)
			c.flush = 1
			c.wire.Store(w)
			start := time.Now()
			table.expect(c, start.Add(wait))
			stan, answered := c.leg.STAN, i%5 == 0
			if answered {
				wait /= 2
				time.AfterFunc(wait, func() {
					if got, why := table.match(&txn.ReplyHead{MTI: 0x0210, STAN: stan, Time: noon}); got != nil {
						got.done <- struct{}{}
					} else {
						t.Errorf("the answer after %v found nobody: %s", wait, why)
					}
				})
			}
			calls.Go(func() {
				<-c.done
				took, want := time.Since(start), endedOverdue
				if answered {
					want = endedAnswered
				} else {
					wait += lookAgain
				}
				if c.ending != want || took < wait || took > wait+2*expireEvery {
					t.Errorf("ended %d after %v, want %d after %v", c.ending, took, want, wait)
				}
			})
			time.Sleep(100 * time.Microsecond)
		}
		calls.Wait()
		if n := table.busy(classRequest); n != 0 || !table.soonest.IsZero() {
			t.Errorf("%d calls are in flight, the next is to end at %v", n, table.soonest)
		}
	})
}

// However little time calls have left, expire comes only so often, and they end.
func TestExpireComesSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, w := newTable(1), &wire{}
		w.written.Store(1)
		visits, last := 0, time.Time{}
		var calls sync.WaitGroup
		start := time.Now()
		for range 1000 {
			c := table.begin(1000, classRequest, txn.IssuerID{}, terminal, ten, noon)
			c.flush = 1
			c.wire.Store(w)
			table.expect(c, time.Now().Add(50*time.Microsecond))
			calls.Go(func() { <-c.done })
			time.Sleep(100 * time.Microsecond)
			table.mu.Lock()
			if table.came != last {
				visits, last = visits+1, table.came
			}
			table.mu.Unlock()
		}
		if most := int(time.Since(start)/expireEvery) + 1; visits > most {
			t.Errorf("it came %d times, want at most %d", visits, most)
		}
		calls.Wait()
	})
}

// BenchmarkExpire is a visit among so many calls as wait when an issuer is silent.
func BenchmarkExpire(b *testing.B) {
	table, w := newTable(1), &wire{}
	until := time.Now().Add(time.Hour)
	for range 20000 {
		c := table.begin(20000, classRequest, txn.IssuerID{}, terminal, ten, noon)
		c.wire.Store(w)
		table.expect(c, until)
	}
	for b.Loop() {
		table.expire()
	}
	table.timer.Stop()
}

func TestBookkeepingAllocatesNothing(t *testing.T) {
	table, w := newTable(0), &wire{}
	var r routes
	if err := r.add("622202", 0); err != nil {
		t.Fatal(err)
	}
	pan, _ := txn.ParsePAN("6222021234567890128")
	until := time.Now().Add(time.Hour)
	if n := testing.AllocsPerRun(1000, func() {
		if _, ok := r.find(&pan); !ok {
			t.Fatal("no route")
		}
		c := table.begin(1, classRequest, txn.IssuerID{}, terminal, ten, noon)
		table.expect(c, until)
		c.wire.Store(w)
		h := txn.ReplyHead{MTI: 0x0210, STAN: c.leg.STAN, Terminal: terminal, Time: noon, Amount: ten, HasAmount: true}
		if got, why := table.match(&h); got != c {
			t.Fatal(why)
		}
		table.release(c)
	}); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

// A result counts when it arrives, however long ago its request was sent: the
// window is shorter than the timeout here.
func TestBreakerCountsTimeoutsLongerThanItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Breaker: BreakerConfig{Failures: 1000, RequestsMin: 4, Window: 20 * time.Millisecond, OpenFor: time.Hour}}.withDefaults()
		b := newBreaker(&cfg, &Hooks{})
		type let struct {
			epoch uint64
			probe func(error)
		}
		var sent []let
		for range 6 {
			epoch, probe, ok := b.allow()
			if !ok {
				t.Fatal("a closed breaker refused")
			}
			sent = append(sent, let{epoch, probe})
		}
		time.Sleep(60 * time.Millisecond)
		for i, s := range sent {
			b.report(s.epoch, s.probe, errFailed)
			if open := b.name() == "open"; open != (i >= 3) {
				t.Fatalf("after %d failures the breaker is %s", i+1, b.name())
			}
		}
	})
}

func TestBreakerIgnoresResultsOfBeforeItOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Breaker: BreakerConfig{Failures: 2, OpenFor: time.Millisecond, Probes: 1}}.withDefaults()
		b := newBreaker(&cfg, &Hooks{})
		epoch, _, _ := b.allow()
		for range 2 {
			b.report(epoch, nil, errFailed)
		}
		time.Sleep(5 * time.Millisecond)
		b.cb.State() // half-opens
		b.probed.Store(true)
		probeEpoch, probe, ok := b.allow()
		if _, _, again := b.allow(); !ok || again {
			t.Fatal("half-open must let one probe in, and only one")
		}
		b.report(epoch, nil, errFailed) // a timeout of the outage
		b.report(probeEpoch, probe, nil)
		b.report(epoch, nil, errFailed)
		b.report(epoch, nil, errFailed)
		if b.name() != "closed" {
			t.Errorf("breaker is %s", b.name())
		}
		closed, _, _ := b.allow()
		for range 5 {
			b.report(closed, nil, errNothing)
		}
		if b.name() != "closed" {
			t.Error("results that say nothing opened the breaker")
		}
	})
}

func TestHostsAreDealt(t *testing.T) {
	all := Hosts{"a:1", "b:1", "c:1"}
	for links, want := range map[int]string{1: "[[a:1 b:1 c:1]]", 2: "[[a:1 c:1] [b:1]]", 3: "[[a:1] [b:1] [c:1]]", 4: "[[a:1] [b:1] [c:1] [a:1]]"} {
		var hands [][]string
		for i := range links {
			hands = append(hands, all.dealt(i, links))
		}
		if got := fmt.Sprint(hands); got != want {
			t.Errorf("%d links: %s, want %s", links, got, want)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	good := func(change func(*Config)) Config {
		c := Config{Name: "icbc", Hosts: Hosts{"127.0.0.1:9000"}, BINs: []string{"622202"}}
		change(&c)
		return c
	}
	codecs := func(cfg *Config) (Codec, error) {
		if cfg.Dialect != "iso87" {
			return nil, errors.New("dialect is none")
		}
		return struct{ Codec }{}, nil
	}
	for _, c := range []struct {
		field  string
		change func(*Config)
	}{
		{"name", func(c *Config) { c.Name = "" }},
		{"name", func(c *Config) { c.Name = "industrial-and-commercial" }},
		{"address", func(c *Config) { c.Hosts = Hosts{"nowhere"} }},
		{"address", func(c *Config) { c.Hosts = nil }},
		{"address", func(c *Config) { c.Hosts = Hosts{"a:1", "b:1", "a:1"} }},
		{"address", func(c *Config) {
			for port := range connectionsMax { // one too many
				c.Hosts = append(c.Hosts, fmt.Sprint("h:", port))
			}
		}},
		{"bins", func(c *Config) { c.BINs = nil }},
		{"bins", func(c *Config) { c.BINs = []string{"62x"} }},
		{"connections", func(c *Config) { c.Connections = 17 }},
		{"in_flight_max", func(c *Config) { c.InFlightMax = 65_537 }},
		{"timeout", func(c *Config) { c.Timeout = -time.Second }},
		{"connect_timeout", func(c *Config) { c.ConnectTimeout = -1 }},
		{"write_timeout", func(c *Config) { c.WriteTimeout = time.Minute }},
		{"echo_timeout", func(c *Config) { c.EchoTimeout = -1 }},
		{"ask_keys", func(c *Config) { c.AskKeys = []string{"zak"} }},
		{"ask_keys", func(c *Config) { c.MAC, c.AskKeys = macX99, []string{"zak", "zpk", "zak"} }},
		{"ask_keys", func(c *Config) { c.AskKeys = []string{"zmk"} }},
		{"utc_offset", func(c *Config) { c.UTCOffset = 25 * time.Hour }},
		{"reconnect_min", func(c *Config) { c.ReconnectMin = time.Hour }},
		{"breaker.failure_percent", func(c *Config) { c.Breaker.FailurePercent = 101 }},
		{"breaker.window", func(c *Config) { c.Breaker.Window = 1 }},
		{"breaker.open_for", func(c *Config) { c.Breaker.OpenFor = -1 }},
		{"tls.ca", func(c *Config) { c.TLS = &certs.Client{} }},
		{"tls.ca", func(c *Config) { c.TLS = &certs.Client{CA: "no such file"} }},
		{"tls.key", func(c *Config) { c.TLS = &certs.Client{CA: "x", Cert: "y"} }},
		{"dialect", func(c *Config) { c.Dialect = "klingon" }},
		{"cups", func(c *Config) { c.CUPS = &CUPS{} }},
		{"mac", func(c *Config) { c.MAC = "x9.7" }},
		{"mac", func(c *Config) { c.MAC, c.Dialect = "x9.19", "cups" }},
	} {
		cfg := good(c.change)
		_, err := New([]Config{cfg}, codecs, nil, Hooks{})
		if err == nil || !strings.Contains(err.Error(), c.field) || !strings.Contains(err.Error(), cfg.Name) {
			t.Errorf("%s: %v", c.field, err)
		}
	}
	same := good(func(*Config) {})
	for _, list := range [][]Config{nil, {same, same}} {
		if _, err := New(list, codecs, nil, Hooks{}); err == nil {
			t.Errorf("%d issuers of one name were taken", len(list))
		}
	}
	second := good(func(c *Config) { c.Name = "ccb" })
	if _, err := New([]Config{same, second}, codecs, nil, Hooks{}); err == nil || !strings.Contains(err.Error(), "listed twice") {
		t.Errorf("one prefix of two issuers: %v", err)
	}
	if err := errors.Join(same.Validate(), second.Validate()); err != nil {
		t.Error(err)
	}
}
