package keys

import (
	"crypto/subtle"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// Received is a working key that came enciphered under its owner's ZMK. It is clear in
// this process's memory, of either kind of vault, until it is closed: it is proved, sealed and gone.
// It is for one goroutine.
type Received struct {
	vault   *Vault
	owner   Owner
	purpose Purpose
	clear   []byte
	open    *algo.Local
}

// Receive deciphers a working key under the ZMK of its owner, each block by itself (ECB). That
// does not prove it: any bytes decipher to a key.
func (v *Vault) Receive(owner Owner, purpose Purpose, kind algo.Kind, zmk Key, cryptogram []byte) (*Received, error) {
	fail := func(err error) (*Received, error) {
		return nil, fmt.Errorf("decipher a %v of %s: %w", purpose, owner, err)
	}
	if err := checkSpec(owner, purpose, kind); err != nil {
		return fail(err)
	}
	if purpose != PurposeZPK && purpose != PurposeZAK || zmk.Owner != owner {
		return fail(fmt.Errorf("%w: it is under the ZMK of %s", ErrPurpose, zmk.Owner))
	}
	if len(cryptogram) != kind.KeySize() {
		return fail(fmt.Errorf("%w: it has %d bytes, a %v key %d", ErrPurpose, len(cryptogram), kind, kind.KeySize()))
	}
	under, info, err := v.use(zmk, PurposeZMK)
	if err != nil {
		return fail(err)
	}
	defer under.Close()
	if strength(info.Kind) < strength(kind) || len(cryptogram)%info.Kind.BlockSize() != 0 {
		return fail(fmt.Errorf("%w: a %v key under a %v one", ErrPurpose, kind, info.Kind))
	}
	r := &Received{vault: v, owner: owner, purpose: purpose, clear: make([]byte, len(cryptogram))}
	if err = under.Decrypt(r.clear, cryptogram); err == nil {
		r.open, err = algo.NewLocal(kind, r.clear)
	}
	if err != nil {
		r.Close()
		return fail(err)
	}
	return r, nil
}

// Check holds the key against its check value, 2 to 4 bytes.
func (r *Received) Check(kcv []byte) error { return checkValue(r.open.Kind(), r.clear, kcv) }

// MAC is the MAC of data under the key, also if it is for PINs: a network proves a key with
// the MAC of the message that brings it.
func (r *Received) MAC(by algo.MACAlgorithm, data []byte) ([algo.MACSize]byte, error) {
	return by.MAC(algo.MACKey{Whole: r.open}, data)
}

// Is says that a stored key is the same.
func (r *Received) Is(k Key) (bool, error) {
	stored, info, err := r.vault.use(k, r.purpose)
	if err != nil {
		return false, err
	}
	defer stored.Close()
	if info.Kind != r.open.Kind() {
		return false, nil
	}
	var probe, mine, its [32]byte // a check value alone would be too short for proof
	for i := range probe {
		probe[i] = byte(i)
	}
	r.open.Encrypt(mine[:], probe[:])
	err = stored.Encrypt(its[:], probe[:])
	return err == nil && subtle.ConstantTimeCompare(mine[:], its[:]) == 1, err
}

// Seal is the key as it is stored.
func (r *Received) Seal() (Key, error) {
	return r.vault.seal(r.owner, r.purpose, r.open.Kind(), r.clear)
}

// Close overwrites the key.
func (r *Received) Close() {
	clear(r.clear)
	if r.open != nil {
		r.open.Close()
	}
}

// String says nothing of what is inside.
func (r *Received) String() string { return "[received key]" }

// GoString is String.
func (r *Received) GoString() string { return r.String() }

// ImportCryptogram receives a key and holds it against its check value.
func (v *Vault) ImportCryptogram(owner Owner, purpose Purpose, kind algo.Kind, zmk Key, cryptogram, kcv []byte) (Key, error) {
	r, err := v.Receive(owner, purpose, kind, zmk, cryptogram)
	if err != nil {
		return Key{}, err
	}
	defer r.Close()
	if err := r.Check(kcv); err != nil {
		return Key{}, fmt.Errorf("import a %v of %s: %w", purpose, owner, err)
	}
	return r.Seal()
}
