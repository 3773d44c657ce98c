package terminal

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// ErrSignOnFirst says that a terminal with a master key has no working keys:
// it did not sign on, or what it was given had a wrong check value. Nothing
// was sent.
var ErrSignOnFirst = errors.New("there are no working keys: sign on first")

// A switch's master key for the terminal can be missing, or be another one.
var (
	ErrNoMasterKey    = errors.New("the switch has no master key for this terminal")
	ErrOtherMasterKey = errors.New("the switch has another TMK for this terminal")
)

// tmkSize is the length of a TMK: TDES-2 or SM4, as the key set says.
const tmkSize = 16

// The MAC is the last field of what carries one: 64, or 128 behind fields above
// 64. noMAC holds its place until the frame is sent.
const (
	macField     = 64
	macFieldWide = 128
)

// macOf is the field with the MAC, or its place; 0 where there is none.
func macOf(m *iso.Message) int {
	for _, field := range [...]int{macFieldWide, macField} {
		if m.Has(field) {
			return field
		}
	}
	return 0
}

var noMAC [algo.MACSize]byte

// ParseTMK reads a test terminal's master key, 32 hexadecimal digits. Its error
// does not quote them.
func ParseTMK(s string) (txn.Secret, error) {
	tmk, err := hex.DecodeString(s)
	if err != nil || len(tmk) != tmkSize {
		return nil, fmt.Errorf("terminal master key must be %d hexadecimal digits", 2*tmkSize)
	}
	return tmk, nil
}

// keySet is what DE62 of a sign-on's answer holds: TPK, TAK and, of three keys,
// TDK; each enciphered under the TMK in ECB, with its check value behind it.
type keySet struct {
	number      keys.KeySet
	under, kind algo.Kind // of the TMK, and of the keys
	keys        int
}

var keySets = [...]keySet{
	{keys.KeySetSingle, algo.TDES2, algo.DES, 2},
	{keys.KeySetDouble, algo.TDES2, algo.TDES2, 2},
	{keys.KeySetDoubleTrack, algo.TDES2, algo.TDES2, 3},
	{keys.KeySetSM4, algo.SM4, algo.SM4, 3},
	{keys.KeySetSM4Alt, algo.SM4, algo.SM4, 3},
}

var keyNames = [...]string{"TPK", "TAK", "TDK"}

// slot is the bytes of one key with its check value.
func (s *keySet) slot() int { return s.kind.KeySize() + len(algo.KCV{}) }

func findKeySet(number keys.KeySet) (*keySet, error) {
	for i := range keySets {
		if keySets[i].number == number {
			return &keySets[i], nil
		}
	}
	return nil, fmt.Errorf("key set %03d is unknown; the sets are 001, 003, 004, 005 and 006", number)
}

// ParseKeySet reads a key set as DE60.3 says it, such as 003.
func ParseKeySet(s string) (keys.KeySet, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || len(s) != 3 {
		return 0, fmt.Errorf("key set %q must be 001, 003, 004, 005 or 006", s)
	}
	set, err := findKeySet(keys.KeySet(n))
	if err != nil {
		return 0, err
	}
	return set.number, nil
}

// Keys are a terminal's master key and the working keys of its last sign-on, or
// its initial DUKPT key. They are in memory only: a terminal that was switched
// off signs on again; how far a DUKPT terminal has counted is in its Store. Nil
// Keys are those of a terminal without MACs and PINs. Not safe for concurrent
// use.
type Keys struct {
	dukpt *dukpt // nil: keys are handed out at sign-on

	set *keySet
	mac algo.MACAlgorithm
	tmk *algo.Local
	// The working keys: zero before sign-on, the TDK also where the key set has none.
	tpk, tak, tdk algo.MACKey
	// doubted says that an answer's MAC was wrong: either it was forged, or the
	// switch has other keys.
	doubted bool
}

