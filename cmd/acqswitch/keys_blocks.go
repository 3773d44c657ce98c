package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/keys"
)

// blocksKey finds the key that --kbpk names.
func blocksKey(in keysInUse, name string) (keys.Key, error) {
	if name == "" {
		return keys.Key{}, usage(errors.New("--kbpk must name a key that was loaded with keys load-kbpk"))
	}
	h, err := holderOf("kbpk", func(*keyHolder) bool { return true })
	if err != nil {
		return keys.Key{}, err
	}
	return in.find(h, name)
}

// blockSizeMax is the longest TR-31 key block, whose length is four digits.
const blockSizeMax = 9999

func importKeyCommand(c *console) *cobra.Command {
	var file, kbpk, kind string
	var zmk bool
	cmd := &cobra.Command{
		Use:   "import terminal|issuer|zak|bdk NAME --kbpk KBPK | issuer|zak NAME --zmk",
		Short: "Take a key that came enciphered: as a TR-31 key block, or under an issuer's ZMK",
		Long: `Take a terminal's master key, an issuer's PIN or MAC key or a base key out of a
TR-31 key block of version B or D, read from standard input. Its usage must be the
key's (K0, P0, M0, B0), its protection key loaded (keys load-kbpk) and as strong.

With --zmk take an issuer's PIN or MAC key as the issuer sends it: enciphered, each
block by itself (ECB; Thales schemes X and Y, not U and T), under its ZMK, which is
loaded (keys load-zmk) and as strong. Standard input is the key and its check value
in hexadecimal; a wrong check value changes nothing.
A running switch uses it from the next message on, and its log says so.`,
		Example: `  acqswitch keys import issuer example --kbpk bank --config acqswitch.yaml < block
  acqswitch keys import zak example --zmk --config acqswitch.yaml < cryptogram`,
		Args: args(2, "terminal, issuer, zak or bdk, and a name"),
		RunE: func(cmd *cobra.Command, given []string) error {
			name := given[1]
			h, err := holderOf(given[0], func(h *keyHolder) bool {
				if zmk {
					return h.purpose == keys.PurposeZPK || h.purpose == keys.PurposeZAK
				}
				return h.purpose != keys.PurposeKBPK && h.purpose != keys.PurposeSerial && h.purpose != keys.PurposeZMK
			})
			if err == nil {
				err = h.checkName(name)
			}
			switch {
			case err != nil:
				return err
			case zmk && kbpk != "":
				return usage(errors.New("--zmk must not be given together with --kbpk"))
			case !zmk && kind != "":
				return usage(errors.New("--kind is for --zmk: a key block says its key's"))
			}
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), blockSizeMax))
			if err != nil {
				return err
			}
			if zmk {
				return c.importCryptogram(cmd.Context(), file, h, name, cmp.Or(kind, h.kinds[0]), string(text))
			}
			return c.storeKey(cmd.Context(), file, h, name, func(in keysInUse, vault *keys.Vault) (keys.Key, error) {
				protect, err := blocksKey(in, kbpk)
				if err != nil {
					return keys.Key{}, err
				}
				key, err := vault.ImportTR31(h.owner(name), h.purpose, protect, strings.TrimSpace(string(text)))
				if err == nil {
					err = h.suits(key)
				}
				return key, usageIf(err)
			})
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&kbpk, "kbpk", "", "name of the key that protects the block")
	cmd.Flags().BoolVar(&zmk, "zmk", false, "the key is under the issuer's ZMK")
	cmd.Flags().StringVar(&kind, "kind", "", "of a key under a ZMK: tdes unless given"+kindsNote)
	return cmd
}

// importCryptogram takes a key under the ZMK of the issuer that is its holder.
func (c *console) importCryptogram(ctx context.Context, file string, h *keyHolder, name, kind, text string) error {
	if err := oneOf(kind, h.kinds...); err != nil {
		return usage(fmt.Errorf("--kind %w", err))
	}
	sent, err := parseComponent(strings.Fields(text), keyKinds[kind])
	if err != nil {
		return usage(fmt.Errorf("the key on standard input %w", err))
	}
	zmk, err := holderOf("zmk", func(*keyHolder) bool { return true })
	if err != nil {
		return err
	}
	return c.storeKey(ctx, file, h, name, func(in keysInUse, vault *keys.Vault) (keys.Key, error) {
		under, err := in.find(zmk, name)
		if err != nil {
			return keys.Key{}, err
		}
		key, err := vault.ImportCryptogram(h.owner(name), h.purpose, keyKinds[kind], under, sent.Part, sent.KCV)
		return key, usageIf(err)
	})
}

func exportKeyCommand(c *console) *cobra.Command {
	var file, kbpk string
	cmd := &cobra.Command{
		Use:   "export terminal|issuer NAME --kbpk KBPK",
		Short: "Print a key as a TR-31 key block",
		Long: `Print a terminal's master key or an issuer's PIN key as a TR-31 key block: version
D under an AES protection key (keys load-kbpk), else B. Whoever has that key has
the exported one. Keys in a module (vault kind pkcs11) are not exported.
A running switch hands out keys as they are stored, under the local master key,
and its log says whose; the block is made by this command.`,
		Example: "  acqswitch keys export terminal 10000001 --kbpk factory --config acqswitch.yaml > block",
		Args:    args(2, "terminal or issuer, and a name"),
		RunE: func(cmd *cobra.Command, given []string) error {
			name := given[1]
			h, err := holderOf(given[0], func(h *keyHolder) bool {
				return h.find != nil && h.purpose != keys.PurposeKBPK && h.purpose != keys.PurposeZMK
			})
			if err == nil {
				err = h.checkName(name)
			}
			if err != nil {
				return err
			}
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			var block string
			err = withKeys(cmd.Context(), cfg, func(in keysInUse) error {
				protect, err := blocksKey(in, kbpk)
				if err != nil {
					return err
				}
				key, err := in.find(h, name)
				if err != nil {
					return err
				}
				vault, err := in.vault()
				if err != nil {
					return err
				}
				block, err = vault.ExportTR31(protect, key)
				return err
			})
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(map[string]string{"block": block})
			}
			_, err = fmt.Fprintln(c.out, block)
			return err
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&kbpk, "kbpk", "", "name of the key that protects the block")
	return cmd
}
