package main

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/original"
	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// reference is the configuration with every key, its default and what it is
// for. It is printed by `acqswitch config init` and is itself a valid file.
//
//go:embed acqswitch.yaml
var reference []byte

// config is the one configuration file. acqswitch.yaml beside this file says
// what every key means and what goes wrong when it is wrong.
type config struct {
	Acquirer     string           `yaml:"acquirer"`
	Node         int              `yaml:"node"`
	DataDir      string           `yaml:"data_dir"`
	Zone         string           `yaml:"zone"`
	CutOver      string           `yaml:"cut_over"`
	AnswerWithin time.Duration    `yaml:"answer_within"`
	InFlightMax  int              `yaml:"in_flight_max"`
	Terminals    terminalsConfig  `yaml:"terminals"`
	Registry     string           `yaml:"registry"`
	RegistryFrom string           `yaml:"registry_from"`
	Office       officeConfig     `yaml:"office"`
	CardKeys     string           `yaml:"card_keys"`
	Downloads    string           `yaml:"downloads"`
	Vault        vaultConfig      `yaml:"vault"`
	SignOn       signOnConfig     `yaml:"sign_on"`
	Journal      journalConfig    `yaml:"journal"`
	Ledger       ledgerConfig     `yaml:"ledger"`
	Risk         riskConfig       `yaml:"risk"`
	Reversals    reversalsConfig  `yaml:"reversals"`
	Originals    originalsConfig  `yaml:"originals"`
	Batches      batchesConfig    `yaml:"batches"`
	Settlement   settlementConfig `yaml:"settlement"`
	Recorder     recorderConfig   `yaml:"recorder"`
	Admin        adminConfig      `yaml:"admin"`
	Log          logConfig        `yaml:"log"`
	Trace        traceConfig      `yaml:"trace"`
	Issuers      []issuer.Config  `yaml:"issuers"`
	StandIn      []standInConfig  `yaml:"stand_in"`
}

type terminalsConfig struct {
	Listeners             []listenerConfig `yaml:"listeners"`
	SessionsMax           int              `yaml:"sessions_max"`
	SessionsPerAddressMax int              `yaml:"sessions_per_address_max"`
	InFlightMax           int              `yaml:"in_flight_max"`
	Rate                  int              `yaml:"rate"`
	Burst                 int              `yaml:"burst"`
	FrameDeadline         time.Duration    `yaml:"frame_deadline"`
	WriteDeadline         time.Duration    `yaml:"write_deadline"`
	IdleMax               time.Duration    `yaml:"idle_max"`
	DrainWithin           time.Duration    `yaml:"drain_within"`
}

type listenerConfig struct {
	Address string `yaml:"address"`
	Dialect string `yaml:"dialect"`
	// Transport is tcp, also when empty, or http; Carriage is its former name.
	Transport string        `yaml:"transport"`
	Carriage  string        `yaml:"carriage"`
	TLS       *certs.Server `yaml:"tls"`
}

func (l *listenerConfig) transport() string { return cmp.Or(l.Transport, l.Carriage, "tcp") }

// scheme stands before an address of l as people are told it; nothing is plain TCP.
func (l *listenerConfig) scheme() string {
	switch {
	case l.transport() == "http" && l.TLS != nil:
		return "https://"
	case l.transport() == "http":
		return "http://"
	case l.TLS != nil:
		return "tls://"
	}
	return ""
}

type journalConfig struct {
	Disk diskConfig `yaml:"disk"`
}

// keepDaysMin is longer than anything of the switch looks back: refunds up to 180
// days, limits of months. retentionYearsMin is 2013 No. 9 of the People's Bank of
// China.
const (
	keepDaysMin       = 200
	retentionYearsMin = 5
)

type ledgerConfig struct {
	DSN            string `yaml:"dsn"`
	LagMax         int    `yaml:"lag_max"`
	Archive        string `yaml:"archive"`
	KeepDays       int    `yaml:"keep_days"`
	RetentionYears int    `yaml:"retention_years"`
}

type riskConfig struct {
	Policy         string `yaml:"policy"`
	SkipCheckDigit bool   `yaml:"skip_check_digit"`
	CardsPerDayMax int    `yaml:"cards_per_day_max"`
	CardsPerMonth  int    `yaml:"cards_per_month_max"`
}

type reversalsConfig struct {
	InFlight         int           `yaml:"in_flight"`
	Retry            time.Duration `yaml:"retry"`
	RetryMax         time.Duration `yaml:"retry_max"`
	ParkAfter        int           `yaml:"park_after"`
	UndeliveredGrace time.Duration `yaml:"undelivered_grace"`
}

