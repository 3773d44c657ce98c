package algo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const (
	tpk     = "807A23AD32B36D457AE91FDF927570EA"
	aPAN    = "6222021234567890128"
	aPIN    = "123456"
	otherPK = "AAAABBBBCCCCDDDD1111222233334444"
)

func TestPINBlocksOfTheSpecification(t *testing.T) {
	for _, row := range []struct{ name, pan, clear string }{
		{"B2 format 0, PAN of 18", "123456789012345678", "061253DFFEDCBA98"},
		{"B2 format 0, PAN of 16", "1234567890123456", "0612713176FEDCBA"},
		{"B2 format 0, PAN of 19", aPAN, "06122662A9876FED"},
	} {
		t.Run(row.name, func(t *testing.T) {
			block, mask := make([]byte, 8), make([]byte, 8)
			if err := errors.Join(encodePIN(block, PINISO0, []byte(aPIN)), panMask(mask, PINISO0, []byte(row.pan))); err != nil {
				t.Fatal(err)
			}
			xor(block, mask)
			equal(t, "block", block, unhex(t, row.clear))
		})
	}
	got, err := EncipherPIN(nil, key(t, TDES2, tpk), PINISO0, []byte(aPIN), []byte(aPAN))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "enciphered", got, unhex(t, "BDFD42DCF960C8B6"))
}

