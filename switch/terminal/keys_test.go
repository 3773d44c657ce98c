package terminal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Published: a TMK, DE62 of a sign-on's answer and the TAK in it.
const (
	publishedTMK  = "CA5D92598DCA48CE8A4C76361A9269E9"
	publishedDE62 = "6701EAD6A9AD51E51AA406E2C27FCFA98D0A74B8" + "B651F9E9BACE9AE10000000000000000AB7153CA"
	publishedTAK  = "5BB5C72CD00B7338"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// constructed are the frames of the constructed CUP POS messages by id.
func constructed(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open("../../testdata/messages/cup-pos-constructed/messages.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frames := map[string][]byte{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var m struct{ ID, Hex string }
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		frames[m.ID] = unhex(t, m.Hex)
	}
	return frames
}

// With the published keys, every constructed message that has a MAC is given
// that MAC, and the answers among them are believed.
func TestPublishedKeys(t *testing.T) {
	d, err := dialect.ForTerminal("cup-pos")
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKeys(d, keys.KeySetDouble, 0, unhex(t, publishedTMK))
	if err != nil {
		t.Fatal(err)
	}
	frames := constructed(t)
	signedOn, err := readAnswer(d, k, frames["cup-01"][2:], frames["cup-02"][2:])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(signedOn.raw(62), unhex(t, publishedDE62)) {
		t.Fatalf("DE62 is %X", signedOn.raw(62))
	}
	if err := k.take(signedOn.raw(62)); err != nil {
		t.Fatal(err)
	}
	sealed := 0
	for id, frame := range frames {
		var m iso.Message
		if err := d.Codec().Parse(&m, frame[2:]); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if !m.Has(macField) {
			continue
		}
		sealed++
		want := bytes.Clone(frame)
		copy(m.Value(macField), noMAC[:])
		if err := k.Seal(d, frame); err != nil || !bytes.Equal(frame, want) {
			t.Errorf("%s: MAC %q, %v", id, frame[len(frame)-8:], err)
		}
	}
	if sealed != 14 {
		t.Errorf("%d messages have a MAC", sealed)
	}
	for asked, answer := range map[string]string{"cup-03": "cup-04", "cup-12": "cup-13", "cup-14": "cup-15"} {
		if _, err := readAnswer(d, k, frames[asked][2:], frames[answer][2:]); err != nil {
			t.Errorf("%s: %v", answer, err)
		}
		frames[answer][len(frames[answer])-1] ^= 1
		if _, err := readAnswer(d, k, frames[asked][2:], frames[answer][2:]); !isMACWrong(err) {
			t.Errorf("%s with another MAC: %v", answer, err)
		}
	}
}

// Every key set gives MACs that the other side finds right, and that it asked
// for with the set's own code.
func TestKeySets(t *testing.T) {
	for _, row := range []struct {
		set    string
		double bool
	}{{"001", false}, {"003", false}, {"003", true}, {"004", false}, {"004", true}, {"005", false}, {"006", false}} {
		t.Run(fmt.Sprintf("%s double %v", row.set, row.double), func(t *testing.T) {
			set, err := ParseKeySet(row.set)
			if err != nil {
				t.Fatal(err)
			}
			p, c := startHost(t, func(p *Profile) { p.KeySet = set }, Options{})
			p.With(func(h *terminaltest.Host) { h.Double = row.double })
			card, amount := testCard(t), txn.Amount{Minor: 1, Currency: txn.CNY}
			for range 2 { // the second sign-on's keys replace the first's
				mustSignOn(t, p, c)
				for what, do := range map[string]func(context.Context) (Answer, error){
					"sale":     func(ctx context.Context) (Answer, error) { return c.Sale(ctx, card, amount) },
					"balance":  func(ctx context.Context) (Answer, error) { return c.Balance(ctx, card) },
					"reversal": func(ctx context.Context) (Answer, error) { return c.Reversal(ctx, amount, Original{STAN: 700}) },
				} {
					if a, err := do(t.Context()); err != nil || !a.Approved() {
						t.Errorf("%s: %+v, %v", what, a, err)
					}
				}
			}
			p.With(func(h *terminaltest.Host) {
				if want := map[string]int{"sale": 2, "balance": 2, "reversal": 2}; !reflect.DeepEqual(h.Signed, want) {
					t.Errorf("requests with the right MAC: %v", h.Signed)
				}
				if want := []uint16{uint16(set), uint16(set)}; !slices.Equal(h.Asked, want) {
					t.Errorf("key sets asked for: %v", h.Asked)
				}
			})
		})
	}
}

// A sign-on whose keys are not to be trusted is an error, and the terminal then
// has no keys, not even those of before.
func TestWrongKeysAreDropped(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	for _, row := range []struct {
		name  string
		alter func([]byte) []byte
		want  string
	}{
		{"none", func([]byte) []byte { return nil }, "the switch has no master key for this terminal"},
		{"those of set 003", func(b []byte) []byte { return b[:40] }, "field 62 has 40 bytes of keys, key set 004 has 60"},
		{"a byte more", func(b []byte) []byte { return append(b, 0) }, "field 62 has 61 bytes"},
		{"TPK", flip(0), "field 62 holds a TPK whose check value is wrong"},
		{"TPK's check value", flip(16), "holds a TPK whose check value is wrong"},
		{"TAK", flip(20), "holds a TAK whose check value is wrong"},
		{"TAK's zeros", flip(35), "holds a TAK whose check value is wrong"},
		{"TAK's check value", flip(39), "holds a TAK whose check value is wrong"},
		{"TDK", flip(40), "holds a TDK whose check value is wrong"},
		{"TDK's check value", flip(59), "holds a TDK whose check value is wrong"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, c := startHost(t, func(p *Profile) { p.KeySet = keys.KeySetDoubleTrack }, Options{})
			mustSignOn(t, p, c)
			p.With(func(h *terminaltest.Host) { h.Alter = row.alter })
			_, err := c.SignOn(t.Context())
			var wrong *WrongAnswerError
			if !errors.Is(err, ErrNoMasterKey) && (!errors.As(err, &wrong) || wrong.Field != 62) || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("error is %v", err)
			}
			p.Came()
			if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1}); !errors.Is(err, ErrSignOnFirst) {
				t.Errorf("sale: %v", err)
			}
			if got := p.Came(); len(got) > 0 {
				t.Errorf("%v were sent", got)
			}
			p.With(func(h *terminaltest.Host) { h.Alter = nil })
			mustSignOn(t, p, c)
			if a, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1}); err != nil || !a.Approved() {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	t.Run("another TMK", func(t *testing.T) {
		p, c := startHost(t, nil, Options{})
		p.With(func(h *terminaltest.Host) { h.TMK[0] ^= 0x80 })
		if _, err := c.SignOn(t.Context()); !errors.Is(err, ErrOtherMasterKey) {
			t.Errorf("error is %v", err)
		}
	})
}

