package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/testdata"
)

// builtInPolicy is what messages call the policy where nobody has given one.
const builtInPolicy = "(built-in policy)"

// policyDir is the folder of the data directory with the policy that was in
// force last, as NUMBER.yaml: a switch that starts while the database is away goes on
// under that one.
const policyDir = "policy"

// policyEvery is how often a new version is looked for.
const policyEvery = 250 * time.Millisecond

// readPolicy loads a policy file, or the built-in policy where none is named. A fault of
// the file is a usage error.
func readPolicy(path string) (risk.Policy, error) {
	text, name, err := policyText(path)
	if err != nil {
		return risk.Policy{}, err
	}
	p, err := policy.Load(text, name)
	if err != nil {
		return p, usage(err)
	}
	return p, nil
}

// policyText reads a policy's document, and says what errors should call it.
func policyText(path string) ([]byte, string, error) {
	if path == "" {
		text, err := testdata.Files.ReadFile("policy.yaml")
		return text, builtInPolicy, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, path, usage(fmt.Errorf("open policy: %w", err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, policy.DocumentMax+1))
	if err != nil {
		return nil, path, fmt.Errorf("read policy: %w", err)
	}
	return text, path, nil
}

// filePolicy is the policy of the configuration's file, or the built-in one.
func filePolicy(cfg *config) (risk.Policy, error) { return readPolicy(cfg.Risk.Policy) }

// startPolicy is the policy that a switch starts with: its file's, or the one that
// was in force last, until the database says which is.
func startPolicy(cfg *config) (risk.Policy, error) {
	if cfg.Risk.Policy != "" {
		return filePolicy(cfg)
	}
	number, err := keptPolicy(cfg)
	if err != nil {
		return risk.Policy{}, err
	}
	if number == 0 {
		return readPolicy("")
	}
	p, err := readPolicy(policyPath(cfg, number))
	p.Number = number
	return p, err
}

func policyPath(cfg *config, number uint32) string {
	return filepath.Join(cfg.DataDir, policyDir, fmt.Sprintf("%d.yaml", number))
}

// keptPolicy is the number of the policy that was in force last, 0 for none.
func keptPolicy(cfg *config) (number uint32, err error) {
	files, err := os.ReadDir(filepath.Join(cfg.DataDir, policyDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("look for the policy that was in force: %w", err)
	}
	for _, f := range files {
		var n uint32
		if _, err := fmt.Sscanf(f.Name(), "%d.yaml", &n); err == nil {
			number = max(number, n)
		}
	}
	return number, nil
}

// keepPolicy writes what is in force where the next start finds it.
func keepPolicy(cfg *config, v *policy.Version) error {
	before, err := keptPolicy(cfg)
	if err != nil {
		return err
	}
	if err := replaceFile(policyPath(cfg, v.Number), func(w io.Writer) error { _, err := io.WriteString(w, v.Document); return err }); err != nil {
		return err
	}
	if before != 0 && before != v.Number {
		return os.Remove(policyPath(cfg, before))
	}
	return nil
}

// followPolicies puts each version that is approved in force, until ctx ends.
func (a *app) followPolicies(ctx context.Context) error {
	a.awaitTables(ctx)
	since := policy.InForceAs{Number: a.risk.Policy().Number}
	if text, err := os.ReadFile(policyPath(a.cfg, since.Number)); err == nil { // else it is put in force once more
		since.Hash = policy.HashOf(string(text))
	}
	return a.policies.Follow(ctx, since, policyEvery, func(v *policy.Version) error {
		p, err := v.Policy()
		if err == nil {
			err = a.putInForce(p)
		}
		if err != nil {
			return err
		}
		a.measureRules()
		a.log.Info("policy is in force", "policy", v.Number, "proposed_by", v.By, "approved_by", v.ApprovedBy, "restores", v.Restores)
		if err := keepPolicy(a.cfg, v); err != nil {
			a.log.Error("the policy in force could not be kept for the next start", "policy", v.Number, "error", err)
		}
		return nil
	}, func(err error) {
		a.log.Error("the policy cannot be followed; the one in force stays", "in_force", a.risk.Policy().Number, "error", err)
	})
}

// putInForce makes p the policy, unless it lowers a limit below what is used already.
func (a *app) putInForce(p risk.Policy) error {
	day, err := a.cfg.businessDay()
	if err != nil {
		return err
	}
	registered := a.registry.Snapshot()
	if err := a.risk.Check(p, day.Of(time.Now()), registered.Merchants(), registered.Terminals()); err != nil {
		return err
	}
	return a.risk.SetPolicy(p)
}

// reloadPolicy reads the policy file again.
func (a *app) reloadPolicy() {
	if a.policies != nil {
		return
	}
	p, err := filePolicy(a.cfg)
	if err == nil {
		err = a.putInForce(p)
	}
	if err != nil {
		a.log.Error("policy not reloaded, the old one stays in force", "error", err)
		return
	}
	a.measureRules()
	a.log.Info("policy reloaded", "file", a.cfg.Risk.Policy)
}
