package reconcile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/charmap"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// element is how a data element is written in a message of Mastercard's clearing.
type element struct {
	prefix int // digits of the length in front of it; 0: it has size bytes
	size   int // at most
	binary bool
}

// elements are those that its messages have.
var elements = [129]element{
	2: {2, 19, false}, 3: {0, 6, false}, 4: {0, 12, false}, 5: {0, 12, false}, 6: {0, 12, false}, 9: {0, 8, false}, 10: {0, 8, false}, 12: {0, 12, false}, 14: {0, 4, false},
	22: {0, 12, false}, 23: {0, 3, false}, 24: {0, 3, false}, 25: {0, 4, false}, 26: {0, 4, false}, 30: {0, 24, false}, 31: {2, 23, false}, 32: {2, 11, false}, 33: {2, 11, false},
	37: {0, 12, false}, 38: {0, 6, false}, 40: {0, 3, false}, 41: {0, 8, false}, 42: {0, 15, false}, 43: {2, 99, false}, 48: {3, 999, false}, 49: {0, 3, false}, 50: {0, 3, false},
	51: {0, 3, false}, 54: {3, 240, false}, 55: {3, 255, true}, 62: {3, 999, false}, 63: {3, 16, false}, 71: {0, 8, false}, 72: {3, 999, false}, 73: {0, 6, false}, 93: {2, 11, false},
	94: {2, 11, false}, 95: {2, 10, false}, 100: {2, 11, false}, 111: {3, 999, false}, 123: {3, 999, false}, 124: {3, 999, false}, 125: {3, 999, false}, 127: {3, 999, false},
}

// subelements are the elements that are made of private ones (PDS): tag (4),
// length (3) and value, one behind the other.
var subelements = [...]int{48, 62, 123, 124, 125}

// pdsBase is added to the tag of a private subelement where it stands beside elements.
const pdsBase = 1000

// The private subelements of header and trailer.
const (
	pdsFileID   = pdsBase + 105 // type, date, processor, number of the file
	pdsChecksum = pdsBase + 301 // sum of DE4 of all messages of the file
	pdsMessages = pdsBase + 306 // how many these are, header and trailer included
)

// sourceOf is what a column of this name is read from; 0: nothing.
func sourceOf(name string) int {
	text, base, width := name, 0, 0
	if s, ok := strings.CutPrefix(name, "pds"); ok {
		text, base, width = s, pdsBase, 4
	} else if s, ok := strings.CutPrefix(name, "de"); ok {
		text = s
	}
	n, err := strconv.ParseUint(text, 10, 14)
	switch {
	case err != nil || text == name || n == 0:
		return 0
	case width > 0 && len(text) == width:
		return base + int(n)
	case width > 0 || int(n) >= len(elements) || elements[n].size == 0 || elements[n].binary:
		return 0
	}
	return int(n)
}

func de(n int) string { return "de" + strconv.Itoa(n) }

// ipm reads the messages of a file of Mastercard's clearing.
type ipm struct {
	records *records
	ebcdic  bool
	at      int64 // where the message begins
	de      [129][]byte

	// Of the logical file that is being read; there may be several.
	open     bool // between header and trailer
	id       string
	messages int64
	checksum int64
}

var ebcdic = func() (t [256]byte) {
	for i := range t {
		if t[i] = '?'; charmap.CodePage1047.DecodeByte(byte(i)) < 0x7f {
			t[i] = byte(charmap.CodePage1047.DecodeByte(byte(i)))
		}
	}
	return t
}()

func isMTI(b []byte) bool {
	zone := b[0] & 0xf0
	for _, c := range b[:4] {
		if c&0xf0 != zone || c&0x0f > 9 {
			return false
		}
	}
	return b[0]&0x0f == 1 && (zone == 0x30 || zone == 0xf0)
}

// notLines are the messages that are none of a reconciliation's lines.
var notLines = map[string]string{
	"1240": "second presentments (1240)",
	"1442": "chargebacks (1442)",
	"1644": "administrative records (1644)",
	"1740": "fee collections (1740)",
}

// nextIPM is Next of a file of this form.
func (r *Reader) nextIPM(line *Line) error {
	x := r.ipm
	if x.records == nil {
		x.records = newRecords(r.in)
	}
	for {
		record, at, err := x.records.next()
		x.at = at
		if errors.Is(err, io.EOF) {
			switch {
			case r.n == 0:
				return &yamlfile.Problem{File: r.name, What: "the file is empty"}
			case x.open:
				r.n++
				return r.wrong("", "the file is cut off: it has no trailer (1644/695) at its end")
			}
			return io.EOF
		}
		r.n++
		switch err {
		case nil:
		case errCutOff, errFiller, errLength, errTooMuch:
			return r.wrong("", "%v", err)
		default:
			return fmt.Errorf("read %s, record %d: %w", r.name, r.n, err)
		}
		if err := r.message(record); err != nil {
			return err
		}
		x.messages++
		if v := x.de[4]; v != nil {
			amount, ok := whole(v, 12)
			if !ok {
				return r.wrong("de4", "%q is no amount of 12 digits", clip(v))
			}
			if x.checksum += amount; x.checksum > sumMax {
				return r.wrong("de4", "the amounts do not fit 63 bits")
			}
		}
		mti, function := string(record[:4]), string(x.de[24])
		switch what, known := notLines[mti]; {
		case mti == "1644" && function == "697":
			if err := r.header(); err != nil {
				return err
			}
		case !x.open:
			return r.wrong("", "a message %s/%s is before the header (1644/697) or behind the trailer", mti, clip(x.de[24]))
		case mti == "1644" && function == "695":
			if err := r.trailer(); err != nil {
				return err
			}
		case mti == "1240" && function == "200":
			r.values = r.values[:0]
			for i := range r.columns {
				v, err := r.value(r.columns[i].source)
				if err != nil {
					return err
				}
				r.values = append(r.values, v)
			}
			return r.fill(line)
		case !known, mti == "1240" && function != "205" && function != "282":
			return r.wrong("", "a message %s/%s is not known", mti, clip(x.de[24]))
		default:
			r.NotLines[what]++
		}
	}
}

