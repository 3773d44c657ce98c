package terminal

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// lookUp adds to a message what the terminal's batch says of its original: how
// it was answered, its amount if the message has none, and its card if none is
// at hand. An original that is not in the batch is what the cashier says it is.
func (c *Client) lookUp(m *Message) error {
	o := &m.Original
	for i := range c.store.items {
		f := &c.store.items[i]
		same := o.STAN == f.STAN && (o.Batch == 0 || o.Batch == c.store.batch)
		if o.STAN == 0 {
			same = o.RRN != "" && o.RRN == f.RRN || o.RRN == "" && o.AuthCode != "" && o.AuthCode == f.AuthCode
		}
		if same {
			return c.take(m, f)
		}
	}
	if o.Kind == txn.KindUnknown {
		o.Kind = originalKind(m.Kind)
	}
	if o.STAN != 0 {
		o.Batch = cmp.Or(o.Batch, c.store.batch)
	}
	if m.Card.PAN.IsZero() {
		m.Card.Entry = Manual
	}
	return nil
}

// take copies from the original's fact and its kept request.
func (c *Client) take(m *Message, f *fact) error {
	frame, err := c.store.frame(f.Frame)
	if err != nil {
		return fmt.Errorf("%s of %06d at terminal %s: %w", m.Kind, f.STAN, c.profile.Terminal, err)
	}
	of, err := c.parse(frame)
	if err != nil {
		return err
	}
	o := &m.Original
	o.Kind, o.STAN, o.Batch = f.kind(), f.STAN, f.Batch
	o.Date, o.RRN = cmp.Or(o.Date, f.Date), cmp.Or(o.RRN, f.RRN)
	o.AuthCode, o.Acquirer = cmp.Or(o.AuthCode, f.AuthCode), cmp.Or(o.Acquirer, f.Acquirer)
	o.Sent, o.Entry = string(of.AppendDigits(nil, 7)), string(of.AppendDigits(nil, 22))
	if m.Amount.Minor == 0 {
		m.Amount = txn.Amount{Minor: f.Amount, Currency: f.Currency}
		if m.Kind == txn.KindPreauthVoid {
			m.Amount.Minor += c.increments(f)
		}
	}
	if m.Card.PAN.IsZero() {
		m.Card.Entry = Manual
		if m.Kind == txn.KindScriptResult {
			m.Card.Entry = Chip
		}
		m.Card.Expiry = string(of.AppendDigits(nil, 14))
		digits := of.AppendDigits(nil, 2)
		defer clear(digits)
		if len(digits) > 0 { // a code's card is in DE59
			if m.Card.PAN, err = txn.ParsePAN(digits); err != nil {
				return errors.New("the original's card number cannot be read")
			}
		}
	}
	return nil
}

// increments is what was added to a pre-authorization.
func (c *Client) increments(preauth *fact) (minor int64) {
	for i := range c.store.items {
		f := &c.store.items[i]
		if f.kind() != txn.KindIncrement {
			continue
		}
		if of, err := c.item(f); err == nil && string(of.Value(38)) == preauth.AuthCode {
			minor += f.Amount
		}
	}
	return minor
}

// originalKind is what a kind is ordinarily about.
func originalKind(k txn.Kind) txn.Kind {
	switch k {
	case txn.KindIncrement, txn.KindPreauthVoid, txn.KindCompletion, txn.KindCompletionAdvice:
		return txn.KindPreauth
	case txn.KindCompletionVoid:
		return txn.KindCompletion
	case txn.KindInstalmentVoid:
		return txn.KindInstalment
	}
	return txn.KindSale
}

// composeAs builds a message with the number and batch of an earlier one.
func (c *Client) composeAs(m *Message, of Original) ([]byte, fact, error) {
	m.At = time.Now()
	p := c.profile
	p.Batch = cmp.Or(of.Batch, c.store.batch)
	m.placeKSN = c.line.Keys.placeKSN()
	frame, err := m.Append(nil, c.line.Dialect, &p)
	return frame, fact{Kind: m.Kind.String(), STAN: of.STAN, Batch: p.Batch, Amount: m.Amount.Minor, Currency: m.currency(&p)}, err
}
