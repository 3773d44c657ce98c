package fleet

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Day is what a fleet of terminals sends and what it should be answered.
type Day struct {
	Scripts []Script // one for each terminal
}

// Len is the number of messages.
func (d *Day) Len() int {
	n := 0
	for i := range d.Scripts {
		n += len(d.Scripts[i].Steps)
	}
	return n
}

// Expected lists what the day's messages should be answered.
func (d *Day) Expected() []Expected {
	var all []Expected
	for i := range d.Scripts {
		for _, step := range d.Scripts[i].Steps {
			all = append(all, step.Expected)
		}
	}
	return all
}

// Script is the day of one terminal. Its steps come one after another.
type Script struct {
	Terminal string
	Steps    []Step
}

// Step is one message.
type Step struct {
	Expected
	Dialect *dialect.Terminal
	Frame   []byte        // length prefix included
	Session int           // steps of one terminal with one number share a connection
	Pause   time.Duration // since the answer before
	// GiveUp is how long the terminal waits before it hangs up without an
	// answer; zero when it waits for one.
	GiveUp time.Duration

	event  Event       // what the log says of it
	sealed bool        // it has a MAC
	keySet keys.KeySet // of a sign-on
}

// Expected is what a message should be answered: a line of expected.jsonl.
type Expected struct {
	Terminal string `json:"tid"`
	Step     int    `json:"step"` // counts the terminal's messages from 0
	STAN     uint32 `json:"stan"`
	MTI      string `json:"mti"`
	Kind     string `json:"kind"`
	Code     string `json:"code"`             // DE39; empty: the terminal hangs up before an answer
	Reason   string `json:"reason,omitempty"` // why, in the switch's words
	// Original is the earlier step that this one is about: what that was answered
	// is filled into the message when it is played.
	Original *int `json:"original,omitempty"`
	// SameAs is the earlier step of the terminal whose answer this one repeats.
	SameAs *int `json:"same_as,omitempty"`
	// After is what must be answered before this is sent, of a terminal whose number
	// is lower: no two wait for each other.
	After *Moment `json:"after,omitempty"`
	// Scenario names steps of a terminal that depend on each other.
	Scenario string `json:"scenario,omitempty"`
}

// Moment is when a terminal has been answered a step.
type Moment struct {
	Terminal string `json:"tid"`
	Step     int    `json:"step"`
}

// WriteExpected writes the expectations as expected.jsonl, one line for each message.
func WriteExpected(w io.Writer, all []Expected) error {
	bw := bufio.NewWriter(w)
	enc := json.NewEncoder(bw)
	for i := range all {
		if err := enc.Encode(&all[i]); err != nil {
			return fmt.Errorf("write expected answers: %w", err)
		}
	}
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("write expected answers: %w", err)
	}
	return nil
}

// ReadExpected reads what WriteExpected wrote.
func ReadExpected(r io.Reader) ([]Expected, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var all []Expected
	for {
		var e Expected
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read expected answers: line %d: %w", len(all)+1, err)
		}
		all = append(all, e)
	}
}

// Day is the day that the capture holds: a script for each terminal, with its
// messages in the order of their times. What they should be answered is taken
// from expected, which must then list exactly these messages; without it they
// should be answered as they were. A request that the terminal hung up on is
// hung up on after as long again.
func (c *Capture) Day(expected []Expected) (*Day, error) {
	scripts := map[string]*Script{}
	times := map[string][]time.Time{}
	for number, s := range c.Sessions {
		for i := range s.Exchanges {
			e := &s.Exchanges[i]
			step := Step{Dialect: s.Dialect, Frame: e.Request, Session: number}
			step.describe()
			name := cmp.Or(step.Terminal, s.Client.String())
			step.Terminal, step.event.Terminal = name, name
			step.Code = answeredCode(s.Dialect, e)
			if e.Answer == nil {
				step.GiveUp = max(s.End.Sub(e.At), time.Millisecond)
			}
			if scripts[name] == nil {
				scripts[name] = &Script{Terminal: name}
			}
			if i > 0 && s.Exchanges[i-1].Answer != nil {
				step.Pause = max(0, e.At.Sub(s.Exchanges[i-1].AnsweredAt))
			}
			// Kept in the order of their times, also across sessions.
			at, _ := slices.BinarySearchFunc(times[name], e.At, func(a, b time.Time) int { return cmp.Or(a.Compare(b), -1) })
			times[name] = slices.Insert(times[name], at, e.At)
			scripts[name].Steps = slices.Insert(scripts[name].Steps, at, step)
		}
	}
	day := &Day{}
	for _, s := range scripts {
		for i := range s.Steps {
			s.Steps[i].Step, s.Steps[i].event.Step = i, i
		}
		day.Scripts = append(day.Scripts, *s)
	}
	slices.SortFunc(day.Scripts, func(a, b Script) int { return cmp.Compare(a.Terminal, b.Terminal) })
	if expected != nil {
		if err := day.expect(expected); err != nil {
			return nil, err
		}
	}
	return day, nil
}

