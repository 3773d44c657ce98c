package script

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Stage is where a case is played.
type Stage interface {
	// Dial brings a terminal to life. Called again for the same terminal, it has
	// the memory that it had. Play closes it.
	Dial(context.Context, Who, terminal.Recorder) (*terminal.Client, error)
	// Own is nil where the switch is somebody else's.
	Own() Own
}

// Own is a switch with its issuers that a case may do anything to.
type Own interface {
	// Instruct tells an issuer, or with an empty name all of them, what to do from
	// now on.
	Instruct(issuer string, a Act) error
	// Booked counts the entries of an issuer's book, or of all, by their kind.
	Booked(issuer string) (map[string]int, error)
	// Kill ends the switch's process without a word; Start starts it again and
	// returns when it takes sales.
	Kill() error
	Start(context.Context) error
	// Verify is nil when nothing is owed and the books agree.
	Verify(context.Context) error
}

// Case is what came of a script.
type Case struct {
	Title string     `json:"title"`
	Steps int        `json:"steps"`
	Off   int        `json:"off"` // steps that did not go as expected
	Done  []*Done    `json:"done"`
	Took  txn.Millis `json:"took_ms"`
	// The totals of the last settlement, as the terminal and as the switch have
	// them, nil without one.
	Terminal *txn.Totals `json:"terminal,omitempty"`
	Host     *txn.Totals `json:"host,omitempty"`
	// Currency of the totals.
	Currency txn.Currency `json:"-"`
}

// OK says that every step went as expected.
func (c *Case) OK() bool { return c.Off == 0 && c.Steps > 0 }

// Done is a step that was done.
type Done struct {
	Line     int        `json:"line"`
	Step     string     `json:"step"`
	STAN     uint32     `json:"stan,omitempty"`
	Expected string     `json:"expected,omitempty"`
	Got      string     `json:"got,omitempty"` // a code, even, uneven, same or none
	RRN      string     `json:"rrn,omitempty"`
	Latency  txn.Millis `json:"latency_ms,omitempty"`
	OK       bool       `json:"ok"`
	Why      string     `json:"why,omitempty"` // why OK is false, or there is no answer

	Answer terminal.Answer `json:"-"`
}

// ErrNeedsOwn says that a case needs a switch of its own.
var ErrNeedsOwn = errors.New("it needs a switch of its own (leave --to out)")

// Play plays a case. done is called after each step. An error means that it could
// not be played to its end: a stage that it does not fit, a switch or a terminal
// that does not come to life, or the context's; what was done is in the Case.
func (s *Script) Play(ctx context.Context, stage Stage, done func(*Done)) (*Case, error) {
	p := &player{ctx: ctx, stage: stage, own: stage.Own(), result: &Case{Title: s.Title}, terminals: map[string]*actor{}, originals: map[string]original{}}
	if s.needsOwn != nil && p.own == nil {
		return p.result, fmt.Errorf("line %d (%s): %w", s.needsOwn.line, s.needsOwn.verb, ErrNeedsOwn)
	}
	defer p.close()
	began := time.Now()
	for i := range s.steps {
		st := &s.steps[i]
		d := &Done{Line: st.line, Step: st.text, OK: true}
		err := st.do(p, d, st)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return p.result, fmt.Errorf("line %d (%s): %w", st.line, st.verb, err)
		}
		if p.result.Steps++; !d.OK {
			p.result.Off++
		}
		p.result.Done = append(p.result.Done, d)
		if done != nil {
			done(d)
		}
	}
	p.result.Took = txn.Millis(time.Since(began))
	return p.result, nil
}

// player plays one case.
type player struct {
	ctx       context.Context
	stage     Stage
	own       Own
	result    *Case
	terminals map[string]*actor
	originals map[string]original
}

// actor is one terminal, and what is on its line.
type actor struct {
	client         *terminal.Client
	sent, received []byte // the last frames
}

// original is an earlier step that has a name.
type original struct {
	terminal.Original
	sent, received []byte
}

// Open implements terminal.Recorder; an actor is its own Tap.
func (a *actor) Open(string, *dialect.Terminal) terminal.Tap { return a }
func (a *actor) Sent(frame []byte)                           { a.sent, a.received = bytes.Clone(frame), nil }
func (a *actor) Received(frame []byte)                       { a.received = bytes.Clone(frame) }
func (a *actor) Close()                                      {}

