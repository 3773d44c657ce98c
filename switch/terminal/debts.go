package terminal

import (
	"context"
	"errors"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Settle sends everything that is owed: script results, the reversal until it is
// answered, and all that is to be told.
func (c *Client) Settle(ctx context.Context) error {
	return c.settleDebts(ctx, len(c.store.told))
}

// settleDebts sends what is owed before the next online transaction, in the
// order of cup-pos I2: the results of scripts, then the reversal, then so many
// of the advices. What does not get through stays owed, and nothing later is
// sent; an advice that does not is no hindrance.
func (c *Client) settleDebts(ctx context.Context, advices int) error {
	for len(c.store.scripts) > 0 {
		if _, err := c.tell(ctx, c.store.scripts[0]); err != nil {
			return fmt.Errorf("a script's result is owed: %w", err)
		}
	}
	if err := c.settleReversal(ctx); err != nil {
		return err
	}
	for range min(advices, len(c.store.told)) {
		f := c.store.told[0]
		answer, err := c.tell(ctx, f)
		if err != nil && (c.store.err != nil || ctx.Err() != nil) {
			return fmt.Errorf("an advice is owed: %w", err)
		}
		// Signed on, it is not its keys: the refund's batch was closed, nobody has seen it
		// and nobody will, and the batch could not be settled for it.
		if err == nil && f.Kind == txn.KindRefund.String() && answer.Code == "77" && answer.First != nil {
			if err := c.store.note(dropped, f); err != nil {
				return fmt.Errorf("a refund is given up: %w", err)
			}
			continue
		}
		if err != nil || WantsSignOn(answer.Code) || comesLater(answer.Code) {
			break
		}
	}
	return nil
}

// settleReversal sends the reversal that is owed, up to ReversalTries times. It
// is not dropped after that, as the specification has it, but stays in the way
// of the next transaction: money that nobody took back must not be forgotten.
func (c *Client) settleReversal(ctx context.Context) error {
	var err error
	for range ReversalTries {
		if c.store.owed == nil {
			return nil
		}
		var answer Answer
		answer, err = c.reverse(ctx, *c.store.owed, part{})
		switch {
		case err == nil && WantsSignOn(answer.Code):
			return fmt.Errorf("a reversal is owed: that of %06d of terminal %s was %w", c.Owes(), c.profile.Terminal, &RefusedError{answer.Code})
		case err == nil:
			return nil
		case ctx.Err() != nil, errors.Is(err, ErrSignOnFirst), c.store.err != nil:
			return fmt.Errorf("a reversal is owed: %w", err)
		}
		if rerr := c.renew(ctx); rerr != nil {
			return fmt.Errorf("a reversal is owed: %w; %w", err, rerr)
		}
	}
	return fmt.Errorf("a reversal is owed: %w", err)
}

// reverse sends the reversal of a request of which the fact is kept, or again
// one that was sent before.
func (c *Client) reverse(ctx context.Context, of fact, p part) (Answer, error) {
	frame, err := c.store.frame(of.Frame)
	if err == nil && of.kind() != txn.KindReversal {
		frame, err = reversalOf(nil, c.line.Dialect, frame[c.line.Dialect.PrefixSize():], reversalReason(of.Code), p)
		of = p.of(of)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("reverse %06d of terminal %s: %w", of.STAN, c.profile.Terminal, err)
	}
	return c.sendReversal(ctx, frame, of)
}

// of is f as the reversal of it notes it: its trace number, or that of the part.
func (p part) of(f fact) fact {
	if f.Of, f.Stays = 0, 0; p.stan != 0 {
		f.Of, f.STAN, f.Stays = f.STAN, p.stan, p.stays
	}
	return f
}

func (c *Client) sendReversal(ctx context.Context, frame []byte, of fact) (Answer, error) {
	f := fact{Kind: txn.KindReversal.String(), STAN: of.STAN, Of: of.Of, Stays: of.Stays, Batch: of.Batch, Amount: of.Amount, Currency: of.Currency, Frame: c.store.keep(frame)}
	return c.insist(ctx, func() (Answer, error) { return c.send(ctx, frame, f) })
}

// reversalReason is the reason of a reversal, 98 where none was noted: the process
// ended before.
func reversalReason(code string) string {
	if code == "A0" || code == "96" || code == "06" {
		return code
	}
	return "98"
}

// tell sends what is kept to be told, under the number it has.
func (c *Client) tell(ctx context.Context, f fact) (Answer, error) {
	return c.insist(ctx, func() (Answer, error) { return c.tellOnce(ctx, f) })
}

func (c *Client) tellOnce(ctx context.Context, f fact) (Answer, error) {
	frame, err := c.store.frame(f.Frame)
	if err != nil {
		return Answer{}, fmt.Errorf("%s of terminal %s: %w", f.name(), c.profile.Terminal, err)
	}
	return c.send(ctx, frame, f)
}

// advise notes what happened at the terminal, a fact from then on, and then
// tells it, after what is owed before it. Without an answer it is told later:
// the error says why, and Pending counts it.
func (c *Client) advise(ctx context.Context, m *Message) (Answer, error) {
	if c.store.settling != nil {
		return Answer{}, fmt.Errorf("%s of terminal %s: %w", m.Kind, c.profile.Terminal, ErrSettling)
	}
	if err := c.line.Keys.ready(); err != nil {
		return Answer{}, fmt.Errorf("%s of terminal %s: %w", m.Kind, c.profile.Terminal, err)
	}
	m.MAC = c.line.Keys != nil
	_, f, err := c.compose(m)
	if err != nil {
		return Answer{}, err
	}
	if err := c.store.note(kept, f); err != nil {
		return Answer{}, err
	}
	before := len(c.store.told) - 1
	if m.Kind == txn.KindScriptResult {
		before = 0
		for len(c.store.scripts) > 1 {
			if _, err := c.tell(ctx, c.store.scripts[0]); err != nil {
				return Answer{}, err
			}
		}
	} else if err := c.settleDebts(ctx, before); err != nil {
		return Answer{}, err
	}
	return c.insist(ctx, func() (Answer, error) {
		// The sign-on led to another batch: what was refused in the old one, and
		// not looked at, is told in the new one. Killed before that is noted, the
		// terminal keeps the old form, which stays pending.
		if m.Kind != txn.KindScriptResult && f.Batch != c.store.batch {
			old := f.STAN
			if _, f, err = c.compose(m); err != nil {
				return Answer{}, err
			}
			f.Instead = old
			if err := c.store.note(kept, f); err != nil {
				return Answer{}, err
			}
			f.Instead = 0
		}
		return c.tellOnce(ctx, f)
	})
}

// Pending is how many messages wait to be told: advices, refunds without an
// answer, and scripts' results.
func (c *Client) Pending() int { return len(c.store.told) + len(c.store.scripts) }

// runScript notes that a card was given an issuer's script with an answer; its
// result goes out before the next online transaction.
func (c *Client) runScript(of *Message, a *Answer) error {
	m := Message{Kind: txn.KindScriptResult, Card: of.Card, Amount: of.Amount, MAC: of.MAC, Original: Original{
		Kind: of.Kind, STAN: of.STAN, Batch: c.store.batch, Date: a.Date, RRN: a.RRN, Acquirer: a.Acquirer, Entry: of.entry(),
		Sent: of.At.Format("0102150405")}}
	m.Card.PIN, m.Card.Track2 = nil, nil
	m.Card.ChipData = scriptResult(of.chip(&c.profile))
	_, f, err := c.compose(&m)
	if err != nil {
		return err
	}
	return c.store.note(kept, f)
}
