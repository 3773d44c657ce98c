package acquirer

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/original"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Config is the switch's part of the configuration.
type Config struct {
	// Acquirer is our institution code (DE32), as it is to be sent. Wrong, and issuers
	// and terminals refuse or misroute what we send.
	Acquirer string
	// Day fixes business days. Wrong, and day limits and settlement cut at the
	// wrong hour.
	Day txn.BusinessDay
	// Believed is the time as far as the machine's clock can be believed; it is asked
	// once a second. A request that is received later than a day after it is dated a day
	// after it: days further ahead would push out of memory the ones that run. Default
	// the machine's clock.
	Believed func() time.Time
	// AnswerWithin is how long a request may take from its last byte to its
	// answer; it must be below the terminals' patience. Default 30 s.
	AnswerWithin time.Duration
	// InFlightMax bounds the requests inside Authorize, with those that wait at the
	// gate; above it new ones are refused with SwitchIsOverloaded, reversals,
	// advices and settlements are not. Default 20,000.
	InFlightMax int
	// TerminalRate is how many requests a second one terminal may make in the
	// long run, and TerminalBurst how many at once after a pause; above them it is
	// refused as TerminalIsTooFast. Reversals, advices and settlements never are.
	// Default no bound, and 20.
	TerminalRate  float64
	TerminalBurst int
	// UndeliveredGrace is how long an approval that could not be written to its
	// terminal waits for the terminal to ask again before it is reversed.
	// Default 60 s.
	UndeliveredGrace time.Duration
	// Node numbers this switch among an acquirer's, 0 to 1023: it is part of
	// transaction ids.
	Node int
	// StandIn says, by issuer, what is approved in its place while it cannot be
	// reached. Default nothing.
	StandIn map[txn.IssuerID]StandIn
	// Originals are the limits of what may be done about earlier transactions.
	Originals original.Rules
	// CardType says of what type a card is; nil is that nobody knows. It is called
	// for every request with a card, and must not block.
	CardType func(*txn.PAN) txn.CardType
	// ReversalsInFlight bounds the reversals being sent at one time. Default 64.
	ReversalsInFlight int
	// ReversalRetry is the first wait after a reversal that was not
	// acknowledged; waits double up to ReversalRetryMax. Default 1 s and 60 s.
	ReversalRetry, ReversalRetryMax time.Duration
	// ParkAfter is how often an issuer may refuse what it is owed before that is
	// parked for people; answers as 96, which say nothing of the message, count a
	// tenth. Default 10.
	ParkAfter int
}

func (c *Config) setDefaults() error {
	c.AnswerWithin = cmp.Or(c.AnswerWithin, 30*time.Second)
	c.UndeliveredGrace = cmp.Or(c.UndeliveredGrace, time.Minute)
	c.ReversalRetry = cmp.Or(c.ReversalRetry, time.Second)
	c.ReversalRetryMax = cmp.Or(c.ReversalRetryMax, time.Minute)
	c.InFlightMax = cmp.Or(c.InFlightMax, 20_000)
	c.TerminalBurst = cmp.Or(c.TerminalBurst, 20)
	c.ParkAfter = cmp.Or(c.ParkAfter, 10)
	c.ReversalsInFlight = cmp.Or(c.ReversalsInFlight, 64)
	c.Originals = c.Originals.WithDefaults()
	if c.Believed == nil {
		c.Believed = time.Now
	}
	if c.Day.Zone == nil {
		return errors.New("day: a time zone is needed")
	}
	if c.Node < 0 || c.Node > nodeMax {
		return fmt.Errorf("node: %d must be 0 to %d", c.Node, nodeMax)
	}
	if c.TerminalRate < 0 || c.TerminalRate > 1e6 || c.TerminalBurst < 0 {
		return fmt.Errorf("terminal_rate: %v a second and %d at once must not be negative, nor more than a million a second", c.TerminalRate, c.TerminalBurst)
	}
	if c.AnswerWithin < 0 || c.AnswerWithin > txn.PatienceDefault {
		return fmt.Errorf("answer_within: %v must be at most %v, the terminals' patience", c.AnswerWithin, txn.PatienceDefault)
	}
	return nil
}