func (p *player) close() {
	for _, a := range p.terminals {
		if a.client != nil {
			a.client.Close()
		}
	}
}

// off says that a step did not go as expected.
func (d *Done) off(format string, args ...any) error {
	d.OK = false
	d.Why = strings.TrimPrefix(d.Why+"; "+fmt.Sprintf(format, args...), "; ")
	return nil
}

// terminal does one step of a terminal.
func (p *player) terminal(d *Done, s *step) (err error) {
	a := p.terminals[s.who.Terminal]
	if a == nil {
		a = &actor{}
		p.terminals[s.who.Terminal] = a
	}
	if s.deed == deedRestart && a.client != nil {
		a.client.Close()
		a.client = nil
	}
	if a.client == nil {
		if a.client, err = p.stage.Dial(p.ctx, s.who, a); err != nil {
			return err
		}
	}
	if s.deed == deedRestart {
		return nil
	}
	ctx := p.ctx
	if s.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.patience)
		defer cancel()
	}
	a.sent, a.received = nil, nil
	began := time.Now()
	answer, got, err := p.deed(ctx, a, s)
	took := time.Since(began)
	d.Answer, d.RRN, d.Latency, d.Expected, d.Got = answer, answer.RRN, txn.Millis(answer.Latency), s.expect.code, got
	d.STAN = a.client.STAN()
	if n, err := strconv.ParseUint(answer.STAN, 10, 32); err == nil {
		d.STAN = uint32(n)
	}
	if err != nil {
		d.Why = err.Error()
	}
	if s.as != "" {
		p.originals[s.as] = original{terminal.Original{Kind: s.kind, STAN: d.STAN, Batch: a.client.Batch(), Date: answer.Date, RRN: answer.RRN, AuthCode: answer.AuthCode, Acquirer: answer.Acquirer}, a.sent, a.received}
	}
	s.expect.judge(d, s, a, p.originals[s.of].received, took)
	return nil
}

// judge holds an answer to what is expected.
func (e *expectation) judge(d *Done, s *step, a *actor, before []byte, took time.Duration) {
	if e.code == "same" && a.received != nil {
		if d.Got = "same"; !bytes.Equal(a.received, before) {
			d.Got = d.Answer.Code
			d.off("the answer is not the one that came before")
		}
	}
	d.OK = d.OK && d.Got == e.code
	if e.within > 0 && took > e.within {
		d.off("it took %v, longer than %v", took.Round(time.Millisecond), e.within)
	}
	if len(e.fields) == 0 {
		return
	}
	t, err := dialect.ForTerminal(s.who.Dialect)
	var m iso.Message
	if err != nil || len(a.received) < t.PrefixSize() || t.Codec().Parse(&m, a.received[t.PrefixSize():]) != nil {
		d.off("there is no answer whose fields could be looked at")
		return
	}
	for _, f := range e.fields {
		switch is := strings.TrimSpace(string(m.AppendText(nil, f.field))); {
		case f.value == "present" && !m.Has(f.field), f.value != "present" && f.value != "absent" && !m.Has(f.field):
			d.off("DE%d is not there", f.field)
		case f.value == "absent" && m.Has(f.field):
			d.off("DE%d is there", f.field)
		case f.value != "present" && f.value != "absent" && is != f.value:
			d.off("DE%d is not %s", f.field, f.value) // what it is may be card data
		}
	}
}

