package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// An issuer sends a new key with this network management code (DE70) in a message of this
// type. In an 0820 with that code a member asks for one.
const (
	newKey     = 101
	newKeyType = 0x0800
)

// Keys that an issuer may be asked for (Config.AskKeys).
const (
	KeyMAC = "zak"
	KeyPIN = "zpk"
)

const (
	// askEvery is how long an issuer whose MACs are wrong is not asked again: its keys take
	// their time, and without a bound one that goes on so would be asked with each message.
	askEvery = time.Minute
	keyPoll  = 20 * time.Millisecond
)

// askKey asks the issuer for a key. It comes in a message of its own (takeKey).
func (is *issuer) askKey(ctx context.Context, w *wire, name string) error {
	err := is.exchangeNetwork(ctx, w, "0820/101", newKey, func(dst []byte, stan uint32, at time.Time) ([]byte, error) {
		return is.codec.AppendKeyRequest(dst, name == KeyMAC, stan, at)
	})
	if err != nil {
		return fmt.Errorf("ask issuer %s at %s for its %s: %w", is.name(), w.host, name, err)
	}
	return nil
}

// fetchKeys asks, over a wire that has just signed on, for the keys that are not here, and
// waits for each.
func (is *issuer) fetchKeys(ctx context.Context, w *wire) error {
	if is.hooks.HasKey == nil {
		return nil
	}
	is.asking.Lock() // then another link may have them already
	defer is.asking.Unlock()
	for _, name := range is.cfg.AskKeys {
		here := func() bool { return is.hooks.HasKey(is.id, name == KeyMAC) }
		if here() {
			continue
		}
		if err := is.askKey(ctx, w, name); err != nil {
			return err
		}
		for until := time.Now().Add(is.cfg.EchoTimeout); !here(); {
			select {
			case <-ctx.Done():
				return errDrained
			case <-w.conn.Done():
				return errClosed
			case <-time.After(keyPoll):
			}
			if time.Now().After(until) {
				return fmt.Errorf("issuer %s at %s was asked for its %s and has sent none that can be taken", is.name(), w.host, name)
			}
		}
	}
	return nil
}

// renewKeys asks for all keys anew, if that was not done lately: an issuer with wrong MACs
// has others than we.
func (is *issuer) renewKeys(ctx context.Context, w *wire) {
	if !is.asking.TryLock() {
		return // another link does
	}
	defer is.asking.Unlock()
	if time.Since(is.asked) < askEvery {
		return
	}
	is.asked = time.Now()
	if err := is.askKeys(ctx, w); err != nil {
		is.hooks.malformed(is.name(), err)
	}
}

func (is *issuer) askKeys(ctx context.Context, w *wire) error {
	for _, name := range is.cfg.AskKeys {
		if err := is.askKey(ctx, w, name); err != nil {
			return err
		}
	}
	return nil
}

// AskKeys asks an issuer for the keys of its AskKeys, says which these are, and returns
// when it has agreed to each: they come over its link.
func (r *Router) AskKeys(ctx context.Context, id txn.IssuerID) (asked []string, err error) {
	is := r.byID[id]
	if is == nil || len(is.cfg.AskKeys) == 0 {
		return nil, fmt.Errorf("issuer %s has no ask_keys in the configuration", id)
	}
	for _, l := range is.links {
		if w := l.wire.Load(); w != nil {
			return is.cfg.AskKeys, is.askKeys(ctx, w)
		}
	}
	return nil, fmt.Errorf("ask issuer %s for its keys: no link is up", id)
}

// disproved notes that what the issuer sent has a wrong MAC.
func (is *issuer) disproved() {
	select {
	case is.wrong <- struct{}{}:
	default:
	}
}

// SentKey is a key that an issuer sent, until it is closed.
type SentKey interface {
	// MAC makes MACs under the key, which prove its message and our answer.
	MAC(data []byte) (mac [8]byte, err error)
	// Set puts it into force, durably; a second time without effect.
	Set() error
	Close()
}

// Errors of Hooks.NewKey that are not ours.
var (
	// ErrKeyNotOffered says that there is no key here under which the issuer sends others.
	ErrKeyNotOffered = errors.New("no ZMK is loaded for it")
	// ErrKeyWrong says that what the issuer sent is no key that may be taken.
	ErrKeyWrong = errors.New("it is no key of the issuer's")
)

// takeKey puts a key that an issuer sent into force, and answers. It runs on the link's
// reader and waits for the key's vault and log, since what comes next may be signed with the key.
func (is *issuer) takeKey(w *wire, frame []byte) {
	key, err := is.sentKey(frame)
	if err == nil {
		defer key.Close()
		if err = key.Set(); err == nil {
			err = w.post(func(dst []byte) ([]byte, error) {
				return is.codec.AppendNewKeyAnswer(dst, frame, approvedCode, key.MAC)
			})
		}
	}
	if err == nil || errors.Is(err, errClosed) || errors.Is(err, errQueueFull) { // a lost answer is asked for again
		return
	}
	is.hooks.malformed(is.name(), fmt.Errorf("take a new key: %w", err))
	_ = w.post(func(dst []byte) ([]byte, error) {
		return is.codec.AppendNewKeyAnswer(dst, frame, keyRefusal(err), nil)
	})
}

// sentKey is the key of a frame, proved but not yet in force.
func (is *issuer) sentKey(frame []byte) (key SentKey, err error) {
	defer rescue(&err)
	sent, err := is.codec.ReadNewKey(frame)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFormat, err)
	}
	if key, err = is.hooks.NewKey(is.id, &sent); err != nil {
		return nil, err
	}
	if err = is.codec.CheckNewKey(frame, key.MAC); err != nil {
		key.Close()
		return nil, fmt.Errorf("%w: %w", errUnproved, err)
	}
	return key, nil
}

var (
	errFormat   = errors.New("the message is wrong")
	errUnproved = errors.New("the message is not proved by the key")
)

// keyRefusal is the code with which a key is refused: not offered, a wrong message, a wrong
// MAC, a violation of security, a malfunction.
func keyRefusal(err error) [2]byte {
	switch {
	case errors.Is(err, ErrKeyNotOffered):
		return notOfferedCode
	case errors.Is(err, errFormat):
		return formatCode
	case errors.Is(err, errUnproved):
		return [2]byte{'A', '0'}
	case errors.Is(err, ErrKeyWrong):
		return [2]byte{'6', '3'}
	}
	return [2]byte{'9', '6'}
}
