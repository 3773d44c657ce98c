package keys

import (
	"fmt"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// KeySet is which working keys a terminal asks for at sign-on: the network
// management code of DE60.3.
type KeySet uint16

// The key sets.
const (
	KeySetSingle      KeySet = 1 // 001: DES
	KeySetDouble      KeySet = 3 // 003: double-length TDES; a DES key for MACs unless DoubleTAK
	KeySetDoubleTrack KeySet = 4 // 004: and a key for track data
	KeySetSM4         KeySet = 5 // 005: SM4, with a key for track data
	KeySetSM4Alt      KeySet = 6 // 006: as 005; terminals differ in the code they use
)

// IssueOptions are a terminal profile's choices.
type IssueOptions struct {
	// DoubleTAK gives sets 003 and 004 a double-length MAC key, in the sixteen
	// bytes that otherwise hold a DES key and eight zeros.
	DoubleTAK bool
}

// TerminalKeys are a terminal's working keys as they are stored. TDK is empty
// where the set has none, PreviousTAK after the first sign-on.
type TerminalKeys struct {
	Terminal                   txn.TerminalID
	TPK, TAK, TDK, PreviousTAK Sealed
}

// Issue makes a terminal's working keys: de62 is what its sign-on is answered
// with, keys what is stored before that answer leaves. previous are the
// terminal's keys until now, or nil: their TAK stays good for one exchange,
// because the answer may be lost.
//
// de62 is, for each key in the order TPK, TAK, TDK, the key enciphered under
// the TMK in ECB and four bytes of check value: 24 bytes for set 001, 40 for
// 003, 60 for 004, 005 and 006.
func (v *Vault) Issue(tmk Key, terminal txn.TerminalID, set KeySet, opt IssueOptions, previous *TerminalKeys) (de62 []byte, keys *TerminalKeys, err error) {
	fail := func(err error) ([]byte, *TerminalKeys, error) {
		return nil, nil, fmt.Errorf("issue key set %03d to terminal %v: %w", set, terminal, err)
	}
	owner := OfTerminal(terminal)
	if tmk.Owner != owner {
		return fail(fmt.Errorf("%w: the TMK belongs to %s", ErrPurpose, tmk.Owner))
	}
	master, info, err := v.use(tmk, PurposeTMK)
	if err != nil {
		return fail(err)
	}
	defer master.Close()
	keys = &TerminalKeys{Terminal: terminal}
	slots, under, err := layout(set, opt, keys)
	if err != nil {
		return fail(err)
	}
	if info.Kind != under {
		return fail(fmt.Errorf("%w: the TMK is a %v key, must be %v", ErrPurpose, info.Kind, under))
	}
	for _, slot := range slots {
		key, clearKey, kcv, err := v.generateClear(owner, slot.purpose, slot.kind)
		if err != nil {
			return fail(err)
		}
		err = master.Encrypt(clearKey, clearKey) // in place: the clear key ends here
		if err != nil {
			clear(clearKey)
			return fail(err)
		}
		de62 = append(de62, clearKey...)
		de62 = append(de62, make([]byte, slot.width-len(clearKey))...)
		de62 = append(de62, kcv[:]...)
		*slot.sealed = key.Sealed
	}
	if previous != nil && previous.Terminal == terminal {
		keys.PreviousTAK = previous.TAK
	}
	return de62, keys, nil
}

// slot is one key's place in DE62.
type slot struct {
	purpose Purpose
	kind    algo.Kind
	width   int // of the enciphered key, zeros behind a shorter one
	sealed  *Sealed
}

// layout is a set's slots, and the kind of TMK that enciphers them.
func layout(set KeySet, opt IssueOptions, keys *TerminalKeys) ([]slot, algo.Kind, error) {
	pin, mac, width, under := algo.TDES2, algo.DES, 16, algo.TDES2
	track := set != KeySetSingle && set != KeySetDouble
	switch set {
	case KeySetSingle:
		pin, width = algo.DES, 8
	case KeySetDouble, KeySetDoubleTrack:
		if opt.DoubleTAK {
			mac = algo.TDES2
		}
	case KeySetSM4, KeySetSM4Alt:
		pin, mac, under = algo.SM4, algo.SM4, algo.SM4
	default:
		return nil, 0, fmt.Errorf("%w: no such key set", ErrUnsupported)
	}
	slots := []slot{{PurposeTPK, pin, width, &keys.TPK}, {PurposeTAK, mac, width, &keys.TAK}}
	if track {
		slots = append(slots, slot{PurposeTDK, pin, width, &keys.TDK})
	}
	return slots, under, nil
}

// AppendBinary appends the keys' stored form: four times a length byte and a
// sealed key.
func (k *TerminalKeys) AppendBinary(dst []byte) ([]byte, error) {
	for _, s := range []Sealed{k.TPK, k.TAK, k.TDK, k.PreviousTAK} {
		if len(s) > sealedSizeMax {
			return dst, fmt.Errorf("store keys of terminal %v: %w", k.Terminal, ErrSealedKey)
		}
		dst = append(append(dst, byte(len(s))), s...)
	}
	return dst, nil
}

// ParseTerminalKeys reads what AppendBinary wrote for this terminal.
func ParseTerminalKeys(terminal txn.TerminalID, b []byte) (*TerminalKeys, error) {
	k := &TerminalKeys{Terminal: terminal}
	for _, s := range []*Sealed{&k.TPK, &k.TAK, &k.TDK, &k.PreviousTAK} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil, fmt.Errorf("read keys of terminal %v: %w: the stored form is cut off", terminal, ErrSealedKey)
		}
		if n := int(b[0]); n > 0 {
			*s = Sealed(b[1 : 1+n : 1+n])
		}
		b = b[1+int(b[0]):]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("read keys of terminal %v: %w: %d bytes too many", terminal, ErrSealedKey, len(b))
	}
	return k, nil
}

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
	algorithm := map[bool]byte{info.Kind.IsDES(): 'T', info.Kind == algo.DES: 'D', info.Kind.IsAES(): 'A'}[true]
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

