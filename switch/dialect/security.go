package dialect

import (
	"bytes"
	"encoding/hex"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// A MAC is the last field of a message: 64, or 128 where the bitmap that has it
// is used.
const (
	macField     = 64
	macFieldWide = 128
	macSize      = 8
)

var noMAC [macSize]byte

// zeroPIN is DE52 of a message whose PIN block, one of 16 bytes, is elsewhere.
var zeroPIN [8]byte

// Elements of DE59 and DE63, in the form of element.
const (
	elementSM4PIN   = "A1" // CUP, DE59: the PIN block under an SM4 key, 16 raw bytes
	elementSM4PIN63 = "SM" // the same in DE63, as the network between acquirer and issuer has it
	elementKSN      = "KS" // ISO 8583:1987: the key serial number, in hexadecimal
	elementPINBlock = "PB" // ISO 8583:1987: the PIN block under an AES key, in hexadecimal
)

// keySet1987 is what a sign-on in ISO 8583:1987 asks for, having no way to say:
// double-length keys.
const keySet1987 = 3

// readMAC takes out the MAC and what it covers: the message from its MTI to the
// MAC's field, as sent.
func readMAC(x *Exchange) {
	m, field := &x.message, macField
	if m.Has(macFieldWide) {
		field = macFieldWide
	}
	if m.Has(field) {
		x.Request.MAC, x.Request.Signed = m.AppendText(x.mac[:0], field), m.Before(field)
	}
}

// holdMAC writes the place of the answer's MAC: where the request's was, or
// behind a field that stands behind that.
func holdMAC(e *iso.Encoder, m *iso.Message) {
	field := macField
	if m.Has(macFieldWide) || e.Last() > macField {
		field = macFieldWide
	}
	e.Bytes(field, noMAC[:])
}

// placeMAC writes the MAC into its place: eight bytes, or as many in hexadecimal
// where the dialect spells them so.
func placeMAC(place []byte, mac [macSize]byte) {
	if len(place) == macSize {
		copy(place, mac[:])
		return
	}
	hexMAC(place, mac[:])
}

// hexMAC spells bytes in capitals.
func hexMAC(place, mac []byte) {
	const digits = "0123456789ABCDEF"
	for i, b := range mac {
		place[2*i], place[2*i+1] = digits[b>>4], digits[b&15]
	}
}

// macWidth is the size of a MAC on the wire.
func (t *Terminal) macWidth() int {
	if t.hex {
		return 2 * macSize
	}
	return macSize
}

// decodePIN finds the PIN block: DE52, or for keys whose blocks are larger than
// that, an element of DE59 or DE63. A DUKPT terminal's serial number is
// in DE63 as well.
func decodePIN(x *Exchange) error {
	m, req := &x.message, &x.Request
	if m.Has(52) {
		req.PINBlock = m.AppendText(x.pin[:0], 52)
	}
	if req.Dialect == idCUPPOS {
		if algorithm := req.SecurityInfo[1]; len(req.PINBlock) == 0 || algorithm != '3' && algorithm != '4' {
			return nil
		}
		block, ok := element(m.Value(59), elementSM4PIN)
		if !ok {
			block, ok = element(m.Value(63), elementSM4PIN63)
		}
		if !ok || len(block) != len(x.pin) || !bytes.Equal(req.PINBlock, zeroPIN[:]) {
			return errField{52, "must be zeros, and the PIN block under an SM4 key in A1 of field 59 or SM of 63"}
		}
		req.PINBlock = append(x.pin[:0], block...)
		return nil
	}
	private := m.Value(63)
	if ksn, ok := element(private, elementKSN); ok {
		req.KSN = ksn
	}
	if block, ok := element(private, elementPINBlock); ok {
		if len(block) != hex.EncodedLen(len(x.pin)) || m.Has(52) && !bytes.Equal(req.PINBlock, zeroPIN[:]) {
			return errField{63, "must hold a PIN block of 32 hexadecimal digits in PB, and field 52 zeros"}
		}
		if _, err := hex.Decode(x.pin[:], block); err != nil {
			return errField{63, "must hold a PIN block of 32 hexadecimal digits in PB"}
		}
		req.PINBlock = x.pin[:]
	}
	return nil
}

// keepTrack leaves track 2 as the terminal enciphered it: packed, with one
// block of it under the terminal's key (cup-pos B2). Until ReadTrack the card
// is not known.
func keepTrack(x *Exchange) bool {
	m, req := &x.message, &x.Request
	if req.Dialect != idCUPPOS || req.SecurityInfo[2] != '1' || !m.Has(35) {
		return false
	}
	req.Track2, req.TrackDigits = append(x.track[:0], m.Value(35)...), uint8(m.Len(35))
	return true
}

// ReadTrack reads the card from track 2 once it is deciphered, in place. Its
// error names DE35, or DE2 when the two are not of one card.
func ReadTrack(req *txn.Request) error {
	packed, n := req.Track2, int(req.TrackDigits)
	req.TrackDigits = 0
	if n > cap(packed) || (n+1)/2 > len(packed) {
		return errField{35, "must be a track"}
	}
	track := packed[:n]
	for i := n - 1; i >= 0; i-- { // from its end: the byte of a pair is at or before both
		if b := packed[i/2]; i%2 == 0 {
			track[i] = '0' + b>>4
		} else {
			track[i] = '0' + b&15
		}
	}
	stated := req.PAN
	req.PAN = txn.PAN{}
	if err := cardOnTrack(req, track); err != nil {
		return err
	}
	if !stated.IsZero() && stated != req.PAN {
		return errField{2, "and track 2 must be one card"}
	}
	return nil
}

// cardOnTrack takes the card number, and the expiry where DE14 is absent, from
// a track in clear.
func cardOnTrack(req *txn.Request, track []byte) (err error) {
	req.Track2 = track
	for _, c := range track {
		if c != '=' && (c < '0' || c > '9') {
			return errField{35, "must be digits and separators"}
		}
	}
	pan, rest, ok := bytes.Cut(track, []byte{'='})
	if req.PAN, err = txn.ParsePAN(pan); err != nil || !ok {
		return errField{35, "must start with a card number of 12 to 19 digits and a separator"}
	}
	// A track without an expiry has a second separator in its place.
	if req.Expiry == [4]byte{} && len(rest) >= 4 && bytes.IndexByte(rest[:4], '=') < 0 {
		copy(req.Expiry[:], rest)
	}
	return nil
}

// keySet is which working keys a sign-on asks for.
func keySet(req *txn.Request) uint16 {
	switch {
	case req.Kind != txn.KindSignOn:
		return 0
	case req.Dialect == idCUPPOS:
		return req.Network
	}
	return keySet1987
}

// answerKeys is DE62 of a sign-on's answer in ISO 8583:1987: the keys in
// hexadecimal, laid out as CUP lays them out.
func answerKeys(e *iso.Encoder, keys txn.Secret) {
	if len(keys) > 0 {
		var text [2 * 60]byte
		e.Text(62, hex.AppendEncode(text[:0], keys))
	}
}

// putPIN63 is DE63 of a request to an issuer whose PIN block does not fit DE52.
func putPIN63(e *iso.Encoder, req *txn.Request) {
	var text [5 + 32]byte
	if req.SecurityInfo[1] == '3' {
		e.Text(63, append(append(text[:0], elementSM4PIN63+"016"...), req.PINBlock...))
		return
	}
	e.Text(63, hex.AppendEncode(append(text[:0], elementPINBlock+"032"...), req.PINBlock))
}