// expect lays the expectations over the steps they are about.
func (d *Day) expect(all []Expected) error {
	if len(all) != d.Len() {
		return fmt.Errorf("the capture holds %d messages and %d answers are expected: they are not of one recording", d.Len(), len(all))
	}
	scripts := map[string]*Script{}
	for i := range d.Scripts {
		scripts[d.Scripts[i].Terminal] = &d.Scripts[i]
	}
	for _, e := range all {
		s := scripts[e.Terminal]
		if s == nil || e.Step < 0 || e.Step >= len(s.Steps) {
			return fmt.Errorf("step %d of terminal %s is expected and not in the capture", e.Step, e.Terminal)
		}
		step := &s.Steps[e.Step]
		if e.STAN != step.STAN || e.MTI != step.MTI {
			return fmt.Errorf("step %d of terminal %s is %s %06d in the capture and expected to be %s %06d", e.Step, e.Terminal, step.MTI, step.STAN, e.MTI, e.STAN)
		}
		if (e.Code == "") != (step.GiveUp > 0) {
			return fmt.Errorf("step %d of terminal %s: the capture and the expected answers disagree on whether there is one", e.Step, e.Terminal)
		}
		if e.After != nil && (e.After.Terminal >= e.Terminal || scripts[e.After.Terminal] == nil) {
			return fmt.Errorf("step %d of terminal %s is to come after one of %q: give a terminal of the capture with a lower number", e.Step, e.Terminal, e.After.Terminal)
		}
		step.Expected = e
	}
	return nil
}

func answeredCode(d *dialect.Terminal, e *Exchange) string {
	if e.Answer == nil {
		return ""
	}
	answer, err := terminal.ReadAnswer(d, e.Request[d.PrefixSize():], e.Answer[d.PrefixSize():])
	if err != nil {
		return ""
	}
	return answer.Code
}

// describe reads from the frame what the log and the reports say of it. It
// returns the number of its dialect.
func (s *Step) describe() uint8 {
	x := dialect.Exchange{Frame: s.Frame[s.Dialect.PrefixSize():]}
	if err := s.Dialect.Decode(&x, time.Now()); err != nil {
		return x.Request.Dialect
	}
	req := &x.Request
	s.Terminal, s.STAN = req.Key.Terminal.String(), req.Key.STAN
	s.MTI, s.Kind = fmt.Sprintf("%04x", req.MTI), req.Kind.String()
	s.sealed, s.keySet = len(req.MAC) > 0, keys.KeySet(req.KeySet)
	s.event = Event{Terminal: s.Terminal, Step: s.Step, Kind: s.Kind, MTI: s.MTI, STAN: s.STAN, Batch: req.Key.Batch,
		Amount: req.Amount.Minor, Currency: req.Amount.Currency}
	if !s.owing() {
		s.event.Amount, s.event.Currency = 0, 0
	}
	return req.Dialect
}

// owing says that something is owed for the step when it is not answered: its
// reversal, or its repeat.
func (s *Step) owing() bool { return owes(s.event.Kind) }

// macIsWrong says that the step is one with a wrong MAC: it should be refused
// for it, and after some of these for want of a sign-on.
func (s *Step) macIsWrong() bool {
	return s.sealed && (s.Reason == txn.MACIsWrong.String() || s.Reason == txn.SignOnIsRequired.String())
}

func (s *Step) kind() txn.Kind { k, _ := txn.ParseKind(s.event.Kind); return k }

func owes(kind string) bool {
	k, _ := txn.ParseKind(kind)
	return k.MovesMoney() || k == txn.KindReversal
}
