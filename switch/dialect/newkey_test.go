package dialect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The message of a new key on each kind of link, as it must be and as it may not.
func TestNewKeys(t *testing.T) {
	const sent = "B31C3B99B94E0543B5C13084D47580B7"
	raw, err := hex.DecodeString(sent)
	if err != nil {
		t.Fatal(err)
	}
	cups := fields{7: "1127034500", 11: "000009", 48: "NK" + string(raw), 53: "1600000000000000", 70: "101", 100: "00010000"}
	single := cups.with(fields{48: "", 53: "2000000000000000", 96: "hex:" + sent[:16]})
	delete(single, 48)
	iso87 := fields{7: "1127034500", 11: "000009", 48: "NK" + sent + "CF9C35EA", 53: "2600000000000000", 70: "101"}
	without := func(f fields, n int) fields {
		f = f.with(fields{})
		delete(f, n)
		return f
	}
	for _, row := range []struct {
		name, dialect string
		f             fields
		want          txn.NewKey
		ok            bool
	}{
		{"PIN key", NameCUPS, cups, txn.NewKey{Cryptogram: raw}, true},
		{"SM4 MAC key", NameCUPS, cups.with(fields{53: "2400000000000000"}), txn.NewKey{MAC: true, SM4: true, Cryptogram: raw}, true},
		{"single-length MAC key", NameCUPS, single, txn.NewKey{MAC: true, Cryptogram: raw[:8]}, true},
		{"both places", NameCUPS, cups.with(fields{96: "hex:" + sent[:16]}), txn.NewKey{}, false},
		{"no key", NameCUPS, without(cups, 48), txn.NewKey{}, false},
		{"another use of DE48", NameCUPS, cups.with(fields{48: "AS" + sent}), txn.NewKey{}, false},
		{"no DE53", NameCUPS, without(cups, 53), txn.NewKey{}, false},
		{"a key of no use here", NameCUPS, cups.with(fields{53: "3600000000000000"}), txn.NewKey{}, false},
		{"MAC key", "iso87", iso87, txn.NewKey{MAC: true, Cryptogram: raw, CheckValue: []byte{0xCF, 0x9C, 0x35, 0xEA}}, true},
		{"MAC key, packed", "iso87-bcd", iso87, txn.NewKey{MAC: true, Cryptogram: raw, CheckValue: []byte{0xCF, 0x9C, 0x35, 0xEA}}, true},
		{"PIN key", "iso87-ascii4", iso87.with(fields{53: "1600000000000000"}), txn.NewKey{Cryptogram: raw, CheckValue: []byte{0xCF, 0x9C, 0x35, 0xEA}}, true},
		{"no check value", "iso87", iso87.with(fields{48: "NKCF9C35EA"}), txn.NewKey{}, false},
		{"half a digit", "iso87", iso87.with(fields{48: "NK" + sent + "CF9C35E"}), txn.NewKey{}, false},
		{"no hexadecimal", "iso87", iso87.with(fields{48: "NK" + sent + "CF9C35EX"}), txn.NewKey{}, false},
		{"no mark", "iso87", iso87.with(fields{48: sent}), txn.NewKey{}, false},
		{"no DE48", "iso87", without(iso87, 48), txn.NewKey{}, false},
	} {
		link := issuerLink(t, row.dialect)
		k, err := link.ReadNewKey(build(t, link.Codec(), 0x0800, row.f))
		if (err == nil) != row.ok || row.ok && (k.MAC != row.want.MAC || k.SM4 != row.want.SM4 || !bytes.Equal(k.Cryptogram, row.want.Cryptogram) || !bytes.Equal(k.CheckValue, row.want.CheckValue)) {
			t.Errorf("%s, %s: %+v, %v, want %+v", row.dialect, row.name, k, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), sent[:8]) {
			t.Errorf("%s, %s: the error has the key: %v", row.dialect, row.name, err)
		}
	}
	if _, err := issuerLink(t, NameCUPS).ReadNewKey([]byte("no message")); err == nil {
		t.Error("what is no message has a key")
	}
}

// The request for a key has no MAC and says which; nothing else asks for one.
func TestKeyRequest(t *testing.T) {
	at := time.Date(2026, 11, 27, 3, 45, 0, 0, time.UTC)
	for _, row := range []struct {
		name string
		want fields
	}{
		{NameCUPS, fields{7: "1127034500", 11: "000005", 33: "48802900", 70: "101"}},
		{"iso87", fields{7: "1127034500", 11: "000005", 70: "101"}},
		{"iso87-bcd", fields{7: "1127034500", 11: "000005", 70: "101"}},
	} {
		link := issuerLink(t, row.name)
		for _, mac := range []bool{true, false} {
			m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendKeyRequest(dst, mac, 5, at) })
			security := "1600000000000000"
			if mac {
				security = "2600000000000000"
			}
			checkMessage(t, m, 0x0820, row.want.with(fields{53: security}))
			if which, asks := link.AsksForKey(m); !asks || which != mac {
				t.Errorf("%s: asks %v, for a MAC key %v, want %v", row.name, asks, which, mac)
			}
		}
		for mti, f := range map[uint16]fields{0x0800: {11: "000005", 53: "1600000000000000", 70: "101"}, 0x0820: {11: "000005", 53: "1600000000000000", 70: "301"},
			0x0830: {11: "000005", 53: "1600000000000000", 70: "101"}, 0x0821: {11: "000005", 53: "3600000000000000", 70: "101"}} {
			var m iso.Message
			if err := link.Codec().Parse(&m, build(t, link.Codec(), mti, f)); err != nil {
				t.Fatal(err)
			}
			if _, asks := link.AsksForKey(&m); asks {
				t.Errorf("%s: %04x with %v asks for a key", row.name, mti, f)
			}
		}
	}
}

