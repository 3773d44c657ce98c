package keys

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestSealOpensOnlyForItsTransactionAndKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "cards")
	c, err := OpenCards(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("key file mode %v", fi.Mode())
	}
	pan, _ := txn.ParsePAN("6222021234567890128")
	var sealed [txn.SealedPANSize]byte
	c.Seal(&sealed, &pan, 42)
	again, err := OpenCards(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(&sealed, 42); err != nil || got != pan {
		t.Fatalf("reopened: %v %v", got, err)
	}
	if again.Token(&pan) != c.Token(&pan) {
		t.Error("token changed across a reopen")
	}
	if _, err := c.Open(&sealed, 43); !errors.Is(err, ErrSealBroken) {
		t.Errorf("opened for another transaction: %v", err)
	}
	other, _ := OpenCards(filepath.Join(t.TempDir(), "cards"))
	if _, err := other.Open(&sealed, 42); !errors.Is(err, ErrSealBroken) {
		t.Errorf("opened under another key: %v", err)
	}
	if other.Token(&pan) == c.Token(&pan) {
		t.Error("two index keys give one token")
	}
	if n := testing.AllocsPerRun(500, func() { c.Token(&pan); c.Seal(&sealed, &pan, 42) }); n != 0 && !raceEnabled {
		t.Errorf("a token and a seal take %v allocations", n)
	}
	for i := range sealed {
		bad := sealed
		bad[i] ^= 1
		if _, err := c.Open(&bad, 42); !errors.Is(err, ErrSealBroken) {
			t.Fatalf("opened with byte %d flipped: %v", i, err)
		}
	}
}

func TestKeyFileRefusals(t *testing.T) {
	key := strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"":                                  "needs one index key",
		"index " + key + "\n":               "needs one index key",
		"index 12\n":                        "line 1: a key must be 64 hex digits",
		"index " + key + "\nindex " + key:   "line 2: a second index key",
		"seal 0 " + key:                     "a version must be 1 to 255",
		"seal 1 " + key + "\nseal 1 " + key: "line 2: a version appears twice",
		"index " + key + "\nseal 1 " + key:  "also a seal key",
		"# c\nlock " + key:                  `line 2: want "index HEX"`,
	} {
		_, err := parseCards(text, "f")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), key) {
			t.Errorf("error quotes a key: %v", err)
		}
	}
}

func TestRotationSealsWithTheNewestAndOpensAll(t *testing.T) {
	i, a, b := strings.Repeat("12", 32), strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	old, err := parseCards("index "+i+"\nseal 1 "+a, "f")
	if err != nil {
		t.Fatal(err)
	}
	pan, _ := txn.ParsePAN("4111111111111111")
	var sealed [txn.SealedPANSize]byte
	old.Seal(&sealed, &pan, 1)
	c, err := parseCards("index "+i+"\nseal 1 "+a+"\nseal 2 "+b, "f")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Open(&sealed, 1); err != nil || got != pan {
		t.Fatal(err)
	}
	c.Seal(&sealed, &pan, 1)
	if sealed[0] != 2 {
		t.Errorf("sealed with version %d", sealed[0])
	}
}

func BenchmarkTokenAndSeal(b *testing.B) {
	c, err := OpenCards(filepath.Join(b.TempDir(), "cards"))
	if err != nil {
		b.Fatal(err)
	}
	pan, _ := txn.ParsePAN("6222021234567890128")
	var sealed [txn.SealedPANSize]byte
	b.ReportAllocs()
	for b.Loop() {
		_ = c.Token(&pan)
		c.Seal(&sealed, &pan, 42)
	}
}

func TestSealText(t *testing.T) {
	c, err := OpenCards(filepath.Join(t.TempDir(), "card.keys"))
	if err != nil {
		t.Fatal(err)
	}
	const number = "6222020000000007"
	sealed, err := c.SealText(number, "account of A")
	if err != nil || strings.Contains(sealed, number) {
		t.Fatal(sealed, err)
	}
	if got, err := c.OpenText(sealed, "account of A"); err != nil || got != number {
		t.Errorf("%q, %v", got, err)
	}
	for name, text := range map[string]string{"moved": sealed, "cut": sealed[:len(sealed)-2], "empty": "", "not hex": "x" + sealed[1:], "of no key": "ff" + sealed[2:]} {
		about := "account of A"
		if name == "moved" {
			about = "account of B"
		}
		if _, err := c.OpenText(text, about); !errors.Is(err, ErrSealBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	pan, _ := txn.ParsePAN([]byte(number))
	a := c.Hash("account", number)
	if a != c.Hash("account", number) || a == c.Hash("identity", number) || txn.CardToken(a) == c.Token(&pan) {
		t.Error("hashes of kinds are not apart")
	}
}
