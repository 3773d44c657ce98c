package keys

import (
	"fmt"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

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