type originalsConfig struct {
	RefundDays        int  `yaml:"refund_days"`
	PreauthDays       int  `yaml:"preauth_days"`
	CompletionPercent int  `yaml:"completion_percent"`
	TipPercent        int  `yaml:"tip_percent"`
	PreauthReopens    bool `yaml:"preauth_reopens"`
}

type batchesConfig struct {
	CloseAfter time.Duration `yaml:"close_after"`
}

type recorderConfig struct {
	File    string  `yaml:"file"`
	Key     string  `yaml:"key"`
	Percent float64 `yaml:"percent"`
	SizeMax int64   `yaml:"size_max"`
}

type adminConfig struct {
	Address string        `yaml:"address"`
	TLS     *certs.Server `yaml:"tls"`
}

// scheme stands before the operators' address.
func (c *adminConfig) scheme() string {
	if c.TLS != nil {
		return "https://"
	}
	return "http://"
}

type logConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

type traceConfig struct {
	Endpoint string        `yaml:"endpoint"`
	Ratio    float64       `yaml:"ratio"`
	Slow     time.Duration `yaml:"slow"`
}

func (c *config) businessDay() (txn.BusinessDay, error) {
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return txn.BusinessDay{}, err
	}
	at, err := time.Parse("15:04", c.CutOver)
	if err != nil {
		return txn.BusinessDay{}, fmt.Errorf("%q must be a time as 23:00", c.CutOver)
	}
	return txn.BusinessDay{Zone: zone, CutOver: time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute}, nil
}

func (c *config) listeners() ([]pos.Listener, error) {
	if len(c.Terminals.Listeners) == 0 {
		return nil, errors.New("at least one is needed, or no terminal can connect")
	}
	var ls []pos.Listener
	for _, l := range c.Terminals.Listeners {
		d, err := dialect.ForTerminal(l.Dialect)
		if err != nil {
			return nil, err
		}
		if err := address(l.Address, false); err != nil {
			return nil, err
		}
		if l.TLS != nil {
			if err := l.TLS.Validate(); err != nil {
				return nil, fmt.Errorf("%s: %w", l.Address, err)
			}
		}
		if err := oneOf(l.transport(), "tcp", "http"); err != nil {
			return nil, fmt.Errorf("%s: transport %w", l.Address, err)
		}
		if _, port, _ := net.SplitHostPort(l.Address); port != "0" && slices.ContainsFunc(ls, func(other pos.Listener) bool { return other.Address == l.Address }) {
			return nil, fmt.Errorf("%s stands twice", l.Address)
		}
		ls = append(ls, pos.Listener{Address: l.Address, Dialect: d, TLS: l.TLS, HTTP: l.transport() == "http"})
	}
	return ls, nil
}

// checkCertificates reads those of all that listens, as it will.
func (c *config) checkCertificates() error {
	for _, l := range c.Terminals.Listeners {
		if l.TLS == nil {
			continue
		}
		if _, err := l.TLS.Load(); err != nil {
			return fmt.Errorf("terminals.listeners: %s: %w", l.Address, err)
		}
	}
	if c.Admin.TLS != nil {
		if _, err := c.Admin.TLS.Load(); err != nil {
			return fmt.Errorf("admin: %w", err)
		}
	}
	return nil
}

func (c *config) posConfig() (pos.Config, error) {
	ls, err := c.listeners()
	t := &c.Terminals
	return pos.Config{
		Listeners: ls, SessionsMax: t.SessionsMax, SessionsPerAddressMax: t.SessionsPerAddressMax, InFlightMax: t.InFlightMax,
		FrameDeadline: t.FrameDeadline, WriteDeadline: t.WriteDeadline, IdleMax: t.IdleMax, DrainWithin: t.DrainWithin,
	}, err
}

func (c *config) switchConfig() (acquirer.Config, error) {
	day, err := c.businessDay()
	if err != nil {
		return acquirer.Config{}, err
	}
	standIns, err := c.standIns()
	r := &c.Reversals
	return acquirer.Config{
		StandIn:  standIns,
		Acquirer: c.Acquirer, Day: day, AnswerWithin: c.AnswerWithin, InFlightMax: c.InFlightMax, Node: c.Node,
		TerminalRate: float64(c.Terminals.Rate), TerminalBurst: c.Terminals.Burst,
		UndeliveredGrace: r.UndeliveredGrace, ReversalsInFlight: r.InFlight, ReversalRetry: r.Retry, ReversalRetryMax: r.RetryMax, ParkAfter: r.ParkAfter,
		Originals: original.Rules(c.Originals),
	}, err
}

