package algo

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/cbcmac"
	"github.com/emmansun/gmsm/padding"
	"github.com/emmansun/gmsm/sm4"
)

const (
	published = "0200302004C020C0981100000000000000005100183402100006324392260009942820D1312101120084393136363838" +
		"303134303030303030303030303030303031313536ACF46E73838A82F92600000000000000000822000001"
	testKey     = "0123456789ABCDEFFEDCBA9876543210"
	fips113     = "7654321 Now is the time for "
	reversalMAB = "04007024068002C082111962220212345678901280000000000000012345000002301205100001003938313030303030" +
		"30313939393239303035343131303030313135360023950500000008009F1E0831323334353637389F36020001001322000001000600"
)

func TestMACs(t *testing.T) {
	for _, row := range []struct {
		name string
		alg  MACAlgorithm
		kind Kind
		key  string
		data string // hex, or text when it is not
		want string // text for CUP ECB, hex else
	}{
		{"B3 V2, CUP ECB, single DES", MACCUPECB, DES, "C24A8FB57AA20123", published, "8A9E91B8"},
		{"B3 V2, CUP ECB, two-key 3DES", MACCUPECB, TDES2, testKey, published, "84C8B241"},
		{"B3 V2, CUP ECB, SM4 variant", MACCUPECB, SM4, testKey, published, "D0656CDC"},
		{"B3 V2, 畅捷 variant (CUP fold)", MACCUPFold, TDES2, testKey, published, "12EB912583C6C24B"},
		{"B3 V4, own reversal 0400", MACCUPECB, DES, "5BB5C72CD00B7338", reversalMAB, "E0815215"},
		{"B3 X9.9, FIPS 113", MACX99, DES, "0123456789ABCDEF", fips113, "F1D30F6849312CA4"},
		{"B3 X9.19", MACX919, TDES2, testKey, fips113, "AE4B45B1B527642F"},
		{"X9.19, single length is X9.9", MACX919, DES, "0123456789ABCDEF", fips113, "F1D30F6849312CA4"},
		{"X9.19 of no data is one zero block", MACX919, DES, "0123456789ABCDEF", "", "D5D44FF720683D0D"},
	} {
		t.Run(row.name, func(t *testing.T) {
			data, err := hex.DecodeString(row.data)
			if err != nil {
				data = []byte(row.data)
			}
			k := macKey(t, row.kind, row.key)
			got, err := row.alg.MAC(k, data)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ToUpper(hex.EncodeToString(got[:]))
			if row.alg == MACCUPECB {
				text = string(got[:])
			}
			if text != row.want {
				t.Errorf("%s, want %s", text, row.want)
			}
			if err := row.alg.Verify(k, data, got[:]); err != nil {
				t.Errorf("own MAC: %v", err)
			}
		})
	}
}

func TestMACRefusals(t *testing.T) {
	for name, fn := range map[string]func() error{
		"X9.19 with SM4": func() error { _, err := MACX919.MAC(macKey(t, SM4, testKey), nil); return err },
		"X9.19 without the left half": func() error {
			_, err := MACX919.MAC(MACKey{Whole: key(t, TDES2, testKey)}, nil)
			return err
		},
		"unknown algorithm":         func() error { _, err := MACAlgorithm(9).MAC(macKey(t, SM4, testKey), nil); return err },
		"serial cipher not SM4":     func() error { _, err := SerialCipher(key(t, AES128, testKey), []byte("1"), []byte("2")); return err },
		"key of a wrong length":     func() error { _, err := NewLocal(TDES2, make([]byte, 8)); return err },
		"key of no kind":            func() error { _, err := NewLocal(0, nil); return err },
		"verify with a broken key":  func() error { return MACX99.Verify(MACKey{Whole: broken{}}, nil, make([]byte, 8)) },
		"CMAC with a broken key":    func() error { return MACCMAC.Verify(MACKey{Whole: broken{}}, nil, make([]byte, 8)) },
		"CUP ECB with a broken key": func() error { return MACCUPECB.Verify(MACKey{Whole: broken{}}, nil, make([]byte, 8)) },
	} {
		if err := fn(); err == nil || errors.Is(err, ErrMACWrong) {
			t.Errorf("%s: %v, want an error of ours", name, err)
		}
	}
}

// broken is a key in a module that does not answer.
type broken struct{}

var errBroken = errors.New("key cannot be used")

func (broken) Kind() Kind                { return AES128 }
func (broken) Encrypt(_, _ []byte) error { return errBroken }
func (broken) Decrypt(_, _ []byte) error { return errBroken }
func (broken) Chain(_, _ []byte) error   { return errBroken }

