package day

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Script is a terminal's day.
type Script struct {
	// Terminal, Merchant and Serial are who lives it: DE41, DE42 and the machine's
	// number. Left out, the caller knows.
	Terminal string `yaml:"terminal"`
	Merchant string `yaml:"merchant"`
	Serial   string `yaml:"serial"`
	// Card of the steps that name none.
	Card Card `yaml:"card"`
	// Steps in their order.
	Steps []Step `yaml:"steps"`
}

// Card is a test card.
type Card struct {
	Number string `yaml:"number"`
	Expiry string `yaml:"expiry"` // YYMM
	// Entry is how it is read: chip, contactless, stripe, manual or code.
	// Default chip.
	Entry string `yaml:"entry"`
	// PIN, of a terminal with a master key.
	PIN string `yaml:"pin"`
}

// Step is one thing the terminal does.
type Step struct {
	// Do is a kind of transaction, sign-on, sign-off, echo, settlement, or
	// restart: the terminal loses its power and comes back with its store.
	Do string `yaml:"do"`
	// Amount in major units. Left out, the original's.
	Amount string `yaml:"amount"`
	// As names the step for later ones, Of the earlier one that it is about.
	As string `yaml:"as"`
	Of string `yaml:"of"`
	// Card overrides the script's, all of it.
	Card *Card `yaml:"card"`
	// Months of an instalment. Default 12.
	Months int `yaml:"months"`
	// Auth is the code of a telephone authorization, of an offline sale.
	Auth string `yaml:"auth"`
	// After is how long the terminal waits before the step, such as 2s.
	After time.Duration `yaml:"after"`
	// Expect is the answer's code, even or uneven of a settlement, or none where
	// no answer should come. Default 00, of a settlement even.
	Expect string `yaml:"expect"`

	kind txn.Kind
	card terminal.Card
}

// Limits of a script.
const (
	scriptBytesMax = 1 << 20
	stepsMax       = 10_000
	afterMax       = time.Hour
)

const doRestart = "restart"

// Read reads a script and holds it to what can be done.
func Read(r io.Reader) (*Script, error) {
	var s Script
	dec := yaml.NewDecoder(io.LimitReader(r, scriptBytesMax), yaml.Strict())
	if err := dec.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the day's script: %w", err)
	}
	if n := len(s.Steps); n == 0 || n > stepsMax {
		return nil, fmt.Errorf("read the day's script: it has %d steps, must have 1 to %d", n, stepsMax)
	}
	named := map[string]bool{}
	for i := range s.Steps {
		if err := s.Steps[i].read(&s.Card, named); err != nil {
			return nil, fmt.Errorf("read the day's script: step %d (%s): %w", i+1, s.Steps[i].Do, err)
		}
	}
	return &s, nil
}

func (s *Step) read(usual *Card, named map[string]bool) error {
	if s.Do != doRestart {
		var ok bool
		if s.kind, ok = txn.ParseKind(s.Do); !ok || !sends(s.kind) {
			return errors.New("do must be restart, or what a terminal does, such as sale")
		}
	}
	if s.Expect == "" {
		s.Expect = "00"
		if s.kind == txn.KindSettlement {
			s.Expect = "even"
		}
	}
	if s.After < 0 || s.After > afterMax {
		return fmt.Errorf("after %v must be up to %v", s.After, afterMax)
	}
	if s.Of != "" && !named[s.Of] {
		return fmt.Errorf("of %q is no earlier step", s.Of)
	}
	if s.Of == "" && s.kind.NamesOriginal() {
		return errors.New("of must say which step it is about")
	}
	if s.As != "" {
		if named[s.As] {
			return fmt.Errorf("as %q is the name of an earlier step", s.As)
		}
		named[s.As] = true
	}
	if s.kind == txn.KindInstalment && s.Months == 0 {
		s.Months = 12
	}
	if s.Amount != "" {
		if _, err := txn.ParseAmount(s.Amount, txn.CNY); err != nil {
			return fmt.Errorf("amount: %w", err)
		}
	}
	c := s.Card
	if c == nil && !s.kind.NamesOriginal() { // else the original's is at hand
		c = usual
	}
	if c == nil || !s.kind.Forwarded() {
		return nil
	}
	return s.readCard(c)
}

func (s *Step) readCard(c *Card) (err error) {
	entry := c.Entry
	if entry == "" {
		entry = terminal.Chip.String()
	}
	if s.card.Entry, err = terminal.ParseEntry(entry); err != nil {
		return err
	}
	if s.card.PAN, err = txn.ParsePAN(c.Number); err != nil {
		return fmt.Errorf("card: %w", err)
	}
	if len(c.PIN) > 0 && (len(c.PIN) < 4 || len(c.PIN) > 12 || strings.Trim(c.PIN, "0123456789") != "") {
		return errors.New("card: pin must be 4 to 12 digits")
	}
	s.card.Expiry, s.card.PIN = c.Expiry, txn.Secret(c.PIN)
	return nil
}

// sends says that a script may do it; an upload is part of a settlement.
func sends(k txn.Kind) bool { return k != txn.KindUpload }

// String is the step in a line, without its card.
func (s *Step) String() string {
	var b strings.Builder
	b.WriteString(s.Do)
	for _, part := range [...]struct{ name, v string }{{"", s.Amount}, {"of ", s.Of}, {"as ", s.As}} {
		if part.v != "" {
			b.WriteString(" " + part.name + part.v)
		}
	}
	return b.String()
}
