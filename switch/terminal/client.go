package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Options are how a terminal behaves. The zero value will do.
type Options struct {
	// Patience is how long it waits for an answer. Default 60 s.
	Patience time.Duration
	// Log makes reversals owed, batch and trace numbers survive the process. It
	// may be shared by a fleet. Nil keeps them in memory.
	Log *Log
	// Recorder records the sessions. Nil records none.
	Recorder Recorder
	// STAN is the trace number to start with where the Log knows none. Default 1.
	STAN uint32
}

// ReversalTries is how often a reversal is sent before the terminal gives the
// next online transaction up (CUP parameter 23 is 3 repeats).
const ReversalTries = 4

// Client is one terminal. It is not safe for concurrent use: a terminal does
// one thing at a time.
type Client struct {
	profile  Profile // without its TMK, which is in line.keys
	patience time.Duration
	line     Line
	log      *Log
	stan     uint32 // the last one used
	owed     []byte // the frame of the reversal to send before the next sale, nil when none
	owedFor  Event
}

// Dial connects a terminal to a switch. dialectName is a terminal dialect of
// package dialect.
func Dial(ctx context.Context, addr, dialectName string, p Profile, o Options) (*Client, error) {
	d, err := dialect.ForTerminal(dialectName)
	if err != nil {
		return nil, err
	}
	p.Batch = cmp.Or(p.Batch, 1)
	p.Currency = cmp.Or(p.Currency, txn.CNY)
	p.KeySet = cmp.Or(p.KeySet, keys.KeySetDouble)
	tid := p.Terminal.String()
	ring, err := newKeyring(d, p.KeySet, p.TMK)
	if err != nil {
		return nil, fmt.Errorf("terminal %s: %w", tid, err)
	}
	p.TMK = nil // printing a Client must not print it
	c := &Client{profile: p, patience: cmp.Or(o.Patience, txn.PatienceDefault), log: o.Log,
		line: Line{Addr: addr, Dialect: d, Recorder: o.Recorder, Name: tid, keys: ring}}
	m := o.Log.Memory(tid)
	c.stan = cmp.Or(m.STAN, stanBefore(cmp.Or(o.STAN, 1)))
	if m.Owed != nil {
		c.owedFor = *m.Owed
		if c.owed, err = c.reversalFor(m.Owed); err != nil {
			return nil, err
		}
	}
	if err := c.line.dial(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Close hangs up.
func (c *Client) Close() error { c.line.HangUp(); return nil }

// Sale asks for money. Without a valid answer the sale is owed a reversal,
// which is sent before the next Sale or Balance, or by Settle.
//
// A terminal with a master key must have signed on (ErrSignOnFirst). Told to
// sign on again (77, 99, A0), it does so and asks once more under a new trace
// number; the answer returned is then the second one.
func (c *Client) Sale(ctx context.Context, card Card, amount txn.Amount) (Answer, error) {
	return c.online(ctx, &Message{Kind: txn.KindSale, Card: card, Amount: amount})
}

// Balance asks what the card holds.
func (c *Client) Balance(ctx context.Context, card Card) (Answer, error) {
	return c.online(ctx, &Message{Kind: txn.KindBalance, Card: card})
}

// Echo asks whether the switch is alive.
func (c *Client) Echo(ctx context.Context) (Answer, error) {
	return c.ask(ctx, &Message{Kind: txn.KindEcho})
}

// SignOn opens the terminal's day. With a master key it takes the working keys
// of an approval; if any of their check values is wrong, that is an error and
// the terminal has none. After a refusal or no answer it keeps those it had: a
// switch takes them until it sees the new ones.
func (c *Client) SignOn(ctx context.Context) (Answer, error) {
	answer, err := c.ask(ctx, &Message{Kind: txn.KindSignOn})
	if err != nil || c.line.keys == nil || !answer.Approved() {
		return answer, err
	}
	if err := c.line.keys.take(answer.keys()); err != nil {
		return Answer{}, fmt.Errorf("sign-on %06d of terminal %s: %w", c.stan, c.profile.Terminal, err)
	}
	return answer, nil
}

// SignOff closes it.
func (c *Client) SignOff(ctx context.Context) (Answer, error) {
	return c.ask(ctx, &Message{Kind: txn.KindSignOff})
}

// Reversal undoes the sale with a trace number of this terminal and batch.
func (c *Client) Reversal(ctx context.Context, stan uint32, amount txn.Amount) (Answer, error) {
	e := c.event(txn.KindReversal, stan, txn.Amount{Minor: amount.Minor, Currency: cmp.Or(amount.Currency, c.profile.Currency)})
	frame, err := c.reversalFor(&e)
	if err != nil {
		return Answer{}, err
	}
	return c.insist(ctx, func() (Answer, error) { return c.send(ctx, frame, e) })
}

// STAN is the trace number of the last request.
func (c *Client) STAN() uint32 { return c.stan }

// Owes is the trace number of a sale whose reversal is owed, 0 when none is.
func (c *Client) Owes() uint32 {
	if c.owed == nil {
		return 0
	}
	return c.owedFor.STAN
}

// Exchange sends a frame as it is, length prefix included, and waits for its
// answer. Nothing is noted or owed.
func (c *Client) Exchange(ctx context.Context, frame []byte) (Answer, error) {
	return c.line.Exchange(ctx, frame, c.patience)
}

// Settle sends the reversal that is owed, if any, until it is answered.
func (c *Client) Settle(ctx context.Context) error {
	if c.owed == nil {
		return nil
	}
	frame, e := c.owed, c.owedFor
	e.Kind, e.MTI = txn.KindReversal.String(), "0400"
	var err error
	for range ReversalTries {
		var answer Answer
		answer, err = c.insist(ctx, func() (Answer, error) { return c.send(ctx, frame, e) })
		switch {
		case err == nil && wantsSignOn(answer.Code):
			return fmt.Errorf("a reversal is owed: that of %06d of terminal %s was answered %s: sign on", e.STAN, e.Terminal, answer.Code)
		case err == nil:
			c.owed = nil
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("a reversal is owed: %w", err)
		}
		if rerr := c.renew(ctx); rerr != nil {
			return fmt.Errorf("a reversal is owed: %w; %w", err, rerr)
		}
	}
	return fmt.Errorf("a reversal is owed: %w", err)
}

// online settles what is owed and asks m. From the moment it is noted as sent,
// the sale is owed a reversal; a valid answer, also a refusal, ends that.
func (c *Client) online(ctx context.Context, m *Message) (Answer, error) {
	if err := c.line.keys.ready(); err != nil {
		return Answer{}, fmt.Errorf("%s of terminal %s: %w", m.Kind, c.profile.Terminal, err)
	}
	if err := c.Settle(ctx); err != nil {
		return Answer{}, err
	}
	if err := c.renew(ctx); err != nil {
		return Answer{}, err
	}
	m.MAC = c.line.keys != nil
	return c.insist(ctx, func() (Answer, error) { return c.ask(ctx, m) })
}

// renew signs on again if an answer's MAC was wrong since the last sign-on: by
// then that answer's sale is reversed.
func (c *Client) renew(ctx context.Context) error {
	if c.line.keys == nil || !c.line.keys.doubted {
		return nil
	}
	answer, err := c.SignOn(ctx)
	if err == nil && !answer.Approved() {
		err = fmt.Errorf("sign-on %06d of terminal %s, after an answer with a wrong MAC: refused with %s", c.stan, c.profile.Terminal, answer.Code)
	}
	return err
}

// insist asks; told to sign on, a terminal with a master key does so and asks
// once more. If the sign-on is refused, the first answer stands.
func (c *Client) insist(ctx context.Context, ask func() (Answer, error)) (Answer, error) {
	first, err := ask()
	if err != nil || c.line.keys == nil || !wantsSignOn(first.Code) {
		return first, err
	}
	again, err := c.SignOn(ctx)
	switch {
	case err != nil:
		return Answer{}, fmt.Errorf("sign on again after %s: %w", first.Code, err)
	case !again.Approved():
		return first, nil
	}
	return ask()
}

func (c *Client) ask(ctx context.Context, m *Message) (Answer, error) {
	m.At = time.Now()
	if m.Kind != txn.KindEcho || !IsCUP(c.line.Dialect) {
		c.stan = STANAfter(c.stan)
		m.STAN = c.stan
	}
	frame, err := m.Append(nil, c.line.Dialect, &c.profile)
	if err != nil {
		return Answer{}, err
	}
	return c.send(ctx, frame, c.event(m.Kind, m.STAN, txn.Amount{Minor: m.Amount.Minor, Currency: m.currency(&c.profile)}))
}

// send is one request and its answer, both noted. It makes the frame's MAC: a
// frame that waited gets that of today's keys.
func (c *Client) send(ctx context.Context, frame []byte, e Event) (Answer, error) {
	if err := c.line.keys.seal(c.line.Dialect, frame); err != nil {
		return Answer{}, fmt.Errorf("%s %06d of terminal %s: %w", e.Kind, e.STAN, e.Terminal, err)
	}
	if err := c.log.Sent(e); err != nil {
		return Answer{}, err
	}
	answer, err := c.line.Exchange(ctx, frame, c.patience)
	if err != nil {
		if e.Kind == txn.KindSale.String() || e.Kind == txn.KindReversal.String() {
			c.owedFor = e
			owed, rerr := c.owedFrame(frame, e, err)
			c.owed = owed
			err = errors.Join(err, rerr)
		}
		return Answer{}, fmt.Errorf("%s %06d of terminal %s: %w", e.Kind, e.STAN, e.Terminal, err)
	}
	e.Code, e.RRN = answer.Code, answer.RRN
	if e.Kind == txn.KindReversal.String() && wantsSignOn(answer.Code) {
		c.owedFor, c.owed = e, frame
	}
	return answer, c.log.Answered(e)
}

// owedFrame is the reversal that a request owes because of err.
func (c *Client) owedFrame(frame []byte, e Event, err error) ([]byte, error) {
	if e.Kind == txn.KindReversal.String() {
		return frame, nil
	}
	reason := "98"
	if isMACWrong(err) {
		reason = "A0"
	}
	return ReversalOf(nil, c.line.Dialect, frame[c.line.Dialect.PrefixSize():], reason)
}

func (c *Client) event(k txn.Kind, stan uint32, amount txn.Amount) Event {
	return Event{Terminal: c.profile.Terminal.String(), Step: -1, Kind: k.String(), MTI: fmt.Sprintf("%04x", mtis[k]),
		STAN: stan, Batch: c.profile.Batch, Amount: amount.Minor, Currency: amount.Currency}
}

// reversalFor builds the reversal of a sale of which only the event is left:
// the card number is not in it and need not be, for terminal, batch and trace
// number name the sale.
func (c *Client) reversalFor(e *Event) ([]byte, error) {
	p := c.profile
	p.Batch = cmp.Or(e.Batch, p.Batch)
	m := Message{Kind: txn.KindReversal, STAN: e.STAN, Amount: txn.Amount{Minor: e.Amount, Currency: e.Currency}, At: time.Now(), MAC: c.line.keys != nil}
	return m.Append(nil, c.line.Dialect, &p)
}

// STANAfter is the trace number after n.
func STANAfter(n uint32) uint32 { return n%txn.STANMax + 1 }

func stanBefore(n uint32) uint32 {
	if n <= 1 {
		return txn.STANMax
	}
	return n - 1
}
