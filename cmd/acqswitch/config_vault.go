package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/keys"
)

// vaultConfig says where clear keys are.
type vaultConfig struct {
	Kind       string        `yaml:"kind"`
	LockMemory bool          `yaml:"lock_memory"`
	LMK        string        `yaml:"lmk"`
	Module     string        `yaml:"module"`
	Token      string        `yaml:"token"`
	PINFile    string        `yaml:"pin_file"`
	PINEnv     string        `yaml:"pin_env"`
	LMKLabel   string        `yaml:"lmk_label"`
	CreateLMK  bool          `yaml:"create_lmk"`
	Sessions   int           `yaml:"sessions"`
	Timeout    time.Duration `yaml:"timeout"`
}

// signOnConfig is about the keys that terminals are given every day.
type signOnConfig struct {
	Grace     time.Duration `yaml:"grace"`
	PerSecond int           `yaml:"per_second"`
}

func (v *vaultConfig) validate() error {
	software := v.Kind == "software"
	switch {
	case oneOf(v.Kind, "software", "pkcs11") != nil:
		return fmt.Errorf("kind: %w", oneOf(v.Kind, "software", "pkcs11"))
	case software && v.Module+v.Token+v.PINFile+v.PINEnv != "":
		return errors.New("module, token, pin_file and pin_env are for kind: pkcs11")
	case software:
		return nil
	case v.LMK != "":
		return errors.New("lmk is for kind: software; a module keeps its own, see lmk_label")
	case v.Module == "" || v.Token == "":
		return errors.New("kind: pkcs11 needs module, the path of a PKCS#11 library, and token, the label of a token")
	case (v.PINFile == "") == (v.PINEnv == ""):
		return errors.New("kind: pkcs11 needs one of pin_file and pin_env")
	}
	if err := between(v.Sessions, 1, 256); err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	if err := between(v.Timeout, time.Millisecond, time.Minute); err != nil {
		return fmt.Errorf("timeout: %w", err)
	}
	return nil
}

// open opens the vault of a configuration.
func (v *vaultConfig) open(cfg *config) (*keys.Vault, error) {
	if v.Kind == "software" {
		path := cfg.path(v.LMK, "lmk.keys")
		if err := cfg.lost(path, "keys"); err != nil {
			return nil, err
		}
		return keys.OpenSoft(path)
	}
	return keys.OpenPKCS11(keys.PKCS11Config{
		Module: v.Module, TokenLabel: v.Token, PINFile: v.PINFile, PINEnv: v.PINEnv,
		LMKLabel: v.LMKLabel, CreateLMK: v.CreateLMK, Sessions: v.Sessions, Timeout: v.Timeout,
	})
}
