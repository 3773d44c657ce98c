package capture

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
)

var testKey = bytes.Repeat([]byte{7}, KeySize)

func testCleaner(t testing.TB, bin int) *Cleaner {
	t.Helper()
	c, err := NewCleaner(testKey, bin)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A pseudonym keeps length, issuer and whether the check digit is right; it is
// the same under the same key, another under another, and no two cards share one.
func TestPseudonym(t *testing.T) {
	c := testCleaner(t, 6)
	for _, pan := range []string{"4111111111111111", "6222021234567890128", "5555555555554444", "378282246310005", "4222222222222", "9999010000090012", "9999010000090013"} {
		t.Run(pan, func(t *testing.T) {
			got := []byte(pan)
			c.pseudonym(got)
			again := []byte(pan)
			c.pseudonym(again)
			other := []byte(pan)
			elsewhere, _ := NewCleaner(bytes.Repeat([]byte{8}, KeySize), 6)
			elsewhere.pseudonym(other)
			valid := func(s []byte) bool { return checkDigit(s[:len(s)-1]) == s[len(s)-1] }
			switch {
			case len(got) != len(pan) || string(got[:6]) != pan[:6]:
				t.Errorf("%s has another length or issuer", got)
			case string(got) == pan:
				t.Error("the card number is unchanged")
			case string(got) != string(again):
				t.Errorf("%s, then %s", got, again)
			case string(got) == string(other):
				t.Error("another key makes the same pseudonym")
			case valid(got) != valid([]byte(pan)):
				t.Errorf("%s: the check digit is right: %v, of the card's %v", got, valid(got), valid([]byte(pan)))
			}
		})
	}
	seen := map[string]bool{}
	for n := range 100_000 {
		pan := fmt.Appendf(nil, "6222021%05d", n) // 12 digits, all of a class
		pan = append(pan, checkDigit(pan))
		c.pseudonym(pan)
		if seen[string(pan)] {
			t.Fatalf("two cards have the pseudonym of number %d", n)
		}
		seen[string(pan)] = true
	}
	eight := []byte("6222021234567890128")
	testCleaner(t, 8).pseudonym(eight)
	if string(eight[:8]) != "62220212" {
		t.Errorf("%s does not keep 8 digits", eight)
	}
}

const secretPAN = "6222021234567890128"

// Every place where a card number, a track, a PIN, a MAC or a key may stand is
// cleaned, in each dialect, and the message can be read as before.
func TestCleaned(t *testing.T) {
	const track = secretPAN + "=49121012345678900"
	chip := "5A0A6222021234567890128F" + "5713" + "6222021234567890128D49121012345678900F" + "5F2004414E4E41" + "9F2608AABBCCDDEEFF0011"
	for _, d := range Dialects() {
		cup := d.Codec.Framing().TPDU
		var tpdu, header []byte
		if cup {
			tpdu, header = terminalTPDU, terminalHeader
		}
		build := func(mti uint16, fields map[int]string) []byte {
			e := d.Codec.Begin(nil, tpdu, header, mti)
			for n := 2; n <= 128; n++ {
				v, ok := fields[n]
				if !ok {
					continue
				}
				if raw, isHex := strings.CutPrefix(v, "hex:"); isHex {
					b, err := hex.DecodeString(raw)
					if err != nil {
						t.Fatal(err)
					}
					e.Bytes(n, b)
				} else if n == 35 {
					e.Digits(n, []byte(v))
				} else {
					e.Text(n, []byte(v))
				}
			}
			frame, err := e.Finish()
			if err != nil {
				t.Fatal(d.Name, err)
			}
			return frame
		}
		sale := map[int]string{2: secretPAN, 3: "000000", 4: "000000012345", 11: "000042", 35: track, 41: "10000001", 42: "999290054110001",
			52: "hex:A1A2A3A4A5A6A7A8", 55: "hex:" + chip, 62: "card " + secretPAN + " of Anna", 64: "hex:B1B2B3B4B5B6B7B8"}
		if !cup {
			sale[45] = "B" + secretPAN + "^ANNA/A^4912101"
			sale[48] = "another card, 4111111111111111, is in here"
			sale[102] = secretPAN
		}
		c := testCleaner(t, 6)
		frame := build(0x0200, sale)
		before := bytes.Clone(frame)
		if err := c.Message(d, frame); err != nil {
			t.Fatal(d.Name, err)
		}
		var was, is iso.Message
		if err := d.Parse(&was, before); err != nil {
			t.Fatal(err)
		}
		if err := d.Parse(&is, frame); err != nil {
			t.Fatalf("%s: what was cleaned cannot be read: %v", d.Name, err)
		}
		text := strings.ToUpper(hex.EncodeToString(frame)) + string(frame)
		for _, secret := range []string{secretPAN, secretPAN[6:], "4111111111111111", "345678900", "414E4E41", "ANNA", "A1A2A3A4A5A6A7A8", "B1B2B3B4B5B6B7B8", hex.EncodeToString([]byte(secretPAN[6:]))} {
			if strings.Contains(text, strings.ToUpper(secret)) {
				t.Errorf("%s: %s is still there", d.Name, secret)
			}
		}
		pan := string(is.AppendDigits(nil, 2))
		if got := string(is.AppendDigits(nil, 35)); !strings.HasPrefix(got, pan+"=4912101") {
			t.Errorf("%s: the track %s is not of card %s, its expiry and service code", d.Name, got, pan)
		}
		if !strings.Contains(string(is.AppendText(nil, 62)), "card "+pan+" of") {
			t.Errorf("%s: DE62 does not tell of the same card", d.Name)
		}
		for _, n := range []int{3, 4, 11, 41, 42} {
			if !bytes.Equal(was.Value(n), is.Value(n)) {
				t.Errorf("%s: field %d changed", d.Name, n)
			}
		}
		if !bytes.Contains(is.Value(55), []byte("\x9F\x26\x08\xAA\xBB\xCC")) {
			t.Errorf("%s: what is no card data was taken out of the chip's", d.Name)
		}
		if cup {
			keys := build(0x0810, map[int]string{11: "000001", 39: "00", 41: "10000001", 62: "hex:" + strings.Repeat("C7", 40)})
			if err := c.Message(d, keys); err != nil || bytes.Contains(keys, []byte("\xC7\xC7")) {
				t.Errorf("working keys are still there, %v", err)
			}
			shown := build(0x0200, map[int]string{3: "000000", 4: "000000012345", 11: "000003", 22: "032", 41: "10000001", 42: "999290054110001",
				59: "A2026" + "02010TUSN000001" + "03006" + secretPAN[len(secretPAN)-6:] + "A3" + fmt.Sprintf("%03d", len(secretPAN)) + secretPAN})
			if err := c.Message(d, shown); err != nil {
				t.Fatal(err)
			}
			d.Parse(&is, shown)
			if got := string(is.Value(59)); got != "A202602010TUSN000001"+"03006"+pan[len(pan)-6:]+"A3"+fmt.Sprintf("%03d", len(pan))+pan {
				t.Errorf("a code's number, and the card's last digits in the machine's proof, became %s", got)
			}
			upload := build(0x0320, map[int]string{11: "000002", 41: "10000001", 42: "999290054110001",
				48: "01" + "00000042" + "0" + secretPAN + "000000012345", 60: "00000001201"})
			if err := c.Message(d, upload); err != nil {
				t.Fatal(err)
			}
			d.Parse(&is, upload)
			if got := string(is.AppendDigits(nil, 48)); got != "01000000420"+pan+"000000012345" {
				t.Errorf("the upload says %s", got)
			}
		}
	}
}

// What looks like a card number and has a fixed meaning stays.
func TestCleanedLeavesNumbers(t *testing.T) {
	d := Dialects()[0]
	e := d.Codec.Begin(nil, terminalTPDU, terminalHeader, 0x0800)
	e.Digits(11, []byte("000001"))
	e.Text(41, []byte("41111111"))
	e.Text(42, []byte("411111111111111"))
	e.Digits(60, []byte("00000001003"))
	e.Text(62, []byte("Sequence No164111111111111111"))
	frame, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	was := bytes.Clone(frame)
	if err := testCleaner(t, 8).Message(d, frame); err != nil || !bytes.Equal(was, frame) {
		t.Errorf("%v\n%X\n%X", err, was, frame)
	}
}

// FuzzClean holds the cleaner to leaving messages that can be read, of the same
// length, whatever is in them.
func FuzzClean(f *testing.F) {
	f.Add(uint8(0), []byte("\x00\x10garbage"))
	for i, d := range Dialects() {
		var tpdu, header []byte
		if d.Codec.Framing().TPDU {
			tpdu, header = terminalTPDU, terminalHeader
		}
		e := d.Codec.Begin(nil, tpdu, header, 0x0200)
		e.Digits(2, []byte(secretPAN))
		e.Digits(35, []byte(secretPAN+"=4912"))
		e.Bytes(55, []byte("\x5A\x81\x02\x12\x34\x57\x82"))
		e.Text(62, []byte(secretPAN))
		frame, err := e.Finish()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), frame)
	}
	all := Dialects()
	f.Fuzz(func(t *testing.T, which uint8, frame []byte) {
		d := all[int(which)%len(all)]
		c := testCleaner(t, 8)
		if c.Message(d, frame) != nil {
			return
		}
		var m iso.Message
		if err := d.Parse(&m, frame); err != nil {
			t.Error(err)
		}
	})
}