// zoneMAC is an issuer's MAC key, in the ring when it is used.
type zoneMAC struct {
	ring      *keyring.Ring
	issuer    txn.IssuerID
	algorithm algo.MACAlgorithm
}

func zoneMACOf(is *issuer.Config, ring *keyring.Ring) (zoneMAC, error) {
	algorithm, err := algo.ParseMAC(is.MAC)
	return zoneMAC{ring, txn.MakeIssuerID(is.Name), algorithm}, err
}

func (z zoneMAC) MAC(data []byte) ([algo.MACSize]byte, error) {
	return z.ring.ZoneMAC(z.issuer, z.algorithm, data)
}

// MACBefore is MAC under the key that the issuer has replaced lately, as long as that is taken.
func (z zoneMAC) MACBefore(data []byte) ([algo.MACSize]byte, error) {
	return z.ring.ZoneMACBefore(z.issuer, z.algorithm, data)
}

// checkZoneKeys says which issuer has no MAC key and needs one, or no key under which it
// could send those that it is asked for.
func (c *config) checkZoneKeys(ring *keyring.Ring) error {
	for i := range c.Issuers {
		is := &c.Issuers[i]
		if len(is.AskKeys) > 0 {
			if _, err := ring.ZMK(txn.MakeIssuerID(is.Name)); err != nil {
				return usage(fmt.Errorf("issuer %q has ask_keys: %w; load one with acqswitch keys load-zmk %[1]s", is.Name, err))
			}
		}
		if !is.Authenticated() {
			continue
		}
		mac, err := zoneMACOf(is, ring)
		if err == nil {
			_, err = mac.MAC(nil)
		}
		if errors.Is(err, keyring.ErrNoKey) && is.Asks(issuer.KeyMAC) {
			continue
		}
		if err != nil {
			return usage(fmt.Errorf("issuer %q has mac: %s: %w; load a key for it with acqswitch keys load-zak %[1]s", is.Name, is.MAC, err))
		}
	}
	return nil
}

// router builds the issuers; nothing is dialed. ring has their MAC keys once they
// are used; it may be nil where they are not.
func (c *config) router(j issuer.Journal, ring *keyring.Ring, hooks issuer.Hooks) (*issuer.Router, error) {
	return issuer.New(c.Issuers, func(cfg *issuer.Config) (issuer.Codec, error) {
		var agreed dialect.CUPS
		if cfg.CUPS != nil {
			agreed = dialect.CUPS(*cfg.CUPS)
		}
		d, err := dialect.ForIssuer(cfg.Dialect, c.Acquirer, agreed)
		if err != nil || !cfg.Authenticated() {
			return d, err
		}
		mac, err := zoneMACOf(cfg, ring)
		d.Authenticate(mac)
		return d, err
	}, j, hooks)
}

// path is a file of the data directory unless given.
func (c *config) path(given, name string) string {
	if given != "" {
		return given
	}
	return filepath.Join(c.DataDir, name)
}

// configCommand prints and checks configurations.
func configCommand(c *console) *cobra.Command {
	var file string
	initial := &cobra.Command{
		Use: "init", Short: "Print a configuration with every key, its default and its meaning", Args: noArgs,
		Example: "  acqswitch config init > acqswitch.yaml",
		RunE: func(*cobra.Command, []string) error {
			_, err := c.out.Write(reference)
			return err
		},
	}
	check := &cobra.Command{
		Use: "check", Short: "Say whether a configuration can be used", Args: noArgs,
		Example: "  acqswitch config check --config acqswitch.yaml",
		RunE: func(*cobra.Command, []string) error {
			path := configPath(file)
			cfg, err := loadConfig(path, os.Environ())
			if err != nil {
				return err
			}
			// Certificates may be missing where books are only read, so they are not
			// part of loading.
			_, err = cfg.router(nil, nil, issuer.Hooks{})
			if err == nil {
				err = cfg.checkCertificates()
			}
			if err != nil {
				return usage(fmt.Errorf("configuration %s: %w", nameOf(path), err))
			}
			_, err = fmt.Fprintln(c.out, "ok")
			return err
		},
	}
	configFlag(check, &file)
	return group("config", "Print or check a configuration", initial, check)
}
