package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// keyKinds are the words for kinds of keys.
var keyKinds = map[string]algo.Kind{
	"des": algo.DES, "tdes": algo.TDES2, "tdes3": algo.TDES3, "aes128": algo.AES128, "aes192": algo.AES192, "aes256": algo.AES256, "sm4": algo.SM4,
}

// kindsNote explains them in a flag's text.
const kindsNote = "; des is single length, tdes double, tdes3 triple"

// keyHolder is whose key a command is about: how it is named, of which kinds it
// may be and where the ring keeps it.
type keyHolder struct {
	word    string // in commands
	named   string // by what; empty: by a name of its own
	what    string
	sizeMax int // of a name
	kinds   []string
	purpose keys.Purpose
	owner   func(name string) keys.Owner
	check   func(name string, k algo.Kind) error // nil: none
	store   func(r *keyring.Ring, name string, k keys.Key) error
	find    func(r *keyring.Ring, name string) (keys.Key, error)      // nil: commands have no use for it
	known   func(ctx context.Context, cfg *config, name string) error // refuses who has no use for it; nil: nobody can say
}

// knownTerminal refuses a terminal that is not in the registry, with exit code 3.
func knownTerminal(ctx context.Context, cfg *config, name string) error {
	s, err := cfg.parties(ctx)
	if err != nil {
		return err
	}
	if _, ok := s.Terminal(txn.MakeTerminalID(name)); !ok {
		return &exitError{exitRefused, fmt.Errorf("there is no terminal %q in the registry", name)}
	}
	return nil
}

func knownIssuer(_ context.Context, cfg *config, name string) error {
	for _, is := range cfg.Issuers {
		if is.Name == name {
			return nil
		}
	}
	if len(cfg.Issuers) == 0 { // keys may come before the configuration, as in a ceremony
		return nil
	}
	return &exitError{exitRefused, fmt.Errorf("there is no issuer %q in the configuration", name)}
}

var keyHolders = []keyHolder{
	{
		word: "terminal", what: "a terminal its master key (TMK); it must sign on then", sizeMax: len(txn.TerminalID{}),
		kinds: []string{"tdes", "sm4"}, purpose: keys.PurposeTMK,
		owner: func(name string) keys.Owner { return keys.OfTerminal(txn.MakeTerminalID(name)) },
		store: func(r *keyring.Ring, name string, k keys.Key) error { return r.SetMaster(txn.MakeTerminalID(name), k) },
		known: knownTerminal,
		find:  func(r *keyring.Ring, name string) (keys.Key, error) { return r.Master(txn.MakeTerminalID(name)) },
	},
	{
		word: "serial", named: "terminal", what: "a terminal the key under which it enciphers its serial number (K_sn)", sizeMax: len(txn.TerminalID{}),
		kinds: []string{"sm4"}, purpose: keys.PurposeSerial,
		owner: func(name string) keys.Owner { return keys.OfTerminal(txn.MakeTerminalID(name)) },
		store: func(r *keyring.Ring, name string, k keys.Key) error { return r.SetSerial(txn.MakeTerminalID(name), k) },
		known: knownTerminal,
	},
	{
		word: "issuer", what: "an issuer the PIN key it shares with us (ZPK)", sizeMax: len(txn.IssuerID{}),
		kinds: []string{"tdes", "tdes3", "aes128", "aes192", "aes256", "sm4"}, purpose: keys.PurposeZPK,
		owner: func(name string) keys.Owner { return keys.OfIssuer(txn.MakeIssuerID(name)) },
		store: func(r *keyring.Ring, name string, k keys.Key) error { return r.SetZone(txn.MakeIssuerID(name), k) },
		known: knownIssuer,
		find:  func(r *keyring.Ring, name string) (keys.Key, error) { return r.ZonePIN(txn.MakeIssuerID(name)) },
	},
	{
		word: "zak", named: "issuer", what: "an issuer the MAC key it shares with us (ZAK)", sizeMax: len(txn.IssuerID{}),
		kinds: []string{"tdes", "des", "sm4"}, purpose: keys.PurposeZAK,
		owner: func(name string) keys.Owner { return keys.OfIssuer(txn.MakeIssuerID(name)) },
		store: func(r *keyring.Ring, name string, k keys.Key) error { return r.SetZoneMAC(txn.MakeIssuerID(name), k) },
		known: knownIssuer,
	},
	{
		word: "zmk", named: "issuer", what: "an issuer the key under which it sends its other keys (ZMK)", sizeMax: len(txn.IssuerID{}),
		kinds: []string{"tdes", "tdes3", "sm4"}, purpose: keys.PurposeZMK,
		owner: func(name string) keys.Owner { return keys.OfIssuer(txn.MakeIssuerID(name)) },
		store: func(r *keyring.Ring, name string, k keys.Key) error { return r.SetZMK(txn.MakeIssuerID(name), k) },
		known: knownIssuer,
		find:  func(r *keyring.Ring, name string) (keys.Key, error) { return r.ZMK(txn.MakeIssuerID(name)) },
	},
	{
		word: "bdk", what: "DUKPT terminals their base key (BDK), named by how their serial numbers begin", sizeMax: 10,
		kinds: []string{"tdes", "aes128", "aes192", "aes256"}, purpose: keys.PurposeBDK,
		owner: keys.OfBaseKey, check: keyring.CheckBaseKeyName,
		store: (*keyring.Ring).SetBaseKey,
	},
	{
		word: "kbpk", what: "TR-31 key blocks the key that protects them (KBPK), under a name", sizeMax: len(txn.IssuerID{}),
		kinds: []string{"tdes", "tdes3", "aes128", "aes192", "aes256"}, purpose: keys.PurposeKBPK,
		owner: keys.OfBlocks,
		store: (*keyring.Ring).SetBlocks,
		find:  (*keyring.Ring).Blocks,
	},
}

