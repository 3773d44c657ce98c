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

// A sealed key's length fits the stored form's length byte.
const _ = uint8(sealedSizeMax)
