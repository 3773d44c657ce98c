package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func keysCommand(c *console) *cobra.Command {
	var file, kind string
	kinds := map[string]algo.Kind{"tdes": algo.TDES2, "sm4": algo.SM4}
	load := func(use, short, what, example string, sizeMax int, store func(r *keyring.Ring, vault *keys.Vault, name string, k algo.Kind, parts []keys.Component) (keys.Key, error)) *cobra.Command {
		cmd := &cobra.Command{
			Use:   use,
			Short: short,
			Long: short + `.

It reads two or three key components from standard input, one a line: the
component and its check value in hexadecimal, as its custodian has them. The key
is their XOR; it is sealed under the local master key and never printed. The
switch must not be running on the data directory.`,
			Example: example,
			Args:    args(1, what),
			RunE: func(cmd *cobra.Command, given []string) error {
				if len(given[0]) == 0 || len(given[0]) > sizeMax {
					return usage(fmt.Errorf("%q must have 1 to %d characters", given[0], sizeMax))
				}
				k, ok := kinds[kind]
				if !ok {
					return usage(fmt.Errorf("--kind %q must be tdes or sm4", kind))
				}
				parts, err := readComponents(cmd.InOrStdin())
				if err != nil {
					return usage(err)
				}
				cfg, err := loadConfig(file, os.Environ())
				if err != nil {
					return err
				}
				var key keys.Key
				err = withKeys(cmd.Context(), cfg, func(r *keyring.Ring, vault *keys.Vault) (err error) {
					key, err = store(r, vault, given[0], k, parts)
					return err
				})
				if err != nil {
					return err
				}
				info, err := key.Sealed.Info()
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(map[string]string{"owner": string(key.Owner), "purpose": info.Purpose.String(), "kcv": info.KCV.String()})
				}
				_, err = fmt.Fprintf(c.out, "%s has a %s of kind %s with check value %s\n", key.Owner, info.Purpose, kind, info.KCV)
				return err
			},
		}
		cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration file; empty is the built-in defaults")
		cmd.Flags().StringVar(&kind, "kind", "tdes", "tdes (double length) or sm4")
		return cmd
	}
	terminal := load("load-terminal TERMINAL", "Give a terminal its master key (TMK); it must sign on then", "one terminal id",
		`  acqswitch keys load-terminal 10000001 --config acqswitch.yaml < components
  printf '%s %s\n' 0123456789ABCDEFFEDCBA9876543210 08D7B4FB 00000000000000000000000000000000 8CA64DE9 |
    acqswitch keys load-terminal 10000001   # a test key`, len(txn.TerminalID{}),
		func(r *keyring.Ring, vault *keys.Vault, name string, k algo.Kind, parts []keys.Component) (keys.Key, error) {
			id := txn.MakeTerminalID(name)
			key, err := vault.Combine(keys.OfTerminal(id), keys.PurposeTMK, k, parts...)
			if err != nil {
				return key, usage(err)
			}
			return key, r.SetMaster(id, key)
		})
	issuer := load("load-issuer ISSUER", "Give an issuer the PIN key it shares with us (ZPK)", "one issuer's name",
		`  acqswitch keys load-issuer example --config acqswitch.yaml < components`, len(txn.IssuerID{}),
		func(r *keyring.Ring, vault *keys.Vault, name string, k algo.Kind, parts []keys.Component) (keys.Key, error) {
			id := txn.MakeIssuerID(name)
			key, err := vault.Combine(keys.OfIssuer(id), keys.PurposeZPK, k, parts...)
			if err != nil {
				return key, usage(err)
			}
			return key, r.SetZone(id, key)
		})
	return group("keys", "Load terminals' and issuers' keys", terminal, issuer)
}

// readComponents reads "COMPONENT CHECKVALUE" lines. Errors do not quote them.
func readComponents(r io.Reader) ([]keys.Component, error) {
	var parts []keys.Component
	sc := bufio.NewScanner(io.LimitReader(r, 4096))
	for line := 1; sc.Scan(); line++ {
		words := strings.Fields(sc.Text())
		if len(words) == 0 {
			continue
		}
		refuse := fmt.Errorf("component on line %d must be 32 hexadecimal digits, a space, and a check value of 4 to 8", line)
		if len(words) != 2 {
			return nil, refuse
		}
		part, err := hex.DecodeString(words[0])
		kcv, err2 := hex.DecodeString(words[1])
		if errors.Join(err, err2) != nil || len(part) != 16 || len(kcv) < 2 || len(kcv) > 4 {
			return nil, refuse
		}
		parts = append(parts, keys.Component{Part: part, KCV: kcv})
	}
	if len(parts) < 2 || len(parts) > 3 {
		return nil, fmt.Errorf("%d components given on standard input, must be 2 or 3", len(parts))
	}
	return parts, nil
}

// withKeys opens the log of terminals' keys, which no switch may have open.
func withKeys(ctx context.Context, cfg *config, do func(*keyring.Ring, *keys.Vault) error) (err error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	vault, ring, log, err := openKeys(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- log.Run(running) }()
	defer func() {
		err = errors.Join(err, ring.Close())
		stop()
		if e := <-ended; err == nil && !errors.Is(e, context.Canceled) {
			err = e
		}
		err = errors.Join(err, log.Close())
	}()
	if err := ring.Recover(); err != nil {
		return err
	}
	return do(ring, vault)
}
