package capture

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
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
			valid := func(s []byte) bool { return txn.CheckDigit(s[:len(s)-1]) == s[len(s)-1] }
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
		pan = append(pan, txn.CheckDigit(pan))
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

// cleanISO cleans a request of ISO 8583:1987 with these fields.
func cleanISO(t *testing.T, fields map[int]string) (m iso.Message) {
	t.Helper()
	ds, err := FindDialects("iso87")
	if err != nil {
		t.Fatal(err)
	}
	e := ds[0].Codec.Begin(nil, nil, nil, 0x0200)
	for n := 2; n <= 128; n++ {
		if v, ok := fields[n]; ok {
			e.Text(n, []byte(v))
		}
	}
	frame, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := testCleaner(t, 6).Message(ds[0], frame); err != nil {
		t.Fatal(err)
	}
	if err := ds[0].Parse(&m, frame); err != nil {
		t.Fatal(err)
	}
	return m
}

// Card data is found in chip data however it lies there, and data that is no
// BER-TLV is not kept.
func TestCleanedChipData(t *testing.T) {
	const track = "5713" + secretPAN + "D49122011234567890F"
	const cryptogram = "9F2608AABBCCDDEEFF0011"
	for _, x := range []struct{ name, chip string }{
		{"flat", cryptogram + track},
		{"in a constructed element", cryptogram + "7015" + track},
		{"in a private element", cryptogram + "FF0115" + track},
		{"in two", cryptogram + "FF0118" + "BF0C15" + track},
		{"in a private element that is no list", cryptogram + "FF0116" + track + "57"},
		{"behind a tag of 3 bytes", cryptogram + "DF81290830F0F010A8F0FF00" + track},
		{"with a length of 2 bytes", cryptogram + "57820013" + track[4:]},
		{"in an element of no known meaning", cryptogram + "DF0115" + track},
		{"behind padding", cryptogram + "0000" + track},
		{"cut", track + "9F2608AA"},
	} {
		t.Run(x.name, func(t *testing.T) {
			chip, err := hex.DecodeString(x.chip)
			if err != nil {
				t.Fatal(err)
			}
			fields := map[int]string{3: "000000", 4: "000000000500", 55: string(chip)}
			if strings.Contains(x.chip, "DF0115") {
				fields[2] = secretPAN
			}
			m := cleanISO(t, fields)
			got := strings.ToUpper(hex.EncodeToString(m.Value(55)))
			if strings.Contains(got, secretPAN[6:]) || strings.Contains(got, "1234567890F") {
				t.Errorf("card data is still there: %s", got)
			}
			if x.name != "cut" && !strings.Contains(got, cryptogram) {
				t.Errorf("the cryptogram is not: %s", got)
			}
		})
	}
}

// Card data is found in text however it is written, the message's own card in
// fields of a fixed meaning too.
func TestCleanedText(t *testing.T) {
	packed, _ := hex.DecodeString("0" + secretPAN + "D4912201123456789F")
	for _, x := range []struct {
		name   string
		n      int
		value  string
		secret []string
	}{
		{"own card as merchant name", 43, secretPAN + strings.Repeat(" ", 21), []string{secretPAN[6:]}},
		{"own card among balances", 54, "00" + secretPAN + "00", []string{secretPAN[6:]}},
		{"own card with dashes", 54, "6222-0212-3456-7890-128", []string{"3456-7890"}},
		{"own card packed", 63, string(packed), []string{string(packed[4:10]), string(packed[12:])}},
		{"another card padded with zeros", 63, "00004111111111111111", []string{"1111111111"}},
		{"another card with blanks", 63, "4111 1111 1111 1111", []string{"1111 1111 1111"}},
		{"another card and its expiry", 48, "62220200000000074912", []string{"00000000074912", "4912"}},
		{"track 2", 47, secretPAN + "=49122011234567890", []string{secretPAN[6:], "4912", "34567890"}},
		{"track 1", 47, "B" + secretPAN + "^DOE/J^4912", []string{secretPAN[6:], "DOE", "4912"}},
		{"card verification code", 48, "CVV2=987", []string{"987"}},
		{"card verification code, otherwise named", 48, "Cvn 987", []string{"987"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			m := cleanISO(t, map[int]string{2: secretPAN, 3: "000000", 4: "000000000500", x.n: x.value})
			for _, secret := range x.secret {
				if bytes.Contains(m.Value(x.n), []byte(secret)) {
					t.Errorf("%q still has %q", m.Value(x.n), secret)
				}
			}
			if string(m.Value(4)) != "000000000500" {
				t.Errorf("the amount became %s", m.Value(4))
			}
		})
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

// The message's own card number is found whatever marks stand between its digits, and
// chip data in whatever field it stands.
func TestCleanedBetweenMarks(t *testing.T) {
	d := Dialects()[0]
	chip, err := hex.DecodeString("9F0206000000001250" + "5713" + secretPAN + "D49121012345678900F" + "5F2004414E4E41")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, pan, text, secret string }{
		{"dots", secretPAN, "6222.0212.3456.7890.128", "3456.7890"},
		{"slashes", secretPAN, "PAN 6222/0212/3456/7890/128 end", "3456/7890"},
		{"two blanks", secretPAN, "6222  0212  3456  7890  128", "3456  7890"},
		{"a blank, a dash and a blank", secretPAN, "6222 - 0212 - 3456 - 7890 - 128", "3456 - 7890"},
		{"tabs", secretPAN, "6222\t0212\t3456\t7890\t128", "3456\t7890"},
		{"chip data, of a message without a card", "", string(chip), string(chip[11:21])},
		{"a name in chip data", "", string(chip), "ANNA"},
	} {
		e := d.Codec.Begin(nil, terminalTPDU, terminalHeader, 0x0200)
		if row.pan != "" {
			e.Digits(2, []byte(row.pan))
		}
		e.Digits(3, []byte("000000"))
		e.Digits(11, []byte("000001"))
		e.Text(41, []byte("10000001"))
		e.Text(42, []byte("999290054110001"))
		e.Text(62, []byte(row.text))
		frame, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if err := testCleaner(t, 8).Message(d, frame); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(frame, []byte(row.secret)) {
			t.Errorf("%s: %q", row.name, frame)
		}
	}
}
