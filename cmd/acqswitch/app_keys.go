package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// keysInUse are the keys as commands reach them: those of the running switch, or those
// in the log, where the next one finds them. Keys pass as they are stored, sealed under
// the local master key.
type keysInUse interface {
	list() ([]keyRow, error)
	find(h *keyHolder, name string) (keys.Key, error) // one that is not there is a mistake of the caller's
	store(h *keyHolder, name string, k keys.Key) error
	vault() (*keys.Vault, error) // that opens them
}

// withKeys does something with the keys in use. It may do it twice, if the switch ends
// meanwhile. A switch that is only starting is refused with exit code 3.
func withKeys(ctx context.Context, cfg *config, do func(keysInUse) error) error {
	if cfg.unserved("keys") != nil {
		r := &runningKeys{ctx: ctx, cfg: cfg}
		err := do(r)
		if r.opened != nil {
			err = errors.Join(err, r.opened.Close())
		}
		if !errors.Is(err, errNoSwitch) {
			return err
		}
	}
	return withKeyLog(ctx, cfg, func(ring *keyring.Ring, vault *keys.Vault) error { return do(loggedKeys{ring, vault}) })
}

// runningKeys are those of the switch that runs on the data directory. What it is asked
// fails with errNoSwitch if none runs any more.
type runningKeys struct {
	ctx    context.Context
	cfg    *config
	opened *keys.Vault // nil until it is needed
}

// newKey is a key for one of keyHolders.
type newKey struct {
	Holder string      `json:"holder"`
	Name   string      `json:"name"`
	Sealed keys.Sealed `json:"sealed"`
}

// wantedKey names a key of one of keyHolders.
type wantedKey struct {
	Holder string `json:"holder"`
	Name   string `json:"name"`
}

func (r *runningKeys) list() (rows []keyRow, err error) {
	err = control(r.ctx, r.cfg.DataDir, "/keys/list", struct{}{}, &rows)
	return rows, err
}

func (r *runningKeys) find(h *keyHolder, name string) (keys.Key, error) {
	key := keys.Key{Owner: h.owner(name)}
	err := control(r.ctx, r.cfg.DataDir, "/keys/sealed", wantedKey{h.word, name}, &key.Sealed)
	if errors.As(err, new(notThere)) {
		err = usage(err)
	}
	return key, err
}

func (r *runningKeys) store(h *keyHolder, name string, k keys.Key) error {
	return control(r.ctx, r.cfg.DataDir, "/keys", newKey{h.word, name, k.Sealed}, nil)
}

func (r *runningKeys) vault() (_ *keys.Vault, err error) {
	if r.opened == nil {
		r.opened, err = r.cfg.Vault.open(r.cfg)
	}
	return r.opened, err
}

// takeKey gives a key to its holder, from the next message on.
func (a *app) takeKey(k newKey) error {
	h, err := holderOf(k.Holder, func(*keyHolder) bool { return true })
	if err == nil {
		err = h.checkName(k.Name)
	}
	if err != nil {
		return err
	}
	if err := h.store(a.keys, k.Name, keys.Key{Owner: h.owner(k.Name), Sealed: k.Sealed}); err != nil {
		return err
	}
	a.logKey("a key was loaded", h.owner(k.Name), k.Sealed)
	return nil
}

// sealedKey is a holder's key as it is stored: of no use without the local master key.
func (a *app) sealedKey(k wantedKey) (keys.Sealed, error) {
	h, err := holderOf(k.Holder, func(h *keyHolder) bool { return h.find != nil })
	if err != nil {
		return nil, err
	}
	key, err := h.find(a.keys, k.Name)
	if err != nil {
		return nil, err
	}
	a.logKey("a sealed key was handed to a command", key.Owner, key.Sealed)
	return key.Sealed, nil
}

func (a *app) logKey(what string, owner keys.Owner, s keys.Sealed) {
	info, _ := s.Info() // it is in use: it can be read
	a.log.Warn(what, keyAttributes(owner, info)...)
}

func keyAttributes(owner keys.Owner, info keys.Info) []any {
	return []any{"owner", string(owner), "purpose", info.Purpose.String(), "kind", info.Kind.String(), "check_value", info.KCV.String()}
}

// sentKey is a key that an issuer sent. What becomes of it is logged.
type sentKey struct {
	*keyring.Sent
	app *app
}

func (s sentKey) Set() error {
	key, changed, err := s.Sent.Set()
	if changed {
		info, _ := key.Sealed.Info()
		s.app.log.Info("an issuer sent a key: it is in force", keyAttributes(key.Owner, info)...)
	}
	return err
}

// takeSentKey deciphers a key that an issuer sent over its link.
func (a *app) takeSentKey(from txn.IssuerID, k *txn.NewKey) (issuer.SentKey, error) {
	sent, err := a.keys.Receive(from, k)
	switch {
	case errors.Is(err, keyring.ErrNoKey):
		return nil, fmt.Errorf("%w: load one with acqswitch keys load-zmk %s", issuer.ErrKeyNotOffered, from)
	case errors.Is(err, keys.ErrPurpose) || errors.Is(err, keys.ErrCheckValue):
		return nil, fmt.Errorf("%w: %w", issuer.ErrKeyWrong, err)
	case err != nil:
		return nil, err
	}
	return sentKey{sent, a}, nil
}

// withKeyLog opens the log of keys. While a switch has it open, that is refused with
// exit code 3.
func withKeyLog(ctx context.Context, cfg *config, do func(*keyring.Ring, *keys.Vault) error) (err error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := cfg.unserved("keys"); err != nil {
		return err
	}
	vault, ring, log, err := openKeys(cfg, slog.New(slog.DiscardHandler), nil)
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

// loggedKeys are those in the log, which is open.
type loggedKeys struct {
	ring   *keyring.Ring
	sealer *keys.Vault
}

func (l loggedKeys) list() ([]keyRow, error) { return listKeys(l.ring) }

func (l loggedKeys) find(h *keyHolder, name string) (keys.Key, error) {
	key, err := h.find(l.ring, name)
	return key, usageIf(err)
}

func (l loggedKeys) store(h *keyHolder, name string, k keys.Key) error {
	return h.store(l.ring, name, k)
}

func (l loggedKeys) vault() (*keys.Vault, error) { return l.sealer, nil }

// listKeys is a row for each key of a ring.
func listKeys(ring *keyring.Ring) ([]keyRow, error) {
	all, err := ring.List()
	rows := []keyRow{}
	for _, e := range all {
		rows = append(rows, rowOf(e))
	}
	return rows, err
}
