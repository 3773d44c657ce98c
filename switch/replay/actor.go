package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// actor is one terminal that plays.
type actor struct {
	player   *player
	rewriter rewriter
	key      *Key
	keys     *terminal.Keys // nil before its first request, and without a key

	// mu guards queue and busy.
	mu    sync.Mutex
	queue []*job
	busy  bool // a goroutine works on the queue

	// Owned by that goroutine.
	link    *link
	session linkKey
	begun   bool
	*scratch
}

// scratch is what a terminal needs only while it works.
type scratch struct {
	asked, recorded iso.Message // of the capture
	sent, got       iso.Message
	signOn          iso.Message
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (a *actor) add(ctx context.Context, j *job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, j)
	if !a.busy {
		a.busy = true
		a.player.playing.Go(func() { a.work(ctx) })
	}
}

// work plays what is queued.
func (a *actor) work(ctx context.Context) {
	a.scratch = scratches.Get().(*scratch)
	for {
		a.mu.Lock()
		if len(a.queue) == 0 {
			scratches.Put(a.scratch)
			a.scratch, a.queue, a.busy = nil, nil, false
			a.mu.Unlock()
			return
		}
		j := a.queue[0]
		a.queue = a.queue[1:]
		a.mu.Unlock()
		a.play(ctx, j)
		<-a.player.places
	}
}

// play sends one request and judges its answer.
func (a *actor) play(ctx context.Context, j *job) {
	p, e := a.player, j.exchange
	if ctx.Err() != nil {
		p.failed(ctx.Err(), false)
		return
	}
	a.connect(j)
	d := e.Session.Dialect
	frame := slices.Clone(e.Request)
	if d.Parse(&a.asked, e.Request) != nil || d.Parse(&a.sent, frame) != nil {
		return // the reader took it apart before
	}
	if err := a.begin(ctx, e); err != nil {
		p.failed(err, false)
		return
	}
	a.rewriter.request(&a.sent, e.At, time.Now())
	if err := a.seal(j, frame); err != nil {
		p.failed(err, false)
		return
	}
	patience := p.o.Patience
	if e.Answer == nil {
		patience = min(patience, silentWait)
	}
	r, sent := a.link.exchange(ctx, &a.sent, frame, patience)
	if e.Ended {
		a.hangUp()
	}
	s := subjectOf(d, &a.sent, e.Number)
	if r.err != nil && ctx.Err() != nil || sent.IsZero() {
		p.failed(cmp.Or(r.err, ctx.Err()), !sent.IsZero())
		return
	}
	a.judge(j, &s, r, sent)
}

// connect takes the session of a request, and leaves the one before.
func (a *actor) connect(j *job) {
	k := linkKey{j.copy, j.exchange.Session.ID}
	if a.link != nil && a.session == k {
		return
	}
	a.hangUp()
	p := a.player
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[k]
	if l == nil {
		l = &link{addr: j.addr, dialect: j.exchange.Session.Dialect, strays: p.stray}
		p.links[k] = l
	}
	l.users++
	a.link, a.session = l, k
}

// hangUp leaves the session; the last terminal ends it.
func (a *actor) hangUp() {
	if a.link == nil {
		return
	}
	p := a.player
	p.mu.Lock()
	a.link.users--
	last := a.link.users == 0
	if last {
		delete(p.links, a.session)
	}
	p.mu.Unlock()
	if last {
		a.link.close()
	}
	a.link = nil
}

// begin signs a terminal with keys on, before its first request: unless that is
// a sign-on itself, or was told to sign on first. A refusal is noted; what it
// leads to shows in the answers.
func (a *actor) begin(ctx context.Context, e *capture.Exchange) error {
	d := e.Session.Dialect
	if a.begun || a.key == nil || d.Terminal == nil || !terminal.IsCUP(d.Terminal) {
		return nil
	}
	a.begun = true
	set := a.key.Set
	if v := string(a.asked.AppendDigits(nil, 60)); set == 0 && a.asked.MTI() == 0x0800 && len(v) >= 11 {
		set, _ = terminal.ParseKeySet(v[8:11]) // what the recorded sign-on asks for
	}
	set = cmp.Or(set, keys.KeySetDouble)
	k, err := terminal.NewKeys(d.Terminal, set, a.key.TMK)
	if err != nil {
		return err
	}
	a.keys = k
	if a.asked.MTI() == 0x0800 || e.Answer != nil && d.Parse(&a.recorded, e.Answer) == nil && string(a.recorded.Value(39)) == signOnFirst {
		return nil
	}
	profile := terminal.Profile{
		Terminal: txn.MakeTerminalID(cmp.Or(a.rewriter.terminal, string(a.asked.Value(41)))),
		Merchant: txn.MakeMerchantID(cmp.Or(a.rewriter.merchant, string(a.asked.Value(42)))),
		Serial:   a.key.Serial, KeySet: cmp.Or(a.key.Set, keys.KeySetDouble), Batch: 1,
	}
	a.rewriter.stan++
	signOn := terminal.Message{Kind: txn.KindSignOn, STAN: a.rewriter.stan, At: time.Now()}
	frame, err := signOn.Append(nil, d.Terminal, &profile)
	if err != nil {
		return err
	}
	if err := d.Parse(&a.signOn, frame); err != nil {
		return err
	}
	r, sent := a.link.exchange(ctx, &a.signOn, frame, a.player.o.Patience)
	switch {
	case r.err != nil:
		if !sent.IsZero() {
			return fmt.Errorf("sign-on: %w", r.err)
		}
		return r.err
	case d.Parse(&a.got, r.frame) != nil || string(a.got.Value(39)) != "00":
		a.player.tally.mu.Lock()
		a.player.tally.problem(fmt.Sprintf("a sign-on before a terminal's first request was refused with %s", a.got.Value(39)))
		a.player.tally.mu.Unlock()
		return nil
	}
	a.player.tally.mu.Lock()
	a.player.tally.r.SignOns++
	a.player.tally.mu.Unlock()
	a.rewriter.signedOn(batchOf(&a.asked), batchOf(&a.got))
	return a.take(d, a.signOn.Frame(), r.frame)
}

