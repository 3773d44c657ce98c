package keys

import (
	"fmt"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// ImportCryptogram takes a working key that came enciphered under the ZMK shared with its
// owner, each block by itself (ECB), and holds it against its check value (2 to 4 bytes):
// without one, any bytes would be a key.
func (v *Vault) ImportCryptogram(owner Owner, purpose Purpose, kind algo.Kind, zmk Key, cryptogram, kcv []byte) (Key, error) {
	clearKey, err := v.decipher(owner, purpose, kind, zmk, cryptogram)
	if err == nil {
		defer clear(clearKey)
		err = checkValue(kind, clearKey, kcv)
	}
	if err != nil {
		return Key{}, fmt.Errorf("import a cryptogram: %w", err)
	}
	return v.seal(owner, purpose, kind, clearKey)
}

// decipher gives in clear, for the caller to clear, a working key under its owner's ZMK.
func (v *Vault) decipher(owner Owner, purpose Purpose, kind algo.Kind, zmk Key, cryptogram []byte) ([]byte, error) {
	if err := checkSpec(owner, purpose, kind); err != nil {
		return nil, err
	}
	if purpose != PurposeZPK && purpose != PurposeZAK || zmk.Owner != owner {
		return nil, fmt.Errorf("%w: a %v of %s under the ZMK of %s", ErrPurpose, purpose, owner, zmk.Owner)
	}
	if len(cryptogram) != kind.KeySize() {
		return nil, fmt.Errorf("it has %d bytes, a %v key %d", len(cryptogram), kind, kind.KeySize())
	}
	under, info, err := v.use(zmk, PurposeZMK)
	if err != nil {
		return nil, err
	}
	defer under.Close()
	if strength(info.Kind) < strength(kind) || len(cryptogram)%info.Kind.BlockSize() != 0 {
		return nil, fmt.Errorf("%w: a %v key under a %v one", ErrPurpose, kind, info.Kind)
	}
	clearKey := make([]byte, len(cryptogram))
	if err := under.Decrypt(clearKey, cryptogram); err != nil {
		clear(clearKey)
		return nil, fmt.Errorf("decipher it: %w", err)
	}
	return clearKey, nil
}