// NewKeys are the keys of a terminal of dialect d that has a TMK, clear, will
// ask for a key set at sign-on (DE60.3), and makes MACs by mac; 0 is UnionPay's
// algorithm. They are nil without a TMK. Test terminals' only.
func NewKeys(d *dialect.Terminal, number keys.KeySet, mac algo.MACAlgorithm, tmk txn.Secret) (*Keys, error) {
	set, err := findKeySet(number)
	switch {
	case err != nil:
		return nil, err
	case len(tmk) == 0:
		return nil, nil
	case len(tmk) != tmkSize:
		return nil, fmt.Errorf("terminal master key has %d bytes, must have %d", len(tmk), tmkSize)
	case !IsCUP(d):
		return nil, fmt.Errorf("terminal master key: dialect %s hands out no working keys; use cup-pos", d.Name())
	}
	master, err := algo.NewLocal(set.under, tmk)
	if err != nil {
		return nil, fmt.Errorf("terminal master key: %w", err)
	}
	return &Keys{set: set, mac: cmp.Or(mac, algo.MACCUPECB), tmk: master}, nil
}

// Ready says that there are working keys, or that none are needed.
func (k *Keys) Ready() bool { return k.ready() == nil }

func (k *Keys) ready() error {
	if k != nil && k.dukpt == nil && k.tak.Whole == nil {
		return ErrSignOnFirst
	}
	return nil
}

// Take replaces the working keys by those in DE62 of a sign-on's approval. If
// any of them is wrong there are none: the switch has forgotten the old ones.
func (k *Keys) Take(approval *Answer) error {
	if k == nil || k.dukpt != nil {
		return nil
	}
	return k.take(approval.raw(62))
}

func (k *Keys) take(de62 []byte) error {
	k.drop()
	if len(de62) == 0 {
		return ErrNoMasterKey
	}
	if want := k.set.keys * k.set.slot(); len(de62) != want {
		return &WrongAnswerError{62, fmt.Sprintf("has %d bytes of keys, key set %03d has %d", len(de62), k.set.number, want)}
	}
	for i, name := range keyNames[:k.set.keys] {
		key, err := k.open(name, de62[i*k.set.slot():][:k.set.slot()])
		if err != nil {
			k.drop()
			return err
		}
		switch name {
		case "TPK":
			k.tpk = key
		case "TAK":
			k.tak = key
		default:
			k.tdk = key
		}
	}
	k.doubted = false
	return nil
}

func (k *Keys) drop() {
	for _, key := range [...]*algo.MACKey{&k.tpk, &k.tak, &k.tdk} {
		closeMAC(*key)
		*key = algo.MACKey{}
	}
}

// ErrNoPINKey says that a terminal without a master key cannot send a PIN.
var ErrNoPINKey = errors.New("a PIN needs a terminal master key: it is sent enciphered or not at all")

// encipher is the card's PIN as it travels: ISO 9564 format 0 under a DES key,
// format 4 under an AES key, UnionPay's form under an SM4 key. Nil without a PIN.
func (k *Keys) encipher(c *Card) ([]byte, error) {
	switch {
	case len(c.PIN) == 0:
		return nil, nil
	case k == nil:
		return nil, ErrNoPINKey
	case k.dukpt == nil && k.tpk.Whole == nil:
		return nil, ErrSignOnFirst
	}
	var digits [txn.PANDigitsMax]byte
	defer clear(digits[:])
	pan := c.PAN.Append(digits[:0])
	var block []byte
	var err error
	switch {
	case k.dukpt != nil:
		block, err = k.dukpt.encipher(c.PIN, pan)
	case k.tpk.Whole.Kind() == algo.SM4:
		block, err = algo.EncipherPIN(nil, k.tpk.Whole, algo.PINCUPSM4, c.PIN, pan)
	default:
		block, err = algo.EncipherPIN(nil, k.tpk.Whole, algo.PINISO0, c.PIN, pan)
	}
	if err != nil {
		return nil, fmt.Errorf("encipher PIN: %w", err)
	}
	return block, nil
}