func TestEveryFlippedBitIsRefused(t *testing.T) {
	data := unhex(t, published)
	for alg, k := range map[MACAlgorithm]MACKey{
		MACCUPECB: macKey(t, DES, "C24A8FB57AA20123"),
		MACX919:   macKey(t, TDES2, testKey),
		MACX99:    macKey(t, DES, "0123456789ABCDEF"),
		MACCMAC:   macKey(t, AES128, testKey),
		MACCBC:    macKey(t, SM4, testKey),
	} {
		mac, err := alg.MAC(k, data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 * len(mac) {
			bad := mac
			bad[i/8] ^= 1 << (i % 8)
			if err := alg.Verify(k, data, bad[:]); !errors.Is(err, ErrMACWrong) {
				t.Errorf("%v: MAC bit %d flipped: %v", alg, i, err)
			}
		}
		for i := range 8 * len(data) {
			bad := append([]byte(nil), data...)
			bad[i/8] ^= 1 << (i % 8)
			if err := alg.Verify(k, bad, mac[:]); !errors.Is(err, ErrMACWrong) {
				t.Errorf("%v: data bit %d flipped: %v", alg, i, err)
			}
		}
		for _, short := range [][]byte{nil, {}, mac[:4], append(mac[:], 0)} {
			if err := alg.Verify(k, data, short); !errors.Is(err, ErrMACWrong) {
				t.Errorf("%v: MAC of %d bytes: %v", alg, len(short), err)
			}
		}
	}
}

// padLength is ISO 9797-1 padding method 3, which only published vectors use.
func padLength(dst, data []byte, size int) []byte {
	dst = append(dst, make([]byte, size)...)
	binary.BigEndian.PutUint32(dst[size-4:], uint32(8*len(data)))
	return append(dst, padZero(nil, data, size)...)
}

var paddings = map[int]func(dst, data []byte, size int) []byte{1: padZero, 2: padBit, 3: padLength}

func TestPublishedMACsOfPsec(t *testing.T) {
	for i, row := range psec(t, "psec_mac.json") {
		name := fmt.Sprintf("row %d %s", i, row.Test)
		size := row.BlockLen
		if size == 0 {
			size = 8
		}
		length := row.Length
		if length == 0 {
			length = 8
		}
		tag, data := make([]byte, 8), []byte("hello world")
		switch row.Test {
		case "test_pad_iso_1", "test_pad_iso_2", "test_pad_iso_3":
			pad := paddings[int(row.Test[len(row.Test)-1]-'0')]
			equal(t, name, pad(nil, unhex(t, row.Data), size), unhex(t, row.Result))
		case "test_generate_retail_mac":
			k := macKey(t, TDES2, hex.EncodeToString([]byte("AAAAAAAABBBBBBBB")))
			if err := retail(tag, k, paddings[row.Padding](nil, data, 8)); err != nil {
				t.Error(name, err)
			}
			equal(t, name, tag[:length], unhex(t, row.Result))
		case "test_generate_cbc_mac":
			c := key(t, TDES2, "AAAAAAAAAAAAAAAABBBBBBBBBBBBBBBB")
			if err := c.Chain(tag, paddings[row.Padding](nil, data, 8)); err != nil {
				t.Error(name, err)
			}
			equal(t, name, tag[:length], unhex(t, row.Result))
		default:
			t.Error("no test for", name)
		}
	}
}

func TestPublishedRetailMACsOfISO8583RS(t *testing.T) {
	var f struct {
		Key  string
		Rows []struct{ Data, MAC, What string }
		Pin  struct{ Enc, PAN, PIN, Clear string } `json:"pin_block"`
	}
	load(t, "rkbalgi+iso8583_rs/iso8583_rs_mac.json", &f)
	for _, row := range f.Rows {
		k := macKey(t, TDES2, f.Key)
		got, err := MACX919.MAC(k, unhex(t, row.Data))
		if err != nil {
			t.Error(err)
		}
		equal(t, row.What, got[:], unhex(t, row.MAC))
	}
	c := key(t, TDES2, f.Key)
	block := make([]byte, 8)
	c.Decrypt(block, unhex(t, f.Pin.Enc))
	equal(t, "clear PIN block", block, unhex(t, f.Pin.Clear))
	// Its filler is random where format 0 has F: not format 0.
	if _, err := DecipherPIN(nil, c, PINISO0, unhex(t, f.Pin.Enc), []byte(f.Pin.PAN)); !errors.Is(err, ErrPINBlock) {
		t.Errorf("random filler accepted: %v", err)
	}
}

// TestPublishedSM4MACs holds our CBC-MAC, retail MAC step and CMAC to
// GB/T 15852.1's values, and the SM4 library to those of the algorithms that
// no profile of ours uses.
func TestPublishedSM4MACs(t *testing.T) {
	var f struct {
		Rows []struct {
			Test   string
			Values []string
		}
		Block struct {
			Key, Plain, Cipher string
			Rounds             string `json:"after_1e6_rounds"`
		} `json:"sm4_gbt32907"`
	}
	load(t, "emmansun+gmsm/sm4_cbcmac_gbt15852.json", &f)
	for i, row := range f.Rows {
		name := fmt.Sprintf("row %d %s", i, row.Test)
		v := row.Values
		pad, libraryPad := padBit, padding.NewPaddingFunc(padding.NewISO9797M2Padding)
		if strings.Contains(v[len(v)-1], "M3") {
			pad, libraryPad = padLength, padding.NewISO9797M3Padding
		}
		if strings.HasPrefix(v[len(v)-1], "padding.") {
			v = v[:len(v)-1]
		}
		data, want := unhex(t, v[len(v)-2]), unhex(t, v[len(v)-1])
		k1, k2 := unhex(t, v[0]), unhex(t, v[len(v)-3])
		c := key(t, SM4, v[0])
		got := make([]byte, 16)
		create := func(k []byte) (cipher.Block, error) { return sm4.NewCipher(k) }
		switch strings.TrimSuffix(row.Test, "WithPadding") {
		case "CBCMAC":
			c.Chain(got, pad(nil, data, 16))
		case "CMAC":
			s := getScratch()
			got, _ = cmac(s, c, data)
		case "ANSIRetailMAC":
			got = cbcmac.NewANSIRetailMACWithPadding(create, k1, k2, 16, libraryPad).MAC(data)
		case "EMAC":
			got = cbcmac.NewEMACWithPadding(create, k1, k2, 16, libraryPad).MAC(data)
		case "MACDES":
			got = cbcmac.NewMACDESWithPadding(create, k1, k2, 16, libraryPad).MAC(data)
		case "LMAC":
			got = cbcmac.NewLMACWithPadding(create, k1, 16, libraryPad).MAC(data)
		case "TRCBCMAC":
			got = cbcmac.NewTRCBCMAC(c.block, len(want)).MAC(data)
		case "CBCRMAC":
			got = cbcmac.NewCBCRMAC(c.block, len(want)).MAC(data)
		default:
			t.Error("no test for", name)
		}
		equal(t, name, got, want)
	}
	c, block := key(t, SM4, f.Block.Key), unhex(t, f.Block.Plain)
	c.Encrypt(block, block)
	equal(t, "GB/T 32907", block, unhex(t, f.Block.Cipher))
	for range 999_999 {
		c.Encrypt(block, block)
	}
	equal(t, "GB/T 32907 after a million rounds", block, unhex(t, f.Block.Rounds))
}

func TestPublishedAESCMACs(t *testing.T) {
	var f struct {
		TestGroups []struct {
			KeySize int
			Tests   []struct {
				TcID                           int
				Comment, Key, Msg, Tag, Result string
			}
		}
	}
	load(t, "C2SP+wycheproof/aes_cmac_test.json", &f)
	n := 0
	for _, g := range f.TestGroups {
		for _, row := range g.Tests {
			n++
			kind := map[int]Kind{128: AES128, 192: AES192, 256: AES256}[g.KeySize]
			c, err := NewLocal(kind, unhex(t, row.Key))
			if err != nil {
				if row.Result == "valid" {
					t.Errorf("test %d: %v", row.TcID, err)
				}
				continue
			}
			s := getScratch()
			tag, err := cmac(s, c, unhex(t, row.Msg))
			if ok := err == nil && hex.EncodeToString(tag) == row.Tag; ok != (row.Result == "valid") {
				t.Errorf("test %d (%s): accepted %v, want %s", row.TcID, row.Comment, ok, row.Result)
			}
		}
	}
	if n != 311 {
		t.Errorf("%d tests, want 311", n)
	}
}

// TestX919KeyChain follows published keys from a master key's components to
// the MAC of a published reversal.
func TestX919KeyChain(t *testing.T) {
	var f struct {
		Parts   []string `json:"zmk_parts"`
		PartKCV []string `json:"zmk_part_kcv"`
		PIKEnc  string   `json:"pik_enc"`
		PIKKCV  string   `json:"pik_kcv"`
		MAKEnc  string   `json:"mak_enc"`
		MAKKCV  string   `json:"mak_kcv"`
		MAC     string
	}
	load(t, "Ajsgn+Java8583/ajsgn_x919_chain.json", &f)
	zmk := make([]byte, 16)
	for i, part := range f.Parts {
		kcv, _ := CheckValue(key(t, TDES2, part))
		if !strings.HasPrefix(kcv.String(), f.PartKCV[i]) {
			t.Errorf("part %d: KCV %v, want %s", i, kcv, f.PartKCV[i])
		}
		xor(zmk, unhex(t, part))
	}
	master := key(t, TDES2, hex.EncodeToString(zmk))
	under := func(enc, want string) string {
		b := unhex(t, enc)
		master.Decrypt(b, b)
		kcv, _ := CheckValue(key(t, TDES2, hex.EncodeToString(b)))
		if kcv.String() != want {
			t.Errorf("KCV %v, want %s", kcv, want)
		}
		return hex.EncodeToString(b)
	}
	under(f.PIKEnc, f.PIKKCV)
	mak := under(f.MAKEnc, f.MAKKCV)
	frame := message(t, "Ajsgn+Java8583", "Java8583-03")
	got, err := MACX919.MAC(macKey(t, TDES2, mak), frame[13:len(frame)-8])
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "MAC of the reversal", got[:], unhex(t, f.MAC))
}

