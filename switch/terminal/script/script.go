package script

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Script is one case.
type Script struct {
	Title string
	steps []step
	// needsOwn is the first step that only a switch of one's own can take, nil if
	// there is none.
	needsOwn *step
}

// Who is a terminal, as a script names it.
type Who struct {
	Terminal, Merchant, Serial string
	Dialect                    string // default cup-pos
	Position                   string // latitude,longitude
}

// Act is what an issuer does with the requests that come from then on. The zero
// value approves.
type Act struct {
	Kind   string // of the requests that it is about; empty: all that ask an issuer
	Times  int    // how many of them; 0: all
	Code   string // declines with it
	Lose   bool   // the request is lost on its way
	Silent bool   // books, and never answers
	HangUp bool   // books, and hangs up
	Twice  bool   // answers twice
	Wrong  bool   // the answer names another amount
	Late   time.Duration
}

// Limits of a script.
const (
	scriptBytesMax = 1 << 20
	lineMax        = 16 << 10
	stepsMax       = 10_000
	pauseMax       = time.Hour
	// withinDefault is how long issuer expect and verify wait for what must come.
	withinDefault = 10 * time.Second
)

// step is one line.
type step struct {
	line int
	text string // without a message's bytes
	verb string
	do   func(*player, *Done, *step) error // one of the verbs below

	who  Who
	deed string
	kind txn.Kind
	card terminal.Card
	// Of a terminal.
	amount, as, of, auth string
	replacement          string // what stands after a reversal in part
	months               int
	patience             time.Duration
	raw                  []byte
	expect               *expectation
	// Of an issuer.
	issuer string
	act    Act
	booked map[string]int
	within time.Duration // also of verify and pause
}

// expectation is what an answer must be.
type expectation struct {
	code   string // DE39; even, uneven, same or none
	within time.Duration
	fields []fieldValue
	given  bool // by the script
}

type fieldValue struct {
	field int
	value string // or present, absent
}

// Deeds of a terminal beside the kinds of transactions.
const (
	deedRestart = "restart" // its power goes and comes back: its memory stays, its keys do not
	deedRepeat  = "repeat"  // the bytes of an earlier request go out again
	deedSend    = "send"    // bytes that the script gives
)

