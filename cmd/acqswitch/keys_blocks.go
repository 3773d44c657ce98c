package main

import (
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
	var file, kbpk string
	cmd := &cobra.Command{
		Use:   "import terminal|issuer|zak|bdk NAME --kbpk KBPK",
		Short: "Take a key out of a TR-31 key block",
		Long: `Take a terminal's master key, an issuer's PIN or MAC key or a base key out of a
TR-31 key block of version B or D, read from standard input. Its usage must be the
key's (K0, P0, M0, B0), its protection key loaded (keys load-kbpk) and as strong.
A running switch uses it from the next message on, and its log says so.`,
		Example: "  acqswitch keys import issuer example --kbpk bank --config acqswitch.yaml < block",
		Args:    args(2, "terminal, issuer, zak or bdk, and a name"),
		RunE: func(cmd *cobra.Command, given []string) error {
			name := given[1]
			h, err := holderOf(given[0], func(h *keyHolder) bool { return h.purpose != keys.PurposeKBPK && h.purpose != keys.PurposeSerial })
			if err == nil {
				err = h.checkName(name)
			}
			if err != nil {
				return err
			}
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), blockSizeMax))
			if err != nil {
				return err
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
	return cmd
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
			h, err := holderOf(given[0], func(h *keyHolder) bool { return h.find != nil && h.purpose != keys.PurposeKBPK })
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
