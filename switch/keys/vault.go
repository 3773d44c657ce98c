package keys

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Purpose is the one thing a key may be used for. A sealed key carries it, and
// the vault refuses it any other use.
type Purpose uint8

// The purposes. The comment is the TR-31 usage of a key that is exported.
const (
	PurposeTMK    Purpose = iota + 1 // K0: enciphers a terminal's working keys
	PurposeTPK                       // P0: a terminal's PIN blocks
	PurposeTAK                       // M0: a terminal's MACs
	PurposeTDK                       // D0: a terminal's track data
	PurposeZMK                       // K0: enciphers the working keys that an issuer sends
	PurposeZPK                       // P0: PIN blocks to an issuer
	PurposeZAK                       // M0: MACs to and from an issuer
	PurposeKBPK                      // K1: protects TR-31 key blocks
	PurposeBDK                       // B0: terminals' DUKPT keys come from it
	PurposeSerial                    // D0: enciphers a terminal's serial number
)

var purposes = [...]struct {
	name string
	// TR-31: the usage and mode of an exported key and the usages accepted.
	usage  string
	mode   byte
	accept []string
}{
	{name: "invalid"},
	{"TMK", "K0", 'B', []string{"K0"}}, {"TPK", "P0", 'B', []string{"P0"}},
	{"TAK", "M0", 'C', []string{"M0", "M1", "M3", "M5", "M6"}}, {"TDK", "D0", 'B', []string{"D0"}},
	{"ZMK", "K0", 'B', []string{"K0"}}, {"ZPK", "P0", 'B', []string{"P0"}},
	{"ZAK", "M0", 'C', []string{"M0", "M1", "M3", "M5", "M6"}}, {"KBPK", "K1", 'B', []string{"K1"}},
	{"BDK", "B0", 'X', []string{"B0"}}, {"serial key", "D0", 'B', []string{"D0"}},
}

// valid says that p is one of the purposes.
func (p Purpose) valid() bool { return p >= PurposeTMK && p <= PurposeSerial }

func (p Purpose) String() string {
	if !p.valid() {
		return purposes[0].name
	}
	return purposes[p].name
}

func (p Purpose) isMAC() bool { return p == PurposeTAK || p == PurposeZAK }

// Owner is whom a key belongs to. A sealed key opens for its owner only, so a
// key moved to another terminal's row is refused.
type Owner string

// OfTerminal is a terminal's name as an owner.
func OfTerminal(id txn.TerminalID) Owner { return Owner("terminal " + id.String()) }

// OfIssuer is an issuer's name as an owner.
func OfIssuer(id txn.IssuerID) Owner { return Owner("issuer " + id.String()) }

// OfBaseKey is the owner of the base derivation key of that name.
func OfBaseKey(name string) Owner { return Owner("base key " + name) }

// OfBlocks is the owner of the key block protection key of that name.
func OfBlocks(name string) Owner { return Owner("key blocks " + name) }

const ownerSizeMax = 64

// Sealed is a key as it is stored: enciphered under the vault's local master
// key, together with its purpose, kind and check value, which are readable.
//
//	0  format, 1
//	1  version of the local master key
//	2  purpose
//	3  kind
//	4  key check value, 4 bytes
//	8  the enciphered key, as its vault makes it
type Sealed []byte

const (
	sealedFormat   = 1
	sealedHeadSize = 8
	sealedSizeMax  = 255
)

// Info is what a sealed key tells without being opened.
type Info struct {
	Purpose Purpose
	Kind    algo.Kind
	KCV     algo.KCV
	LMK     byte // version of the local master key it is sealed under
}

func (i Info) String() string { return fmt.Sprintf("%v %v %v", i.Purpose, i.Kind, i.KCV) }

