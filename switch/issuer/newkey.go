package issuer

import (
	"errors"
	"fmt"
)

// An issuer sends a new key with this network management code (DE70) in a message of this
// type. With UnionPay's 0820 a member asks for one, which we do not.
const (
	newKey     = 101
	newKeyType = 0x0800
)

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