// TestConstructedMessages verifies the MAC of every constructed UnionPay
// message that carries one.
func TestConstructedMessages(t *testing.T) {
	k := macKey(t, DES, "5BB5C72CD00B7338")
	n := 0
	for id, frame := range messages(t, "cup-pos-constructed") {
		if frame[13+2+7]&1 == 0 { // DE64 is the bitmap's last bit
			continue
		}
		n++
		if err := MACCUPECB.Verify(k, frame[13:len(frame)-8], frame[len(frame)-8:]); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if n < 10 {
		t.Errorf("%d messages with a MAC", n)
	}
}

func TestSerialCipher(t *testing.T) {
	k := key(t, SM4, testKey)
	for factor, want := range map[string]string{"890128": "1A773210", "000125": "5CB9B2A9"} {
		if got, err := SerialCipher(k, []byte("00002304SN0000000001"), []byte(factor)); err != nil || string(got[:]) != want {
			t.Errorf("factor %s: %s %v, want %s", factor, got, err, want)
		}
	}
}

func message(t testing.TB, source, id string) []byte {
	t.Helper()
	frame := messages(t, source)[id]
	if frame == nil {
		t.Fatal("no message", id)
	}
	return frame
}

// messages are the frames of one source by id, with their length prefix.
func messages(t testing.TB, source string) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("../../../testdata/messages/" + source + "/messages.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	frames := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		var row struct{ ID, Hex string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		frames[row.ID] = unhex(t, row.Hex)
	}
	return frames
}

