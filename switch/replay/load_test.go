package replay

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func profile(t testing.TB, text string) *Profile {
	t.Helper()
	p, err := ReadProfile(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func identities(n int) (all []Identity) {
	for i := range n {
		all = append(all, Identity{fmt.Sprintf("%08d", 10000001+i), merchantOf(i)})
	}
	return all
}

func TestBadProfiles(t *testing.T) {
	const open = "arrivals: [{for: 1s, rate: 1}]\n"
	for text, want := range map[string]string{
		"":                                              "one of arrivals, closed and search",
		open + "closed: {for: 1s}":                      "one of arrivals, closed and search",
		open + "colour: red":                            "unknown field",
		open + "dialect: klingon":                       "klingon",
		open + "sessions: 0":                            "sessions: 0 must be",
		open + "gaps: odd":                              "gaps:",
		open + "mix: {settlement: 1}":                   "mix: \"settlement\"",
		open + "mix: {void: 1}":                         "something else than voids",
		open + "pin: 10":                                "pin needs mac",
		open + "mac: true\npin: 101":                    "pin is a percent",
		open + "mac: true\nsign_on: false":              "mac needs sign_on",
		open + "mix: {sale: -1}":                        "mix:",
		open + "cards: {count: 0}":                      "cards: count",
		open + "cards: {prefixes: {\"x\": 1}}":          "cards: prefix",
		open + "cards: {entry: nose}":                   "card entry",
		open + "terminals: {zipf: 11}":                  "zipf",
		open + "amounts: {from: \"2\", to: \"1\"}":      "to is less than from",
		open + "amounts: {from: \"1.234\"}":             "amounts:",
		open + "faults: {duplicates: 101}":              "percents",
		open + "patience: 2h":                           "patience",
		"arrivals: [{for: 1s, rate: .nan}]":             "stretch 1",
		"arrivals: [{for: 0s, rate: 1}]":                "stretch 1",
		"arrivals: [{for: 1s, step: 1}]":                "stretch 1",
		"closed: {for: 1s, think: -1s}":                 "closed:",
		"search: {from: 2, to: 1, within: 1s, p99: 1s}": "search:",
		"!!!": "read profile",
	} {
		if _, err := ReadProfile(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Rates are what the stretches say, and arrivals come as often as the rates say.
func TestArrivals(t *testing.T) {
	p := profile(t, `
arrivals:
  - {for: 10s, rate: 100}
  - {for: 10s, rate: 100, to: 300}
  - {for: 10s, rate: 100, step: 50, every: 2s}
  - {for: 10s, rate: 0, peak: 200, period: 10s}
gaps: even`)
	for at, want := range map[time.Duration]float64{0: 100, 9 * time.Second: 100, 15 * time.Second: 200, 20 * time.Second: 100, 29 * time.Second: 300, 30 * time.Second: 0, 35 * time.Second: 200} {
		if got, more := p.rate(at); math.Abs(got-want) > 0.01 || !more {
			t.Errorf("at %v the rate is %v, want %v", at, got, want)
		}
	}
	if _, more := p.rate(p.lasts()); more || p.lasts() != 40*time.Second {
		t.Errorf("it lasts %v", p.lasts())
	}
	for _, gaps := range []string{"even", "random"} {
		p.Gaps = gaps
		o := LoadOptions{Identities: identities(1)}
		all, err := enlist(p, &o)
		if err != nil {
			t.Fatal(err)
		}
		g := newGenerator(p, &o, all)
		counts := [4]float64{}
		for at, more := g.lanes[0].nextDue(0); more; at, more = g.lanes[0].nextDue(at) {
			counts[at/(10*time.Second)]++
		}
		for i, want := range [4]float64{1000, 2000, 2000, 1000} {
			if off := math.Abs(counts[i] - want); off > 20 && (gaps == "even" || off > 5*math.Sqrt(want)) {
				t.Errorf("%s gaps: %v arrivals in stretch %d, want %v", gaps, counts[i], i+1, want)
			}
		}
	}
}

// Many sessions of few requests each come to the rate together, even ones in turn.
func TestArrivalsOfManySessions(t *testing.T) {
	for _, gaps := range []string{"even", "random"} {
		p := profile(t, "sessions: 40\narrivals: [{for: 100s, rate: 200}]\ngaps: "+gaps)
		o := LoadOptions{Identities: identities(40)}
		all, err := enlist(p, &o)
		if err != nil {
			t.Fatal(err)
		}
		var due []time.Duration
		for _, l := range newGenerator(p, &o, all).lanes {
			for at, more := l.nextDue(0); more && at < p.lasts(); at, more = l.nextDue(at) {
				due = append(due, at)
			}
		}
		slices.Sort(due)
		if off := math.Abs(float64(len(due)) - 20_000); off > 1 && gaps == "even" || off > 4*math.Sqrt(20_000) {
			t.Errorf("%s gaps: %d requests, want 20000", gaps, len(due))
		}
		for i := 1; i < len(due) && gaps == "even"; i++ {
			if gap := due[i] - due[i-1]; (gap - 5*time.Millisecond).Abs() > 10*time.Microsecond {
				t.Fatalf("%v after the one of %v", gap, due[i-1])
			}
		}
	}
}

// A load of all kinds and faults is answered, each request once; voids are of
// approvals.
func TestLoad(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	kinds := map[txn.Kind]int{}
	var mu sync.Mutex
	host.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		mu.Lock()
		kinds[req.Kind]++
		lost := req.Kind == txn.KindBalance && kinds[req.Kind]%10 == 0
		mu.Unlock()
		if lost {
			return nil
		}
		return answer
	})
	p := profile(t, `
sessions: 4
patience: 500ms
arrivals: [{for: 1500ms, rate: 400}]
mix: {sale: 70, void: 10, balance: 10, preauth: 10}
cards: {zipf: 1, count: 500}
faults: {duplicates: 5, half_frames: 2, reverse_unanswered: true}`)
	var progress []Progress
	r, err := RunLoad(t.Context(), p, LoadOptions{Name: "all", Addr: host.Addr, Identities: identities(20), Progress: func(p Progress) { progress = append(progress, p) }})
	if err != nil || len(r.Problems) > 1 {
		t.Fatalf("%v, %q", err, r.Problems)
	}
	l := r.Load
	if r.Sent < 450 || r.Sent > 750 || r.Answered+l.Silent != r.Sent || l.Silent == 0 || l.Wrong != 0 || l.Broken != 0 || r.OK() {
		t.Errorf("%d sent, %d answered, %+v", r.Sent, r.Answered, *l)
	}
	if l.Repeats == 0 || l.Halves == 0 || r.SignOns != 20 || r.Latency.N != int64(r.Answered) || len(r.Series) == 0 || len(progress) == 0 {
		t.Errorf("%d sign-ons, %d latencies, %+v", r.SignOns, r.Latency.N, *l)
	}
	mu.Lock()
	defer mu.Unlock()
	if kinds[txn.KindVoid] == 0 || kinds[txn.KindPreauth] == 0 || kinds[txn.KindSale] < 4*kinds[txn.KindVoid] {
		t.Errorf("asked for %v", kinds)
	}
	r.Load.Stages = []StageTime{{"forward", 7, time.Millisecond}}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil || strings.Count(page.String(), "<svg") != 5 || strings.Contains(page.String(), "http") || !strings.Contains(page.String(), "forward") {
		t.Errorf("%v: %s", err, page.String())
	}
}

// A host that stalls is charged with all that was due meanwhile.
func TestLoadCountsFromDue(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	var stall sync.Once
	host.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindSale {
			stall.Do(func() { time.Sleep(500 * time.Millisecond) })
		}
		return answer
	})
	r, err := RunLoad(t.Context(), profile(t, "sessions: 1\ngaps: even\narrivals: [{for: 1s, rate: 200}]"), LoadOptions{Addr: host.Addr, Identities: identities(1)})
	if err != nil || r.Sent < 199 || r.Answered != r.Sent || r.Latency.P90 < 250*time.Millisecond || r.Latency.Max < 480*time.Millisecond {
		t.Errorf("%v: %d sent, %d answered, %+v", err, r.Sent, r.Answered, r.Latency)
	}
}

// What is due is gathered for longer where more is.
func TestSlot(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"arrivals: [{for: 1s, rate: 0}]":                            slotLeast,
		"arrivals: [{for: 1s, rate: 30000}]":                        slotLeast,
		"arrivals: [{for: 1s, rate: 50000}]":                        500 * time.Microsecond,
		"arrivals: [{for: 1s, rate: 100000}]":                       slotMost,
		"arrivals: [{for: 1s, rate: 1000000}]":                      slotMost,
		"arrivals: [{for: 500ms, rate: 0}, {for: 1s, rate: 40000}]": 400 * time.Microsecond,
		"closed: {for: 1s}":                                         slotLeast,
	} {
		if got := (&generator{p: profile(t, text)}).slot(600 * time.Millisecond); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// In a closed loop no more requests are in flight than there are terminals.
func TestLoadClosed(t *testing.T) {
	host := terminaltest.Start(t, "iso87")
	p := profile(t, "dialect: iso87\nsessions: 2\nclosed: {for: 500ms, think: 50ms}")
	r, err := RunLoad(t.Context(), p, LoadOptions{Addr: host.Addr, Identities: identities(10)})
	for try := 0; try < 4 && err == nil && r.Answered < 20; try++ { // the machine may be held up
		r, err = RunLoad(t.Context(), p, LoadOptions{Addr: host.Addr, Identities: identities(10)})
	}
	if err != nil || !r.OK() || r.Answered < 20 || r.Answered > 250 {
		t.Errorf("%v: %d answered, %+v, %q", err, r.Answered, *r.Load, r.Problems)
	}
}

// keyed is a host that asks for the MACs of one terminal.
func keyed(t *testing.T) (*terminaltest.Peer, []byte) {
	t.Helper()
	tmk, err := hex.DecodeString(testTMK)
	if err != nil {
		t.Fatal(err)
	}
	p := terminaltest.Start(t, "cup-pos")
	p.Host = &terminaltest.Host{TMK: tmk, Signed: map[string]int{}}
	return p, tmk
}

// With master keys what a terminal asks has a MAC, and a PIN where the profile says
// so, and an approval's MAC is checked; with another's keys, or without, the report
// says it.
func TestLoadWithKeys(t *testing.T) {
	const profileText = `
mac: true
pin: 50
closed: {for: %v, think: 1ms}
mix: {sale: 60, void: 20, balance: 10, offline-sale: 10}
faults: {duplicates: 5}`
	pins, requests, last := 0, 0, 300*time.Millisecond
	var host *terminaltest.Peer
	_, tmk := keyed(t)
	count := func(req *txn.Request, answer []byte) []byte {
		if req.Kind != txn.KindSignOn {
			requests++
		}
		if len(req.PINBlock) > 0 {
			pins++
		}
		return answer
	}
	load := func(key []byte, pin string, answers func(*txn.Request, []byte) []byte) (*Report, error) {
		host, _ = keyed(t)
		host.SetAnswers(answers)
		return RunLoad(t.Context(), profile(t, fmt.Sprintf(profileText, last)), LoadOptions{Addr: host.Addr, Identities: identities(1), Keys: map[string]Key{"": {TMK: key}}, PIN: txn.Secret(pin)})
	}
	r, err := load(tmk, "123456", count)
	for ; err == nil && r.Answered < 60 && last < 10*time.Second; r, err = load(tmk, "123456", count) { // too few for one of each kind
		pins, requests, last = 0, 0, 2*last
	}
	if err != nil || !r.OK() || r.Answered < 60 || len(r.Problems) > 0 {
		t.Fatalf("%v: %d answered, %+v, %q", err, r.Answered, *r.Load, r.Problems)
	}
	host.With(func(h *terminaltest.Host) {
		signed := 0
		for _, n := range h.Signed {
			signed += n
		}
		if signed != requests || h.Signed["void"] == 0 || h.Signed["offline-sale"] == 0 {
			t.Errorf("of %d requests had a right MAC: %v", requests, h.Signed)
		}
		if pins < requests/5 || pins > requests*4/5 {
			t.Errorf("%d of %d requests had a PIN", pins, requests)
		}
	})
	if _, err := load(tmk, "", count); err == nil || !strings.Contains(err.Error(), "no test PIN") {
		t.Errorf("without a PIN: %v", err)
	}
	if r, err := load(bytes.Repeat([]byte{5}, 16), "123456", count); err != nil || r.OK() || r.Load.Keyless != 1 || !strings.Contains(strings.Join(r.Problems, "; "), "no terminal got working keys") {
		t.Errorf("with other keys: %v, %+v, %q", err, r.Load, r.Problems)
	}
	refused := func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindSignOn {
			return bytes.Replace(answer, []byte("00"+string(req.Key.Terminal[:])), []byte("58"+string(req.Key.Terminal[:])), 1)
		}
		return answer
	}
	if r, err := load(tmk, "123456", refused); err != nil || !slices.Contains(r.Problems, fmt.Sprintf("sign-on: answered 58, not permitted to the terminal (terminal %s)", identities(1)[0].Terminal)) {
		t.Errorf("the sign-on is refused: %v, %q", err, r.Problems)
	}
	forged := func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindBalance {
			answer[len(answer)-1] ^= 1
		}
		return answer
	}
	if r, err := load(tmk, "123456", forged); err != nil || r.OK() || r.BadMACs == 0 || r.Load.Wrong != r.BadMACs {
		t.Errorf("answers' MACs are wrong: %v, %+v", err, r.Load)
	}
}

