package fleet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// PlayOptions are how a day is played. The zero value will do.
type PlayOptions struct {
	// Patience is how long a terminal waits for an answer before it hangs up and
	// reverses. It must exceed what the switch takes at worst. Default 60 s.
	Patience time.Duration
	// Parallel bounds the terminals that are connected at one time. Default 1000.
	Parallel int
	// PauseMax bounds the pauses between messages that a capture holds. Default
	// zero: the next message goes out as soon as the answer is in.
	PauseMax time.Duration
	// Log makes the run survive a kill: played again with the same Log, each
	// terminal first reverses what it had no answer to and then goes on. Nil
	// keeps none.
	Log *Log
	// TMK is a test terminal's master key. With it a terminal whose messages have
	// MACs takes the working keys of its sign-ons, makes those MACs anew, puts a
	// test PIN where there was one, and believes no approval without a MAC. Nil
	// plays MACs and PINs as they are.
	TMK func(terminal string) txn.Secret
	// Recorder records what is played. Nil records nothing.
	Recorder *Recorder
	// Progress, when given, is called every ProgressEvery (default 100 ms) and
	// once at the end, from one goroutine.
	Progress      func(Progress)
	ProgressEvery time.Duration
}

// Play plays the day against a switch; addrs are by dialect name. Terminals
// play side by side, each its own script in order. It returns what happened,
// also together with an error: ctx's, the log's, or that of a terminal that
// could not reach the switch any more.
func Play(ctx context.Context, day *Day, addrs map[string]string, o PlayOptions) (*Result, error) {
	for i := range day.Scripts {
		for _, step := range day.Scripts[i].Steps {
			if addrs[step.Dialect.Name()] == "" {
				return nil, fmt.Errorf("play: terminal %s speaks %s, for which no address is given", step.Terminal, step.Dialect.Name())
			}
		}
	}
	o.Patience = cmp.Or(o.Patience, txn.PatienceDefault)
	o.Parallel = cmp.Or(o.Parallel, 1000)
	t := newTally(day, o.Log)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopProgress := t.report(o.Progress, cmp.Or(o.ProgressEvery, 100*time.Millisecond))

	c := newClock(day)
	var playing sync.WaitGroup
	places := make(chan struct{}, o.Parallel)
	for i := range day.Scripts {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		playing.Go(func() {
			defer func() { <-places }()
			p := player{script: &day.Scripts[i], addrs: addrs, o: &o, tally: t, clock: c, answers: map[int]terminal.Answer{}, done: map[int]Event{}, disturbed: map[string]bool{}}
			if err := p.play(ctx); err != nil {
				cancel(err)
			}
		})
	}
	playing.Wait()
	stopProgress()
	return t.result(), context.Cause(ctx)
}

// player is one terminal at work.
type player struct {
	script *Script
	addrs  map[string]string
	o      *PlayOptions
	tally  *tally
	clock  *clock

	line      terminal.Line
	keys      *terminal.Keys // over sessions; nil: MACs and PINs are played as they are
	session   int
	answers   map[int]terminal.Answer // by step, in this run
	done      map[int]Event           // by step, approvals of what moves money and of reversals, in all runs
	disturbed map[string]bool         // scenarios in which a kill or a lost answer made us reverse
}

// play plays the script from where the log says the terminal was. Its error
// ends the whole run.
func (p *player) play(ctx context.Context) error {
	p.tally.starts()
	defer p.tally.ends()
	defer p.line.HangUp()
	m := p.o.Log.memory(p.script.Terminal)
	maps.Copy(p.done, m.told)
	if err := p.switchOn(ctx, m.Next, m.Owed != nil); err != nil {
		return err
	}
	if m.Owed != nil && m.Owed.Step >= 0 && m.Owed.Step < len(p.script.Steps) {
		if err := p.reverse(ctx, &p.script.Steps[m.Owed.Step]); err != nil {
			return err
		}
	}
	for i := m.Next; i < len(p.script.Steps); i++ {
		p.clock.reaches(p.script.Terminal, i)
		if err := p.clock.await(ctx, p.script.Steps[i].After); err != nil {
			return err
		}
		if err := p.step(ctx, &p.script.Steps[i]); err != nil {
			return err
		}
	}
	p.clock.reaches(p.script.Terminal, len(p.script.Steps))
	return nil
}