// Info reads the head, whose truth is proved when the key is opened.
func (s Sealed) Info() (Info, error) {
	if len(s) <= sealedHeadSize || len(s) > sealedSizeMax || s[0] != sealedFormat {
		return Info{}, fmt.Errorf("%w: it is %d bytes or not of format %d", ErrSealedKey, len(s), sealedFormat)
	}
	i := Info{Purpose: Purpose(s[2]), Kind: algo.Kind(s[3]), KCV: algo.KCV(s[4:8]), LMK: s[1]}
	if !i.Purpose.valid() || !i.Kind.Valid() {
		return Info{}, fmt.Errorf("%w: its purpose or kind is unknown", ErrSealedKey)
	}
	return i, nil
}

// String is the key's purpose, kind and check value.
func (s Sealed) String() string {
	i, err := s.Info()
	if err != nil {
		return "[sealed key]"
	}
	return "[" + i.String() + "]"
}

// GoString is String.
func (s Sealed) GoString() string { return s.String() }

// LogValue is String.
func (s Sealed) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Key is a sealed key and its owner.
type Key struct {
	Owner  Owner
	Sealed Sealed
}

// Errors of the vault. ErrMACWrong and ErrPINBlock speak of a message; all
// others, of us.
var (
	// ErrDown says that the vault did not answer in time or lost its module.
	// The call had no effect; nothing falls back to another vault.
	ErrDown = errors.New("key vault does not answer")
	// ErrSealedKey says that a stored key does not open: damaged, another
	// owner's, or sealed under a local master key this vault does not have.
	ErrSealedKey = errors.New("sealed key does not open")
	// ErrPurpose says that a key was offered for a use that is not its own.
	ErrPurpose = errors.New("key is not for this use")
	// ErrCheckValue says that a key check value is not its key's.
	ErrCheckValue = errors.New("key check value is wrong")
	// ErrUnsupported says that this kind of vault cannot do it.
	ErrUnsupported = errors.New("this kind of key vault cannot do that")
	// ErrTrack says that a track is too short to have an enciphered block.
	ErrTrack = errors.New("track has no enciphered block")
	// ErrClosed says that the keys were closed.
	ErrClosed = errors.New("keys are closed")

	ErrMACWrong = algo.ErrMACWrong
	ErrPINBlock = algo.ErrPINBlock
)

// Vault makes keys, seals them and uses them. It keeps none: its callers store
// Sealed keys and keep what OpenTerminal and OpenZone return for as long as
// they use them. It is safe for concurrent use.
//
// Every call returns within the vault's time limit (software: at once). Nothing
// a Vault returns or reports holds a clear key or PIN.
type Vault struct{ engine engine }

// engine is where clear keys live: OpenSoft's is this process's memory,
// OpenPKCS11's a hardware security module. head is what the sealed key is
// bound to, its first eight bytes and its owner; left asks for the key's left
// half as a DES key of its own, which X9.19 needs.
type engine interface {
	// version is that of the local master key that seals.
	version() byte
	// random fills b.
	random(b []byte) error
	// generate makes a key that never leaves the engine, and seals it under
	// the head that its check value gives.
	generate(kind algo.Kind, head func(algo.KCV) []byte) (body []byte, err error)
	// seal enciphers a key that is clear, for now, in the caller's memory.
	seal(head []byte, kind algo.Kind, left bool, clear []byte) (body []byte, err error)
	// open makes a sealed key usable.
	open(head []byte, kind algo.Kind, left bool, body []byte) (whole, leftHalf held, err error)
	// reveal gives a sealed key in clear, for DUKPT and TR-31 export. The
	// caller clears it.
	reveal(head []byte, kind algo.Kind, body []byte) ([]byte, error)
	close() error
}

// held is a key in use.
type held interface {
	algo.Cipher
	Close()
}

// String says nothing of what is inside.
func (v *Vault) String() string { return "[key vault]" }

// GoString is String.
func (v *Vault) GoString() string { return v.String() }

// Close ends the vault. Keys opened from it are not usable afterwards.
func (v *Vault) Close() error { return v.engine.close() }