// A search signs on once, and never uses a trace number twice.
func TestSearchWithKeys(t *testing.T) {
	host, tmk := keyed(t)
	signOns, used := 0, map[uint32]bool{}
	host.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindSignOn {
			signOns++
		} else if used[req.Key.STAN] {
			t.Errorf("trace number %d comes twice", req.Key.STAN)
		}
		used[req.Key.STAN] = true
		return answer
	})
	p := profile(t, "mac: true\nsearch: {p99: 5s, from: 300, to: 600, within: 200ms}")
	r, err := RunLoad(t.Context(), p, LoadOptions{Addr: host.Addr, Identities: identities(1), Keys: map[string]Key{"": {TMK: tmk}}})
	if err != nil || r.Load.Capacity < 300 || r.Load.Errors() > 0 || signOns != 1 {
		t.Errorf("%v: %d sign-ons, %+v, %q", err, signOns, *r.Load, r.Problems)
	}
}

// A host that takes 300 requests a second, no more, is found out.
func TestSearch(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	var mu sync.Mutex
	free := time.Now()
	host.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindSale {
			mu.Lock()
			free = free.Add(time.Second / 300)
			if now := time.Now(); free.Before(now) {
				free = now
			}
			wait := time.Until(free)
			mu.Unlock()
			time.Sleep(wait)
		}
		return answer
	})
	p := profile(t, "sessions: 8\ngaps: even\nsearch: {p99: 150ms, from: 50, to: 5000, within: 1s}")
	r, err := RunLoad(t.Context(), p, LoadOptions{Addr: host.Addr, Identities: identities(8)})
	for range 4 { // a machine that is held up takes less, never more
		if err == nil && r.Load.Capacity >= 100 {
			break
		}
		r, err = RunLoad(t.Context(), p, LoadOptions{Addr: host.Addr, Identities: identities(8)})
	}
	if err != nil || r.Load.Capacity < 100 || r.Load.Capacity > 400 || len(r.Load.Trials) < 4 {
		t.Errorf("%v: %+v", err, r.Load)
	}
	if last := lowestBad(r.Load.Trials); last.Rate > r.Load.Capacity*searchTo || r.Load.Found() != fmt.Sprintf("The highest good rate is %.0f/s; at %.0f/s: %s.", r.Load.Capacity, last.Rate, last.Why) {
		t.Errorf("%s %+v", r.Load.Found(), r.Load.Trials)
	}
}

