package terminal

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Options are how a terminal behaves. The zero value will do.
type Options struct {
	// Patience is how long it waits for an answer. Default 60 s.
	Patience time.Duration
	// Store makes what is owed, the batch and the numbers survive the process.
	// Nil keeps them in memory. The caller closes it.
	Store *Store
	// TLS secures the sessions. Nil: they are plain.
	TLS *tls.Config
	// Recorder is told of the sessions. Nil: nobody is.
	Recorder Recorder
	// STAN is the trace number to start with where the Store knows none. Default 1.
	STAN uint32
}

// ReversalTries is how often a reversal is sent before the terminal gives the
// next online transaction up (CUP parameter 23 is 3 repeats).
const ReversalTries = 4

// ErrSettling says that the batch is being settled: until Settlement has come
// to its end the terminal takes no transaction. Nothing was sent.
var ErrSettling = errors.New("the batch is being settled: finish with a settlement")

// ErrBatchFull says that every trace number was used in this batch. Nothing was
// sent.
var ErrBatchFull = errors.New("every trace number was used in this batch: settle it")

// Client is one terminal. It is not safe for concurrent use: a terminal does
// one thing at a time.
type Client struct {
	profile  Profile // without its keys, which are in line.Keys
	patience time.Duration
	line     Line
	store    *Store
}

