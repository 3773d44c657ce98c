package dialect

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Where PIN blocks and serial numbers lie, and what is wrong with those that do
// not lie so.
func TestPINBlocksAndSerialNumbers(t *testing.T) {
	const sm4 = "00112233445566778899AABBCCDDEEFF"
	raw, _ := hex.DecodeString(sm4)
	const zeros = "hex:0000000000000000"
	for _, row := range []struct {
		name, dialect string
		change        fields
		block, ksn    string // the block in hexadecimal
		fault         string
	}{
		{"none", "cup-pos", fields{52: "", 53: ""}, "", "", ""},
		{"in field 52", "cup-pos", fields{52: "hex:0102030405060708", 53: "2600000000000000"}, "0102030405060708", "", ""},
		{"SM4 in A1 of field 59", "cup-pos", fields{52: zeros, 53: "2300000000000000", 59: "A1016" + string(raw)}, sm4, "", ""},
		{"SM4 behind another element", "cup-pos", fields{52: zeros, 53: "2400000000000000", 59: "A2003abcA1016" + string(raw)}, sm4, "", ""},
		{"SM4 in SM of field 63", "cup-pos", fields{52: zeros, 53: "2400000000000000", 63: "SM016" + string(raw)}, sm4, "", ""},
		{"SM4 without a block", "cup-pos", fields{52: zeros, 53: "2300000000000000"}, "", "", "field 52 must be zeros, and the PIN block"},
		{"SM4 with a block in field 52", "cup-pos", fields{52: "hex:0102030405060708", 53: "2300000000000000", 59: "A1016" + string(raw)}, "", "", "field 52 must be zeros"},
		{"SM4 block of 15 bytes", "cup-pos", fields{52: zeros, 53: "2300000000000000", 59: "A1015" + string(raw[:15])}, "", "", "field 52 must be zeros"},
		{"SM4 block cut off", "cup-pos", fields{52: zeros, 53: "2300000000000000", 59: "A1016" + string(raw[:15])}, "", "", "field 52 must be zeros"},
		{"ISO, none", "iso87", fields{}, "", "", ""},
		{"ISO in field 52", "iso87", fields{52: "hex:0102030405060708"}, "0102030405060708", "", ""},
		{"ISO with a serial number", "iso87", fields{52: "hex:0102030405060708", 63: "KS020FFFF9876543210E00001"}, "0102030405060708", "FFFF9876543210E00001", ""},
		{"ISO under AES", "iso87-binary", fields{63: "KS024123456789012345600000001PB032" + sm4}, sm4, "123456789012345600000001", ""},
		{"ISO under AES, field 52 zeros", "iso87", fields{52: zeros, 63: "PB032" + sm4}, sm4, "", ""},
		{"ISO, two blocks", "iso87", fields{52: "hex:0102030405060708", 63: "PB032" + sm4}, "", "", "field 63 must hold a PIN block of 32"},
		{"ISO, block of 31 digits", "iso87", fields{63: "PB031" + sm4[1:]}, "", "", "field 63 must hold a PIN block of 32"},
		{"ISO, block not hexadecimal", "iso87", fields{63: "PB032x" + sm4[1:]}, "", "", "field 63 must hold a PIN block of 32"},
		{"ISO, field 63 of something else", "iso87", fields{63: "whatever"}, "", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			base := cupSale
			if row.dialect != "cup-pos" {
				base = isoSale
			}
			d := terminal(t, row.dialect)
			x := decoded(t, d, build(t, d.Codec(), 0x0200, base.with(row.change)))
			if row.fault != "" {
				if x.Fault == nil || !strings.Contains(x.Fault.Error(), row.fault) {
					t.Fatalf("fault %v, want %q", x.Fault, row.fault)
				}
				return
			}
			if x.Fault != nil {
				t.Fatal(x.Fault)
			}
			if got := strings.ToUpper(hex.EncodeToString(x.Request.PINBlock)); got != row.block || string(x.Request.KSN) != row.ksn {
				t.Errorf("block %s and serial number %s, want %s and %s", got, x.Request.KSN, row.block, row.ksn)
			}
		})
	}
}