// deed is what a terminal does, and what it got.
func (p *player) deed(ctx context.Context, a *actor, s *step) (answer terminal.Answer, got string, err error) {
	o := p.originals[s.of]
	t := terminal.Transaction{Card: s.card, Original: o.Original, Months: s.months}
	if s.auth != "" {
		t.Original.AuthCode = s.auth
	}
	if s.amount != "" {
		if t.Amount, err = txn.ParseAmount(s.amount, a.client.Currency()); err != nil {
			return answer, "none", err
		}
	}
	switch {
	case s.deed == deedRepeat:
		if o.sent == nil {
			return answer, "none", errors.New("nothing was sent that could be sent again")
		}
		answer, err = a.client.Exchange(ctx, bytes.Clone(o.sent))
	case s.deed == deedSend:
		answer, err = a.client.Exchange(ctx, bytes.Clone(s.raw))
	case s.kind == txn.KindSignOn:
		if answer, err = a.client.SignOn(ctx); err == nil {
			sent, received := a.sent, a.received
			err = a.client.Obey(ctx, answer, nil)
			a.sent, a.received = sent, received
		}
	case s.kind == txn.KindSignOff:
		answer, err = a.client.SignOff(ctx)
	case s.kind == txn.KindEcho:
		answer, err = a.client.Echo(ctx)
	case s.kind == txn.KindDownload:
		answer, err = a.client.DownloadAll(ctx, nil)
	case s.kind == txn.KindStatus:
		answer, err = a.client.UploadStatus(ctx)
	case s.kind == txn.KindReversal && s.replacement != "":
		var stays txn.Amount
		if stays, err = txn.ParseAmount(s.replacement, a.client.Currency()); err == nil {
			answer, err = a.client.ReversePart(ctx, t.Amount, t.Original, stays.Minor)
		}
	case s.kind == txn.KindReversal:
		answer, err = a.client.Reversal(ctx, t.Amount, t.Original)
	case s.kind == txn.KindSettlement:
		return p.settle(ctx, a)
	default:
		answer, err = a.client.Do(ctx, s.kind, t)
	}
	if err != nil {
		return answer, "none", err
	}
	return answer, answer.Code, nil
}

func (p *player) settle(ctx context.Context, a *actor) (terminal.Answer, string, error) {
	settled, err := a.client.Settlement(ctx)
	p.result.Terminal, p.result.Host, p.result.Currency = &settled.Terminal, &settled.Host, a.client.Currency()
	switch {
	case err != nil:
		return settled.Answer, "none", err
	case settled.Even:
		return settled.Answer, "even", nil
	}
	return settled.Answer, "uneven", nil
}

func (p *player) instruct(_ *Done, s *step) error { return p.own.Instruct(s.issuer, s.act) }

// books waits until an issuer's book has what it should.
func (p *player) books(d *Done, s *step) error {
	booked := map[string]int{}
	err := p.await(s.within, func() (ok bool, err error) {
		all, err := p.own.Booked(s.issuer)
		ok = true
		for kind, n := range s.booked {
			booked[kind] = all[kind]
			ok = ok && all[kind] == n
		}
		return ok, err
	})
	if err == nil && !maps.Equal(booked, s.booked) {
		var is []string
		for _, kind := range slices.Sorted(maps.Keys(booked)) {
			is = append(is, fmt.Sprintf("%s=%d", kind, booked[kind]))
		}
		return d.off("the book has %s after %v", strings.Join(is, " "), s.within)
	}
	return err
}

// awaitStep is how often something that must come is looked for.
const awaitStep = 20 * time.Millisecond

func (p *player) await(within time.Duration, done func() (bool, error)) error {
	for late := time.Now().Add(within); ; {
		ok, err := done()
		if ok || err != nil || time.Now().After(late) {
			return err
		}
		if err := terminal.Pause(p.ctx, awaitStep); err != nil {
			return err
		}
	}
}

// kill leaves the terminals their memory and keys: only their sessions are gone.
func (p *player) kill(*Done, *step) error {
	p.close()
	return p.own.Kill()
}

func (p *player) start(*Done, *step) error { return p.own.Start(p.ctx) }

func (p *player) pause(_ *Done, s *step) error { return terminal.Pause(p.ctx, s.within) }

func (p *player) verify(d *Done, s *step) error {
	var last error
	err := p.await(s.within, func() (bool, error) {
		last = p.own.Verify(p.ctx)
		return last == nil, p.ctx.Err()
	})
	if err == nil && last != nil {
		return d.off("%v", last)
	}
	return err
}

// frameMax bounds the bytes that a script sends.
const frameMax = 2 + txn.FrameSizeMax

func hexFrame(text string) ([]byte, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) == 0 || len(b) > frameMax {
		return nil, fmt.Errorf("send must have 1 to %d bytes in hexadecimal, length prefix included", frameMax)
	}
	return b, nil
}