// switchOn finds the keys of a terminal that has MACs and is about to play step
// next. Working keys end with the process: one that signed on before and has
// anything left to send signs on again, outside its script.
func (p *player) switchOn(ctx context.Context, next int, owing bool) error {
	steps := p.script.Steps
	signOn := slices.IndexFunc(steps, func(s Step) bool { return s.kind() == txn.KindSignOn })
	if p.o.TMK == nil || signOn < 0 || !slices.ContainsFunc(steps, func(s Step) bool { return s.sealed }) {
		return nil
	}
	s := &steps[signOn]
	var err error
	if p.keys, err = terminal.NewKeys(s.Dialect, s.keySet, 0, p.o.TMK(p.script.Terminal)); err != nil {
		return fmt.Errorf("terminal %s: %w", p.script.Terminal, err)
	}
	left := steps[min(next, len(steps)):]
	if next <= signOn || len(left) == 0 && !owing {
		return nil
	}
	p.connect(s)
	answer, err := p.line.Exchange(ctx, s.Frame, p.o.Patience)
	if err == nil && !answer.Approved() {
		err = fmt.Errorf("refused with %s", answer.Code)
	}
	if err == nil {
		err = p.keys.Take(&answer)
	}
	if err != nil {
		return fmt.Errorf("terminal %s signs on again: %w", p.script.Terminal, err)
	}
	// The switch counts wrong MACs from the last sign-on.
	for i := range left {
		if left[i].macIsWrong() && left[i].Scenario == left[0].Scenario {
			p.disturbed[left[0].Scenario] = true
		}
	}
	return nil
}

// step plays one message. A sale from which no valid answer comes is reversed
// before the next message, unless the script itself says what comes of it.
func (p *player) step(ctx context.Context, s *Step) error {
	p.connect(s)
	if err := terminal.Pause(ctx, min(s.Pause, p.o.PauseMax)); err != nil {
		return err
	}
	if err := p.o.Log.Sent(s.event); err != nil {
		return err
	}
	patience := p.o.Patience
	if s.GiveUp > 0 {
		patience = s.GiveUp
	}
	// From here until the answer is noted, a kill leaves the step sent and
	// unanswered: the next run reverses it and goes on behind it.
	frame := p.seal(s, p.fill(s))
	if p.keys != nil && s.macIsWrong() {
		frame[len(frame)-1] ^= 1 // of its own copy, the MAC's last character
	}
	answer, err := p.line.Exchange(ctx, frame, patience)
	switch {
	case err == nil:
		e := s.event
		e.Code, e.RRN, e.AuthCode, e.Date = answer.Code, answer.RRN, answer.AuthCode, answer.Date
		if err := p.note(e); err != nil {
			return err
		}
		p.answered(s, answer)
		if s.kind() == txn.KindSignOn && answer.Approved() {
			if err := p.keys.Take(&answer); err != nil {
				p.tally.mismatch(s, err.Error())
			}
		}
		if s.GiveUp > 0 {
			p.line.HangUp()
		}
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.GiveUp > 0 && errors.Is(err, terminal.ErrNoAnswer):
		p.tally.gaveUp(s)
		return nil
	}
	p.tally.unanswered(s, err)
	if s.owing() {
		return p.reverse(ctx, s)
	}
	return nil
}

// fill is the step's frame with what is known only when it is played: what its
// original was answered (reference number, authorization code and date; one that
// was not approved leaves the frame as it is), or a settlement's totals.
func (p *player) fill(s *Step) []byte {
	if s.kind() == txn.KindSettlement {
		return totalled(s.Dialect, s.Frame, p.totals(s.event.Batch))
	}
	if s.Original == nil {
		return s.Frame
	}
	o, known := p.done[*s.Original]
	if !known {
		return s.Frame
	}
	return filled(s.Dialect, s.Frame, o.RRN, o.AuthCode, o.Date)
}

// seal is the frame with PIN and MAC under the terminal's working keys. Without
// any, or malformed on purpose, it goes out as it is: the answer tells. So does
// a PIN block that should be refused.
func (p *player) seal(s *Step, frame []byte) []byte {
	if p.keys == nil || !s.sealed {
		return frame
	}
	frame = bytes.Clone(frame)
	if s.Reason != txn.PINBlockIsWrong.String() {
		p.keys.PutPIN(s.Dialect, frame, SamplePIN)
	}
	p.keys.Seal(s.Dialect, frame)
	return frame
}

// totals are the terminal's of a batch: what it was told is approved and did not
// reverse, each number once.
func (p *player) totals(batch uint32) (t txn.Totals) {
	counted := map[uint32]bool{}
	for _, e := range p.done {
		if e.Kind == txn.KindReversal.String() {
			counted[e.STAN] = true
		}
	}
	for _, e := range p.done {
		k, _ := txn.ParseKind(e.Kind)
		if e.Batch != batch || counted[e.STAN] || k.Totals() == txn.NoEffect {
			continue
		}
		counted[e.STAN] = true
		side := t.Side(k.Totals())
		side.Count, side.Minor = side.Count+1, side.Minor+e.Amount
	}
	return t
}