// An issuer is sent a PIN block of either size.
func TestPINBlocksToIssuers(t *testing.T) {
	block, _ := hex.DecodeString("00112233445566778899AABBCCDDEEFF")
	for _, row := range []struct {
		name, security string
		size           int
		want52, want63 string
	}{
		{"TDES", "2600000000000000", 8, string(block[:8]), ""},
		{"SM4", "2300000000000000", 16, string(zeroPIN[:]), "SM016" + string(block)},
		{"AES", "", 16, string(zeroPIN[:]), "PB032" + hex.EncodeToString(block)},
		{"none", "2600000000000000", 0, "", ""},
	} {
		link := issuerLink(t, "iso87")
		x := decoded(t, terminal(t, "cup-pos"), build(t, terminal(t, "cup-pos").Codec(), 0x0200, cupSale))
		x.Request.PINBlock, x.Request.SecurityInfo = block[:row.size], [16]byte{}
		copy(x.Request.SecurityInfo[:], row.security)
		m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &x.Request, &testLeg, testRRN) })
		wantSecurity := row.security
		if row.size == 0 {
			wantSecurity = ""
		}
		if text(m, 52) != row.want52 || text(m, 63) != row.want63 || text(m, 53) != wantSecurity {
			t.Errorf("%s: field 52 %q, 53 %q, 63 %q", row.name, text(m, 52), text(m, 53), text(m, 63))
		}
	}
}

// ReadTrack takes any bytes that a key may make of a track.
func TestReadTrack(t *testing.T) {
	pack := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return append(make([]byte, 0, 40), b...)
	}
	pan, _ := txn.ParsePAN(testPAN)
	other, _ := txn.ParsePAN("4000001234567899")
	for _, row := range []struct {
		name   string
		packed string
		digits uint8
		stated txn.PAN
		fault  string
	}{
		{"odd", testPAN + "D301220100000123000", 37, txn.PAN{}, ""},
		{"even", "6222021234567890128D3012201000001230", 36, txn.PAN{}, ""},
		{"with DE2", testPAN + "D301220100000123000", 37, pan, ""},
		{"of another card than DE2", testPAN + "D301220100000123000", 37, other, "field 2 and track 2 must be one card"},
		{"letters", "62220212345678901F8D301220100000123000", 37, txn.PAN{}, "field 35 must be digits and separators"},
		{"no separator", "62220212345678901283012201000001230000", 37, txn.PAN{}, "field 35 must start with a card number"},
		{"shorter than it says", "6222", 37, txn.PAN{}, "field 35 must be a track"},
		{"nothing", "", 1, txn.PAN{}, "field 35 must be a track"},
	} {
		req := txn.Request{Track2: pack(row.packed), TrackDigits: row.digits, PAN: row.stated}
		err := ReadTrack(&req)
		if row.fault != "" {
			if err == nil || !strings.Contains(err.Error(), row.fault) {
				t.Errorf("%s: %v, want %q", row.name, err, row.fault)
			}
			continue
		}
		if err != nil || req.PAN != pan || string(req.Expiry[:]) != "3012" || len(req.Track2) != int(row.digits) || req.TrackDigits != 0 {
			t.Errorf("%s: %v, card %v, expiry %s, track of %d", row.name, err, req.PAN, req.Expiry, len(req.Track2))
		}
	}
}

// FuzzReadTrack: nothing panics, the card is the track's, and errors quote none
// of it.
func FuzzReadTrack(f *testing.F) {
	track, _ := hex.DecodeString(testPAN + "D301220100000123000")
	f.Add(track, uint8(37))
	f.Add([]byte{}, uint8(255))
	f.Fuzz(func(t *testing.T, packed []byte, digits uint8) {
		if len(packed) > 40 {
			return
		}
		req := txn.Request{Track2: append(make([]byte, 0, 40), packed...), TrackDigits: digits}
		err := ReadTrack(&req)
		if err == nil && !bytes.HasPrefix(req.Track2, req.PAN.Append(nil)) {
			t.Error("the card is not the track's")
		}
		if err != nil && len(req.Track2) > 4 && strings.Contains(err.Error(), string(req.Track2[:5])) {
			t.Error("the error quotes the track")
		}
	})
}
