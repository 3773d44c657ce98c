package terminal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

var initials = []InitialKey{
	{txn.KeysDUKPTTDES, []byte("\x6A\xC2\x92\xFA\xA1\x31\x5B\x4D\x85\x8A\xB3\xA3\xD7\xD5\x93\x3A"), txn.DeviceID([]byte("\xFF\xFF\x98\x76\x54\x32\x10\xE0"))},
	{txn.KeysDUKPTAES128, bytes.Repeat([]byte{0x12, 0x73}, 8), txn.DeviceID([]byte("\x12\x34\x56\x78\x90\x12\x34\x56"))},
	{txn.KeysDUKPTAES256, bytes.Repeat([]byte{0xCE, 0x9C}, 16), txn.DeviceID([]byte("\x12\x34\x56\x78\x90\x12\x34\x56"))},
}

// hostOf derives what a host derives from a message's serial number.
func hostOf(t *testing.T, i InitialKey, ksn []byte) *algo.DUKPTKeys {
	t.Helper()
	serial := make([]byte, hex.DecodedLen(len(ksn)))
	if _, err := hex.Decode(serial, ksn); err != nil {
		t.Error(err)
		return &algo.DUKPTKeys{}
	}
	k, err := algo.DUKPTDerive(dukptSchemes[i.Scheme].kind, i.Key, serial)
	if err != nil {
		t.Error(err)
		return &algo.DUKPTKeys{}
	}
	return k
}

// No number is used twice, whenever the terminal is killed, and each is in the
// store before a byte under its keys is seen; MAC and PIN are under the keys of
// the number that the message names.
func TestDUKPTNumbersAreUsedOnce(t *testing.T) {
	for _, initial := range initials {
		t.Run(initial.Scheme.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store") // before the peer: it reads the store until it has ended
			p := terminaltest.Start(t, "iso87")
			s := dukptSchemes[initial.Scheme]
			seen := map[string]bool{}
			messages, pins := 0, 0
			p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
				if len(req.MAC) == 0 {
					return answer
				}
				if seen[string(req.KSN)] {
					t.Errorf("serial number %s came twice", req.KSN)
				}
				seen[string(req.KSN)] = true
				derived := hostOf(t, initial, req.KSN)
				side := dukpt{InitialKey: initial}
				key, err := side.macKey(derived.MACRequest)
				if err != nil || s.mac.Verify(key, req.Signed, req.MAC) != nil {
					t.Errorf("%s: the MAC is not that of its serial number: %v", req.Kind, err)
				}
				if len(req.PINBlock) > 0 {
					pins++
					pinKey, _ := algo.NewLocal(s.kind, derived.PIN)
					if pin, err := algo.DecipherPIN(nil, pinKey, s.pin, req.PINBlock, req.PAN.Append(nil)); err != nil || string(pin) != "246813" {
						t.Errorf("PIN %q, %v", pin, err)
					}
				}
				messages++
				if !noted(t, path, &side, req.KSN) {
					t.Errorf("%s arrived, and the store does not have its number", req.KSN)
				}
				return nil // killed before an answer
			})
			card := testCard(t)
			card.PIN = txn.Secret("246813")
			for range 12 {
				store, err := OpenStore(path)
				if err != nil {
					t.Fatal(err)
				}
				profile := testProfile
				profile.Initial = initial
				c, err := Dial(t.Context(), p.Addr, "iso87", profile, Options{Store: store})
				if err != nil {
					t.Fatal(err)
				}
				impatient(c, p)
				if _, err := c.Sale(t.Context(), card, txn.Amount{Minor: 100}); err == nil {
					t.Error("an answer came")
				}
				c.Close()
				store.Close()
			}
			p.Mu.Lock()
			defer p.Mu.Unlock()
			if messages < 12 || pins == 0 {
				t.Errorf("%d messages, %d PINs", messages, pins)
			}
			stored, _ := os.ReadFile(path)
			if text := strings.ToUpper(string(stored)); strings.Contains(text, "246813") || strings.Contains(text, strings.ToUpper(hex.EncodeToString(initial.Key))) {
				t.Error("the store holds a secret")
			}
		})
	}
}

// noted says that a store's file has the number of a message that was sent.
func noted(t *testing.T, path string, k *dukpt, ksn []byte) bool {
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	for line := range bytes.Lines(stored) {
		var f fact
		if json.Unmarshal(line, &f) == nil && f.Event == sent && strings.EqualFold(hex.EncodeToString(k.serial(f.Count)), string(ksn)) {
			return true
		}
	}
	return false
}

// Numbers that have no key are passed over (X9.24-1: more than ten one bits,
// X9.24-3: more than sixteen), and a terminal ends rather than begin again.
func TestDUKPTCounts(t *testing.T) {
	for _, row := range []struct {
		scheme     txn.KeyScheme
		last, next uint32
		err        error
	}{
		{txn.KeysDUKPTTDES, 0, 1, nil},
		{txn.KeysDUKPTTDES, 0x3FF, 0x400, nil},
		{txn.KeysDUKPTTDES, 0x7FE, 0x800, nil},
		{txn.KeysDUKPTTDES, 0x1FF800, 0, ErrKeysUsedUp},
		{txn.KeysDUKPTAES128, 0, 1, nil},
		{txn.KeysDUKPTAES128, 0xFFFF, 0x10000, nil},
		{txn.KeysDUKPTAES128, 0x1FFFE, 0x20000, nil},
		{txn.KeysDUKPTAES128, 0xFFFF0000, 0, ErrKeysUsedUp},
	} {
		k := dukpt{InitialKey: InitialKey{Scheme: row.scheme}, last: row.last}
		if got, err := k.next(); got != row.next || !errors.Is(err, row.err) {
			t.Errorf("%s after %X: %X %v, want %X", row.scheme, row.last, got, err, row.next)
		}
	}
}

func TestInitialKeysThatAreRefused(t *testing.T) {
	const key = "6AC292FAA1315B4D858AB3A3D7D5933A"
	for name, row := range map[string][4]string{
		"scheme":              {"master-session", key, "FFFF9876543210E0", "must be dukpt-tdes"},
		"number too short":    {"dukpt-tdes", key, "FFFF9876543210", "must be 16 hexadecimal digits"},
		"number that counts":  {"dukpt-tdes", key, "FFFF9876543210E1", "five zero bits"},
		"key of another size": {"dukpt-aes256", key, "1234567890123456", "must be 64 hexadecimal digits"},
		"key that is none":    {"dukpt-tdes", key[:31] + "x", "FFFF9876543210E0", "must be 32 hexadecimal digits"},
	} {
		if _, err := ParseInitialKey(row[0], row[1], row[2]); err == nil || !strings.Contains(err.Error(), row[3]) || strings.Contains(err.Error(), key[:8]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	profile := testProfile
	var err error
	if profile.Initial, err = ParseInitialKey("dukpt-tdes", key, "ffff9876543210e0"); err != nil {
		t.Fatal(err)
	}
	file, err := OpenStore(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	both := profile
	both.TMK = unhex(t, publishedTMK)
	for name, c := range map[string]struct {
		dialect string
		profile Profile
		store   *Store
		want    string
	}{
		"no store":         {"iso87", profile, nil, "needs a store in a file"},
		"store in memory":  {"iso87", profile, NewStore(), "needs a store in a file"},
		"CUP":              {"cup-pos", profile, file, "dialect cup-pos has no place"},
		"a master key too": {"cup-pos", both, file, "not both"},
	} {
		if _, err := Dial(t.Context(), "127.0.0.1:1", c.dialect, c.profile, Options{Store: c.store}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