// open deciphers a key and holds it to its check value. A TAK with eight zeros
// in place of its second half is a DES key.
func (k *Keys) open(name string, slot []byte) (opened algo.MACKey, err error) {
	kind, size := k.set.kind, k.set.kind.KeySize()
	text, check := slot[:size], slot[size:]
	if half := algo.DES.KeySize(); name == "TAK" && kind == algo.TDES2 && bytes.Equal(text[half:], make([]byte, half)) {
		kind, text = algo.DES, text[:half]
	}
	key := make([]byte, len(text))
	defer clear(key)
	err = k.tmk.Decrypt(key, text)
	if err == nil {
		opened, err = algo.NewLocalMACKey(kind, key)
	}
	var kcv algo.KCV
	if err == nil {
		kcv, err = algo.CheckValue(opened.Whole)
	}
	if err != nil {
		return algo.MACKey{}, fmt.Errorf("decipher %s: %w", name, err)
	}
	if !bytes.Equal(kcv[:], check) {
		closeMAC(opened)
		return algo.MACKey{}, fmt.Errorf("%w: %w", &WrongAnswerError{62, "holds a " + name + " whose check value is wrong"}, ErrOtherMasterKey)
	}
	return opened, nil
}

// Append appends the frame of m, length prefix included, as a terminal with these
// keys sends it: the card's PIN and track enciphered, with a MAC where the kind has
// one. p's batch is set.
func (k *Keys) Append(dst []byte, m *Message, d *dialect.Terminal, p *Profile) ([]byte, error) {
	m.MAC = k != nil
	out, err := k.append(dst, m, d, p)
	if err == nil {
		err = k.coverTrack(d, out[len(dst):])
	}
	if err == nil {
		err = k.Seal(d, out[len(dst):])
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// append leaves track and MAC for when the frame is sent.
func (k *Keys) append(dst []byte, m *Message, d *dialect.Terminal, p *Profile) ([]byte, error) {
	var err error
	if m.PINBlock, err = k.encipher(&m.Card); err != nil {
		return dst, fmt.Errorf("%s of terminal %s: %w", m.Kind, p.Terminal, err)
	}
	m.placeKSN = k.placeKSN()
	return m.Append(dst, d, p)
}

// PutPIN enciphers a PIN into a frame, length prefix included, that has a place
// for one (DE52; DE59 A1 under an SM4 key; DE63 PB under an AES key), for the
// card in the frame. It can be put again with later keys, before the frame is
// sealed.
func (k *Keys) PutPIN(d *dialect.Terminal, frame []byte, pin txn.Secret) error {
	var m iso.Message
	if err := d.Codec().Parse(&m, frame[d.PrefixSize():]); err != nil {
		return fmt.Errorf("encipher PIN: %w", err)
	}
	place := m.Value(52)
	if found, ok := findElement(m.Value(59), "A1"); ok {
		place = found
	}
	if found, ok := findElement(m.Value(63), elementPINBlock); ok && !IsCUP(d) {
		place = found
	}
	if len(place) == 0 {
		return nil
	}
	var digits [40]byte
	defer clear(digits[:])
	pan, err := txn.ParsePAN(appendCard(digits[:0], &m))
	if err != nil {
		return fmt.Errorf("encipher PIN: %w", err)
	}
	block, err := k.encipher(&Card{PAN: pan, PIN: pin})
	if err != nil {
		return err
	}
	if err := fillPlace(place, block); err != nil {
		return fmt.Errorf("encipher PIN: %w", err)
	}
	return nil
}

// coverTrack enciphers track 2 of a frame, length prefix included, where the key
// set has a key for it: the last block before the packed track's last byte, and
// DE53 says so in its third digit (cup-pos B2). A track that has no whole block
// travels in clear, as all do without such a key.
func (k *Keys) coverTrack(d *dialect.Terminal, frame []byte) error {
	if k == nil || k.tdk.Whole == nil {
		return nil
	}
	var m iso.Message
	if err := d.Codec().Parse(&m, frame[d.PrefixSize():]); err != nil {
		return fmt.Errorf("encipher track: %w", err)
	}
	track, security := m.Value(35), m.Value(53)
	start := len(track) - 1 - k.tdk.Whole.Kind().BlockSize()
	if start < 0 || len(security) < 2 {
		return nil
	}
	if err := k.tdk.Whole.Encrypt(track[start:len(track)-1], track[start:len(track)-1]); err != nil {
		return fmt.Errorf("encipher track: %w", err)
	}
	security[1] = security[1]&0x0f | 0x10
	return nil
}

// Seal makes the MAC of a frame, length prefix included, that has a place for
// one; under DUKPT it takes the next number, which must be durable before a byte
// of the frame leaves. It can be sealed again with later keys.
func (k *Keys) Seal(d *dialect.Terminal, frame []byte) error {
	if k == nil {
		return nil
	}
	var m iso.Message
	if err := d.Codec().Parse(&m, frame[d.PrefixSize():]); err != nil {
		return fmt.Errorf("make a MAC: %w", err)
	}
	return k.SealMessage(&m)
}

// SealMessage is Seal of a frame that was taken apart, where it lies.
func (k *Keys) SealMessage(m *iso.Message) error {
	field := macOf(m)
	if k == nil || field == 0 {
		return nil
	}
	if err := k.ready(); err != nil {
		return err
	}
	if k.dukpt != nil {
		if err := k.dukpt.seal(m, field); err != nil {
			return fmt.Errorf("make a MAC: %w", err)
		}
		return nil
	}
	mac, err := k.mac.MAC(k.tak, m.Before(field))
	if err != nil {
		return fmt.Errorf("make a MAC: %w", err)
	}
	copy(m.Value(field), mac[:])
	return nil
}

// Verify holds an approval of what was asked with a MAC to its own MAC. A
// refusal need have none and changes nothing.
func (k *Keys) Verify(asked, got *iso.Message) error {
	if k == nil || macOf(asked) == 0 || string(got.Value(39)) != "00" {
		return nil
	}
	if err := k.ready(); err != nil {
		return err
	}
	why, field := "is missing from an approval", macOf(got)
	if field != 0 {
		algorithm, key := k.mac, k.tak
		if k.dukpt != nil {
			algorithm, key = dukptSchemes[k.dukpt.Scheme].mac, k.dukpt.response
		}
		err := algorithm.Verify(key, got.Before(field), got.AppendText(nil, field))
		if err == nil {
			return nil
		}
		why = "of an approval: " + err.Error()
	}
	k.doubted = k.dukpt == nil // else the next message has other keys anyway
	return &WrongAnswerError{cmp.Or(field, macOf(asked)), why}
}

// isMACWrong says that an answer was not believed for its MAC.
func isMACWrong(err error) bool {
	var wrong *WrongAnswerError
	return errors.As(err, &wrong) && (wrong.Field == macField || wrong.Field == macFieldWide)
}

// count is the number of the last message sealed, 0 where none are counted.
func (k *Keys) count() uint32 {
	if k == nil || k.dukpt == nil {
		return 0
	}
	return k.dukpt.last
}

// placeKSN is where a message's key serial number will be, in DE63; empty where
// there is none.
func (k *Keys) placeKSN() string {
	if k == nil || k.dukpt == nil {
		return ""
	}
	return k.dukpt.placeKSN()
}

// WantsSignOn says that a code tells the terminal to sign on and try again: 77
// says so, 99 and A0 that its keys are not the switch's. The request itself was
// not looked at.
func WantsSignOn(code string) bool { return code == "77" || code == "99" || code == "A0" }