func TestMACAllocatesNothing(t *testing.T) {
	data := unhex(t, published)
	for alg, k := range map[MACAlgorithm]MACKey{
		MACCUPECB: macKey(t, TDES2, testKey), MACX919: macKey(t, TDES2, testKey), MACCMAC: macKey(t, AES128, testKey),
	} {
		mac, _ := alg.MAC(k, data)
		if n := testing.AllocsPerRun(200, func() { alg.Verify(k, data, mac[:]) }); n != 0 && !raceEnabled {
			t.Errorf("%v: %v allocations", alg, n)
		}
	}
}

// Data of every length up to four blocks is folded byte by byte.
func TestFold(t *testing.T) {
	for _, size := range []int{DES.BlockSize(), SM4.BlockSize()} {
		var data []byte
		for n := range 4*size + 1 {
			want := make([]byte, size)
			for i, b := range data {
				want[i%size] ^= b
			}
			got := make([]byte, size)
			if fold(got, data); !bytes.Equal(got, want) {
				t.Errorf("%d bytes in blocks of %d: %x, want %x", n, size, got, want)
			}
			data = append(data, byte(37*n+11))
		}
	}
}

func BenchmarkMAC(b *testing.B) {
	data := append(unhex(b, published), make([]byte, 256-91)...)
	for _, row := range []struct {
		alg  MACAlgorithm
		kind Kind
		key  string
	}{
		{MACCUPECB, DES, "C24A8FB57AA20123"}, {MACCUPECB, TDES2, testKey}, {MACCUPECB, SM4, testKey},
		{MACX99, DES, "C24A8FB57AA20123"}, {MACX919, TDES2, testKey}, {MACCMAC, AES128, testKey}, {MACCBC, SM4, testKey},
	} {
		b.Run(fmt.Sprintf("%v/%v", row.alg, row.kind), func(b *testing.B) {
			k := macKey(b, row.kind, row.key)
			mac, _ := row.alg.MAC(k, data)
			b.ReportAllocs()
			for b.Loop() {
				if err := row.alg.Verify(k, data, mac[:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
