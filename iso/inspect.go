package iso

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// Limits of Inspect. The input may be hexadecimal with spaces.
const (
	inspectFrameMax = 9999
	inspectInputMax = 4 * inspectFrameMax
)

// Known is a codec for every dialect and framing of this package, the more
// telling first: Inspect tries them in this order.
func Known() []*Codec {
	var all []*Codec
	add := func(framing Framing, codecs ...*Codec) {
		for _, c := range codecs {
			framing.SizeMax = inspectFrameMax
			all = append(all, MustCompile(c.spec, framing))
		}
	}
	cup := &Codec{spec: CUPPOS()}
	cups := &Codec{spec: CUPS()}
	iso := []*Codec{{spec: ISO87(SpelledHex)}, {spec: ISO87(SpelledHex32)}, {spec: ISO87(SpelledBinary)}}
	framing := CUPPOSFraming(inspectFrameMax)
	add(framing, cup)
	framing.Prefix = PrefixNone
	add(framing, cup)
	network := CUPSFraming(inspectFrameMax)
	add(network, cups)
	network.Prefix = PrefixNone
	add(network, cups)
	add(Framing{Prefix: PrefixBinary2, MayTPDU: true}, iso...)
	add(Framing{Prefix: PrefixASCII4, MayTPDU: true}, iso...)
	add(Framing{MayTPDU: true}, iso...)
	add(Framing{}, cups)
	add(Framing{Prefix: PrefixBinary2}, cup)
	add(Framing{}, cup)
	bcd := &Codec{spec: ISO87(SpelledBCD)}
	add(Framing{Prefix: PrefixBinary2, MayTPDU: true}, bcd)
	add(Framing{Prefix: PrefixASCII4, MayTPDU: true}, bcd)
	add(Framing{MayTPDU: true}, bcd)
	return all
}

// Inspect finds out what the input is: hexadecimal (spaces, line breaks and 0x
// allowed), base64 or raw bytes, of the first codec that reads it to the last
// byte, behind its length prefix if it has one. When none does, the error is
// that of the codec that came furthest, with the message as far as it was read;
// byte offsets count from behind the length prefix. There is no message where
// none of them found a message type or a field; nor in an odd number of
// hexadecimal digits, unless they are a message as text.
func Inspect(input []byte, codecs []*Codec) (*Message, error) {
	readings, err := readInput(input)
	if err != nil {
		return nil, err
	}
	var best attempt
	for _, c := range codecs {
		for _, raw := range readings {
			a := try(c, raw)
			if a.err == nil && a.telling {
				return a.m, nil
			}
			if best.m == nil || a.score > best.score {
				best = a
			}
		}
	}
	if best.m == nil {
		return nil, errors.New("inspect: no dialect to try")
	}
	if digits, hex := hexDigits(input); hex && len(digits)%2 != 0 {
		return nil, fmt.Errorf("inspect: the input has %d hexadecimal digits, and each byte takes two: one is missing or one too many", len(digits))
	}
	if !best.telling {
		return nil, fmt.Errorf("inspect: no message can be made out of %d bytes: no dialect finds a message type where it should be", len(readings[0]))
	}
	return best.m, fmt.Errorf("no dialect reads the message to its end; as %s, %s: %w",
		best.m.codec.name, best.m.codec.framing.Prefix, best.err)
}

// String says how a length precedes a frame.
func (p Prefix) String() string {
	switch p {
	case PrefixBinary2:
		return "behind a 2-byte length"
	case PrefixASCII4:
		return "behind a 4-digit length"
	case PrefixBCD2:
		return "behind a 2-byte BCD length"
	case PrefixBinary4:
		return "behind a 4-byte length"
	}
	return "without a length"
}

// readInput decodes the input in every way it can be meant.
func readInput(input []byte) ([][]byte, error) {
	if len(input) > inspectInputMax {
		return nil, fmt.Errorf("inspect: the input has %d bytes, the limit is %d", len(input), inspectInputMax)
	}
	packed := bytes.Join(bytes.Fields(input), nil)
	if len(packed) == 0 {
		return nil, errors.New("inspect: the input is empty")
	}
	var all [][]byte
	digits, _ := hexDigits(input)
	if raw, err := hex.DecodeString(digits); err == nil && len(raw) > 0 {
		all = append(all, raw)
	}
	if raw, err := base64.StdEncoding.DecodeString(string(packed)); err == nil {
		all = append(all, raw)
	}
	all = append(all, input)
	if trimmed := bytes.TrimRight(input, "\r\n"); len(trimmed) < len(input) {
		all = append(all, trimmed)
	}
	return all, nil
}

// hexDigits is the input without spaces and 0x, and whether it is hexadecimal.
func hexDigits(input []byte) (string, bool) {
	digits := string(bytes.Join(bytes.Fields(input), nil))
	digits = strings.TrimPrefix(strings.TrimPrefix(digits, "0x"), "0X")
	return digits, digits != "" && strings.Trim(digits, "0123456789abcdefABCDEF") == ""
}

// attempt is one codec tried on one reading of the input.
type attempt struct {
	m       *Message
	err     error
	score   int  // how far it came, plausible messages first
	telling bool // there is a message type, or a field
}

func try(c *Codec, raw []byte) attempt {
	a := attempt{m: &Message{codec: c}}
	size := c.framing.PrefixSize()
	if len(raw) < size {
		a.err = &FrameError{-1, "the input ends before it"}
		return a
	}
	body := raw[size:]
	a.err = c.Parse(a.m, body)
	if size > 0 {
		n, err := c.ReadLength(raw[:size])
		switch {
		case err == nil && n == len(body):
			a.score += 20 // a length that fits is no accident
		case a.err == nil && err != nil:
			a.err = err
		case a.err == nil:
			a.err = &FrameError{n, fmt.Sprintf("%d follow", len(body))}
		}
	}
	a.score += bits.OnesCount64(a.m.has[0]) + bits.OnesCount64(a.m.has[1])
	a.telling = a.m.has != [2]uint64{}
	if t := a.m.mti; t>>12 <= 2 && t>>8&15 >= 1 && t>>8&15 <= 9 && t&15 <= 5 {
		a.score += 10
		a.telling = true
	}
	if !c.bitmap.hex && hexadecimal(a.m.Bitmap()) && a.m.Bitmap() != nil {
		a.score -= 30 // a binary bitmap that spells hexadecimal is one
	}
	return a
}