// Before its sign-on a terminal with a master key sends nothing that needs a
// MAC, notes nothing and uses no number up.
func TestNothingBeforeSignOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	store, err := OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p, c := startHost(t, nil, Options{Store: store, STAN: 5})
	amount := txn.Amount{Minor: 1}
	for what, do := range map[string]func() error{
		"sale":     func() error { _, err := c.Sale(t.Context(), testCard(t), amount); return err },
		"balance":  func() error { _, err := c.Balance(t.Context(), testCard(t)); return err },
		"reversal": func() error { _, err := c.Reversal(t.Context(), amount, Original{STAN: 3}); return err },
	} {
		if err := do(); !errors.Is(err, ErrSignOnFirst) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || len(text) > 0 || c.Owes() != 0 {
		t.Errorf("noted: %s, %v; %06d is owed", text, err, c.Owes())
	}
	if a, err := c.Echo(t.Context()); err != nil || !a.Approved() {
		t.Errorf("echo: %+v, %v", a, err)
	}
	if a, err := c.SignOn(t.Context()); err != nil || a.STAN != "000005" {
		t.Errorf("sign-on: %+v, %v", a, err)
	}
	if got := p.Came(); !slices.Equal(got, []string{"echo", "sign-on"}) {
		t.Errorf("%v were sent", got)
	}
}

