package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/acqswitch/acqswitch/switch/dialect"
)

// Config is one simulated issuer. A zero field takes the default named.
type Config struct {
	// Listen is the address to listen on. Default 127.0.0.1:0, any free port.
	Listen string `yaml:"listen"`
	// Dialect of the messages: iso87 (hexadecimal bitmap, 2-byte length),
	// iso87-binary (binary bitmap), iso87-ascii4 (4-digit length), iso87-bcd (packed
	// numbers) or cups (UnionPay's network). Default iso87.
	Dialect string `yaml:"dialect"`
	// MAC is how financial messages are authenticated: x9.9, but with cups also x9.19,
	// or none, the default. What has a wrong MAC is refused (63, cups A0) and moves
	// nothing.
	MAC string `yaml:"mac"`
	// MACKey is the test key for it in hexadecimal: TDES, double length, or SM4
	// behind "sm4 ".
	MACKey string `yaml:"mac_key"`
	// PINKey is the test key for PIN blocks, TDES: one that has no PIN for its card under it
	// is refused (55, cups 99). Without it none is looked at.
	PINKey string `yaml:"pin_key"`
	// ZMK is the test key, as MACKey, under which new keys for MACs and PINs are sent on a
	// link, every NewKeys or as NewKey is called. They are forgotten with the process.
	ZMK     string        `yaml:"zmk"`
	NewKeys time.Duration `yaml:"new_keys"`
	// Book is the file that money movements are written to. Required.
	Book string `yaml:"book"`
	// LogSync says when the book is fsynced: group (before the answers of a
	// batch of requests), every (after each entry) or none (written, not
	// synced: survives kill -9, not a power cut). Default group.
	LogSync string `yaml:"log_sync"`
	// Seed makes shares, latencies and authorization codes repeatable.
	Seed uint64 `yaml:"seed"`
	// Balance is the balance, in minor units, that inquiries are answered with.
	// Default 1000000.
	Balance int64 `yaml:"balance"`
	// Remember is how many transactions are kept for recognising repeats and
	// reversals; the oldest are forgotten first. Default 1048576, at some 80 bytes each.
	Remember int `yaml:"remember"`
	// Rules are tried in order; the first that matches decides. Without one the
	// request is approved at once.
	Rules []Rule `yaml:"rules"`
}

// Rule says what happens to the requests it matches. All given conditions must
// hold.
type Rule struct {
	// Card is a card number or a prefix of it.
	Card string `yaml:"card"`
	// Amount in minor units; AmountMin and AmountMax give a range instead.
	Amount    *int64 `yaml:"amount"`
	AmountMin *int64 `yaml:"amount_min"`
	AmountMax *int64 `yaml:"amount_max"`
	// Kind is reversal, sign-on, sign-off, echo or one of the kinds that an issuer
	// answers, such as sale, void, refund, preauth or completion-advice. Default:
	// any of the latter.
	Kind string `yaml:"kind"`
	// Percent of the matching requests, chosen by Seed. Default 100.
	Percent float64 `yaml:"percent"`
	// Times is how often the rule applies before it is used up. Default: always.
	Times int `yaml:"times"`

	// Code is DE39 of the answer. Default 00. Another one moves no money.
	Code string `yaml:"code"`
	// Balance overrides Config.Balance.
	Balance *int64 `yaml:"balance"`
	// Latency delays the answer, not the decision: an answer delayed beyond the
	// asker's patience is a late one.
	Latency Latency `yaml:"latency"`
	// Lose drops the request unread, as a network would: nothing is booked.
	Lose bool `yaml:"lose"`
	// Drop decides and books, and never answers.
	Drop bool `yaml:"drop"`
	// Disconnect decides and books, and closes the connection instead.
	Disconnect bool `yaml:"disconnect"`
	// Copies of the answer are sent. Default 1.
	Copies int `yaml:"copies"`
	// Echo replaces what the answer should repeat.
	Echo Echo `yaml:"echo"`
}

// Echo are wrong echoes.
type Echo struct {
	Amount   *int64  `yaml:"amount"`
	Terminal string  `yaml:"terminal"`
	STAN     *uint32 `yaml:"stan"`
	MAC      bool    `yaml:"mac"` // a wrong one, where answers have one
}

// Load reads a YAML configuration. A key it does not know is an error that
// names the line; values are checked by New, once Book is known.
func Load(r io.Reader) (Config, error) {
	var cfg Config
	if err := yaml.NewDecoder(r, yaml.Strict()).Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("read issuer script: %w", err)
	}
	return cfg, nil
}

func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:0")
	c.Dialect = cmp.Or(c.Dialect, "iso87")
	c.MAC = cmp.Or(c.MAC, "none")
	c.LogSync = cmp.Or(c.LogSync, "group")
	c.Balance = cmp.Or(c.Balance, 1_000_000)
	c.Remember = cmp.Or(c.Remember, 1<<20)
	c.Rules = append([]Rule(nil), c.Rules...)
	for i := range c.Rules {
		r := &c.Rules[i]
		r.Percent = cmp.Or(r.Percent, 100)
		r.Code = cmp.Or(r.Code, "00")
		r.Copies = cmp.Or(r.Copies, 1)
	}
	return c
}

