package keyring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// zoneMACGrace is for how long what an issuer signed with a key is taken after it sent
// another: its answers may be under way, and it may not have learnt yet that we have it.
const zoneMACGrace = 10 * time.Minute

// replacedMAC is a MAC key that an issuer replaced over its link, until it is of no use.
type replacedMAC struct {
	key   keys.Key
	until time.Time
	open  *keys.ZoneMAC // nil until used
}

func (m *replacedMAC) close() {
	if m != nil && m.open != nil {
		m.open.Close()
	}
}

// SetZoneMAC gives an issuer its MAC key (ZAK), durably. The one before ends.
func (r *Ring) SetZoneMAC(issuer txn.IssuerID, zak keys.Key) error {
	return r.setShared(sharedID{recordZoneMAC, issuer}, keys.PurposeZAK, zak)
}

// turnMACs has an issuer's open MAC key become before, or end if that is nil. The one that was
// before until now ends.
func (r *Ring) turnMACs(issuer txn.IssuerID, before *replacedMAC) {
	if before == nil {
		before = &replacedMAC{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before.open = r.macs[issuer]
	delete(r.macs, issuer)
	r.replacedMACs[issuer].close()
	delete(r.replacedMACs, issuer)
	if before.until.IsZero() {
		before.close()
		return
	}
	r.replacedMACs[issuer] = before
}

// replaceZoneMAC gives an issuer the MAC key that it sent, durably; what it signed with the
// one before is taken for a while.
func (r *Ring) replaceZoneMAC(issuer txn.IssuerID, zak keys.Key) error {
	r.mu.RLock()
	old, ok := r.shared[sharedID{recordZoneMAC, issuer}]
	r.mu.RUnlock()
	if !ok {
		return r.SetZoneMAC(issuer, zak)
	}
	err := r.vault.Check(zak, keys.PurposeZAK)
	r.setting.Lock()
	defer r.setting.Unlock()
	r.logging.RLock()
	defer r.logging.RUnlock()
	before := &replacedMAC{key: old, until: time.Now().Add(zoneMACGrace)}
	if err == nil {
		err = r.append(zoneMACsRecord(issuer, zak, before))
	}
	if err != nil {
		return fmt.Errorf("set the ZAK that %s sent: %w", zak.Owner, err)
	}
	r.mu.Lock()
	r.shared[sharedID{recordZoneMAC, issuer}] = zak
	r.mu.Unlock()
	r.turnMACs(issuer, before)
	return nil
}

// zoneMACsRecord is the record of an issuer's MAC key, and of the one before while that is
// taken:
//
//	kind | issuer 12 | until 8, in seconds | size 1 | the key before | the key
func zoneMACsRecord(issuer txn.IssuerID, zak keys.Key, before *replacedMAC) []byte {
	if before == nil || time.Now().After(before.until) {
		return append(append([]byte{recordZoneMAC}, issuer[:]...), zak.Sealed...)
	}
	b := append([]byte{recordZoneMACs}, issuer[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(before.until.Unix()))
	b = append(append(b, byte(len(before.key.Sealed))), before.key.Sealed...)
	return append(b, zak.Sealed...)
}

// restoreZoneMACs reads such a record's body.
func (r *Ring) restoreZoneMACs(issuer txn.IssuerID, b []byte) error {
	const head = 8 + 1
	if len(b) < head || len(b) < head+int(b[8]) {
		return errors.New("an issuer's MAC keys are cut off")
	}
	at := head + int(b[8])
	key := func(s []byte) keys.Key {
		return keys.Key{Owner: keys.OfIssuer(issuer), Sealed: append([]byte(nil), s...)}
	}
	r.shared[sharedID{recordZoneMAC, issuer}] = key(b[at:])
	r.replacedMACs[issuer] = &replacedMAC{key: key(b[head:at]), until: time.Unix(int64(binary.BigEndian.Uint64(b)), 0)}
	return nil
}

// ZoneMAC is the MAC of data under an issuer's MAC key.
func (r *Ring) ZoneMAC(issuer txn.IssuerID, by algo.MACAlgorithm, data []byte) ([algo.MACSize]byte, error) {
	r.mu.RLock()
	open := r.macs[issuer]
	r.mu.RUnlock()
	if open == nil {
		var err error
		if open, err = r.openZoneMAC(issuer); err != nil {
			return [algo.MACSize]byte{}, fmt.Errorf("MAC key of issuer %s: %w", issuer, err)
		}
	}
	mac, err := open.MAC(by, data)
	if errors.Is(err, keys.ErrClosed) && r.replaced(issuer, open) {
		return r.ZoneMAC(issuer, by, data)
	}
	return mac, err
}

// ZoneMACBefore is the MAC of data under the key before an issuer's MAC key; there is none, ErrNoKey,
// unless the issuer has replaced it lately.
func (r *Ring) ZoneMACBefore(issuer txn.IssuerID, by algo.MACAlgorithm, data []byte) (mac [algo.MACSize]byte, err error) {
	r.mu.RLock()
	before := r.replacedMACs[issuer]
	if before == nil || time.Now().After(before.until) {
		r.mu.RUnlock()
		return mac, ErrNoKey
	}
	open := before.open
	r.mu.RUnlock()
	if open == nil { // after a restart
		r.mu.Lock()
		if before.open == nil {
			before.open, err = r.vault.OpenZoneMAC(before.key)
		}
		open = before.open
		r.mu.Unlock()
		if err != nil {
			return mac, err
		}
	}
	return open.MAC(by, data)
}

// replaced says that an issuer's MAC key is another one now.
func (r *Ring) replaced(issuer txn.IssuerID, open *keys.ZoneMAC) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.macs[issuer] != open
}

func (r *Ring) openZoneMAC(issuer txn.IssuerID) (*keys.ZoneMAC, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if open := r.macs[issuer]; open != nil {
		return open, nil
	}
	k, ok := r.shared[sharedID{recordZoneMAC, issuer}]
	if !ok {
		return nil, ErrNoKey
	}
	open, err := r.vault.OpenZoneMAC(k)
	if err == nil {
		r.macs[issuer] = open
	}
	return open, err
}

// SentKey is what is in force of what an issuer sends: its MAC key, or its PIN key.
func (r *Ring) SentKey(issuer txn.IssuerID, mac bool) (keys.Key, error) {
	if mac {
		return r.findShared(sharedID{recordZoneMAC, issuer}, "MAC key of issuer "+issuer.String())
	}
	return r.ZonePIN(issuer)
}

// Sent is a key that an issuer sent, in clear until it is closed.
type Sent struct {
	ring   *Ring
	issuer txn.IssuerID
	mac    bool
	key    *keys.Received
}

// Receive deciphers a key that an issuer sent, and holds it against its check value if it
// came with one. It changes nothing.
func (r *Ring) Receive(issuer txn.IssuerID, k *txn.NewKey) (*Sent, error) {
	zmk, err := r.ZMK(issuer)
	if err != nil {
		return nil, err
	}
	purpose, kind := keys.PurposeZPK, algo.Kind(0)
	switch size := len(k.Cryptogram); {
	case k.SM4:
		kind = algo.SM4
	case size == algo.TDES2.KeySize():
		kind = algo.TDES2
	case size == algo.TDES3.KeySize() && !k.MAC:
		kind = algo.TDES3
	case size == algo.DES.KeySize() && k.MAC: // a PIN is worth more than 56 bits
		kind = algo.DES
	}
	if k.MAC {
		purpose = keys.PurposeZAK
	}
	key, err := r.vault.Receive(keys.OfIssuer(issuer), purpose, kind, zmk, k.Cryptogram)
	if err != nil {
		return nil, err
	}
	if len(k.CheckValue) > 0 {
		if err := key.Check(k.CheckValue); err != nil {
			key.Close()
			return nil, fmt.Errorf("%v of issuer %s: %w", purpose, issuer, err)
		}
	}
	return &Sent{r, issuer, k.MAC, key}, nil
}

// MAC is the MAC of data under the key, by the algorithm that networks prove keys with.
func (s *Sent) MAC(data []byte) ([algo.MACSize]byte, error) { return s.key.MAC(algo.MACX99, data) }

// Set puts the key into force, durably. One that is in force already, for its message is a
// repeat, changes nothing.
func (s *Sent) Set() (sealed keys.Key, changed bool, err error) {
	s.ring.taking.Lock()
	defer s.ring.taking.Unlock()
	if now, err := s.ring.SentKey(s.issuer, s.mac); err == nil {
		if same, err := s.key.Is(now); same || err != nil {
			return now, false, err
		}
	}
	if sealed, err = s.key.Seal(); err != nil {
		return sealed, false, err
	}
	if s.mac {
		err = s.ring.replaceZoneMAC(s.issuer, sealed)
	} else {
		err = s.ring.SetZone(s.issuer, sealed)
	}
	return sealed, err == nil, err
}

// Close overwrites the key.
func (s *Sent) Close() { s.key.Close() }