// take takes the working keys of a sign-on's approval.
func (a *actor) take(d *capture.Dialect, asked, approval []byte) error {
	answer, err := terminal.ReadAnswer(d.Terminal, asked, approval[d.PrefixSize():])
	if err != nil {
		return err
	}
	return a.keys.Take(&answer)
}

// Codes of a host that found a PIN block or a MAC wrong, or one MAC too many.
// What was answered so stays wrong: with the capture's zeros.
const (
	pinIsWrong  = "99"
	macIsWrong  = "A0"
	signOnFirst = "77"
)

// seal puts the PIN and the MAC into a request that has places for them.
func (a *actor) seal(j *job, frame []byte) error {
	d, code := j.exchange.Session.Dialect, ""
	if a.keys == nil || !a.keys.Ready() {
		return nil
	}
	if j.exchange.Answer != nil && d.Parse(&a.recorded, j.exchange.Answer) == nil {
		code = string(a.recorded.Value(39))
	}
	if pin := a.player.o.PIN; len(pin) > 0 && code != pinIsWrong && a.sent.Has(52) {
		if err := a.keys.PutPIN(d.Terminal, frame, pin); err != nil {
			return err
		}
	}
	if code == macIsWrong || code == signOnFirst {
		return nil
	}
	return a.keys.Seal(d.Terminal, frame)
}

// judge learns from an answer and compares it.
func (a *actor) judge(j *job, s *subject, r reply, sent time.Time) {
	p, e := a.player, j.exchange
	d := e.Session.Dialect
	if r.err == nil {
		if err := d.Parse(&a.got, r.frame); err != nil {
			r.err = fmt.Errorf("%w: %w", errNonsense, err)
		}
	}
	var differences []difference
	badMAC := false
	recordedCode, code := "none", "none"
	if e.Answer != nil && d.Parse(&a.recorded, e.Answer) == nil {
		recordedCode = string(a.recorded.AppendText(nil, 39))
	}
	if r.err == nil {
		code = string(a.got.AppendText(nil, 39))
		if e.Answer != nil {
			a.rewriter.answer(&a.recorded, &a.got)
			differences = p.compare.compare(&a.asked, &a.recorded, &a.sent, &a.got)
		}
		if a.keys != nil {
			if a.sent.MTI() == 0x0800 && code == "00" && a.got.Has(62) {
				badMAC = a.take(d, a.sent.Frame(), r.frame) != nil
			} else if a.keys.Ready() {
				badMAC = a.keys.Verify(&a.sent, &a.got) != nil
			}
		}
	}
	if r.err == nil {
		p.mu.Lock()
		p.refusals = 0
		p.mu.Unlock()
	}
	t := p.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Sent++
	t.code(s.kind, code, 1, 0)
	t.code(s.kind, recordedCode, 0, 1)
	if r.err != nil {
		if e.Answer == nil {
			t.r.Silent++
			return
		}
		t.timeouts++
		t.problem(r.err.Error())
		t.groups.compared(s)
		t.groups.differs(s, a.recorded.MTI(), difference{-1, "code " + recordedCode, noAnswer(r.err)})
		return
	}
	t.r.Answered++
	t.answered, t.timeouts = r.at, 0
	from := sent
	if p.o.Rate > 0 {
		from = j.due
	}
	record(t.latency, r.at.Sub(from))
	record(t.service, r.at.Sub(sent))
	t.series.add(r.at.Sub(p.began), r.at.Sub(from))
	if badMAC {
		t.r.BadMACs++
		t.problem("an answer's MAC or keys are wrong: --tmk is not the host's")
	}
	if e.Answer == nil {
		t.r.Unrecorded++
		return
	}
	t.groups.compared(s)
	if len(differences) == 0 {
		t.r.Same++
		return
	}
	t.r.Differ++
	for _, d := range differences {
		t.groups.differs(s, a.got.MTI(), d)
	}
}

// noAnswer says in few words why there is none, the same for all alike.
func noAnswer(err error) string {
	for _, known := range [...]error{errSilent, errClosed, errNonsense, errRefused} {
		if errors.Is(err, known) {
			return "none (" + known.Error() + ")"
		}
	}
	return "none"
}

func counted(line string, n int) string {
	if n == 1 {
		return line
	}
	return fmt.Sprintf("%s (%d times)", line, n)
}