const (
	copiesMax   = 10      // of Rule.Copies
	rememberMax = 1 << 30 // of Config.Remember
)

// Validate names the first field that cannot work, and why. Rules are counted
// from 1.
func (c Config) Validate() error {
	c = c.withDefaults()
	_, err := dialect.LinkOf(c.Dialect)
	if err == nil {
		_, err = readKeys(&c)
	}
	switch {
	case err != nil:
		return err
	case c.NewKeys < 0 || c.NewKeys > 0 && c.ZMK == "":
		return errors.New("new_keys: must not be negative, and needs a zmk")
	case c.LogSync != "every" && c.LogSync != "group" && c.LogSync != "none":
		return fmt.Errorf("log_sync: %q must be every, group or none", c.LogSync)
	case c.Book == "":
		return errors.New("book: must name the file that money movements are written to")
	case c.Remember < 1 || c.Remember > rememberMax:
		return fmt.Errorf("remember: must be 1 to %d", rememberMax)
	}
	for i, r := range c.Rules {
		if err := r.validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *Rule) validate() error {
	switch {
	case strings.Trim(r.Card, "0123456789") != "" || len(r.Card) > 19:
		return errors.New("card: must be up to 19 digits")
	case r.Amount != nil && (r.AmountMin != nil || r.AmountMax != nil):
		return errors.New("amount: must not be given together with amount_min or amount_max")
	case r.Kind != "" && !slices.Contains(kindNames, r.Kind):
		return fmt.Errorf("kind: %q must be one of %s", r.Kind, strings.Join(kindNames, ", "))
	case r.Percent < 0 || r.Percent > 100:
		return errors.New("percent: must be 0 to 100")
	case r.Times < 0:
		return errors.New("times: must not be negative")
	case len(r.Code) != 2:
		return fmt.Errorf("code: %q must be two characters", r.Code)
	case r.Copies < 1 || r.Copies > copiesMax:
		return fmt.Errorf("copies: must be 1 to %d", copiesMax)
	case len(r.Echo.Terminal) > 8:
		return errors.New("echo.terminal: must be at most 8 characters")
	}
	return r.Latency.validate()
}

// Latency is a distribution of times; give at most one of its forms.
type Latency struct {
	Fixed   time.Duration `yaml:"fixed"`
	Uniform *struct {
		Min time.Duration `yaml:"min"`
		Max time.Duration `yaml:"max"`
	} `yaml:"uniform"`
	Normal *struct {
		Mean      time.Duration `yaml:"mean"`
		Deviation time.Duration `yaml:"deviation"`
	} `yaml:"normal"` // cut off at zero
	// Percentiles, ascending; between two of them the time grows evenly, and
	// below the first it is the first's.
	Percentiles []Percentile `yaml:"percentiles"`
}

// Percentile says that At percent of the answers take no longer than Is.
type Percentile struct {
	At float64       `yaml:"at"`
	Is time.Duration `yaml:"is"`
}

func (l *Latency) validate() error {
	forms := 0
	for _, given := range [...]bool{l.Fixed != 0, l.Uniform != nil, l.Normal != nil, len(l.Percentiles) > 0} {
		if given {
			forms++
		}
	}
	switch {
	case forms > 1:
		return errors.New("latency: must have one of fixed, uniform, normal and percentiles")
	case l.Fixed < 0:
		return errors.New("latency.fixed: must not be negative")
	case l.Uniform != nil && (l.Uniform.Min < 0 || l.Uniform.Max < l.Uniform.Min):
		return errors.New("latency.uniform: min must not be negative nor above max")
	case l.Normal != nil && (l.Normal.Mean < 0 || l.Normal.Deviation < 0):
		return errors.New("latency.normal: mean and deviation must not be negative")
	}
	last := Percentile{}
	for _, p := range l.Percentiles {
		if p.At < last.At || p.At > 100 || p.Is < last.Is {
			return errors.New("latency.percentiles: at (0 to 100) and is must ascend")
		}
		last = p
	}
	return nil
}

// draw is one latency; u and z are a uniform [0,1) and a standard normal number.
func (l *Latency) draw(u, z float64) time.Duration {
	switch {
	case l.Uniform != nil:
		return l.Uniform.Min + time.Duration(u*float64(l.Uniform.Max-l.Uniform.Min))
	case l.Normal != nil:
		return max(0, l.Normal.Mean+time.Duration(z*float64(l.Normal.Deviation)))
	case len(l.Percentiles) > 0:
		at, last := u*100, l.Percentiles[0]
		for _, p := range l.Percentiles {
			if at <= p.At {
				if p.At == last.At {
					return p.Is
				}
				return last.Is + time.Duration((at-last.At)/(p.At-last.At)*float64(p.Is-last.Is))
			}
			last = p
		}
		return last.Is
	}
	return l.Fixed
}
