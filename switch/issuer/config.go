package issuer

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The limits of this package. Those an operator may lower are Config fields
// checked against them.
const (
	connectionsMax = 16
	inFlightMax    = 65_536
	queueEach      = 1 << 10 // bytes waiting for a link's writer, for each request that may be in flight
	readSize       = 64 << 10
)

// STANs must outnumber the requests that can hold one.
const _ = uint(txn.STANMax - 8*inFlightMax)

// What Config.MAC may be.
const (
	macNone = "none"
	macX99  = "x9.9"
	macX919 = "x9.19"
)

// What Config.Reversals may be.
const (
	reversalRequest = "reversal"
	reversalAdvice  = "advice"
	reversalNone    = "none"
)

// Config is one issuer. A zero field takes the default named.
type Config struct {
	// Name identifies the issuer in records, logs and metrics; 1 to 12 characters.
	Name string `yaml:"name"`
	// Hosts are the issuer's, host:port each, 1 to 16, dealt out over Connections in turn:
	// with as many links each leads to one host; with fewer, those that come later in a
	// link's hand stand by. A link that cannot be had goes on to the next host of its hand;
	// one that is lost after it stood for ReconnectMax, to the first.
	Hosts Hosts `yaml:"address"`
	// Dialect names the codec of its messages: iso87, iso87-binary, iso87-ascii4,
	// iso87-bcd or cups. Default iso87.
	Dialect string `yaml:"dialect"`
	// CUPS is for links to UnionPay's network, dialect cups, alone.
	CUPS *CUPS `yaml:"cups"`
	// MAC is how financial messages are authenticated, under the issuer's MAC key:
	// x9.9, but with dialect cups also x9.19, or none, the default.
	MAC string `yaml:"mac"`
	// AskKeys are the keys that the issuer is asked for, zak (with a MAC) and zpk: after a
	// sign-on where there is none here, and each when the MAC of what it sends is wrong. They
	// come under its ZMK. A link is not up without them. Default: none; the issuer sends them
	// of itself, or people load them.
	AskKeys []string `yaml:"ask_keys"`
	// BINs are the card number prefixes routed here, 1 to 19 digits each; the
	// longest prefix of a card number wins. A prefix belongs to one issuer.
	BINs []string `yaml:"bins"`
	// Connections is how many links are kept up, 1 to 16. Default 1.
	Connections int `yaml:"connections"`
	// InFlightMax is how many requests may be between Begin and their answer;
	// the next is refused at once. Default 2000, at most 65536. The same number
	// bounds the reversals in flight, separately.
	InFlightMax int `yaml:"in_flight_max"`
	// Timeout is how long the issuer may take for an answer. Default 25s.
	Timeout time.Duration `yaml:"timeout"`
	// ConnectTimeout bounds dialing, TLS included. Default 5s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// WriteTimeout bounds one write; a peer that does not read for so long loses
	// the link. It must be shorter than Timeout, so that what waits behind a
	// stuck write is known unsent before its reversal is due. Default 5s, or
	// half of Timeout when that is less.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// EchoEvery is the period after which, if no frame came in it, an echo
	// (0800/301) is sent; where something waits for an answer, EchoTimeout is. Two
	// unanswered in a row fail the link. Negative: never. Default 30s.
	EchoEvery time.Duration `yaml:"echo_every"`
	// EchoTimeout is how long an echo or a sign-on may take. Default 5s.
	EchoTimeout time.Duration `yaml:"echo_timeout"`
	// SkipSignOn sends traffic without signing on first (0800/001).
	SkipSignOn bool `yaml:"skip_sign_on"`
	// UTCOffset is the zone of DE7. Default 0s (UTC); CUP wants 8h.
	UTCOffset time.Duration `yaml:"utc_offset"`
	// ReconnectMin and ReconnectMax bound the jittered, doubling wait before a
	// reconnect. Default 100ms and 30s.
	ReconnectMin time.Duration `yaml:"reconnect_min"`
	ReconnectMax time.Duration `yaml:"reconnect_max"`
	// Reversals is how what may be approved and must not be is undone: reversal
	// (0400, the default), advice (0420), or none, for an issuer that takes
	// neither: it is parked, and people reconcile it.
	Reversals string `yaml:"reversals"`
	// Breaker refuses requests to an issuer that does not answer.
	Breaker BreakerConfig `yaml:"breaker"`
	// TLS secures the links. Default: plain TCP.
	TLS *certs.Client `yaml:"tls"`
}

// Asks is whether the issuer is asked for a key, KeyMAC or KeyPIN.
func (c *Config) Asks(key string) bool { return slices.Contains(c.AskKeys, key) }

func (c *Config) asksRightly() bool {
	for i, name := range c.AskKeys {
		if name != KeyPIN && (name != KeyMAC || c.MAC == macNone) || slices.Contains(c.AskKeys[:i], name) {
			return false
		}
	}
	return true
}

// Hosts are addresses, host:port each. In YAML one may stand without a list.
type Hosts []string

// UnmarshalYAML takes a string or a list of strings.
func (h *Hosts) UnmarshalYAML(unmarshal func(any) error) error {
	*h = Hosts{""}
	if err := unmarshal(&(*h)[0]); err == nil {
		return nil
	}
	return unmarshal((*[]string)(h))
}

func (h Hosts) valid() bool {
	for i, host := range h {
		if _, _, err := net.SplitHostPort(host); err != nil || slices.Contains(h[:i], host) {
			return false
		}
	}
	return len(h) >= 1 && len(h) <= connectionsMax
}

// dealt is the hand of one of links: with fewer links than hosts, each links-th host.
func (h Hosts) dealt(link, links int) (hand []string) {
	for i := link % len(h); i < len(h); i += links {
		hand = append(hand, h[i])
	}
	return hand
}

