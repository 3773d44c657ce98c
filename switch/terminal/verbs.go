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

// Do does one transaction of a kind; the methods below are its forms. What is
// owed is sent first. Without a valid answer a reversible transaction is owed a
// reversal, and a refund its repeat, which go out before the next one, or by
// Settle.
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

// Balance asks what the card holds.
func (c *Client) Balance(ctx context.Context, card Card) (Answer, error) {
	return c.Do(ctx, txn.KindBalance, Transaction{Card: card})
}

// Verify asks whether the card is good.
func (c *Client) Verify(ctx context.Context, card Card) (Answer, error) {
	return c.Do(ctx, txn.KindVerify, Transaction{Card: card})
}

// Sale asks for money.
func (c *Client) Sale(ctx context.Context, card Card, amount txn.Amount) (Answer, error) {
	return c.Do(ctx, txn.KindSale, Transaction{Card: card, Amount: amount})
}

// Instalment asks for money in monthly instalments.
func (c *Client) Instalment(ctx context.Context, card Card, amount txn.Amount, months int) (Answer, error) {
	return c.Do(ctx, txn.KindInstalment, Transaction{Card: card, Amount: amount, Months: months})
}

// Void undoes a sale of this batch.
func (c *Client) Void(ctx context.Context, card Card, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindVoid, Transaction{Card: card, Original: of})
}

// InstalmentVoid undoes an instalment sale of this batch.
func (c *Client) InstalmentVoid(ctx context.Context, card Card, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindInstalmentVoid, Transaction{Card: card, Original: of})
}

// Refund gives back an amount of a sale or completion, also of another batch.
func (c *Client) Refund(ctx context.Context, card Card, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindRefund, Transaction{Card: card, Amount: amount, Original: of})
}

// Preauth asks for a pre-authorization.
func (c *Client) Preauth(ctx context.Context, card Card, amount txn.Amount) (Answer, error) {
	return c.Do(ctx, txn.KindPreauth, Transaction{Card: card, Amount: amount})
}

// Increment raises a pre-authorization.
func (c *Client) Increment(ctx context.Context, card Card, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindIncrement, Transaction{Card: card, Amount: amount, Original: of})
}

// PreauthVoid voids a pre-authorization.
func (c *Client) PreauthVoid(ctx context.Context, card Card, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindPreauthVoid, Transaction{Card: card, Original: of})
}

// Completion takes what was pre-authorized, online.
func (c *Client) Completion(ctx context.Context, card Card, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindCompletion, Transaction{Card: card, Amount: amount, Original: of})
}

// CompletionAdvice takes what was pre-authorized, told afterwards.
func (c *Client) CompletionAdvice(ctx context.Context, card Card, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindCompletionAdvice, Transaction{Card: card, Amount: amount, Original: of})
}

// CompletionVoid undoes a completion of this batch.
func (c *Client) CompletionVoid(ctx context.Context, card Card, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindCompletionVoid, Transaction{Card: card, Original: of})
}

// OfflineSale tells of a sale that was made at the terminal, with the code that
// the issuer gave by telephone if it gave one.
func (c *Client) OfflineSale(ctx context.Context, card Card, amount txn.Amount, authCode string) (Answer, error) {
	return c.Do(ctx, txn.KindOfflineSale, Transaction{Card: card, Amount: amount, Original: Original{AuthCode: authCode}})
}

// Adjust tells that a sale was for so much more.
func (c *Client) Adjust(ctx context.Context, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindAdjustment, Transaction{Amount: amount, Original: of})
}

// Tip tells that so much was given on top of a sale.
func (c *Client) Tip(ctx context.Context, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindTip, Transaction{Amount: amount, Original: of})
}

// ScriptResult tells what the card did with the issuer's script that came with
// the original's answer. A terminal tells so by itself when an answer has one.
func (c *Client) ScriptResult(ctx context.Context, card Card, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindScriptResult, Transaction{Card: card, Original: of})
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
	return c.reversal(ctx, amount, of, part{stanAfter(c.store.stan), stays})
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