func lowestBad(trials []Trial) Trial {
	return slices.MinFunc(slices.DeleteFunc(slices.Clone(trials), func(t Trial) bool { return t.Good }), func(a, b Trial) int { return cmp.Compare(a.Rate, b.Rate) })
}

// A host that answers in turn and is asked so much that nothing is answered in time any
// more is a bad trial and not the end of the search, and what it still has to answer is
// no burden of the next trial.
func TestSearchBeyondPatience(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	var mu sync.Mutex
	free := time.Now()
	host.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		if free = free.Add(time.Second / 250); free.Before(time.Now()) {
			free = time.Now()
		}
		time.Sleep(time.Until(free))
		return answer
	})
	p := profile(t, "sessions: 8\nsign_on: false\npatience: 200ms\ngaps: even\nsearch: {p99: 150ms, from: 150, to: 400, within: 3s}")
	for range 8 { // a machine that is held up takes less, never more
		r, err := RunLoad(t.Context(), p, LoadOptions{Addr: host.Addr, Identities: identities(8)})
		t.Logf("%v: %+v", err, r.Load.Trials)
		if bad := lowestBad(r.Load.Trials); err == nil && r.Load.Capacity >= 200 && r.Load.Capacity < 300 && bad.Rate <= r.Load.Capacity*searchTo {
			return
		}
	}
	t.Error("the host's 250 requests a second were not found")
}

