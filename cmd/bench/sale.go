package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// prefixSize is the length prefix of the terminals' frames.
const prefixSize = 2

var cupPOS = iso.MustCompile(iso.CUPPOS(), iso.CUPPOSFraming(txn.FrameSizeMax))

// sale is the frame of one terminal, length prefix included, and where in it
// the trace number stands: with the MAC, where the terminal has a key for it, the
// only bytes that change from one to the next.
type sale struct {
	frame []byte
	stan  int

	tak         *algo.Local // nil: the MAC is not looked at
	signed, mac []byte      // of the frame
}

// terminalID and merchantID are the registered names of the n-th terminal; five
// terminals share a merchant.
func terminalID(n int) string { return fmt.Sprintf("%08d", 10_000_001+n) }
func merchantID(n int) string { return fmt.Sprintf("99929005411%04d", n/terminalsPerMerchant+1) }

// serial is that of the n-th terminal's machine.
func serial(n int) string { return fmt.Sprintf("00002304SN%010d", n+1) }

const terminalsPerMerchant = 5

// chip and place are DE55 and DE59 of the sale: what a card and a terminal of
// today send, 145 and 164 bytes. The place has the machine's serial and the end
// of the card's number in it.
const (
	chip = "9F2608AABBCCDDEEFF00119F2701809F101307010103A0A802010A010000000000112233449F3704010203049F36020001" +
		"950500000008009A032611219C01009F02060000000123455F2A02015682027C009F1A0201569F03060000000000009F3303E0E1C8" +
		"9F34030203009F3501229F1E0831323334353637388408A0000003330101019F090200309F410400000001"
	place = "A2069010020402020%s03006%s040081A2B3C4D05008310001  " +
		"A508501010+121.4737002010+31.23040003003460040020005005GCJ02060046243070081234567808003-71"
)

// newSale is the n-th terminal's sale of 123.45 CNY: a chip card of its own with
// PIN, track 2, position and MAC; 446 bytes with the length.
func newSale(n int) (sale, error) {
	pan := fmt.Sprintf("622202%012d", n)
	pan += string(txn.CheckDigit([]byte(pan)))
	e := cupPOS.Begin(nil, []byte("\x60\x00\x03\x00\x00"), []byte("\x60\x31\x00\x31\x00\x00"), 0x0200)
	for _, f := range [...]struct {
		field int
		put   func(*iso.Encoder, int, []byte)
		value string
	}{
		{2, (*iso.Encoder).Digits, pan},
		{3, (*iso.Encoder).Digits, "000000"},
		{4, (*iso.Encoder).Digits, "000000012345"},
		{11, (*iso.Encoder).Digits, "000001"},
		{14, (*iso.Encoder).Digits, "4912"},
		{22, (*iso.Encoder).Digits, "051"},
		{23, (*iso.Encoder).Digits, "001"},
		{25, (*iso.Encoder).Digits, "00"},
		{26, (*iso.Encoder).Digits, "12"},
		{35, (*iso.Encoder).Digits, pan + "D49122010000012300"},
		{41, (*iso.Encoder).Text, terminalID(n)},
		{42, (*iso.Encoder).Text, merchantID(n)},
		{49, (*iso.Encoder).Text, "156"},
		{52, (*iso.Encoder).Bytes, "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6"},
		{53, (*iso.Encoder).Digits, "2600000000000000"},
		{55, (*iso.Encoder).Bytes, string(unhex(chip))},
		{59, (*iso.Encoder).Text, fmt.Sprintf(place, serial(n), pan[len(pan)-6:])},
		{60, (*iso.Encoder).Digits, "2200000100060"},
		{64, (*iso.Encoder).Bytes, "B4916C6F"},
	} {
		f.put(&e, f.field, []byte(f.value))
	}
	frame, err := e.Finish()
	if err != nil {
		return sale{}, fmt.Errorf("build the sale: %w", err)
	}
	var m iso.Message
	if err := cupPOS.Parse(&m, frame[prefixSize:]); err != nil {
		return sale{}, fmt.Errorf("read the sale: %w", err)
	}
	return sale{frame: frame, stan: prefixSize + m.Offset(11)}, nil
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic("bench: a constant is not hexadecimal: " + err.Error())
	}
	return b
}

// number writes a trace number into the frame: DE11 is six packed digits.
func (s *sale) number(stan uint32) {
	for i, div := range [...]uint32{10_000, 100, 1} {
		two := stan / div % 100
		s.frame[s.stan+i] = byte(two/10<<4 | two%10)
	}
	if s.tak != nil {
		mac, _ := algo.MACCUPECB.MAC(algo.MACKey{Whole: s.tak}, s.signed) // a wrong one is refused, and counted
		copy(s.mac, mac[:])
	}
}

// approved says that an answer approves: a 0210 with 00.
func approved(m *iso.Message) bool { return m.MTI() == 0x0210 && string(m.Value(39)) == "00" }

// echoed says that an answer is the request, as an answer.
func echoed(m *iso.Message) bool { return m.MTI() == 0x0210 }

// writeRegistry registers n terminals where their sales say they are. From the
// first-th on they have MACs.
func writeRegistry(path string, n, first int) error {
	var b strings.Builder
	b.WriteString("version: 1\nmerchants:\n")
	for i := range n {
		if i%terminalsPerMerchant == 0 {
			fmt.Fprintf(&b, `  - mid: "%s"
    name: Merchant %[2]d
    city: Shanghai
    mcc: "5411"
    region: 310101
    country: CN
    currency: CNY
    status: active
    policy: refuse
    kinds: [sale]
    limits: {transaction: "50000.00"}
    terminals:
`, merchantID(i), i/terminalsPerMerchant+1)
		}
		mac := "none"
		if i >= first {
			mac = "cup-ecb"
		}
		fmt.Fprintf(&b, "      - {tid: \"%s\", serial: %s, class: fixed, status: active, mac: %s, region: 310101, premises: {lat: 31.2304, lng: 121.4737}, limits: {transaction: \"20000.00\", day_amount: \"10000000000.00\"}}\n",
			terminalID(i), serial(i), mac)
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}