// Nothing that a terminal prints, says or writes holds a key.
func TestKeysAreNeverSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	store, err := OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var profile Profile
	p, c := startHost(t, func(p *Profile) { profile = *p }, Options{Store: store})
	var seen []string
	see := func(args ...any) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			for _, a := range args {
				seen = append(seen, fmt.Sprintf(verb, a))
			}
		}
	}
	mustSignOn(t, p, c)
	answer, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1})
	if err != nil {
		t.Fatal(err)
	}
	see(c, *c, c.line.Keys.tmk, c.line.Keys.tpk, c.line.Keys.tak, answer)
	seen = append(seen, fmt.Sprintf("%v %+v %#v", profile, profile, profile))
	text, err := json.Marshal(profile)
	if err != nil {
		t.Fatal(err)
	}
	seen = append(seen, string(text))
	p.With(func(h *terminaltest.Host) { h.Alter = func(b []byte) []byte { b[0] ^= 1; return b } })
	_, wrong := c.SignOn(t.Context())
	_, short := NewKeys(c.line.Dialect, keys.KeySetDouble, 0, unhex(t, publishedTMK)[:15])
	_, odd := ParseTMK(publishedTMK + "0")
	for _, err := range []error{wrong, short, odd} {
		if err == nil {
			t.Fatal("no error")
		}
		see(err)
	}
	if text, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	seen = append(seen, string(text))
	all := strings.ToUpper(strings.Join(seen, "\n"))
	for _, key := range append(p.Host.Issued, unhex(t, publishedTMK)) {
		numbers, hexes := fmt.Sprint(key[:4]), fmt.Sprintf("%#v", key[:4])
		for _, form := range []string{string(key[:4]), hex.EncodeToString(key[:4]), strings.Trim(numbers, "[]"), hexes[len("[]byte{") : len(hexes)-1]} {
			if strings.Contains(all, strings.ToUpper(form)) {
				t.Errorf("a key is seen as %q", form)
			}
		}
	}
}

func TestDialRefusesKeys(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	for _, row := range []struct {
		name, dialect string
		change        func(*Profile)
		want          string
	}{
		{"key set", "cup-pos", func(p *Profile) { p.KeySet = 2 }, "key set 002 is unknown; the sets are 001, 003, 004, 005 and 006"},
		{"short TMK", "cup-pos", func(p *Profile) { p.TMK = p.TMK[:8] }, "terminal master key has 8 bytes, must have 16"},
		{"dialect without keys", "iso87", func(*Profile) {}, "dialect iso87 hands out no working keys; use cup-pos"},
	} {
		t.Run(row.name, func(t *testing.T) {
			profile := testProfile
			profile.TMK = unhex(t, publishedTMK)
			row.change(&profile)
			if _, err := Dial(t.Context(), p.Addr, row.dialect, profile, Options{}); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestParseKeys(t *testing.T) {
	for _, bad := range []string{"", "3", "0003", "002", "-03", "abc", "401"} {
		if set, err := ParseKeySet(bad); err == nil || !strings.Contains(err.Error(), "001, 003, 004, 005") {
			t.Errorf("%q: %v, %v", bad, set, err)
		}
	}
	if tmk, err := ParseTMK(strings.ToLower(publishedTMK)); err != nil || !bytes.Equal(tmk, unhex(t, publishedTMK)) {
		t.Errorf("%d bytes, %v", len(tmk), err)
	}
	for _, bad := range []string{"", "CA", publishedTMK + "CA", publishedTMK[:31] + "G"} {
		if _, err := ParseTMK(bad); err == nil || !strings.Contains(err.Error(), "32 hexadecimal digits") {
			t.Errorf("%d digits: %v", len(bad), err)
		}
	}
}