// Generate makes a random key.
func (v *Vault) Generate(owner Owner, purpose Purpose, kind algo.Kind) (Key, error) {
	if err := checkSpec(owner, purpose, kind); err != nil {
		return Key{}, fmt.Errorf("generate a key: %w", err)
	}
	if purpose.isMAC() { // sealed with its left half, which needs the clear key
		key, clearKey, _, err := v.generateClear(owner, purpose, kind)
		clear(clearKey)
		return key, err
	}
	var sealed Sealed
	body, err := v.engine.generate(kind, func(kcv algo.KCV) []byte {
		sealed = v.head(purpose, kind, kcv)
		return bind(sealed, owner)
	})
	if err != nil {
		return Key{}, fmt.Errorf("generate a %v: %w", purpose, err)
	}
	return Key{owner, append(sealed, body...)}, nil
}

// Component is one custodian's part of a key, with its check value (2 to 4
// bytes). A key is the XOR of its components.
type Component struct{ Part, KCV []byte }

// String hides the component.
func (c Component) String() string { return "[key component]" }

// GoString is String.
func (c Component) GoString() string { return c.String() }

// LogValue is String.
func (c Component) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String.
func (c Component) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Combine makes a key from two or three components. The caller shows the
// result's check value (Info) to the custodians, and clears its copies.
func (v *Vault) Combine(owner Owner, purpose Purpose, kind algo.Kind, parts ...Component) (Key, error) {
	if err := checkSpec(owner, purpose, kind); err != nil {
		return Key{}, fmt.Errorf("combine components: %w", err)
	}
	if len(parts) < 2 || len(parts) > 3 {
		return Key{}, fmt.Errorf("combine components: %d given, must be 2 or 3", len(parts))
	}
	sum := make([]byte, kind.KeySize())
	defer clear(sum)
	for i, p := range parts {
		if len(p.Part) != len(sum) {
			return Key{}, fmt.Errorf("combine components: component %d has %d bytes, a %v key %d", i+1, len(p.Part), kind, len(sum))
		}
		if err := checkValue(kind, p.Part, p.KCV); err != nil {
			return Key{}, fmt.Errorf("combine components: component %d: %w", i+1, err)
		}
		subtle.XORBytes(sum, sum, p.Part)
	}
	if subtle.ConstantTimeCompare(sum, make([]byte, len(sum))) == 1 {
		return Key{}, errors.New("combine components: they cancel out; the same component was given twice")
	}
	return v.seal(owner, purpose, kind, sum)
}

// Reseal seals a key under the newest local master key, after a rotation; one that is
// already comes back as it is. So do all of the PKCS#11 vault's, which has only one.
func (v *Vault) Reseal(k Key) (Key, error) {
	info, err := k.Sealed.Info()
	if err != nil {
		return Key{}, fmt.Errorf("reseal a key of %s: %w", k.Owner, err)
	}
	if info.LMK == v.engine.version() {
		return k, nil
	}
	clearKey, err := v.reveal(k, info)
	if err != nil {
		return Key{}, fmt.Errorf("reseal a %v of %s: %w", info.Purpose, k.Owner, err)
	}
	defer clear(clearKey)
	return v.seal(k.Owner, info.Purpose, info.Kind, clearKey)
}

// generateClear makes a key whose clear bytes the vault's own code needs once,
// to encipher them for a terminal. The caller clears them.
func (v *Vault) generateClear(owner Owner, purpose Purpose, kind algo.Kind) (Key, []byte, algo.KCV, error) {
	b := make([]byte, kind.KeySize())
	if err := v.engine.random(b); err != nil {
		return Key{}, nil, algo.KCV{}, fmt.Errorf("draw a %v: %w", purpose, err)
	}
	if kind.IsDES() {
		algo.OddParity(b)
	}
	key, err := v.seal(owner, purpose, kind, b)
	if err != nil {
		clear(b)
		return Key{}, nil, algo.KCV{}, err
	}
	return key, b, algo.KCV(key.Sealed[4:8]), nil
}