func TestPublishedPINBlocks(t *testing.T) {
	encode := func(f PINFormat, row psecRow) ([]byte, error) {
		block, mask := make([]byte, 8), make([]byte, 8)
		if err := panMask(mask, f, []byte(row.PAN)); err != nil {
			return nil, err
		}
		err := encodePIN(block, f, []byte(row.PIN))
		xor(block, mask)
		return block, err
	}
	decode := func(f PINFormat, row psecRow) ([]byte, error) {
		// Deciphering what was enciphered under any key gives the clear block.
		c, block := key(t, TDES2, tpk), unhex(t, row.PINBlock)
		if len(block) == 8 {
			c.Encrypt(block, block)
		}
		return DecipherPIN(nil, c, f, block, []byte(row.PAN))
	}
	field := func(row psecRow) ([]byte, error) {
		block := unhex(t, row.PINField+row.PINBlock)
		if len(block) != 16 {
			return nil, ErrPINBlock // as DecipherPIN does
		}
		return decodePIN(nil, PINISO4, block)
	}
	aes := func(row psecRow) ([]byte, error) {
		k := unhex(t, row.Key)
		kind := map[int]Kind{16: AES128, 24: AES192, 32: AES256}[len(k)]
		return DecipherPIN(nil, key(t, kind, row.Key), PINISO4, unhex(t, row.PINBlock), []byte(row.PAN))
	}
	for i, row := range psec(t, "psec_pinblock.json") {
		var got []byte
		var err error
		want := []byte(row.PIN)
		switch strings.TrimSuffix(row.Test, "_exception") {
		case "test_encode_pinblock_iso_0", "test_encode_pinblock_iso_2":
			f := PINFormat(row.Test[len("test_encode_pinblock_iso_")] - '0')
			got, err = encode(f, row)
			want = unhex(t, row.PINBlock)
		case "test_encode_pinblock_iso_3": // the vector is the part that is not random
			got, err = encode(PINISO3, row)
			want = unhex(t, row.PINBlock)
			got = got[:min(len(got), len(want))]
		case "test_encode_pin_field_iso_4":
			got = make([]byte, 16)
			err = encodePIN(got, PINISO4, []byte(row.PIN))
			got, want = got[:8], unhex(t, row.PINField)
		case "test_encode_pan_field_iso_4":
			got = make([]byte, 16)
			err = panMask(got, PINISO4, []byte(row.PAN))
			want = unhex(t, row.PANField)
		case "test_decode_pinblock_iso_0", "test_decode_pinblock_iso_2", "test_decode_pinblock_iso_3":
			f := PINFormat(row.Test[len("test_decode_pinblock_iso_")] - '0')
			got, err = decode(f, row)
		case "test_decode_pinblock_iso_4", "test_decode_pin_field_iso_4":
			got, err = field(row)
		case "test_decipher_pinblock_iso_4", "test_encipher_pinblock_iso_4_det":
			got, err = aes(row)
		default:
			t.Fatal("no test for", row.Test)
		}
		name := fmt.Sprintf("row %d %s", i, row.Test)
		if row.Error != "" {
			if err == nil {
				t.Errorf("%s: accepted, want %s", name, row.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		equal(t, name, got, want)
	}
}

// formats are the ones a host meets, each with a key it goes with.
var formats = []struct {
	format PINFormat
	kind   Kind
	key    string
}{
	{PINISO0, TDES2, tpk}, {PINISO1, TDES2, tpk}, {PINISO3, TDES2, otherPK}, {PINISO4, AES128, tpk}, {PINISO4, AES256, tpk + otherPK},
	{PINCUPPlain, TDES2, tpk}, {PINCUPPlain, DES, tpk[:16]}, {PINCUPSM4, SM4, tpk},
}

func TestTranslation(t *testing.T) {
	for _, from := range formats {
		for _, to := range formats {
			for _, pin := range []string{"1234", "123456", "098765432109"} {
				name := fmt.Sprintf("%v/%v to %v/%v", from.format, from.kind, to.format, to.kind)
				in, out := key(t, from.kind, from.key), key(t, to.kind, to.key)
				block, err := EncipherPIN(nil, in, from.format, []byte(pin), []byte(aPAN))
				if err != nil {
					t.Fatal(err)
				}
				got, err := TranslatePIN([]byte("x"), in, from.format, out, to.format, block, []byte(aPAN))
				if from.format.bindsPAN() && !to.format.bindsPAN() {
					if !errors.Is(err, ErrPINTranslation) {
						t.Errorf("%s: %v, want it refused", name, err)
					}
					continue
				}
				if err != nil || got[0] != 'x' {
					t.Errorf("%s: %v", name, err)
					continue
				}
				back, err := DecipherPIN(nil, out, to.format, got[1:], []byte(aPAN))
				if err != nil || string(back) != pin {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// TestPINGarbage holds that wrong blocks are one refusal that tells nothing.
func TestPINGarbage(t *testing.T) {
	for _, f := range formats {
		c := key(t, f.kind, f.key)
		good, _ := EncipherPIN(nil, c, f.format, []byte(aPIN), []byte(aPAN))
		wrongNibble := func() []byte {
			b := make([]byte, len(good))
			encodePIN(b, f.format, []byte(aPIN))
			b[0] ^= 0x50
			c.Encrypt(b, b)
			return b
		}()
		for name, block := range map[string][]byte{
			"zeros": make([]byte, len(good)), "empty": nil, "short": good[1:], "long": append(good[:len(good):len(good)], 0),
			"wrong control nibble": wrongNibble, "enciphered twice": func() []byte { b := bytes.Clone(good); c.Encrypt(b, b); return b }(),
		} {
			pin, err := DecipherPIN(nil, c, f.format, block, []byte(aPAN))
			if !errors.Is(err, ErrPINBlock) || len(pin) > 0 {
				t.Errorf("%v/%v, %s: %v", f.format, f.kind, name, err)
			}
			if out, err := TranslatePIN(nil, c, f.format, c, f.format, block, []byte(aPAN)); !errors.Is(err, ErrPINBlock) || len(out) > 0 {
				t.Errorf("%v/%v, %s translated: %v", f.format, f.kind, name, err)
			}
		}
		if !f.format.bindsPAN() {
			continue
		}
		// Another card: the last digits, which all formats bind, change.
		if _, err := DecipherPIN(nil, c, f.format, good, []byte("6222021234567765438")); !errors.Is(err, ErrPINBlock) {
			t.Errorf("%v/%v, another card: %v", f.format, f.kind, err)
		}
		for _, pan := range []string{"", "12345678901x3", "12345678901234567890"} {
			if _, err := DecipherPIN(nil, c, f.format, good, []byte(pan)); err == nil {
				t.Errorf("%v/%v: card number of %d digits accepted", f.format, f.kind, len(pan))
			}
		}
	}
}

func TestTranslationRefusals(t *testing.T) {
	des, aes := key(t, TDES2, tpk), key(t, AES128, tpk)
	for name, err := range map[string]error{
		"format 2 in":               second(TranslatePIN(nil, des, PINISO2, des, PINISO0, make([]byte, 8), []byte(aPAN))),
		"format 2 out":              second(TranslatePIN(nil, des, PINISO0, des, PINISO2, make([]byte, 8), []byte(aPAN))),
		"format 4 under a TDES key": second(TranslatePIN(nil, des, PINISO0, des, PINISO4, make([]byte, 8), []byte(aPAN))),
		"format 0 under an AES key": second(TranslatePIN(nil, des, PINISO0, aes, PINISO0, make([]byte, 8), []byte(aPAN))),
	} {
		if !errors.Is(err, ErrPINTranslation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecipherPIN(nil, aes, PINISO0, make([]byte, 8), []byte(aPAN)); err == nil {
		t.Error("format 0 deciphered under an AES key")
	}
	if _, err := TranslatePIN(nil, broken{}, PINISO4, aes, PINISO4, make([]byte, 16), []byte(aPAN)); !errors.Is(err, errBroken) {
		t.Errorf("broken key: %v", err)
	}
}

func second(_ []byte, err error) error { return err }

func FuzzDecipherPIN(f *testing.F) {
	f.Add(byte(0), []byte{0xBD, 0xFD, 0x42, 0xDC, 0xF9, 0x60, 0xC8, 0xB6}, aPAN)
	f.Add(byte(4), make([]byte, 16), aPAN)
	f.Add(byte(3), []byte{}, "1")
	f.Fuzz(func(t *testing.T, i byte, block []byte, pan string) {
		row := formats[int(i)%len(formats)]
		pin, err := DecipherPIN(nil, key(t, row.kind, row.key), row.format, block, []byte(pan))
		if err != nil {
			if len(pin) > 0 || len(block) >= 8 && strings.Contains(err.Error(), hex.EncodeToString(block)) {
				t.Errorf("refused, and told %q %v", pin, err)
			}
			return
		}
		if len(pin) < PINDigitsMin || len(pin) > PINDigitsMax || len(bytes.Trim(pin, "0123456789")) > 0 {
			t.Errorf("not a PIN: %d bytes", len(pin))
		}
	})
}

func BenchmarkTranslatePIN(b *testing.B) {
	for _, to := range []struct {
		format PINFormat
		kind   Kind
	}{{PINISO0, TDES2}, {PINISO3, TDES2}, {PINISO4, AES128}, {PINCUPSM4, SM4}} {
		b.Run(fmt.Sprintf("iso-0 to %v", to.format), func(b *testing.B) {
			from, out, pan := key(b, TDES2, tpk), key(b, to.kind, otherPK), []byte(aPAN)
			block, _ := EncipherPIN(nil, from, PINISO0, []byte(aPIN), pan)
			dst := make([]byte, 0, 16)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := TranslatePIN(dst, from, PINISO0, out, to.format, block, pan); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
