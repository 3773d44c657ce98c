package fleet

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The sample day's card prefixes. What an issuer does with a card is said by the two
// digits behind its prefix, and by its script.
const (
	binEast = "999901"
	binWest = "999902"
)

// SampleIssuers are the card prefixes of the sample day's two issuers by name,
// whose scripts are testdata/issuers/NAME.yaml. The sample day's own cards are
// under 9999; the other prefixes let people try the usual test cards.
var SampleIssuers = map[string][]string{
	"east": {binEast, "62"},
	"west": {binWest, "3", "4", "5"},
}

// SampleWatched is the merchant of the sample day that is watched as high-risk.
const SampleWatched = "999290059700001"

// SamplePolicy is the sample day's policy, testdata/day/policy.yaml, with the cards
// that it blocks under the tokens of a switch's keys.
func SamplePolicy(text []byte, token func(*txn.PAN) txn.CardToken) ([]byte, error) {
	text = append(text[:len(text):len(text)], "\nblocked_cards:\n"...)
	for i := range blockedCards {
		pan, err := blockedCard(i)
		if err != nil {
			return nil, err
		}
		text = fmt.Appendf(text, "  - {card: \"%x\", why: %s}\n", token(&pan), blockedCards[i].why)
	}
	return text, nil
}

// The sample day's blocked cards, by why (R08).
var blockedCards = [...]struct {
	why    string
	prefix string
	reason txn.Reason
}{
	{"lost", binEast + "70", txn.CardIsLost},
	{"stolen", binEast + "71", txn.CardIsStolen},
	{"restricted", binEast + "72", txn.CardIsRestricted},
}

func blockedCard(i int) (txn.PAN, error) { return terminal.TestPAN(blockedCards[i].prefix, 1) }

// SamplePIN is every cardholder's of a played day.
var SamplePIN = txn.Secret("123456")

// sampleSM4 are the terminals of the sample registry that have SM4 keys.
var sampleSM4 = [...]string{"10000016", "10000094"}

// SampleKeySet is the key set that a terminal of the sample day asks for.
func SampleKeySet(terminal string) keys.KeySet {
	if slices.Contains(sampleSM4[:], terminal) {
		return keys.KeySetSM4
	}
	return keys.KeySetDouble
}

// SampleTMK is the master key of a terminal of the sample day. It is a test key
// and nobody's: derived from the terminal's number, so that none is stored.
func SampleTMK(terminal string) txn.Secret { return sampleKey("TMK of terminal " + terminal) }

// SampleInitial is the initial key of a DUKPT terminal of the sample registry,
// under TDES or AES-128, from the test base key of its maker.
func SampleInitial(t *txn.Terminal) (terminal.InitialKey, error) {
	kind := algo.AES128
	ksn := append(t.Device[:], 0, 0, 0, 1)
	if t.Keys == txn.KeysDUKPTTDES {
		kind, ksn = algo.TDES2, append(t.Device[:], 0, 1)
	}
	ik, err := algo.DUKPTInitialKey(kind, sampleBDK(t), ksn)
	return terminal.InitialKey{Scheme: t.Keys, Key: ik, Device: t.Device}, err
}

func sampleBDK(t *txn.Terminal) txn.Secret {
	return sampleKey("BDK of " + string(t.Device.BaseKey(nil, t.Keys)))
}

// sampleKey is 16 bytes, a key of TDES, AES-128 or SM4.
func sampleKey(of string) txn.Secret {
	sum := sha256.Sum256([]byte("acqswitch sample day, a test key: " + of))
	return sum[:16]
}

// KeyRing is where a switch keeps the keys of terminals and issuers.
type KeyRing interface {
	Master(txn.TerminalID) (keys.Key, error)
	SetMaster(txn.TerminalID, keys.Key) error
	SetBaseKey(name string, bdk keys.Key) error
	ZonePIN(txn.IssuerID) (keys.Key, error)
	SetZone(txn.IssuerID, keys.Key) error
}

// LoadSampleKeys gives every terminal of the sample registry that signs on its
// master key, and every sample issuer its PIN key, unless it has one: a day that
// was killed goes on with the keys it had. The base keys of DUKPT terminals are
// always the same ones.
func LoadSampleKeys(reg *registry.Snapshot, vault *keys.Vault, ring KeyRing) error {
	for t := range reg.Terminals() {
		if t.Keys.DUKPT() {
			if err := loadBase(t, vault, ring); err != nil {
				return fmt.Errorf("load the test base key of terminal %s: %w", t.ID, err)
			}
		}
		if t.Keys != txn.KeysMasterSession {
			continue
		}
		if _, err := ring.Master(t.ID); err == nil {
			continue
		}
		kind, tid := algo.TDES2, t.ID.String()
		if SampleKeySet(tid) == keys.KeySetSM4 {
			kind = algo.SM4
		}
		key, err := Seal(vault, keys.OfTerminal(t.ID), keys.PurposeTMK, kind, SampleTMK(tid))
		if err == nil {
			err = ring.SetMaster(t.ID, key)
		}
		if err != nil {
			return fmt.Errorf("load the test key of terminal %s: %w", tid, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(SampleIssuers)) {
		id := txn.MakeIssuerID(name)
		if _, err := ring.ZonePIN(id); err == nil {
			continue
		}
		key, err := Seal(vault, keys.OfIssuer(id), keys.PurposeZPK, algo.TDES2, sampleKey("ZPK of issuer "+name))
		if err == nil {
			err = ring.SetZone(id, key)
		}
		if err != nil {
			return fmt.Errorf("load the test key of issuer %s: %w", name, err)
		}
	}
	return nil
}

func loadBase(t *txn.Terminal, vault *keys.Vault, ring KeyRing) error {
	kind, name := algo.AES128, string(t.Device.BaseKey(nil, t.Keys))
	if t.Keys == txn.KeysDUKPTTDES {
		kind = algo.TDES2
	}
	key, err := Seal(vault, keys.OfBaseKey(name), keys.PurposeBDK, kind, sampleBDK(t))
	if err != nil {
		return err
	}
	return ring.SetBaseKey(name, key)
}

// Seal takes a clear test key into the vault as it takes any: in components, of
// which the second is zero.
func Seal(vault *keys.Vault, owner keys.Owner, purpose keys.Purpose, kind algo.Kind, clear txn.Secret) (keys.Key, error) {
	var parts [2]keys.Component
	for i, part := range [...][]byte{clear, make([]byte, len(clear))} {
		cipher, err := algo.NewLocal(kind, part)
		if err != nil {
			return keys.Key{}, err
		}
		kcv, err := algo.CheckValue(cipher)
		cipher.Close()
		if err != nil {
			return keys.Key{}, err
		}
		parts[i] = keys.Component{Part: part, KCV: kcv[:]}
	}
	return vault.Combine(owner, purpose, kind, parts[:]...)
}