// seal seals a clear key.
func (v *Vault) seal(owner Owner, purpose Purpose, kind algo.Kind, clearKey []byte) (Key, error) {
	kcv, err := kcvOf(kind, clearKey)
	if err != nil {
		return Key{}, fmt.Errorf("seal a %v: %w", purpose, err)
	}
	sealed := v.head(purpose, kind, kcv)
	body, err := v.engine.seal(bind(sealed, owner), kind, hasLeft(purpose, kind), clearKey)
	if err != nil {
		return Key{}, fmt.Errorf("seal a %v: %w", purpose, err)
	}
	return Key{owner, append(sealed, body...)}, nil
}

// Check says whether a stored key opens and has the purpose.
func (v *Vault) Check(k Key, want Purpose) error {
	open, _, err := v.use(k, want)
	if err == nil {
		open.Close()
	}
	return err
}

// use opens a key that must have the purpose.
func (v *Vault) use(k Key, want Purpose) (held, Info, error) {
	whole, left, info, err := v.open(k, want)
	if left != nil {
		left.Close()
	}
	return whole, info, err
}

func (v *Vault) open(k Key, want Purpose) (whole, left held, info Info, err error) {
	if info, err = k.Sealed.Info(); err != nil {
		return nil, nil, info, fmt.Errorf("open a %v of %s: %w", want, k.Owner, err)
	}
	if info.Purpose != want {
		return nil, nil, info, fmt.Errorf("%w: key of %s is a %v, must be a %v", ErrPurpose, k.Owner, info.Purpose, want)
	}
	whole, left, err = v.engine.open(bind(k.Sealed[:sealedHeadSize], k.Owner), info.Kind,
		hasLeft(info.Purpose, info.Kind), k.Sealed[sealedHeadSize:])
	if err != nil {
		return nil, nil, info, fmt.Errorf("open a %v of %s: %w", want, k.Owner, err)
	}
	return whole, left, info, nil
}

func (v *Vault) reveal(k Key, info Info) ([]byte, error) {
	return v.engine.reveal(bind(k.Sealed[:sealedHeadSize], k.Owner), info.Kind, k.Sealed[sealedHeadSize:])
}

func (v *Vault) head(p Purpose, kind algo.Kind, kcv algo.KCV) Sealed {
	s := make(Sealed, 0, sealedSizeMax)
	return append(append(s, sealedFormat, v.engine.version(), byte(p), byte(kind)), kcv[:]...)
}

func bind(head []byte, owner Owner) []byte {
	return append(head[:sealedHeadSize:sealedHeadSize], owner...)
}

func hasLeft(p Purpose, kind algo.Kind) bool { return p.isMAC() && kind == algo.TDES2 }

func checkSpec(owner Owner, p Purpose, kind algo.Kind) error {
	switch {
	case !p.valid() || !kind.Valid():
		return fmt.Errorf("%w: purpose %d, kind %d", ErrPurpose, p, kind)
	case owner == "" || len(owner) > ownerSizeMax:
		return fmt.Errorf("owner must be 1 to %d bytes", ownerSizeMax)
	}
	return nil
}

func kcvOf(kind algo.Kind, key []byte) (algo.KCV, error) {
	l, err := algo.NewLocal(kind, key)
	if err != nil {
		return algo.KCV{}, err
	}
	defer l.Close()
	return algo.CheckValue(l)
}

// checkValue compares a key's check value, of which 2 to 4 bytes are given.
func checkValue(kind algo.Kind, key, want []byte) error {
	got, err := kcvOf(kind, key)
	if err != nil {
		return err
	}
	if len(want) < 2 || len(want) > len(got) || subtle.ConstantTimeCompare(got[:len(want)], want) != 1 {
		return ErrCheckValue
	}
	return nil
}

// strength orders kinds: a key is not sent under a weaker one.
func strength(k algo.Kind) int {
	switch k {
	case algo.SM4:
		return int(algo.AES128)
	default:
		return int(k)
	}
}
