package terminal

import (
	"context"
	"fmt"
	"strconv"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Settlement is what came of settling a batch.
type Settlement struct {
	Answer   // the last one
	Batch    uint32
	Terminal txn.Totals
	Host     txn.Totals // the switch's: the terminal's own where it agreed
	Even     bool
	Uploaded int // messages that told the batch's items, the end among them
}

// Settlement settles the batch (cup-pos C4): what is owed goes out first, then
// the totals, and then, where the switch's differ, every item of the batch; where
// they do not, only what its chip cards certify. When the switch has taken the
// end of that, the next batch begins.
//
// Each message is noted before it leaves, and each answer before the next
// message: after a kill or a lost answer Settlement goes on at the very message,
// under the same number, with the same bytes. Until it has come to its end the
// terminal takes no transaction (ErrSettling).
func (c *Client) Settlement(ctx context.Context) (Settlement, error) {
	s := Settlement{Batch: c.store.batch, Terminal: c.store.totals()}
	if c.store.settling == nil {
		if err := c.Settle(ctx); err != nil {
			return s, err
		}
		if n := c.Pending(); n > 0 {
			return s, fmt.Errorf("settle batch %06d of terminal %s: %d messages wait to be told first", s.Batch, c.profile.Terminal, n)
		}
		s.Terminal = c.store.totals()
	}
	var err error
	if st := c.store.settling; st == nil || st.compared == txn.NotCompared {
		if s.Answer, err = c.step(ctx, c.settlementMessage(s.Terminal)); err != nil {
			return s, err
		}
		if st = c.store.settling; st == nil || st.compared == txn.NotCompared {
			return s, fmt.Errorf("settle batch %06d of terminal %s: the switch could not compare totals: %w", s.Batch, c.profile.Terminal, &RefusedError{s.Code})
		}
	}
	st := c.store.settling
	s.Even, s.Host = st.compared == txn.Even, s.Terminal
	if !s.Even {
		s.Host = st.host
	}
	messages, err := c.uploads(s.Even)
	if err != nil {
		return s, err
	}
	for c.store.batch == s.Batch && st.uploaded < len(messages) {
		if s.Answer, err = c.step(ctx, messages[st.uploaded]); err != nil {
			return s, err
		}
		if !s.Approved() {
			return s, fmt.Errorf("settle batch %06d of terminal %s: message %d of its upload was %w", s.Batch, c.profile.Terminal, st.uploaded+1, &RefusedError{s.Code})
		}
		s.Uploaded++
	}
	if c.store.batch == s.Batch { // nothing to upload ends it (ISO 8583:1987)
		err = c.store.note(opened, fact{Batch: s.Batch%999_999 + 1})
	}
	return s, err
}

// step sends the next message of a settlement, or again the one that was not
// answered, which is the same one.
func (c *Client) step(ctx context.Context, next *Message) (Answer, error) {
	if st := c.store.settling; st != nil && st.pending != nil {
		f := *st.pending
		frame, err := c.store.frame(f.Frame)
		if err != nil {
			return Answer{}, fmt.Errorf("%s %06d of terminal %s: %w", f.Kind, f.STAN, c.profile.Terminal, err)
		}
		return c.insist(ctx, func() (Answer, error) { return c.send(ctx, frame, f) })
	}
	return c.insist(ctx, func() (Answer, error) { return c.ask(ctx, next) })
}

func (c *Client) settlementMessage(t txn.Totals) *Message {
	m := &Message{Kind: txn.KindSettlement, Network: netBatch, Totals: t}
	// Debits, credits and the answer digit; the second half is that of foreign
	// cards, which this terminal does not tell apart.
	m.Detail = fmt.Sprintf("%012d%03d%012d%03d0%031d", t.Debit.Minor, t.Debit.Count, t.Credit.Minor, t.Credit.Count, 0)
	return m
}

// readTotals reads DE48 of a settlement's answer.
func readTotals(v string) (txn.Comparison, txn.Totals) {
	if len(v) != 62 {
		return txn.NotCompared, txn.Totals{}
	}
	half := func(v string) (t txn.Totals, answer byte) {
		t.Debit = txn.Sum{Minor: int64(decimal(v[:12])), Count: uint32(decimal(v[12:15]))}
		t.Credit = txn.Sum{Minor: int64(decimal(v[15:27])), Count: uint32(decimal(v[27:30]))}
		return t, v[30]
	}
	home, first := half(v[:31])
	foreign, second := half(v[31:])
	t := home.Plus(foreign)
	switch {
	case first == '1' && (second == '1' || second == '0'):
		return txn.Even, t
	case first == '2' || second == '2':
		return txn.Uneven, t
	}
	return txn.NotCompared, t
}

func decimal(digits string) uint64 {
	n, _ := strconv.ParseUint(digits, 10, 64)
	return n
}

// Even says of the answer to totals that they are the switch's too.
func (a *Answer) Even() bool {
	compared, _ := readTotals(a.totals(a.dialect))
	return compared == txn.Even
}

// totals is the totals in a settlement's answer, as CUP's DE48 has them.
func (a *Answer) totals(d *dialect.Terminal) string {
	var m iso.Message
	d.Codec().Parse(&m, a.body) // it was parsed before
	if IsCUP(d) {
		return string(m.AppendDigits(nil, 48))
	}
	number := func(field int) uint64 { return decimal(string(m.AppendDigits(nil, field))) }
	return fmt.Sprintf("%012d%03d%012d%03d%01d%031d", number(88), number(76), number(86), number(74), number(66)%10, 0)
}