func kindOf(algorithm byte, size int) (algo.Kind, error) {
	for kind := algo.DES; kind.Valid(); kind++ {
		if kind.KeySize() == size && (algorithm == 'A' && kind.IsAES() || (algorithm == 'T' || algorithm == 'D') && kind.IsDES()) {
			return kind, nil
		}
	}
	return 0, fmt.Errorf("%w: algorithm %c with %d bytes", ErrUnsupported, algorithm, size)
}

// OpenDUKPT derives one transaction's keys from a base derivation key and the
// serial number in the message. They are usable as a terminal's, and closed
// after the answer. The PKCS#11 vault cannot: the derivation needs the base
// key's variants.
func (v *Vault) OpenDUKPT(bdk Key, ksn []byte) (*Terminal, error) {
	info, err := bdk.Sealed.Info()
	if err == nil && info.Purpose != PurposeBDK {
		err = fmt.Errorf("%w: key of %s is a %v, must be a BDK", ErrPurpose, bdk.Owner, info.Purpose)
	}
	if err != nil {
		return nil, fmt.Errorf("derive a transaction's keys: %w", err)
	}
	base, err := v.reveal(bdk, info)
	if err != nil {
		return nil, fmt.Errorf("derive a transaction's keys: %w", err)
	}
	defer clear(base)
	ik, err := algo.DUKPTInitialKey(info.Kind, base, ksn)
	if err != nil {
		return nil, err
	}
	defer clear(ik)
	derived, err := algo.DUKPTDerive(info.Kind, ik, ksn)
	if err != nil {
		return nil, err
	}
	defer derived.Clear()
	t := &Terminal{}
	if t.tpk, err = algo.NewLocal(derived.Kind, derived.PIN); err != nil {
		return nil, err
	}
	if t.tak, err = localMACKey(derived.Kind, derived.MACRequest); err != nil {
		return nil, err
	}
	if t.answer, err = localMACKey(derived.Kind, derived.MACResponse); err != nil {
		return nil, err
	}
	return t, nil
}

func localMACKey(kind algo.Kind, key []byte) (*macKey, error) {
	whole, err := algo.NewLocal(kind, key)
	if err != nil {
		return nil, err
	}
	if kind != algo.TDES2 {
		return &macKey{whole: whole}, nil
	}
	left, err := algo.NewLocal(algo.DES, key[:8])
	if err != nil {
		return nil, err
	}
	return &macKey{whole: whole, left: left}, nil
}

// A sealed key's length fits the stored form's length byte.
const _ = uint8(sealedSizeMax)
