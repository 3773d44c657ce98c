package keys

import (
	"fmt"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// ImportTR31 takes a key out of a TR-31 key block. Its usage must be the
// purpose's, its protection key at least as strong.
func (v *Vault) ImportTR31(owner Owner, purpose Purpose, kbpk Key, block string) (Key, error) {
	protect, info, err := v.use(kbpk, PurposeKBPK)
	if err != nil {
		return Key{}, fmt.Errorf("import a key block: %w", err)
	}
	defer protect.Close()
	header, key, err := algo.UnwrapTR31(protect, block)
	if err != nil {
		return Key{}, fmt.Errorf("import a key block: %w", err)
	}
	defer clear(key)
	kind, err := kindOf(header.Algorithm, len(key))
	if err == nil {
		err = checkSpec(owner, purpose, kind)
	}
	if err != nil {
		return Key{}, fmt.Errorf("import a key block: %w", err)
	}
	for _, usage := range purposes[purpose].accept {
		if usage == header.Usage && strength(info.Kind) >= strength(kind) {
			return v.seal(owner, purpose, kind, key)
		}
	}
	return Key{}, fmt.Errorf("import a key block: %w: a %v key of usage %s under a %v key, wanted as %v", ErrPurpose, kind, header.Usage, info.Kind, purpose)
}

// ExportTR31 makes a TR-31 key block of a key: version D under an AES
// protection key, else B. A PKCS#11 vault cannot.
func (v *Vault) ExportTR31(kbpk, key Key) (string, error) {
	info, err := key.Sealed.Info()
	if err != nil {
		return "", fmt.Errorf("export a key block: %w", err)
	}
	protect, under, err := v.use(kbpk, PurposeKBPK)
	if err != nil {
		return "", fmt.Errorf("export a key block: %w", err)
	}
	defer protect.Close()
	algorithm := algorithmOf(info.Kind)
	if algorithm == 0 || strength(under.Kind) < strength(info.Kind) {
		return "", fmt.Errorf("export a key block: %w: a %v key under a %v one", ErrPurpose, info.Kind, under.Kind)
	}
	clearKey, err := v.reveal(key, info)
	if err != nil {
		return "", fmt.Errorf("export a key block: %w", err)
	}
	defer clear(clearKey)
	version := byte('B')
	if under.Kind.IsAES() {
		version = 'D'
	}
	p := purposes[info.Purpose]
	block, err := algo.WrapTR31(protect, algo.KeyBlockHeader{Version: version, Usage: p.usage, Algorithm: algorithm,
		Mode: p.mode, KeyVersion: "00", Exportability: 'E'}, clearKey)
	if err != nil {
		return "", fmt.Errorf("export a key block: %w", err)
	}
	return block, nil
}

// algorithmOf is TR-31's letter for a kind, 0 for those it does not know.
func algorithmOf(kind algo.Kind) byte {
	switch {
	case kind == algo.DES:
		return 'D'
	case kind.IsDES():
		return 'T'
	case kind.IsAES():
		return 'A'
	}
	return 0
}

func kindOf(algorithm byte, size int) (algo.Kind, error) {
	for kind := algo.DES; kind.Valid(); kind++ {
		if kind.KeySize() == size && (algorithm == 'A' && kind.IsAES() || (algorithm == 'T' || algorithm == 'D') && kind.IsDES()) {
			return kind, nil
		}
	}
	return 0, fmt.Errorf("%w: algorithm %c with %d bytes", ErrUnsupported, algorithm, size)
}