// Read reads a script and holds it to what can be done. Its errors name the line.
func Read(r io.Reader) (*Script, error) {
	p := parser{cards: map[string]terminal.Card{}, names: map[string]bool{}, terminals: map[string]Who{}}
	in := bufio.NewScanner(io.LimitReader(r, scriptBytesMax+1))
	in.Buffer(nil, lineMax)
	size := 0
	for n := 1; in.Scan(); n++ {
		if size += len(in.Bytes()) + 1; size > scriptBytesMax {
			return nil, fmt.Errorf("read script: it is longer than %d bytes", scriptBytesMax)
		}
		if err := p.line(n, strings.TrimSpace(in.Text())); err != nil {
			return nil, fmt.Errorf("read script: line %d: %w", n, err)
		}
		if len(p.s.steps) > stepsMax {
			return nil, fmt.Errorf("read script: it has more than %d steps", stepsMax)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	if len(p.s.steps) == 0 {
		return nil, errors.New("read script: it has no step")
	}
	for i := range p.s.steps {
		if s := &p.s.steps[i]; s.verb != "terminal" && s.verb != "pause" {
			p.s.needsOwn = s
			break
		}
	}
	return &p.s, nil
}

type parser struct {
	s         Script
	titled    bool
	cards     map[string]terminal.Card
	usual     string // the first card
	names     map[string]bool
	terminals map[string]Who
	at        *Who
}

func (p *parser) line(n int, text string) error {
	if comment, ok := strings.CutPrefix(text, "#"); ok {
		if comment = strings.TrimSpace(comment); !p.titled && comment != "" {
			p.s.Title, p.titled = comment, true
		}
		return nil
	}
	if text == "" {
		return nil
	}
	p.titled = true
	words := strings.Fields(text)
	a := arguments{words: words[1:]}
	s := step{line: n, text: text, verb: words[0]}
	var err error
	switch s.verb {
	case "at":
		return p.place(&a)
	case "card":
		return p.card(&a)
	case "expect":
		return p.expect(&a)
	case "terminal":
		err = p.terminal(&s, &a)
	case "issuer":
		err = s.issuers(&a)
	case "kill":
		s.do = (*player).kill
	case "start":
		s.do = (*player).start
	case "verify":
		s.do = (*player).verify
		s.within = a.duration("within", withinDefault)
	case "pause":
		s.do = (*player).pause
		s.within, err = time.ParseDuration(a.word("how long, as 2s"))
		if err != nil || s.within < 0 || s.within > pauseMax {
			err = fmt.Errorf("pause must say how long, as 2s, up to %v", pauseMax)
		}
	default:
		return fmt.Errorf("%q is no verb: at, card, terminal, issuer, expect, kill, start, verify, pause", s.verb)
	}
	if err == nil {
		err = a.end()
	}
	if err != nil {
		return err
	}
	p.s.steps = append(p.s.steps, s)
	return nil
}

// arguments are the words behind a verb: plain ones first, then name=value.
type arguments struct {
	words []string
	err   error
}

// word takes the next plain word.
func (a *arguments) word(what string) string {
	if len(a.words) == 0 || strings.Contains(a.words[0], "=") {
		a.fail(errors.New("must say " + what))
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

// value takes name=value, empty where it is not given.
func (a *arguments) value(name string) string {
	for i, w := range a.words {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			a.words = slices.Delete(slices.Clone(a.words), i, i+1)
			return v
		}
	}
	return ""
}

func (a *arguments) duration(name string, usual time.Duration) time.Duration {
	v := a.value(name)
	if v == "" {
		return usual
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > pauseMax {
		a.fail(fmt.Errorf("%s=%s must be a time, as 2s, up to %v", name, v, pauseMax))
	}
	return d
}

func (a *arguments) number(name string, most int) int {
	v := a.value(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > most {
		a.fail(fmt.Errorf("%s=%s must be a number up to %d", name, v, most))
	}
	return n
}

func (a *arguments) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// end is the first thing wrong, or a word too many.
func (a *arguments) end() error {
	if a.err == nil && len(a.words) > 0 {
		name, _, _ := strings.Cut(a.words[0], "=")
		return fmt.Errorf("%q is not known here", name)
	}
	return a.err
}

// place says at which terminal the steps that follow are.
func (p *parser) place(a *arguments) error {
	w := Who{Terminal: a.word("which terminal"), Merchant: a.value("merchant"), Serial: a.value("serial"), Dialect: a.value("dialect"), Position: a.value("position")}
	if err := a.end(); err != nil {
		return err
	}
	if len(w.Terminal) > 8 || len(w.Merchant) > 15 {
		return errors.New("a terminal has up to 8 characters, a merchant up to 15")
	}
	known, again := p.terminals[w.Terminal]
	switch {
	case again && w != (Who{Terminal: w.Terminal}) && w != known:
		return fmt.Errorf("terminal %s was another one before", w.Terminal)
	case again:
		w = known
	case w.Merchant == "":
		return errors.New("merchant= must say whose terminal it is")
	}
	if w.Dialect == "" {
		w.Dialect = "cup-pos"
	}
	if _, err := dialect.ForTerminal(w.Dialect); err != nil {
		return err
	}
	p.terminals[w.Terminal], p.at = w, &w
	return nil
}

func (p *parser) card(a *arguments) (err error) {
	name, number := a.word("what the card is called"), a.word("the card's number")
	var c terminal.Card
	if c.PAN, err = txn.ParsePAN(number); err != nil && a.err == nil {
		return err
	}
	entry := a.value("entry")
	if entry == "" {
		entry = terminal.Chip.String()
	}
	if c.Entry, err = terminal.ParseEntry(entry); err != nil {
		return err
	}
	c.Expiry = a.value("expiry")
	if c.Expiry != "" && (len(c.Expiry) != 4 || !txn.Digits(c.Expiry)) {
		return errors.New("expiry must be YYMM")
	}
	pin := a.value("pin")
	if pin != "" && (len(pin) < 4 || len(pin) > 12 || !txn.Digits(pin)) {
		return errors.New("pin must be 4 to 12 digits")
	}
	c.PIN = txn.Secret(pin)
	if err := a.end(); err != nil {
		return err
	}
	if _, known := p.cards[name]; known {
		return fmt.Errorf("card %s is there already", name)
	}
	if p.cards[name] = c; p.usual == "" {
		p.usual = name
	}
	return nil
}

func (p *parser) terminal(s *step, a *arguments) error {
	if p.at == nil {
		return errors.New("no line before says at which terminal")
	}
	s.do, s.who, s.deed = (*player).terminal, *p.at, a.word("what the terminal does")
	s.amount, s.as, s.of, s.auth = a.value("amount"), a.value("as"), a.value("of"), a.value("auth")
	s.replacement = a.value("replacement")
	s.months, s.patience = a.number("months", 99), a.duration("patience", 0)
	s.expect = &expectation{code: "00"}
	about := false
	switch s.deed {
	case deedRestart:
		s.expect = &expectation{code: ""}
	case deedRepeat:
		s.expect.code, about = "same", true
	case deedSend:
		var err error
		if s.raw, err = hexFrame(a.word("the bytes in hexadecimal")); err != nil {
			return err
		}
		s.text = fmt.Sprintf("terminal send (%d bytes)", len(s.raw))
	default:
		var ok bool
		if s.kind, ok = txn.ParseKind(s.deed); !ok || !sends(s.kind) {
			return fmt.Errorf("%q is nothing that a terminal does, such as sale, settlement, repeat, send, restart", s.deed)
		}
		about = s.kind.NamesOriginal()
	}
	switch s.kind {
	case txn.KindSettlement:
		s.expect.code = "even"
	case txn.KindInstalment:
		if s.months == 0 {
			s.months = 12
		}
	}
	if s.of != "" && !p.names[s.of] {
		return fmt.Errorf("of=%s is no earlier step", s.of)
	}
	if s.of == "" && about {
		return errors.New("of= must say which step it is about")
	}
	if s.as != "" {
		if p.names[s.as] {
			return fmt.Errorf("as=%s is the name of an earlier step", s.as)
		}
		p.names[s.as] = true
	}
	if s.amount != "" {
		if _, err := txn.ParseAmount(s.amount, txn.CNY); err != nil {
			return err
		}
	}
	if s.replacement != "" {
		if _, err := txn.ParseAmount(s.replacement, txn.CNY); err != nil || s.kind != txn.KindReversal {
			return fmt.Errorf("replacement=%s must be what stands after a reversal", s.replacement)
		}
	}
	card := a.value("card")
	if card == "" && s.kind.Forwarded() && !about { // else the original's is at hand
		card = p.usual
	}
	if card != "" {
		c, known := p.cards[card]
		if !known {
			return fmt.Errorf("no line before says what card %s is", card)
		}
		s.card = c
	}
	return nil
}

// sends says that a script may do it; an upload is part of a settlement, and a
// stand-in the switch's.
func sends(k txn.Kind) bool { return k != txn.KindUpload && k != txn.KindStandIn }

// expect says what the terminal's step before must be answered.
func (p *parser) expect(a *arguments) error {
	last := len(p.s.steps) - 1
	if last < 0 || p.s.steps[last].expect == nil || p.s.steps[last].deed == deedRestart {
		return errors.New("expect must follow what a terminal sends")
	}
	e := p.s.steps[last].expect
	if e.given {
		return errors.New("what to expect was said already")
	}
	e.given, e.code, e.within = true, a.word("a code, even, uneven, same or none"), a.duration("within", 0)
	for len(a.words) > 0 && a.err == nil {
		name, value, ok := strings.Cut(a.words[0], "=")
		number, de := strings.CutPrefix(name, "DE")
		n, err := strconv.Atoi(number)
		if !ok || !de || err != nil || n < 2 || n > 128 {
			break
		}
		e.fields = append(e.fields, fieldValue{n, value})
		a.words = a.words[1:]
	}
	return a.end()
}

// acts are what an issuer does, by the word for it.
var acts = map[string]Act{"approve": {}, "decline": {}, "late": {}, "silent": {Silent: true}, "lose": {Lose: true}, "hang-up": {HangUp: true}, "twice": {Twice: true}, "wrong-amount": {Wrong: true}}

func (s *step) issuers(a *arguments) error {
	word := a.word("what the issuer does, or expect")
	act, known := acts[word]
	if !known && word != "expect" {
		s.issuer, word = word, a.word("what the issuer does, or expect")
		if act, known = acts[word]; !known && word != "expect" && a.err == nil {
			return fmt.Errorf("%q is nothing that an issuer does: approve, decline, late, silent, lose, hang-up, twice, wrong-amount, expect", word)
		}
	}
	s.do, s.act = (*player).instruct, act
	switch word {
	case "expect":
		s.do, s.within, s.booked = (*player).books, a.duration("within", withinDefault), map[string]int{}
		for _, kind := range []string{"approved", "declined", "reversed", "unknown"} {
			if v := a.value(kind); v != "" {
				n, err := strconv.Atoi(v)
				if err != nil || n < 0 {
					return fmt.Errorf("%s=%s must be a number", kind, v)
				}
				s.booked[kind] = n
			}
		}
		if len(s.booked) == 0 && a.err == nil {
			return errors.New("must say how many are approved=, declined=, reversed= or unknown= in the issuer's book")
		}
		return nil
	case "decline":
		if s.act.Code = a.word("with which code"); len(s.act.Code) != 2 && a.err == nil {
			return fmt.Errorf("decline %s must have a code of two characters", s.act.Code)
		}
	case "late":
		d, err := time.ParseDuration(a.word("how late, as 2s"))
		if (err != nil || d < 0 || d > pauseMax) && a.err == nil {
			return fmt.Errorf("late must say how late, as 2s, up to %v", pauseMax)
		}
		s.act.Late = d
	}
	s.act.Kind, s.act.Times = a.value("kind"), a.number("times", 1_000_000)
	if _, ok := txn.ParseKind(s.act.Kind); !ok && s.act.Kind != "" {
		return fmt.Errorf("kind=%s is no kind of transaction", s.act.Kind)
	}
	return nil
}
