package keyring

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// sharedID names a key that belongs to no single terminal, by the kind of its record: a
// base key, a key for key blocks, or an issuer's key for MACs or for its other keys.
type sharedID struct {
	record byte
	name   txn.IssuerID
}

func (id sharedID) owner() keys.Owner {
	switch id.record {
	case recordBaseKey:
		return keys.OfBaseKey(id.name.String())
	case recordZoneMAC, recordZMK:
		return keys.OfIssuer(id.name)
	}
	return keys.OfBlocks(id.name.String())
}

// CheckBaseKeyName holds a base key's name to what serial numbers of its kind
// begin with: 10 hexadecimal digits for TDES, 8 for AES, in capitals.
func CheckBaseKeyName(name string, kind algo.Kind) error {
	size := 8
	if kind == algo.TDES2 {
		size = 10
	}
	if _, err := hex.DecodeString(name); err != nil || len(name) != size || name != strings.ToUpper(name) {
		return fmt.Errorf("name of a %v base key %q must be the first %d hexadecimal digits of its terminals' serial numbers", kind, name, size)
	}
	return nil
}

// SetBaseKey keeps the base derivation key of the DUKPT terminals whose serial
// numbers begin with name, durably.
func (r *Ring) SetBaseKey(name string, bdk keys.Key) error {
	info, err := bdk.Sealed.Info()
	if err == nil {
		err = CheckBaseKeyName(name, info.Kind)
	}
	if err == nil { // a vault that cannot derive says so now, not when a terminal sells
		var open *keys.Terminal
		if open, err = r.vault.OpenDUKPT(bdk, firstKSN(name, info.Kind)); err == nil {
			open.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("set base key %s: %w", name, err)
	}
	return r.setShared(sharedID{recordBaseKey, txn.MakeIssuerID(name)}, keys.PurposeBDK, bdk)
}

// firstKSN is the serial number of the first message of a terminal under a base
// key.
func firstKSN(name string, kind algo.Kind) []byte {
	ksn := make([]byte, algo.KSNSizeAES)
	if kind == algo.TDES2 {
		ksn = ksn[:algo.KSNSizeTDES]
	}
	hex.Decode(ksn, []byte(name))
	ksn[len(ksn)-1] = 1
	return ksn
}

// SetBlocks keeps a key block protection key under a name, durably.
func (r *Ring) SetBlocks(name string, kbpk keys.Key) error {
	return r.setShared(sharedID{recordBlocks, txn.MakeIssuerID(name)}, keys.PurposeKBPK, kbpk)
}

// SetZMK gives an issuer the key under which it sends working keys (ZMK), durably.
func (r *Ring) SetZMK(issuer txn.IssuerID, zmk keys.Key) error {
	return r.setShared(sharedID{recordZMK, issuer}, keys.PurposeZMK, zmk)
}

func (r *Ring) setShared(id sharedID, purpose keys.Purpose, k keys.Key) error {
	err := r.vault.Check(k, purpose) // before it is stored, as SetMaster
	if err == nil && k.Owner != id.owner() {
		err = keys.ErrPurpose
	}
	r.setting.Lock()
	defer r.setting.Unlock()
	r.logging.RLock()
	defer r.logging.RUnlock()
	if err == nil {
		err = r.append(append(append([]byte{id.record}, id.name[:]...), k.Sealed...))
	}
	if err != nil {
		return fmt.Errorf("set the %v of %s: %w", purpose, id.owner(), err)
	}
	r.mu.Lock()
	r.shared[id] = k
	r.mu.Unlock()
	if id.record == recordZoneMAC {
		r.turnMACs(id.name, nil)
	}
	return nil
}

// ErrNoKey says that the ring has no such key.
var ErrNoKey = errors.New("there is no such key")

// Blocks is the key block protection key of that name.
func (r *Ring) Blocks(name string) (keys.Key, error) {
	return r.findShared(sharedID{recordBlocks, txn.MakeIssuerID(name)}, "key block protection key "+name)
}

// ZMK is the key under which an issuer sends working keys.
func (r *Ring) ZMK(issuer txn.IssuerID) (keys.Key, error) {
	return r.findShared(sharedID{recordZMK, issuer}, "ZMK of issuer "+issuer.String())
}

func (r *Ring) findShared(id sharedID, what string) (keys.Key, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.shared[id]
	if !ok {
		return k, fmt.Errorf("%s: %w", what, ErrNoKey)
	}
	return k, nil
}

// Master is a terminal's master key.
func (r *Ring) Master(id txn.TerminalID) (keys.Key, error) {
	t := r.terminal(id, false)
	if t != nil {
		t.mu.RLock()
		defer t.mu.RUnlock()
	}
	if t == nil || t.master == nil {
		return keys.Key{}, fmt.Errorf("master key of terminal %s: %w", id, ErrNoKey)
	}
	return keys.Key{Owner: keys.OfTerminal(id), Sealed: t.master}, nil
}

// ZonePIN is an issuer's PIN key.
func (r *Ring) ZonePIN(issuer txn.IssuerID) (keys.Key, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	z, ok := r.zones[issuer]
	if !ok {
		return keys.Key{}, fmt.Errorf("PIN key of issuer %s: %w", issuer, ErrNoKey)
	}
	return keys.Key{Owner: keys.OfIssuer(issuer), Sealed: z.sealed}, nil
}

// Missing is whose key a terminal lacks that must prove itself: its own, the master key
// under which it signs on, or the base key that its serial numbers come from. It is empty
// if there is that key, or none is needed.
func (r *Ring) Missing(t *txn.Terminal) keys.Owner {
	switch {
	case t.Keys.DUKPT():
		id := sharedID{record: recordBaseKey}
		t.Device.BaseKey(id.name[:0], t.Keys)
		r.mu.RLock()
		defer r.mu.RUnlock()
		if info, err := r.shared[id].Sealed.Info(); err != nil || info.Kind != baseKinds[t.Keys] {
			return id.owner()
		}
	case t.MAC != txn.MACNone:
		if _, err := r.Master(t.ID); err != nil {
			return keys.OfTerminal(t.ID)
		}
	}
	return ""
}

// Entry is one key in the ring, without the key.
type Entry struct {
	Owner keys.Owner
	keys.Info
	Day txn.Date // of the sign-on that gave a working key, 0 for all others
}

// List is every key in the ring, by owner and purpose.
func (r *Ring) List() ([]Entry, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Entry
	var errs []error
	add := func(owner keys.Owner, s keys.Sealed, day txn.Date) {
		if len(s) == 0 {
			return
		}
		info, err := s.Info()
		if err != nil {
			errs = append(errs, fmt.Errorf("key of %s: %w", owner, err))
		}
		all = append(all, Entry{owner, info, day})
	}
	for id, t := range r.terminals {
		t.mu.RLock()
		owner := keys.OfTerminal(id)
		add(owner, t.master, 0)
		if k := t.stored; k != nil {
			add(owner, k.TPK, t.day)
			add(owner, k.TAK, t.day)
			add(owner, k.TDK, t.day)
		}
		t.mu.RUnlock()
		t.serial.mu.RLock()
		add(owner, t.serial.sealed, 0)
		t.serial.mu.RUnlock()
	}
	for id, z := range r.zones {
		add(keys.OfIssuer(id), z.sealed, 0)
	}
	for id, k := range r.shared {
		add(id.owner(), k.Sealed, 0)
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Purpose, b.Purpose))
	})
	return all, errors.Join(errs...)
}