// argument is what names the holder on a command line.
func (h *keyHolder) argument() string { return cmp.Or(h.named, h.word) }

func (h *keyHolder) checkName(name string) error {
	if len(name) == 0 || len(name) > h.sizeMax {
		return usage(fmt.Errorf("%s %q must have 1 to %d characters", h.argument(), name, h.sizeMax))
	}
	return nil
}

// suits says why a key of this kind is of no use to the holder.
func (h *keyHolder) suits(k keys.Key) error {
	info, err := k.Sealed.Info()
	if err != nil {
		return err
	}
	for _, word := range h.kinds {
		if keyKinds[word] == info.Kind {
			return nil
		}
	}
	return fmt.Errorf("the key is of kind %s; %s keys are of %s", info.Kind, h.word, strings.Join(h.kinds, ", "))
}

func keysCommand(c *console) *cobra.Command {
	var all []*cobra.Command
	for i := range keyHolders {
		all = append(all, loadKeyCommand(c, &keyHolders[i]))
	}
	all = append(all, listKeysCommand(c), askKeysCommand(c), importKeyCommand(c), exportKeyCommand(c))
	return group("keys", "Load, list, ask for, import and export terminals' and issuers' keys", all...)
}

// loadKeyCommand makes a key of components.
func loadKeyCommand(c *console, h *keyHolder) *cobra.Command {
	var file, kind string
	cmd := &cobra.Command{
		Use:   "load-" + h.word + " " + strings.ToUpper(h.argument()),
		Short: "Give " + h.what,
		Long: "Give " + h.what + `.

It reads two or three key components from standard input, one a line: the
component and its check value in hexadecimal, as its custodian has them. The key
is their XOR; it is sealed under the local master key and never printed. Whom the
registry or the configuration does not know is refused (exit code 3). A running
switch uses it from the next message on.`,
		Example: `  acqswitch keys load-` + h.word + ` ` + strings.ToUpper(h.argument()) + ` --config acqswitch.yaml < components`,
		Args:    args(1, "one "+h.argument()),
		RunE: func(cmd *cobra.Command, given []string) error {
			name := given[0]
			if err := h.checkName(name); err != nil {
				return err
			}
			if err := oneOf(kind, h.kinds...); err != nil {
				return usage(fmt.Errorf("--kind %w", err))
			}
			k := keyKinds[kind]
			if h.check != nil {
				if err := h.check(name, k); err != nil {
					return usage(err)
				}
			}
			parts, err := readComponents(cmd.InOrStdin(), k)
			if err != nil {
				return usage(err)
			}
			return c.storeKey(cmd.Context(), file, h, name, func(_ keysInUse, vault *keys.Vault) (keys.Key, error) {
				key, err := vault.Combine(h.owner(name), h.purpose, k, parts...)
				return key, usageIf(err)
			})
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&kind, "kind", h.kinds[0], "one of "+strings.Join(h.kinds, ", ")+kindsNote)
	if h.word == "terminal" {
		cmd.Example = `  acqswitch keys load-terminal 10000001 --config acqswitch.yaml < components
  printf '%s %s\n' 0123456789ABCDEFFEDCBA9876543210 08D7B4FB 00000000000000000000000000000000 8CA64DE9 |
    acqswitch keys load-terminal 10000001   # a test key`
	}
	return cmd
}

// storeKey has the holder's key made, stores it, and says what it is. Nobody unknown
// gets one; that nobody can be known yet, as there is no registry, is a warning.
func (c *console) storeKey(ctx context.Context, file string, h *keyHolder, name string, make func(keysInUse, *keys.Vault) (keys.Key, error)) error {
	cfg, err := readConfig(file)
	if err != nil {
		return err
	}
	var unread error
	if h.known != nil {
		if unread = h.known(ctx, cfg, name); exitCode(unread) == exitRefused || ctx.Err() != nil {
			return unread
		}
	}
	var key keys.Key
	err = withKeys(ctx, cfg, func(in keysInUse) error {
		vault, err := in.vault()
		if err != nil {
			return err
		}
		if key, err = make(in, vault); err != nil {
			return err
		}
		return in.store(h, name, key)
	})
	if err != nil {
		return err
	}
	if unread != nil {
		fmt.Fprintf(c.errs, "acqswitch: warning: the key is loaded, but %v\n", unread)
	}
	info, err := key.Sealed.Info()
	if err != nil {
		return err
	}
	row := rowOf(keyring.Entry{Owner: key.Owner, Info: info})
	if c.json() {
		return c.print(row)
	}
	_, err = fmt.Fprintf(c.out, "%s has a %s of kind %s with check value %s\n", row.Owner, row.Purpose, row.Kind, row.KCV)
	return err
}

// keyRow is a key without the key.
type keyRow struct {
	Owner   string `json:"owner"`
	Purpose string `json:"purpose"`
	Kind    string `json:"kind"`
	KCV     string `json:"kcv"`
	Day     string `json:"day,omitempty"` // of the sign-on that gave it
}

func rowOf(e keyring.Entry) keyRow {
	row := keyRow{string(e.Owner), e.Purpose.String(), e.Kind.String(), e.KCV.String(), ""}
	if e.Day != 0 {
		row.Day = e.Day.String()
	}
	return row
}

// askKeysCommand has the running switch ask an issuer for new keys.
func askKeysCommand(c *console) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "ask ISSUER",
		Short: "Have an issuer send new keys",
		Long: `ask has the running switch ask an issuer for the keys of its ask_keys, over its
link. It ends when the issuer has agreed; the keys come in messages of their own,
and keys list and the switch's log show them.`,
		Example: "  acqswitch keys ask ISSUER --config acqswitch.yaml",
		Args:    args(1, "one issuer"),
		RunE: func(cmd *cobra.Command, given []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			var asked []string
			if err := control(cmd.Context(), cfg.DataDir, "/keys/ask", given[0], &asked); errors.Is(err, errNoSwitch) {
				return unreachable(fmt.Errorf("ask issuer %s for keys: no switch serves %s", given[0], cfg.DataDir))
			} else if err != nil {
				return err
			}
			if c.json() {
				return c.print(asked)
			}
			fmt.Fprintf(c.out, "issuer %s sends a new %s: keys list shows what came\n", given[0], strings.Join(asked, " and "))
			return nil
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func listKeysCommand(c *console) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all keys by owner, purpose, kind and check value",
		Long: `List all keys by owner, purpose, kind and check value; of a terminal's working
keys also the business day of the sign-on that gave them. No key is opened.
It asks a running switch, and works without one.`,
		Example: "  acqswitch keys list --config acqswitch.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			var rows []keyRow
			err = withKeys(cmd.Context(), cfg, func(in keysInUse) (err error) {
				rows, err = in.list()
				return err
			})
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(rows)
			}
			w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "OWNER\tPURPOSE\tKIND\tCHECK VALUE\tSIGN-ON OF")
			for _, r := range rows {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Owner, r.Purpose, r.Kind, r.KCV, r.Day)
			}
			return w.Flush()
		},
	}
	configFlag(cmd, &file)
	return cmd
}

