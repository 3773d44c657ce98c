package terminal

import (
	"context"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Transaction is what a cashier knows of what is to be done.
type Transaction struct {
	Card   Card
	Amount txn.Amount // zero where the original has it
	// Original is the earlier transaction. What the terminal has in its batch it
	// adds: a trace number, or reference or authorization code, is enough.
	Original Original
	Months   int // of an instalment
}

// Do does one transaction of a kind. What is owed is sent first. Without a valid
// answer a reversible transaction is owed a reversal, and a refund its repeat, which
// go out before the next one, or by Settle.
//
// A terminal with a master key must have signed on (ErrSignOnFirst). Told to
// sign on again (77, 99, A0), it does so and asks once more; the answer returned
// is then the second one.
func (c *Client) Do(ctx context.Context, k txn.Kind, t Transaction) (Answer, error) {
	m := &Message{Kind: k, Card: t.Card, Amount: t.Amount, Original: t.Original, Months: t.Months}
	if k.NamesOriginal() {
		if err := c.lookUp(m); err != nil {
			return Answer{}, err
		}
	}
	switch {
	case k == txn.KindReversal:
		return Answer{}, fmt.Errorf("do %s: use Reversal", k)
	case k.Told() || k == txn.KindScriptResult:
		return c.advise(ctx, m)
	case k.Forwarded():
		return c.online(ctx, m)
	}
	return Answer{}, fmt.Errorf("do %s: it is no transaction", k)
}

// Reversal undoes the transaction with a trace number of this batch, which was
// approved and then failed at the terminal. Of one that the terminal does not
// have it must be told the kind, by of.Kind, and the amount.
func (c *Client) Reversal(ctx context.Context, amount txn.Amount, of Original) (Answer, error) {
	return c.reversal(ctx, amount, of, part{})
}

// ReversePart undoes all of a transaction but stays minor units (ISO 8583:1987).
// It may be done again to leave less, and Reversal takes the rest.
func (c *Client) ReversePart(ctx context.Context, amount txn.Amount, of Original, stays int64) (Answer, error) {
	if IsCUP(c.line.Dialect) {
		return Answer{}, fmt.Errorf("reverse a part of %06d: dialect %s has no such reversal", of.STAN, c.line.Dialect.Name())
	}
	if err := c.settleReversal(ctx); err != nil { // one is owed at a time
		return Answer{}, err
	}
	return c.reversal(ctx, amount, of, part{STANAfter(c.store.stan), stays})
}

func (c *Client) reversal(ctx context.Context, amount txn.Amount, of Original, p part) (Answer, error) {
	if owed := c.Owes(); owed != 0 && owed != of.STAN { // one is owed at a time, and none is forgotten for another
		if err := c.settleReversal(ctx); err != nil {
			return Answer{}, err
		}
	}
	if i := find(c.store.items, of.STAN); i >= 0 && (of.Batch == 0 || of.Batch == c.store.batch) {
		f := c.store.items[i]
		f.Code = "06"
		return c.reverse(ctx, f, p)
	}
	if owed := c.store.owed; owed != nil && owed.STAN == of.STAN && (of.Batch == 0 || of.Batch == owed.Batch) {
		return c.reverse(ctx, *owed, p)
	}
	if of.Kind == txn.KindUnknown {
		of.Kind = txn.KindSale
	}
	// Terminal, batch and trace number name it; the card need not.
	m := Message{Kind: of.Kind, STAN: of.STAN, Amount: amount, Original: of, MAC: c.line.Keys != nil, Card: Card{Entry: Manual}, NoPlace: true}
	frame, f, err := c.composeAs(&m, of)
	if err != nil {
		return Answer{}, err
	}
	if frame, err = reversalOf(nil, c.line.Dialect, frame[c.line.Dialect.PrefixSize():], "06", p); err != nil {
		return Answer{}, err
	}
	return c.sendReversal(ctx, frame, p.of(f))
}