// CUPS is what was agreed on for a link to UnionPay's network; digits but for the
// last.
type CUPS struct {
	// Source and Destination are the institutions that the header names. Default
	// the acquirer, and 00010000.
	Source      string `yaml:"source"`
	Destination string `yaml:"destination"`
	// Forwarder is DE33. Default the acquirer.
	Forwarder string `yaml:"forwarder"`
	// Receiver is DE100, and Reserved DE122. Default: neither is sent.
	Receiver string `yaml:"receiver"`
	Reserved string `yaml:"reserved"`
}

// BreakerConfig says when an issuer counts as out of service. Failures are: no
// answer, DE39 91 or 96, and, once, a link with requests that is lost while no other
// stands. A decline is a success.
type BreakerConfig struct {
	// Failures in a row that open the breaker. Default 10.
	Failures uint32 `yaml:"failures"`
	// FailurePercent of at least RequestsMin requests within Window opens it
	// too. Default 50 of 100 within 10s.
	FailurePercent uint32        `yaml:"failure_percent"`
	RequestsMin    uint32        `yaml:"requests_min"`
	Window         time.Duration `yaml:"window"`
	// OpenFor is how long all requests are refused; then an echo is tried, and
	// once one is answered, Probes requests; without echoes, once a link stands.
	// Default 5s and 5.
	OpenFor time.Duration `yaml:"open_for"`
	Probes  uint32        `yaml:"probes"`
}

// Authenticated says that messages have MACs.
func (c *Config) Authenticated() bool { return c.MAC == macX99 || c.MAC == macX919 }

// withDefaults is c with every zero field that has a default filled in.
func (c Config) withDefaults() Config {
	c.Dialect = cmp.Or(c.Dialect, "iso87")
	c.MAC = cmp.Or(c.MAC, macNone)
	c.Reversals = cmp.Or(c.Reversals, reversalRequest)
	c.Connections = cmp.Or(c.Connections, 1)
	c.InFlightMax = cmp.Or(c.InFlightMax, 2000)
	c.Timeout = cmp.Or(c.Timeout, txn.IssuerTimeoutDefault)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 5*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, min(5*time.Second, c.Timeout/2))
	c.EchoEvery = cmp.Or(c.EchoEvery, 30*time.Second)
	c.EchoTimeout = cmp.Or(c.EchoTimeout, 5*time.Second)
	c.ReconnectMin = cmp.Or(c.ReconnectMin, 100*time.Millisecond)
	c.ReconnectMax = cmp.Or(c.ReconnectMax, 30*time.Second)
	b := &c.Breaker
	b.Failures = cmp.Or(b.Failures, 10)
	b.FailurePercent = cmp.Or(b.FailurePercent, 50)
	b.RequestsMin = cmp.Or(b.RequestsMin, 100)
	b.Window = cmp.Or(b.Window, 10*time.Second)
	b.OpenFor = cmp.Or(b.OpenFor, 5*time.Second)
	b.Probes = cmp.Or(b.Probes, 5)
	return c
}

// Validate names the first field that cannot work, and why. Zero fields count
// as their defaults.
func (c Config) Validate() error {
	name := c.Name
	c = c.withDefaults()
	b := c.Breaker
	for _, rule := range [...]struct {
		field string
		ok    bool
		why   string
	}{
		{"name", len(name) >= 1 && len(name) <= len(txn.IssuerID{}), "must be 1 to 12 characters"},
		{"address", c.Hosts.valid(), "must be host:port, or a list of them, each once, 16 at most"},
		{"bins", len(c.BINs) > 0, "must list at least one prefix, or no card is routed here"},
		{"reversals", c.Reversals == reversalRequest || c.Reversals == reversalAdvice || c.Reversals == reversalNone, "must be reversal, advice or none"},
		{"connections", c.Connections >= 1 && c.Connections <= connectionsMax, "must be 1 to 16"},
		{"in_flight_max", c.InFlightMax >= 1 && c.InFlightMax <= inFlightMax, "must be 1 to 65536"},
		{"timeout", c.Timeout > 0, "must be positive"},
		{"connect_timeout", c.ConnectTimeout > 0, "must be positive"},
		{"write_timeout", c.WriteTimeout > 0 && c.WriteTimeout < c.Timeout, "must be positive and shorter than timeout"},
		{"echo_timeout", c.EchoTimeout > 0, "must be positive"},
		{"mac", c.MAC == macNone || c.MAC == macX99 || c.MAC == macX919 && c.Dialect != "cups", "must be none, x9.9 or, with another dialect than cups, x9.19"},
		{"ask_keys", c.asksRightly(), "must be zak, which needs a mac, and zpk, each once"},
		{"cups", c.CUPS == nil || c.Dialect == "cups", "is for dialect cups"},
		{"utc_offset", c.UTCOffset > -24*time.Hour && c.UTCOffset < 24*time.Hour, "must be less than a day"},
		{"reconnect_min", c.ReconnectMin > 0 && c.ReconnectMin <= c.ReconnectMax, "must be positive and not above reconnect_max"},
		{"breaker.failure_percent", b.FailurePercent <= 100, "must be 1 to 100"},
		{"breaker.window", b.Window >= 10*time.Millisecond, "must be at least 10ms"},
		{"breaker.open_for", b.OpenFor > 0, "must be positive"},
	} {
		if !rule.ok {
			return fmt.Errorf("issuer %q: %s %s", name, rule.field, rule.why)
		}
	}
	if c.TLS != nil {
		if err := c.TLS.Validate(); err != nil {
			return fmt.Errorf("issuer %q: %w", name, err)
		}
	}
	return nil
}