// A trial ends when the host has answered all that it was asked in vain.
func TestTrialWaitsForLateAnswers(t *testing.T) {
	t.Parallel() // it only waits
	host, gate := terminaltest.Start(t, "cup-pos"), make(chan struct{})
	host.SetAnswers(func(_ *txn.Request, answer []byte) []byte { <-gate; return answer })
	p := profile(t, "sessions: 1\nsign_on: false\npatience: 3s\narrivals: [{for: 1s, rate: 50}]")
	o := LoadOptions{Addr: host.Addr, Identities: identities(8)}
	all, err := enlist(p, &o)
	if err != nil {
		t.Fatal(err)
	}
	g := newGenerator(p, &o, all)
	g.trial = 50
	go func() {
		for !g.over.Load() || g.waiting.Load() > 0 { // nothing is waited for any more
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		close(gate)
	}()
	r, err := g.run(t.Context())
	if err != nil || r.Load.Silent == 0 || r.Strays != r.Load.Silent {
		t.Errorf("%v: %d were silent, %d answered late", err, r.Load.Silent, r.Strays)
	}
}

// A search none of whose rates is bad says that it ended at the last one.
func TestSearchFindsNoLimit(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	p := profile(t, "sign_on: false\nsearch: {p99: 10s, from: 20, to: 40, within: 300ms}")
	r, err := RunLoad(t.Context(), p, LoadOptions{Addr: host.Addr, Identities: identities(2)})
	if err != nil || r.Load.Found() != "The highest good rate is 40/s; no higher one was tried." {
		t.Errorf("%v: %s %+v", err, r.Load.Found(), r.Load)
	}
}

// A search whose first rate is bad has found nothing, and blames the host for what
// is late from sending on too.
func TestSearchFindsNothing(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	host.SetAnswers(func(_ *txn.Request, answer []byte) []byte { time.Sleep(20 * time.Millisecond); return answer })
	p := profile(t, "sign_on: false\nsearch: {p99: 5ms, from: 20, to: 40, within: 200ms}")
	r, err := RunLoad(t.Context(), p, LoadOptions{Addr: host.Addr, Identities: identities(2)})
	if err != nil || r.OK() || r.Load.Found() != "No rate was good; no lower one than 20/s was tried: p99 is too long." || len(r.Load.Trials) != 1 || r.Load.Trials[0].Why != "p99 is too long" {
		t.Errorf("%v: %+v", err, r.Load)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil || strings.Contains(page.String(), "Every answer was right") || strings.Contains(page.String(), "0.000 ms") {
		t.Errorf("%v, %s", err, page.String())
	}
}

// A host that refuses, hangs, hangs up or answers nonsense ends in a report.
func TestLoadOfBadHosts(t *testing.T) {
	closed := server(t, func(conn net.Conn) {})
	nonsense := server(t, func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		conn.Write(bytes.Repeat([]byte{0, 9}, 100))
	})
	silent := server(t, func(conn net.Conn) {
		for b := make([]byte, 4096); ; {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	ln.Close()
	for _, row := range []struct {
		name, addr string
		givenUp    bool
		problem    string
	}{
		{"refuses", gone, true, "cannot be reached"}, {"hangs up", closed, true, "no answer came before the session ended"},
		{"answers nonsense", nonsense, true, "the host answered nonsense"}, {"hangs", silent, true, "the host has answered nothing in time for 300ms"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			keys := map[string]Key{"": {TMK: bytes.Repeat([]byte{5}, 16)}}
			if r, err := RunLoad(t.Context(), profile(t, "mac: true\npatience: 100ms\narrivals: [{for: 2s, rate: 100}]"), LoadOptions{Addr: row.addr, Identities: identities(2), Keys: keys}); !errors.Is(err, ErrGivenUp) || len(r.Problems) == 0 {
				t.Errorf("with MACs: %v, %q", err, r.Problems)
			}
			r, err := RunLoad(t.Context(), profile(t, "sessions: 2\nsign_on: false\npatience: 100ms\narrivals: [{for: 2s, rate: 100}]"), LoadOptions{Addr: row.addr, Identities: identities(2)})
			if errors.Is(err, ErrGivenUp) != row.givenUp || r == nil || r.OK() || !strings.Contains(strings.Join(r.Problems, "; "), row.problem) {
				t.Errorf("%v, %q", err, r.Problems)
			}
			if r.Sent != r.Answered+r.Load.Silent {
				t.Errorf("%d sent, %d answered, %d without an answer", r.Sent, r.Answered, r.Load.Silent)
			}
		})
	}
	// Given up in the middle, with requests on their way.
	r, err := RunLoad(t.Context(), profile(t, "sign_on: false\npatience: 100ms\narrivals: [{for: 10s, rate: 500}]"), LoadOptions{Addr: silent, Identities: identities(2)})
	if !errors.Is(err, ErrGivenUp) || r.Sent == 0 || r.Sent != r.Answered+r.Load.Silent {
		t.Errorf("%v: %d sent, %d answered, %d without an answer", err, r.Sent, r.Answered, r.Load.Silent)
	}
}

// A host that hangs up without an answer is called again a few times a second, no more, and what
// goes wrong with many terminals' sign-ons is told once.
func TestLoadOfHostThatHangsUp(t *testing.T) {
	var calls atomic.Int32
	addr := server(t, func(conn net.Conn) { // in the face of the first byte
		calls.Add(1)
		conn.Read(make([]byte, 1))
		conn.(*net.TCPConn).SetLinger(0)
	})
	r, err := RunLoad(t.Context(), profile(t, "sessions: 2\npatience: 500ms\narrivals: [{for: 500ms, rate: 100}]"), LoadOptions{Addr: addr, Identities: identities(16)})
	if n := calls.Load(); err != nil || n < 19 || n > 35 {
		t.Errorf("%v: called %d times", err, n)
	}
	if n := strings.Count(strings.Join(r.Problems, "\n"), "sign-on"); n < 1 || n > 4 {
		t.Errorf("%q", r.Problems)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "Nothing was answered.") {
		t.Errorf("%v, %s", err, page.String())
	}
}

// An answer of another type is none, whatever its number and code.
func TestLoadAnsweredByAnotherType(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	host.SetAnswers(func(_ *txn.Request, answer []byte) []byte {
		answer[13] = 0x01 // behind length, TPDU and header: 0110
		return answer
	})
	r, _ := RunLoad(t.Context(), profile(t, "sign_on: false\npatience: 200ms\narrivals: [{for: 300ms, rate: 100}]\nmix: {sale: 1}"), LoadOptions{Addr: host.Addr, Identities: identities(4)})
	if r.OK() || r.Answered > 0 || r.Strays == 0 || r.Codes == nil {
		t.Errorf("%d answered, %d answers to no request, codes %v", r.Answered, r.Strays, r.Codes)
	}
}

func TestStages(t *testing.T) {
	const page = `# HELP acq_txn_stage_duration_seconds Time
acq_txn_stage_duration_seconds_bucket{stage="forward",le="0.1"} 3
acq_txn_stage_duration_seconds_sum{dialect="x",stage="forward"} 1.5
acq_txn_stage_duration_seconds_count{stage="forward"} 3
acq_txn_stage_duration_seconds_sum{stage="broken"} one
other{stage="forward"} 9
`
	before := ReadStages(strings.NewReader(page))
	after := ReadStages(strings.NewReader(strings.Replace(strings.Replace(page, "1.5", "2.5", 1), "} 3\nacq_txn_stage_duration_seconds_sum{stage", "} 5\nacq_txn_stage_duration_seconds_sum{stage", 1)))
	if got := after.Since(before); len(got) != 1 || got[0] != (StageTime{"forward", 2, 500 * time.Millisecond}) {
		t.Errorf("%+v", got)
	}
}

func FuzzReadProfile(f *testing.F) {
	f.Add("arrivals: [{for: 1s, rate: 1, to: 2}]\nmix: {sale: 1}")
	f.Add("search: {p99: 1s, from: 1, to: 2, within: 1s}\ncards: {prefixes: {9: 1}, zipf: 1}")
	f.Add("closed: {for: 1h, think: 1s}\nfaults: {duplicates: 1}\n? :")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ReadProfile(strings.NewReader(text))
		if err == nil && p.Search == nil && p.lasts() <= 0 {
			t.Error("it lasts no time")
		}
	})
}

func FuzzReadStages(f *testing.F) {
	f.Add("acq_txn_stage_duration_seconds_sum{stage=\"x\"} 1\nacq_txn_stage_duration_seconds_count{stage=\"x\"} NaN\n")
	f.Fuzz(func(t *testing.T, text string) { ReadStages(strings.NewReader(text)).Since(nil) })
}

// A slot that comes back to its terminal under a number that lies where its last one
// lay is no collision with itself.
func TestSlotComesBackToItsTerminal(t *testing.T) {
	m := &member{}
	s := &slot{busy: true, stan: 1, ready: &prepared{member: m}}
	m.fly(s)
	for stan := uint32(2); stan < 100; stan++ {
		s.stan = stan
		m.fly(s)
		if m.flight(stan) != s || len(m.flights) != 1 {
			t.Fatalf("number %d: %d places", stan, len(m.flights))
		}
	}
}
