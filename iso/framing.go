package iso

import (
	"encoding/binary"
	"fmt"
)

// Prefix is how a frame's length precedes it.
type Prefix uint8

// The length prefixes. A length never counts itself.
const (
	PrefixNone    Prefix = iota // the transport delimits frames
	PrefixBinary2               // two bytes, big endian
	PrefixASCII4                // four ASCII digits
	PrefixBCD2                  // four digits in two bytes
	PrefixBinary4               // four bytes, big endian
)

// Framing is what surrounds the message proper on one kind of link.
type Framing struct {
	Prefix Prefix
	TPDU   bool // a 5-byte TPDU starts the body
	// MayTPDU is that a TPDU may start the body: its first byte, 60 to 6F, is
	// the beginning of no message type.
	MayTPDU bool
	LRI     bool // a landline (LRI) block may follow the TPDU; Parse records it
	Header  int  // bytes of application header before the MTI
	// Measured is a header that begins with its own size in a byte and has the
	// body's in four digits behind the next one, as CUPS's.
	Measured bool
	SizeMax  int // largest body accepted or written, in bytes
}

const (
	tpduSize = 5
	tpduMark = 0x60 // in the first half of its first byte
	lriFixed = 5    // "LRI" and a two-byte length
)

// PrefixSize is the number of bytes to read before ReadLength.
func (f Framing) PrefixSize() int {
	switch f.Prefix {
	case PrefixBinary2, PrefixBCD2:
		return 2
	case PrefixASCII4, PrefixBinary4:
		return 4
	}
	return 0
}

// FrameError says that a length prefix cannot announce a message. The stream
// is out of step: close the connection, there is nothing to answer.
type FrameError struct {
	Length int // the announced length, -1 when the prefix is no number
	Why    string
}

func (e *FrameError) Error() string {
	if e.Length < 0 {
		return "read frame length: " + e.Why
	}
	return fmt.Sprintf("read frame length: %d bytes announced, %s", e.Length, e.Why)
}

// ReadLength reads the body length from PrefixSize bytes. A result is safe to
// allocate: it is between the smallest possible message and SizeMax.
func (c *Codec) ReadLength(prefix []byte) (int, error) {
	n := 0
	switch c.framing.Prefix {
	case PrefixBinary2:
		n = int(binary.BigEndian.Uint16(prefix))
	case PrefixASCII4:
		if !asciiDigits(prefix[:4]) {
			return 0, &FrameError{-1, "the prefix is not four decimal digits"}
		}
		for _, d := range prefix[:4] {
			n = n*10 + int(d-'0')
		}
	case PrefixBCD2:
		if !packedDigits(prefix[:2]) {
			return 0, &FrameError{-1, "the prefix is not four packed decimal digits"}
		}
		n = int(unpacked2[prefix[0]])*100 + int(unpacked2[prefix[1]])
	case PrefixBinary4:
		n = int(binary.BigEndian.Uint32(prefix))
	default:
		return 0, &FrameError{-1, "this framing has no length prefix"}
	}
	if n < c.sizeMin {
		return 0, &FrameError{n, fmt.Sprintf("the smallest %s message has %d", c.name, c.sizeMin)}
	}
	if n > c.framing.SizeMax {
		return 0, &FrameError{n, fmt.Sprintf("the limit is %d", c.framing.SizeMax)}
	}
	return n, nil
}

// AppendLength appends the prefix of a body of n bytes.
func (f Framing) AppendLength(dst []byte, n int) []byte {
	var prefix [4]byte
	f.putLength(prefix[:], n)
	return append(dst, prefix[:f.PrefixSize()]...)
}

func (f Framing) putLength(dst []byte, n int) {
	switch f.Prefix {
	case PrefixBinary2:
		binary.BigEndian.PutUint16(dst, uint16(n))
	case PrefixASCII4:
		putDigits4(dst, n)
	case PrefixBCD2:
		dst[0], dst[1] = packed2(uint32(n)/100), packed2(uint32(n)%100)
	case PrefixBinary4:
		binary.BigEndian.PutUint32(dst, uint32(n))
	}
}

func putDigits4(dst []byte, n int) {
	for i := 3; i >= 0; i-- {
		dst[i] = '0' + byte(n%10)
		n /= 10
	}
}

// measure is what is wrong with the measures of a header that a body begins with.
func (f Framing) measure(body []byte) error {
	if len(body) < f.Header {
		return tooShort(FieldFrame, 0, f.Header, len(body))
	}
	if int(body[0]) != f.Header {
		return &FieldError{Field: FieldFrame, Why: fmt.Sprintf("the header says that it has %d bytes, it must have %d", body[0], f.Header)}
	}
	var size [4]byte
	if putDigits4(size[:], len(body)); string(body[2:6]) != string(size[:]) {
		return &FieldError{Field: FieldFrame, Offset: 2, Why: fmt.Sprintf("the header must say %s, the size of the frame", size[:])}
	}
	return nil
}