// message finds the elements of a message, and makes ASCII of them.
func (r *Reader) message(record []byte) error {
	x := r.ipm
	if !isMTI(record) {
		return r.wrong("mti", "% x is no type of message", record[:4])
	}
	if is := record[0] == 0xf1; r.n == 1 {
		x.ebcdic = is
	} else if x.ebcdic != is {
		return r.wrong("mti", "the record is in another code (ASCII, EBCDIC) than those before it")
	}
	x.text(record[:4])
	clear(x.de[:])
	bitmap, rest := record[4:20], record[20:]
	if bitmap[0]&0x80 == 0 {
		return r.wrong("de1", "the bitmap does not have its second half")
	}
	for n := 2; n < len(x.de); n++ {
		if bitmap[(n-1)/8]&(0x80>>((n-1)%8)) == 0 {
			continue
		}
		e := elements[n]
		if e.size == 0 {
			return r.wrong(de(n), "messages of this form have no such element")
		}
		size := e.size
		if e.prefix > 0 {
			if len(rest) < e.prefix {
				return r.wrong(de(n), "the record ends before it")
			}
			x.text(rest[:e.prefix])
			long, ok := whole(rest[:e.prefix], e.prefix)
			if !ok || long > int64(e.size) {
				return r.wrong(de(n), "its length %q is none of 0 to %d", rest[:e.prefix], e.size)
			}
			size, rest = int(long), rest[e.prefix:]
		}
		if len(rest) < size {
			return r.wrong(de(n), "the record ends in it")
		}
		if !e.binary {
			x.text(rest[:size])
		}
		x.de[n], rest = rest[:size:size], rest[size:]
	}
	if len(rest) > 0 {
		return r.wrong("", "%d bytes are behind the last element", len(rest))
	}
	return nil
}

// text makes ASCII of what may be EBCDIC, in its place.
func (x *ipm) text(b []byte) {
	if !x.ebcdic {
		return
	}
	for i, c := range b {
		b[i] = ebcdic[c]
	}
}

// value is an element or private subelement, without blanks around it; empty: the
// message does not have it.
func (r *Reader) value(source int) ([]byte, error) {
	x := r.ipm
	if source < pdsBase {
		return bytes.Trim(x.de[source], " "), nil
	}
	for _, n := range subelements {
		for b := x.de[n]; len(b) > 0; {
			if len(b) < 7 {
				return nil, r.wrong(de(n), "it ends in a private subelement")
			}
			tag, ok := whole(b[:4], 4)
			size, sized := whole(b[4:7], 3)
			if !ok || !sized || len(b) < 7+int(size) {
				return nil, r.wrong(de(n), "its private subelements are not tag, length and value")
			}
			if pdsBase+int(tag) == source {
				return bytes.Trim(b[7:7+size], " "), nil
			}
			b = b[7+size:]
		}
	}
	return nil, nil
}

func (r *Reader) header() error {
	x := r.ipm
	if x.open {
		return r.wrong("", "a header (1644/697) is where the trailer of the one before should be: the file is cut off in between")
	}
	id, err := r.value(pdsFileID)
	x.open, x.id, x.messages, x.checksum = true, string(id), 1, 0
	return err
}

// trailer holds what the trailer says to what was read.
func (r *Reader) trailer() error {
	x := r.ipm
	x.open = false
	id, err := r.value(pdsFileID)
	if err != nil {
		return err
	}
	if string(id) != x.id {
		return r.wrong("pds0105", "it is the trailer of file %s, the header is of %s: something is missing in between", clip(id), clip([]byte(x.id)))
	}
	for _, sum := range [...]struct {
		name   string
		source int
		digits int
		got    int64
	}{{"pds0306", pdsMessages, 8, x.messages}, {"pds0301", pdsChecksum, 16, x.checksum}} {
		v, err := r.value(sum.source)
		if err != nil {
			return err
		}
		want, ok := whole(v, sum.digits)
		if !ok {
			return r.wrong(sum.name, "%q is no number of %d digits", clip(v), sum.digits)
		}
		if want != sum.got {
			return r.wrong(sum.name, "it says %d, the messages come to %d: some are missing, or more than they should be", want, sum.got)
		}
	}
	return nil
}

// whole is a number of so many digits.
func whole(v []byte, size int) (int64, bool) {
	if len(v) != size {
		return 0, false
	}
	return txn.ParseDigits(v)
}