// Dial connects a terminal to a switch. dialectName is a terminal dialect of
// package dialect.
func Dial(ctx context.Context, addr, dialectName string, p Profile, o Options) (*Client, error) {
	d, err := dialect.ForTerminal(dialectName)
	if err != nil {
		return nil, err
	}
	p.Currency = cmp.Or(p.Currency, txn.CNY)
	p.KeySet = cmp.Or(p.KeySet, keys.KeySetDouble)
	tid := p.Terminal.String()
	ring, err := NewKeys(d, p.KeySet, p.MAC, p.TMK)
	if err == nil && p.Initial.Scheme != txn.KeysNone {
		switch {
		case ring != nil:
			err = errors.New("it has a master key or an initial key, not both")
		case o.Store == nil || o.Store.file == nil:
			err = errors.New("an initial key needs a store in a file: how far it has counted must outlive the process")
		default:
			ring, err = newDUKPT(d, p.Initial)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("terminal %s: %w", tid, err)
	}
	if ring != nil && ring.dukpt != nil {
		ring.dukpt.last = o.Store.count
	}
	p.TMK, p.Initial.Key = nil, nil // printing a Client must not print it
	c := &Client{profile: p, patience: cmp.Or(o.Patience, txn.PatienceDefault), store: o.Store,
		line: Line{Addr: addr, TLS: o.TLS, Dialect: d, Recorder: o.Recorder, Name: tid, Keys: ring}}
	if c.store == nil {
		c.store = NewStore()
	}
	c.store.stan = cmp.Or(c.store.stan, stanBefore(cmp.Or(o.STAN, 1)))
	c.store.batch = cmp.Or(c.store.batch, p.Batch, 1)
	if err := c.line.dial(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Close hangs up.
func (c *Client) Close() { c.line.HangUp() }

// STAN is the trace number of the last request.
func (c *Client) STAN() uint32 { return c.store.stan }

// Batch is the number of the batch.
func (c *Client) Batch() uint32 { return c.store.batch }

// Owes is the trace number of a request whose reversal is owed, 0 when none is.
func (c *Client) Owes() uint32 {
	if c.store.owed == nil {
		return 0
	}
	return c.store.owed.STAN
}

// Exchange sends a frame as it is, length prefix included, and waits for its
// answer. Nothing is noted or owed.
func (c *Client) Exchange(ctx context.Context, frame []byte) (Answer, error) {
	return c.line.Exchange(ctx, frame, c.patience)
}

// Echo asks whether the switch is alive.
func (c *Client) Echo(ctx context.Context) (Answer, error) {
	return c.ask(ctx, &Message{Kind: txn.KindEcho})
}

// SignOn opens the terminal's day. With a master key it takes the working keys
// of an approval; if any of their check values is wrong, that is an error and
// the terminal has none. After a refusal or no answer it keeps those it had: a
// switch takes them until it sees the new ones. A terminal of whose batch the
// switch took nothing goes to the batch that the answer names.
func (c *Client) SignOn(ctx context.Context) (Answer, error) {
	answer, err := c.ask(ctx, &Message{Kind: txn.KindSignOn})
	if err != nil || !answer.Approved() {
		return answer, err
	}
	if err := c.line.Keys.Take(&answer); err != nil {
		return Answer{}, fmt.Errorf("sign-on %06d of terminal %s: %w", c.store.stan, c.profile.Terminal, err)
	}
	if batch := answer.Batch(); batch != 0 && batch != c.store.batch && c.store.nothingTaken() && c.store.settling == nil {
		return answer, c.store.note(opened, fact{Batch: batch})
	}
	return answer, nil
}

// SignOff closes it.
func (c *Client) SignOff(ctx context.Context) (Answer, error) {
	return c.ask(ctx, &Message{Kind: txn.KindSignOff})
}

// online settles what is owed and asks m. From the moment it is noted as sent,
// a reversible request is owed a reversal; a valid answer, also a refusal, ends
// that.
func (c *Client) online(ctx context.Context, m *Message) (Answer, error) {
	if err := c.guard(ctx, m.Kind); err != nil {
		return Answer{}, err
	}
	m.MAC = c.line.Keys != nil
	if m.Kind != txn.KindRefund {
		return c.insist(ctx, func() (Answer, error) { return c.ask(ctx, m) })
	}
	// What is repeated rather than reversed keeps its number, but in another batch.
	frame, f, err := c.compose(m)
	if err != nil {
		return Answer{}, err
	}
	answer, err := c.insist(ctx, func() (Answer, error) {
		if f.Batch != c.store.batch { // it was refused there, and not looked at
			if err := c.store.note(dropped, f); err != nil {
				return Answer{}, err
			}
			if frame, f, err = c.compose(m); err != nil {
				return Answer{}, err
			}
		} else if len(m.Card.PIN) > 0 { // it may be the second time, under other keys
			if err := c.line.Keys.PutPIN(c.line.Dialect, frame, m.Card.PIN); err != nil {
				return Answer{}, err
			}
		}
		return c.send(ctx, frame, f)
	})
	if err == nil && WantsSignOn(answer.Code) {
		return answer, c.store.note(dropped, f)
	}
	return answer, err
}

// guard is what comes before an online transaction (cup-pos I2).
func (c *Client) guard(ctx context.Context, k txn.Kind) error {
	err := c.line.Keys.ready()
	switch {
	case err != nil:
	case c.store.settling != nil:
		err = ErrSettling
	case c.store.used >= txn.STANMax:
		err = ErrBatchFull
	}
	if err != nil {
		return fmt.Errorf("%s of terminal %s: %w", k, c.profile.Terminal, err)
	}
	if err := c.settleDebts(ctx, 1); err != nil {
		return err
	}
	return c.renew(ctx)
}

// renew signs on again if an answer's MAC was wrong since the last sign-on: by
// then that answer's request is reversed.
func (c *Client) renew(ctx context.Context) error {
	if c.line.Keys == nil || !c.line.Keys.doubted {
		return nil
	}
	answer, err := c.SignOn(ctx)
	if err == nil && !answer.Approved() {
		err = fmt.Errorf("sign-on %06d of terminal %s, after an answer with a wrong MAC: %w", c.store.stan, c.profile.Terminal, &RefusedError{answer.Code})
	}
	return err
}

// insist asks; told to sign on, the terminal does so and asks once more. If the
// sign-on is refused, the first answer stands. A terminal without a master key
// has no keys that could be wrong: it signs on at 77 alone.
func (c *Client) insist(ctx context.Context, ask func() (Answer, error)) (Answer, error) {
	first, err := ask()
	if err != nil || !WantsSignOn(first.Code) || c.line.Keys == nil && first.Code != "77" {
		return first, err
	}
	again, err := c.SignOn(ctx)
	switch {
	case err != nil:
		return Answer{}, fmt.Errorf("sign on again after %s: %w", first.Code, err)
	case !again.Approved():
		return first, nil
	}
	second, err := ask()
	if err == nil {
		second.First = &first
	}
	return second, err
}

// ask sends a message under the next trace number.
func (c *Client) ask(ctx context.Context, m *Message) (Answer, error) {
	frame, f, err := c.compose(m)
	if err != nil {
		return Answer{}, err
	}
	answer, err := c.send(ctx, frame, f)
	if err == nil && hasScript(answer.raw(55)) {
		return answer, c.runScript(m, &answer)
	}
	return answer, err
}

// compose numbers and builds a message, and says what there is to note of it.
func (c *Client) compose(m *Message) ([]byte, fact, error) {
	m.At = time.Now()
	if !IsCUP(c.line.Dialect) || m.of == nil && m.Kind != txn.KindEcho {
		if m.STAN = STANAfter(c.store.stan); c.store.used >= txn.STANMax {
			return nil, fact{}, ErrBatchFull
		}
	}
	f := fact{Kind: m.Kind.String(), STAN: m.STAN, Batch: c.store.batch}
	if carriesAmount(m.Kind) {
		f.Amount, f.Currency = m.Amount.Minor, m.currency(&c.profile)
	}
	frame, err := c.build(m)
	if err == nil && (m.Kind.MovesMoney() || m.Kind.Batch() || m.Kind == txn.KindScriptResult) {
		f.Network = m.Network
		f.Frame, err = c.keep(frame)
	}
	if err != nil {
		return nil, fact{}, err
	}
	return frame, f, nil
}

func (c *Client) build(m *Message) ([]byte, error) {
	p := c.profile
	p.Batch = c.store.batch
	return c.line.Keys.append(nil, m, c.line.Dialect, &p)
}

func (c *Client) keep(frame []byte) ([]byte, error) {
	without, err := withoutSecrets(c.line.Dialect, frame)
	if err != nil {
		return nil, err
	}
	return c.store.keep(without), nil
}

// send is one request and its answer, both noted. It makes the frame's MAC: a
// frame that waited gets that of today's keys.
func (c *Client) send(ctx context.Context, frame []byte, f fact) (Answer, error) {
	answer, err := c.tryToSend(ctx, frame, &f)
	if err != nil {
		return Answer{}, fmt.Errorf("%s of terminal %s: %w", f.name(), c.profile.Terminal, err)
	}
	return answer, nil
}

func (c *Client) tryToSend(ctx context.Context, frame []byte, f *fact) (Answer, error) {
	frame = bytes.Clone(frame) // what goes out again is enciphered under the keys of then
	if err := c.line.Keys.coverTrack(c.line.Dialect, frame); err != nil {
		return Answer{}, err
	}
	if err := c.line.Keys.Seal(c.line.Dialect, frame); err != nil {
		return Answer{}, err
	}
	f.Count = c.line.Keys.count()
	if err := c.store.note(sent, *f); err != nil {
		return Answer{}, err
	}
	answer, err := c.line.Exchange(ctx, frame, c.patience)
	if err != nil {
		f.Code = "98"
		if isMACWrong(err) {
			f.Code = "A0"
		}
		return Answer{}, errors.Join(err, c.store.note(failed, *f))
	}
	f.Code, f.RRN, f.AuthCode, f.Date, f.Acquirer = answer.Code, answer.RRN, answer.AuthCode, answer.Date, answer.Acquirer
	if f.kind() == txn.KindSettlement {
		f.Totals = answer.totals(c.line.Dialect)
	}
	if f.Kind != txn.KindReversal.String() {
		f.Frame = nil // it was noted with the request
	}
	return answer, c.store.note(answered, *f)
}

// STANAfter is the trace number after n.
func STANAfter(n uint32) uint32 { return n%txn.STANMax + 1 }

func stanBefore(n uint32) uint32 {
	if n <= 1 {
		return txn.STANMax
	}
	return n - 1
}

// parse reads a frame of the terminal's own.
func (c *Client) parse(frame []byte) (*iso.Message, error) {
	var m iso.Message
	if err := c.line.Dialect.Codec().Parse(&m, frame[c.line.Dialect.PrefixSize():]); err != nil {
		return nil, fmt.Errorf("read kept request: %w", err)
	}
	return &m, nil
}

// Currency is the terminal's.
func (c *Client) Currency() txn.Currency { return c.profile.Currency }

// Pause waits for d, or until ctx ends, which it then returns the error of.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
