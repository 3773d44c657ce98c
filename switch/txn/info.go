package txn

import (
	"bytes"
	"fmt"
	"log/slog"
)

// Serial is a machine's serial number (TUSN: maker 6, type 2 and the maker's
// own number), at most 50 characters, zero padded. Zero is unknown.
type Serial [50]byte

// MakeSerial keeps as much of s as a Serial holds.
func MakeSerial[T ~string | ~[]byte](s T) (serial Serial) {
	copy(serial[:], s)
	return serial
}

// Bytes is the serial number without its padding; it aliases s.
func (s *Serial) Bytes() []byte { return unpadded(s[:]) }

func (s Serial) String() string { return string(s.Bytes()) }

// Own is the maker's own number in a TUSN, which is what terminals report at
// sign-on: zero where s does not begin with the digits of maker and type.
func (s Serial) Own() (own Serial) {
	if Digits(s[:8]) {
		copy(own[:], s[8:])
	}
	return own
}

// Position is where a terminal says it is, in millionths of a degree (GCJ-02
// in China). Known is false when the message carried none.
type Position struct {
	Lat, Lng int32
	Known    bool
}

// Cell is the radio cell that a terminal says it is served by; what it does not
// say is zero. A CDMA one is System, Network and Base, any other Area and Cell.
type Cell struct {
	Country, Operator     uint16 // MCC and MNC, such as 460 and 0
	Area, Cell            uint32 // LAC and CID
	System, Network, Base uint32 // SID, NID and BID
	Signal                int16  // as the terminal measures it
}

// CellID is what tells a radio cell from all others.
type CellID struct {
	Country, Operator uint16 // 0 of a CDMA cell
	Area, Cell        uint32 // LAC and CID, or NID and BID, with SID for the operator
}

// ID is the cell's identity, zero where the message did not say enough.
func (c *Cell) ID() CellID {
	switch {
	case c.Cell != 0:
		return CellID{c.Country, c.Operator, c.Area, c.Cell}
	case c.Base != 0:
		return CellID{0, uint16(c.System), c.Network, c.Base}
	}
	return CellID{}
}

// Proof is what the ciphertext of a terminal's serial number says of it.
type Proof uint8

// The proofs.
const (
	ProofUnchecked Proof = iota // no key to check it with is kept here
	ProofMissing                // there is a key, and the message has no ciphertext
	ProofRight
	ProofWrong
)

// Software is what the registry says of the version of software that a terminal
// reports.
type Software uint8

// The zero value is of a terminal that reports none, too.
const (
	SoftwareServed Software = iota
	SoftwareOld             // served, and to be updated
	SoftwareTooOld          // no longer served
)

// TerminalInfo is what a message says of the machine that made it (cup-pos A5).
// What the message does not say, or not so that it can be read, is zero. It has
// no pointers and does not alias the frame.
type TerminalInfo struct {
	// Broken says that the field or one of its lists was not well formed: cut
	// short, too long, or with an element twice. What stood in it is left out.
	Broken   bool
	Device   uint8 // 1 ATM, 2 POS, 3 mPOS, 4 smart POS, ... 13
	Serial   Serial
	Factor   [10]byte // random factor of Cipher: the last six digits of the card or code, zero padded
	Cipher   [8]byte  // ciphertext of the serial number and the factor
	App      [8]byte  // version of the application, zero padded
	Position Position
	Cell     Cell

	// Set at admission.
	Proof    Proof
	Software Software
}

// FactorBytes is the random factor without its padding; it aliases i.
func (i *TerminalInfo) FactorBytes() []byte { return unpadded(i.Factor[:]) }

// String tells the machine and its place. The factor is part of a card number;
// it and the ciphertext are left out.
func (i TerminalInfo) String() string {
	s := fmt.Sprintf("type %02d serial %q app %q", i.Device, i.Serial.Bytes(), unpadded(i.App[:]))
	if i.Position.Known {
		s += fmt.Sprintf(" at %d,%d", i.Position.Lat, i.Position.Lng)
	}
	if i.Broken {
		s += " broken"
	}
	return s
}

// GoString is String.
func (i TerminalInfo) GoString() string { return i.String() }

// LogValue is String.
func (i TerminalInfo) LogValue() slog.Value { return slog.StringValue(i.String()) }

func unpadded(b []byte) []byte {
	if n := bytes.IndexByte(b, 0); n >= 0 {
		return b[:n]
	}
	return b
}

// Carrier is the field and form in which a terminal tells TerminalInfo. The
// form cannot be told from the bytes, so the registration says it.
type Carrier uint8

// The carriers. Their order is that of the registry file's words.
const (
	CarrierDE59   Carrier = iota // lists A2 and A5; lengths of three digits
	CarrierDE57                  // the same in DE57, where A2 counts its elements from 04
	CarrierDE46                  // "PI" and one list; lengths of two hexadecimal digits
	CarrierDE59BD                // lists of lengths of two digits, the position behind "BD"
	CarrierDE63                  // base stations behind DE63's first three characters
	CarrierNone                  // it tells nothing
)

var carrierNames = [...]string{"de59", "de57", "de46", "de59-bd", "de63", "none"}

func (c Carrier) String() string { return name(carrierNames[:], c) }

// Carriers are the fields that may carry a terminal's information, as sent.
// They alias the frame.
type Carriers struct{ DE46, DE57, DE59, DE63 Secret }