// holderOf finds a holder that a command can be about.
func holderOf(word string, can func(*keyHolder) bool) (*keyHolder, error) {
	var words []string
	for i := range keyHolders {
		if h := &keyHolders[i]; can(h) {
			if words = append(words, h.word); h.word == word {
				return h, nil
			}
		}
	}
	return nil, usage(oneOf(word, words...))
}

// readComponents reads "COMPONENT CHECKVALUE" lines. Errors do not quote them.
func readComponents(r io.Reader, kind algo.Kind) ([]keys.Component, error) {
	var parts []keys.Component
	sc := bufio.NewScanner(io.LimitReader(r, 4096))
	for line := 1; sc.Scan(); line++ {
		words := strings.Fields(sc.Text())
		if len(words) == 0 {
			continue
		}
		part, err := parseComponent(words, kind)
		if err != nil {
			return nil, fmt.Errorf("component on line %d %w", line, err)
		}
		parts = append(parts, part)
	}
	if len(parts) < 2 || len(parts) > 3 {
		return nil, fmt.Errorf("%s given on standard input, must be 2 or 3", plural(len(parts), "component"))
	}
	return parts, nil
}

// parseComponent reads the two words of a component, or of a key that is enciphered.
func parseComponent(words []string, kind algo.Kind) (c keys.Component, err error) {
	err = fmt.Errorf("must be %d hexadecimal digits, a space, and a check value of 4 to 8", 2*kind.KeySize())
	if len(words) != 2 {
		return c, err
	}
	part, err1 := hex.DecodeString(words[0])
	kcv, err2 := hex.DecodeString(words[1])
	if errors.Join(err1, err2) != nil || len(part) != kind.KeySize() || len(kcv) < 2 || len(kcv) > 4 {
		return c, err
	}
	return keys.Component{Part: part, KCV: kcv}, nil
}
