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

// actor is one terminal that plays, against the host and, where two are
// compared, against the reference at the same time.
type actor struct {
	player *player

	// mu guards queue and busy.
	mu    sync.Mutex
	queue []*job
	busy  bool // a goroutine works on the queue

	// Owned by that goroutine.
	sides []*side // the host, and the reference if there is one
}

// side is a terminal against one host.
type side struct {
	player    *player
	reference bool
	rewriter  rewriter
	key       *Key
	keys      *terminal.Keys // nil before its first request, and without a key
	link      *link
	session   linkKey
	begun     bool
	*scratch
}

// number is the side's among the actor's.
func (a *side) number() int {
	if a.reference {
		return 1
	}
	return 0
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
	for _, s := range a.sides {
		s.scratch = scratches.Get().(*scratch)
	}
	for {
		a.mu.Lock()
		if len(a.queue) == 0 {
			for _, s := range a.sides {
				scratches.Put(s.scratch)
				s.scratch = nil
			}
			a.queue, a.busy = nil, false
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
	p := a.player
	if ctx.Err() != nil {
		p.failed(0, ctx.Err(), false)
		return
	}
	host := a.sides[0]
	var other outcome
	var beside sync.WaitGroup
	if len(a.sides) > 1 {
		beside.Go(func() { other = a.sides[1].ask(ctx, j) })
	}
	o := host.ask(ctx, j)
	beside.Wait()
	for side, o := range [...]outcome{o, other} {
		if o.notPlayed != nil {
			p.failed(side, o.notPlayed, !o.sent.IsZero())
			return
		}
	}
	if host.asked.MTI() == 0 {
		return // the reader took it apart before
	}
	a.judge(j, &o, &other)
}

// outcome is what came of a request.
type outcome struct {
	reply
	sent      time.Time
	badMAC    bool
	notPlayed error // why it was not sent, or not waited for
}

// ask sends one request, waits for its answer and learns from it.
func (a *side) ask(ctx context.Context, j *job) (o outcome) {
	p, e := a.player, j.exchange
	a.connect(j)
	d := e.Session.Dialect
	frame := slices.Clone(e.Request)
	if d.Parse(&a.asked, e.Request) != nil || d.Parse(&a.sent, frame) != nil {
		return o
	}
	if o.notPlayed = a.begin(ctx, e); o.notPlayed != nil {
		return o
	}
	a.rewriter.request(&a.sent, e.At, time.Now())
	if o.notPlayed = a.seal(j, frame); o.notPlayed != nil {
		return o
	}
	patience := p.o.Patience
	if e.Answer == nil {
		patience = min(patience, silentWait)
	}
	o.reply, o.sent = a.link.exchange(ctx, &a.sent, frame, patience)
	if e.Ended {
		a.hangUp()
	}
	if o.err != nil && ctx.Err() != nil || o.sent.IsZero() {
		o.notPlayed = cmp.Or(o.err, ctx.Err())
		return o
	}
	if o.err != nil {
		return o
	}
	if err := d.Parse(&a.got, o.frame); err != nil {
		o.err = fmt.Errorf("%w: %w", errNonsense, err)
		return o
	}
	if e.Answer != nil && d.Parse(&a.recorded, e.Answer) == nil {
		a.rewriter.answer(&a.recorded, &a.got)
	}
	if a.keys != nil {
		if a.sent.MTI() == 0x0800 && string(a.got.Value(39)) == "00" && a.got.Has(62) {
			o.badMAC = a.take(d, a.sent.Frame(), o.frame) != nil
		} else if a.keys.Ready() {
			o.badMAC = a.keys.Verify(&a.sent, &a.got) != nil
		}
	}
	p.mu.Lock()
	p.refusals[a.number()] = 0
	p.mu.Unlock()
	return o
}

// connect takes the session of a request, and leaves the one before.
func (a *side) connect(j *job) {
	k := linkKey{j.copy, j.exchange.Session.ID, a.reference}
	if a.link != nil && a.session == k {
		return
	}
	a.hangUp()
	p := a.player
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[k]
	if l == nil {
		l = &link{addr: p.address(a.reference, j.exchange.Session.Dialect.Name), tls: p.o.TLS, dialect: j.exchange.Session.Dialect, strays: p.stray}
		p.links[k] = l
	}
	l.users++
	a.link, a.session = l, k
}

// hangUp leaves the session; the last terminal ends it.
func (a *side) hangUp() {
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
func (a *side) begin(ctx context.Context, e *capture.Exchange) error {
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
	k, err := terminal.NewKeys(d.Terminal, set, a.key.MAC, a.key.TMK)
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
func (a *side) take(d *capture.Dialect, asked, approval []byte) error {
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
func (a *side) seal(j *job, frame []byte) error {
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

// verdict is what came of holding the host's answer to the one that it should be.
type verdict struct {
	subject
	code, expectedCode string // DE39, "none" without an answer
	expected           bool   // there should be an answer
	differences        []difference
}

// hold holds the host's answer to the reference's, or without one to the recorded one.
func (a *actor) hold(e *capture.Exchange, o, other *outcome) verdict {
	p, d, host := a.player, e.Session.Dialect, a.sides[0]
	v := verdict{subject: subjectOf(d, &host.sent, e.Number), code: "none", expectedCode: "none"}
	answered := o.err == nil
	if answered {
		v.code = string(host.got.AppendText(nil, 39))
	}
	switch {
	case len(a.sides) == 1:
		if v.expected = e.Answer != nil && d.Parse(&host.recorded, e.Answer) == nil; !v.expected {
			break
		}
		v.expectedCode = string(host.recorded.AppendText(nil, 39))
		if answered {
			v.differences = p.compare.compare(&host.asked, &host.recorded, &host.sent, &host.got)
		}
	case other.err == nil:
		v.expected = true
		beside := a.sides[1]
		v.expectedCode = string(beside.got.AppendText(nil, 39))
		v.example.ReferenceSTAN = uint32(digits(beside.sent.AppendDigits(nil, 11)))
		if answered {
			v.differences = p.compare.compare(&beside.sent, &beside.got, &host.sent, &host.got)
		}
	case answered:
		v.differences = []difference{{wholeAnswer, noAnswer(other.err), "code " + v.code}}
	}
	return v
}

// judge holds the host's answer to what it should be, and counts what came of it.
func (a *actor) judge(j *job, o, other *outcome) {
	p, v := a.player, a.hold(j.exchange, o, other)
	t := p.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Sent++
	t.code(v.kind, v.code, 1, 0)
	t.code(v.kind, v.expectedCode, 0, 1)
	if other.err == nil && !other.sent.IsZero() {
		record(t.reference, other.at.Sub(other.sent))
	}
	if o.err != nil {
		if !v.expected {
			if t.r.Silent++; p.index.Answers == 0 { // a template's requests: any host answers some
				t.timeouts++
			}
			return
		}
		t.r.Missing++
		t.timeouts++
		t.problem(o.err.Error())
		t.groups.compared(&v.subject)
		t.groups.differs(&v.subject, v.mti&^1+0x10, difference{wholeAnswer, "code " + v.expectedCode, noAnswer(o.err)})
		return
	}
	t.r.Answered++
	t.answered, t.timeouts = o.at, 0
	from := o.sent
	if p.o.Rate > 0 {
		from = j.due
	}
	record(t.latency, o.at.Sub(from))
	record(t.service, o.at.Sub(o.sent))
	t.series.add(o.at.Sub(p.began), o.at.Sub(from))
	if o.badMAC || other.badMAC {
		t.r.BadMACs++
		t.problem(badMACs)
	}
	if !v.expected && len(v.differences) == 0 {
		t.r.Unrecorded++
		return
	}
	t.groups.compared(&v.subject)
	if len(v.differences) == 0 {
		t.r.Same++
		return
	}
	t.r.Differ++
	for _, d := range v.differences {
		t.groups.differs(&v.subject, a.sides[0].got.MTI(), d)
	}
}

const badMACs = "an answer's MAC or keys are wrong: --tmk is not the host's"

// noAnswer says in few words why there is none, the same for all alike.
func noAnswer(err error) string {
	for _, known := range [...]error{errClosed, errNonsense, errRefused} {
		if errors.Is(err, known) {
			return "no answer (" + known.Error() + ")"
		}
	}
	return "no answer in time"
}

func counted(line string, n int) string {
	if n == 1 {
		return line
	}
	return fmt.Sprintf("%s (%d times)", line, n)
}