// What proves a new key of UnionPay's network: a MAC under it, of DE53, 70 and 100 as well. Its
// answer has one, too, unless it refuses. In ISO 8583:1987 neither has.
func TestNewKeyIsProved(t *testing.T) {
	key := testZAK(t, algo.TDES2, zakText)
	const covered = " 1127034500 000009"
	for _, row := range []struct{ dialect, asked, answered string }{
		{NameCUPS, "0800" + covered + " 1600000000000000 101 0800010000", "0810" + covered + " 00 1600000000000000 101 0800010000"},
		{"iso87", "", ""},
	} {
		link := issuerLink(t, row.dialect)
		frame, err := link.AppendNewKey([]byte("before"), &txn.NewKey{Cryptogram: bytes.Repeat([]byte{7}, 16), CheckValue: []byte{1, 2, 3, 4}}, 9, [10]byte([]byte("1127034500")), key.MAC)
		if err != nil {
			t.Fatal(err)
		}
		frame, ok := bytes.CutPrefix(frame, []byte("before"))
		if !ok {
			t.Fatal("what stood before is gone")
		}
		frame = frame[link.PrefixSize():]
		check := func(name string, frame []byte, covered string) (m iso.Message) {
			t.Helper()
			if err := link.Codec().Parse(&m, frame); err != nil {
				t.Fatal(err)
			}
			want := ""
			if covered != "" {
				mac, err := key.MAC([]byte(covered))
				if err != nil {
					t.Fatal(err)
				}
				want = strings.ToUpper(hex.EncodeToString(mac[:4]))
			}
			if got := text(&m, 128); got != want {
				t.Errorf("%s, %s: MAC %q, want %q of %q", row.dialect, name, got, want, covered)
			}
			return m
		}
		check("message", frame, row.asked)
		answer, err := link.AppendNewKeyAnswer(nil, frame, [2]byte{'0', '0'}, key.MAC)
		if err != nil {
			t.Fatal(err)
		}
		m := check("answer", answer[link.PrefixSize():], row.answered)
		if m.MTI() != 0x0810 || text(&m, 7)+text(&m, 11)+text(&m, 39)+text(&m, 53)+text(&m, 70) != "1127034500"+"000009"+"00"+"1600000000000000"+"101" || m.Has(48) || m.Has(96) {
			t.Errorf("%s: answered %04x, %q, %q", row.dialect, m.MTI(), text(&m, 53), text(&m, 48))
		}
		if err := link.CheckNewKey(answer[link.PrefixSize():], key.MAC); err != nil {
			t.Errorf("%s: the answer: %v", row.dialect, err)
		}
		refusal, err := link.AppendNewKeyAnswer(nil, frame, [2]byte{'6', '3'}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if m := check("refusal", refusal[link.PrefixSize():], ""); text(&m, 39) != "63" {
			t.Errorf("%s: refused with %q", row.dialect, text(&m, 39))
		}
		if err := link.CheckNewKey(frame, key.MAC); err != nil {
			t.Errorf("%s: %v", row.dialect, err)
		}
		if row.asked == "" {
			continue
		}
		if err := link.CheckNewKey(frame, testZAK(t, algo.SM4, zakText).MAC); !errors.Is(err, txn.ErrMAC) {
			t.Errorf("under another key: %v", err)
		}
		if err := link.CheckNewKey(frame, noKey{}.MAC); !errors.Is(err, errNoKey) {
			t.Errorf("without a key: %v", err)
		}
		frame[bytes.Index(frame, []byte("16000000"))] = '2' // a PIN key as one for MACs
		if err := link.CheckNewKey(frame, key.MAC); !errors.Is(err, txn.ErrMAC) {
			t.Errorf("for another use: %v", err)
		}
		if _, err := link.AppendNewKeyAnswer(nil, frame, [2]byte{'0', '0'}, noKey{}.MAC); !errors.Is(err, errNoKey) {
			t.Errorf("an answer without a key: %v", err)
		}
	}
}

// agedKey is a key that has lately replaced another.
type agedKey struct{ now, before MACKey }

func (k agedKey) MAC(data []byte) ([8]byte, error)       { return k.now.MAC(data) }
func (k agedKey) MACBefore(data []byte) ([8]byte, error) { return k.before.MAC(data) }

// Answers under the key before are taken as long as there is one.
func TestMACUnderTheKeyBefore(t *testing.T) {
	first, second, third := testZAK(t, algo.TDES2, zakText), testZAK(t, algo.SM4, zakText), testZAK(t, algo.TDES2, "1"+zakText[1:31]+"2")
	for _, name := range []string{NameCUPS, "iso87"} {
		link := issuerLink(t, name)
		answer := func(key MACKey) []byte {
			t.Helper()
			e := link.BeginAnswer(nil, sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendNetwork(dst, "301", 5, time.Now()) }))
			e.Digits(11, []byte("000077"))
			e.Text(39, []byte("00"))
			frame, err := link.Finish(&e, nil, key)
			if err != nil {
				t.Fatal(err)
			}
			return frame[link.PrefixSize():]
		}
		for _, row := range []struct {
			key  MACKey
			with MACKey
			want error
		}{
			{agedKey{second, first}, second, nil}, {agedKey{second, first}, first, nil}, {agedKey{second, first}, third, txn.ErrMAC},
			{agedKey{second, noKey{}}, first, txn.ErrMAC}, {agedKey{noKey{}, first}, first, errNoKey},
		} {
			var m iso.Message
			if err := link.Codec().Parse(&m, answer(row.with)); err != nil {
				t.Fatal(err)
			}
			if err := link.Authentic(&m, row.key); !errors.Is(err, row.want) {
				t.Errorf("%s: %v, want %v", name, err, row.want)
			}
		}
	}
}
