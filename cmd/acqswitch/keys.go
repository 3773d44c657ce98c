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
	cmd := &cobra.Command{
		Use:   "load TERMINAL",
		Short: "Give a terminal its master key from two or three components",
		Long: `load reads key components from standard input, one a line: the component and its
check value in hexadecimal, as its custodian has them. The key is their XOR; it
is sealed under the local master key and never printed. The switch must not be
running on the data directory. The terminal's profile in the registry says
mac: cup-ecb for the key to be used.`,
		Example: `  acqswitch keys load 10000001 --config acqswitch.yaml < components
  printf '%s %s\n' 0123456789ABCDEFFEDCBA9876543210 08D7B4FB 00000000000000000000000000000000 8CA64DE9 |
    acqswitch keys load 10000001   # a test key`,
		Args: args(1, "one terminal id"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given[0]) == 0 || len(given[0]) > len(txn.TerminalID{}) {
				return usage(fmt.Errorf("terminal %q must have 1 to %d characters", given[0], len(txn.TerminalID{})))
			}
			kinds := map[string]algo.Kind{"tdes": algo.TDES2, "sm4": algo.SM4}
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
			kcv, err := loadMaster(cmd.Context(), cfg, txn.MakeTerminalID(given[0]), k, parts)
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(map[string]string{"terminal": given[0], "kcv": kcv.String()})
			}
			_, err = fmt.Fprintf(c.out, "terminal %s has a %s master key with check value %s; it must sign on\n", given[0], kind, kcv)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration file; empty is the built-in defaults")
	cmd.Flags().StringVar(&kind, "kind", "tdes", "tdes (double length) or sm4")
	return group("keys", "Manage terminals' keys", cmd)
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

// loadMaster combines a terminal's master key and stores it.
func loadMaster(ctx context.Context, cfg *config, id txn.TerminalID, kind algo.Kind, parts []keys.Component) (kcv algo.KCV, err error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return kcv, fmt.Errorf("make data directory: %w", err)
	}
	vault, err := keys.OpenSoft(cfg.path(cfg.LMK, "lmk.keys"))
	if err != nil {
		return kcv, err
	}
	defer vault.Close()
	key, err := vault.Combine(keys.OfTerminal(id), keys.PurposeTMK, kind, parts...)
	if err != nil {
		return kcv, usage(err)
	}
	err = withKeys(ctx, cfg, func(r *keyring.Ring) error { return r.SetMaster(id, key) })
	info, infoErr := key.Sealed.Info()
	return info.KCV, errors.Join(err, infoErr)
}

// withKeys opens the log of terminals' keys, which no switch may have open.
func withKeys(ctx context.Context, cfg *config, do func(*keyring.Ring) error) (err error) {
	ring, log, err := openKeys(cfg, slog.New(slog.DiscardHandler))
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
	return do(ring)
}