// totalled is a copy of a settlement's frame with other totals.
func totalled(d *dialect.Terminal, frame []byte, t txn.Totals) []byte {
	frame = bytes.Clone(frame)
	var m iso.Message
	if err := d.Codec().Parse(&m, frame[d.PrefixSize():]); err != nil {
		return frame
	}
	if v := m.Value(48); terminal.IsCUP(d) && len(v) == 31 { // two digits a byte
		digits := fmt.Sprintf("%012d%03d%012d%03d%032d", t.Debit.Minor, t.Debit.Count, t.Credit.Minor, t.Credit.Count, 0)
		for i := range v {
			v[i] = (digits[2*i]-'0')<<4 | (digits[2*i+1] - '0')
		}
		return frame
	}
	for field, n := range map[int]int64{74: int64(t.Credit.Count), 76: int64(t.Debit.Count), 86: t.Credit.Minor, 88: t.Debit.Minor} {
		v := m.Value(field)
		copy(v, fmt.Sprintf("%0*d", len(v), n))
	}
	return frame
}

// filled is a copy of a frame with other values in fields of one size.
func filled(d *dialect.Terminal, frame []byte, rrn, authCode, date string) []byte {
	frame = bytes.Clone(frame)
	var m iso.Message
	if err := d.Codec().Parse(&m, frame[d.PrefixSize():]); err != nil {
		return frame // malformed on purpose
	}
	if v := m.Value(37); len(v) == len(rrn) {
		copy(v, rrn)
	}
	if v := m.Value(38); len(v) == len(authCode) {
		copy(v, authCode)
	}
	if v := m.Value(61); terminal.IsCUP(d) && len(v) >= 8 && len(date) == 4 { // batch 6, trace 6, date 4, two digits a byte
		for i := range 2 {
			v[6+i] = (date[2*i]-'0')<<4 | (date[2*i+1] - '0')
		}
	}
	return frame
}

// note notes an answer.
func (p *player) note(e Event) error {
	if err := p.o.Log.Answered(e); err != nil {
		return err
	}
	if e.Code == "00" && owes(e.Kind) {
		p.done[e.Step] = e
	}
	return nil
}

// connect hangs up when the script changes sessions.
func (p *player) connect(s *Step) {
	if p.line.Dialect == s.Dialect && p.session == s.Session {
		return
	}
	p.line.HangUp()
	p.line = terminal.Line{Addr: p.addrs[s.Dialect.Name()], Dialect: s.Dialect, Name: p.script.Terminal, Keys: p.keys}
	if p.o.Recorder != nil {
		p.line.Recorder = p.o.Recorder
	}
	p.session = s.Session
}

// answered compares an answer with the expected one.
func (p *player) answered(s *Step, a terminal.Answer) {
	got := ""
	switch {
	case a.Code != s.Code:
		got = a.Code
	case s.kind() == txn.KindSettlement && !a.Even():
		got = "other totals"
	case s.SameAs != nil:
		before, known := p.answers[*s.SameAs]
		if known && (before.Code != a.Code || before.RRN != a.RRN || before.AuthCode != a.AuthCode || before.Time != a.Time) {
			got = fmt.Sprintf("%s, but not the answer of step %d", a.Code, *s.SameAs)
		}
	}
	if s.Scenario != "" {
		p.answers[s.Step] = a
	}
	p.tally.answered(s, a)
	switch {
	case got == "":
	case s.Scenario != "" && p.disturbed[s.Scenario]:
		p.tally.excuse()
	default:
		p.tally.mismatch(s, got)
	}
}

// Waits of a terminal that cannot get a reversal through.
const (
	reversePause  = 100 * time.Millisecond
	reversePauses = 50
)

// reverse sends what step s owes until it is answered: a reversal with DE39 98
// of what can be reversed, the same message again of a reversal, a refund or an
// advice. It gives up after
// terminal.ReversalTries unanswered tries, or when the switch cannot be reached for
// reversePauses pauses; the reversal stays owed.
func (p *player) reverse(ctx context.Context, s *Step) error {
	p.connect(s)
	frame, e := p.fill(s), s.event
	if s.kind().MovesMoney() { // its original may be busy with it for a while
		p.disturbed[s.Scenario] = true
	}
	if s.kind().Remedy() == txn.Reverse {
		var err error
		if frame, err = terminal.ReversalOf(nil, s.Dialect, frame[s.Dialect.PrefixSize():], "98"); err != nil {
			return err
		}
		e.Kind, e.MTI = txn.KindReversal.String(), "0400"
	}
	frame = p.seal(s, frame)
	unanswered, unreached := 0, 0
	for {
		if err := p.o.Log.Sent(e); err != nil {
			return err
		}
		answer, err := p.line.Exchange(ctx, frame, p.o.Patience)
		if err == nil {
			e.Code, e.RRN, e.AuthCode, e.Date = answer.Code, answer.RRN, answer.AuthCode, answer.Date
			p.tally.reversed()
			return p.note(e)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, terminal.ErrNoAnswer) {
			unanswered++
		} else {
			unreached++
		}
		if unanswered == terminal.ReversalTries || unreached == reversePauses {
			return fmt.Errorf("terminal %s owes the reversal of %06d: %w", s.Terminal, s.STAN, err)
		}
		if err := terminal.Pause(ctx, reversePause); err != nil {
			return err
		}
	}
}
