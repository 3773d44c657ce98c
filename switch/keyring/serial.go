package keyring

import (
	"errors"
	"fmt"
	"sync"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// serialKey is the key under which one terminal enciphers its serial number.
type serialKey struct {
	mu     sync.RWMutex // held for writing where the key changes
	sealed keys.Sealed  // nil: it has none
	open   *keys.SerialKey
}

func (k *serialKey) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open != nil {
		k.open.Close()
		k.open = nil
	}
}

// SetSerial gives a terminal the key of its serial number's ciphertext, durably.
func (r *Ring) SetSerial(id txn.TerminalID, key keys.Key) error {
	refuse := func(err error) error { return fmt.Errorf("set serial key of terminal %s: %w", id, err) }
	if key.Owner != keys.OfTerminal(id) {
		return refuse(keys.ErrPurpose)
	}
	open, err := r.vault.OpenSerial(key) // before it is stored: a key that does not open would refuse every sale
	if err != nil {
		return refuse(err)
	}
	r.setting.Lock()
	defer r.setting.Unlock()
	r.logging.RLock()
	defer r.logging.RUnlock()
	if err := r.append(append(record(recordSerial, id, 0), key.Sealed...)); err != nil {
		open.Close()
		return refuse(err)
	}
	k := &r.terminal(id, true).serial
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open != nil {
		k.open.Close()
	}
	k.sealed, k.open = key.Sealed, open
	return nil
}

// ProveSerial sets req.Info.Proof: whether the ciphertext that the message has
// is that of the serial number it reports. Another answer than Approved says
// that this could not be found out.
func (r *Ring) ProveSerial(req *txn.Request) txn.Reason {
	i := &req.Info
	t := r.terminal(req.Key.Terminal, false)
	if t == nil {
		return txn.Approved
	}
	key, err := t.serial.use(r.vault, req.Key.Terminal)
	switch {
	case err != nil:
		r.log.Error("a terminal's serial key cannot be used", "terminal", req.Key.Terminal.String(), "error", err)
		return txn.SwitchFailed
	case key == nil:
		return txn.Approved
	case i.Cipher == [8]byte{}:
		i.Proof = txn.ProofMissing
		return txn.Approved
	}
	switch err := key.Verify(i.Serial.Bytes(), i.FactorBytes(), i.Cipher[:]); {
	case err == nil:
		i.Proof = txn.ProofRight
	case errors.Is(err, keys.ErrMACWrong):
		i.Proof = txn.ProofWrong
	default:
		r.log.Error("a serial number cannot be checked", "terminal", req.Key.Terminal.String(), "error", err)
		return txn.SwitchFailed
	}
	return txn.Approved
}

// use opens the stored key the first time. It is nil if no key is stored.
func (k *serialKey) use(vault *keys.Vault, id txn.TerminalID) (*keys.SerialKey, error) {
	k.mu.RLock()
	open, sealed := k.open, k.sealed
	k.mu.RUnlock()
	if open != nil || sealed == nil {
		return open, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open == nil {
		var err error
		if k.open, err = vault.OpenSerial(keys.Key{Owner: keys.OfTerminal(id), Sealed: k.sealed}); err != nil {
			return nil, err
		}
	}
	return k.open, nil
}
