package dialect

import (
	"bytes"
	"math"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// ReadInfo reads into req.Info what the message says of its machine, in the
// form of its terminal's carrier (cup-pos A5). It is called once the terminal's
// registration is found, since the bytes do not tell their form: DE59 with
// lengths of two digits reads as another list with lengths of three.
//
// A list that is not well formed is ignored and sets Info.Broken. Other lists still
// count, and elements that we do not know do no harm. A position that is not a number, or
// 0, 0, is none.
func ReadInfo(req *txn.Request, carrier txn.Carrier) {
	i, c := &req.Info, &req.Carriers
	ok := true
	switch carrier {
	case txn.CarrierDE59:
		ok = readLists(i, decimal3, c.DE59, 1)
	case txn.CarrierDE57:
		ok = readLists(i, decimal3, c.DE57, 4)
	case txn.CarrierDE46:
		ok = readPI(i, c.DE46)
	case txn.CarrierDE59BD:
		ok = readBD(i, c.DE59)
	case txn.CarrierDE63:
		ok = readStations(i, c.DE63)
	}
	if req.Kind == txn.KindSignOn && carrier != txn.CarrierNone {
		ok = readSequence(i, req.Custom) && ok
	}
	i.Broken = !ok
}

// form is how a dialect writes a list: its elements are a tag of two characters, a
// length of some digits in a base, and a value.
type form struct{ digits, base int }

var (
	decimal3 = form{3, 10}
	decimal2 = form{2, 10}
	hex2     = form{2, 16}
)

// next takes the first element off v. It is not ok when the element is cut
// short or its length is no number.
func (f form) next(v []byte) (tag, value, rest []byte, ok bool) {
	at := 2 + f.digits
	if len(v) < at {
		return nil, nil, nil, false
	}
	n := 0
	for _, c := range v[2:at] {
		d := nibble(c)
		if d >= f.base {
			return nil, nil, nil, false
		}
		n = n*f.base + d
	}
	if n > len(v)-at {
		return nil, nil, nil, false
	}
	return v[:2], v[at : at+n], v[at+n:], true
}

// once calls fn for each element with a number. It is false where v is not well
// formed, has a number twice, or fn says so.
func (f form) once(v []byte, fn func(n int, value []byte) bool) bool {
	var seen uint64
	for len(v) > 0 {
		tag, value, rest, ok := f.next(v)
		if !ok {
			return false
		}
		v = rest
		n := tagNumber(tag)
		if n == 0 {
			continue
		}
		if seen>>n&1 == 1 || !fn(n, value) {
			return false
		}
		seen |= 1 << n
	}
	return true
}

// nibble is the value of a hexadecimal digit, 16 or more for anything else.
func nibble(c byte) int {
	if d := c - '0'; d <= 9 {
		return int(d)
	}
	if letter := c | 0x20; letter >= 'a' && letter <= 'f' {
		return int(letter-'a') + 10
	}
	return 16
}

// element finds a tag's value among the elements of v.
func element(v []byte, tag string) ([]byte, bool) {
	for len(v) > 0 {
		t, value, rest, ok := decimal3.next(v)
		if !ok {
			return nil, false
		}
		if string(t) == tag {
			return value, true
		}
		v = rest
	}
	return nil, false
}

// tagNumber is that of a tag of two digits below 64; 0 is any other tag.
func tagNumber(tag []byte) int {
	a, b := tag[0]-'0', tag[1]-'0'
	if n := int(a)*10 + int(b); a <= 9 && b <= 9 && n < 64 {
		return n
	}
	return 0
}

// readLists reads DE59 and DE57: the machine in list A2, whose elements count
// from first, and the place in A5.
func readLists(i *txn.TerminalInfo, f form, v []byte, first int) bool {
	var machines, places int
	whole := true
	for len(v) > 0 {
		tag, value, rest, ok := f.next(v)
		if !ok {
			return false
		}
		v = rest
		switch string(tag) {
		case "A2":
			machines++
			whole = readMachine(i, f, value, first) && whole
		case "A5":
			places++
			whole = readPlace(i, f, value) && whole
		}
	}
	if machines > 1 { // which one is meant, nobody knows
		*i = txn.TerminalInfo{Position: i.Position, Cell: i.Cell}
	}
	if places > 1 {
		i.Position, i.Cell = txn.Position{}, txn.Cell{}
	}
	return whole && machines <= 1 && places <= 1
}

// readMachine reads the machine's list. All of it is kept or nothing.
func readMachine(i *txn.TerminalInfo, f form, v []byte, first int) bool {
	next := *i
	ok := f.once(v, func(n int, value []byte) bool { return machineElement(&next, n-first+1, value) })
	if ok {
		*i = next
	}
	return ok
}

// machineElement keeps element n of the machine, counted from 1, and says
// whether it has the size and characters that it must have.
func machineElement(i *txn.TerminalInfo, n int, v []byte) bool {
	switch n {
	case 1:
		if len(v) != 2 || !numeric(v) {
			return false
		}
		i.Device = uint8(decimal(v))
	case 2:
		return keep(i.Serial[:], bytes.TrimRight(v, " "))
	case 3:
		return keep(i.Factor[:], bytes.TrimRight(v, " "))
	case 4:
		copy(i.Cipher[:], v)
		return len(v) == len(i.Cipher) || len(v) == 0
	case 5:
		return keep(i.App[:], bytes.TrimRight(v, " "))
	}
	return true
}

// keep copies printable text that is not longer than dst.
func keep(dst, v []byte) bool {
	if len(v) > len(dst) {
		return false
	}
	for _, c := range v {
		if c < ' ' || c > '~' {
			return false
		}
	}
	clear(dst[copy(dst, v):])
	return true
}

// placeSizeMax is the longest longitude or latitude, such as +121.47373.
const placeSizeMax = 10

// readPlace reads the place's list: longitude 01 and latitude 02, the system of
// their coordinates 05, and the cell in 03, 04, 06 to 08 and, for CDMA, 15 to
// 18. All of it is kept or nothing. Coordinates of another system than GCJ-02
// are no position: they are some hundred metres off.
func readPlace(i *txn.TerminalInfo, f form, v []byte) bool {
	var lng, lat []byte
	var cell txn.Cell
	gcj02 := true
	ok := f.once(v, func(n int, value []byte) bool {
		switch n {
		case 1:
			lng = value
		case 2:
			lat = value
		case 3:
			cell.Country = uint16(upTo(value, math.MaxUint16))
		case 4:
			cell.Operator = uint16(upTo(value, math.MaxUint16))
		case 5:
			gcj02 = bytes.EqualFold(bytes.TrimRight(value, " "), []byte("GCJ02"))
		case 6:
			cell.Area = uint32(upTo(value, math.MaxUint32))
		case 7:
			cell.Cell = uint32(upTo(value, math.MaxUint32))
		case 15:
			cell.System = uint32(upTo(value, math.MaxUint32))
		case 16:
			cell.Network = uint32(upTo(value, math.MaxUint32))
		case 17:
			cell.Base = uint32(upTo(value, math.MaxUint32))
		case 8, 18:
			cell.Signal = signal(value)
		}
		return true
	})
	if !ok || len(lng) > placeSizeMax || len(lat) > placeSizeMax {
		return false
	}
	if gcj02 {
		i.Position = position(lng, lat)
	}
	i.Cell = cell
	return true
}

// position is the place of two coordinates, unknown unless both are numbers. 0, 0 is what
// a receiver without a fix says, and in the sea.
func position(lng, lat []byte) txn.Position {
	x, ok1 := microdegrees(lng, 180)
	y, ok2 := microdegrees(lat, 90)
	if !ok1 || !ok2 || x == 0 && y == 0 {
		return txn.Position{}
	}
	return txn.Position{Lat: y, Lng: x, Known: true}
}

// upTo is the number that v writes, 0 when it writes none or a larger one.
func upTo(v []byte, most uint64) (n uint64) {
	for _, c := range bytes.Trim(v, " ") {
		if n = n*10 + uint64(c-'0'); c < '0' || c > '9' || n > most {
			return 0
		}
	}
	return n
}

func signal(v []byte) int16 {
	v = bytes.Trim(v, " ")
	if digits, negative := bytes.CutPrefix(v, []byte{'-'}); negative {
		return -int16(upTo(digits, math.MaxInt16))
	}
	return int16(upTo(v, math.MaxInt16))
}

// readPI reads DE46: "PI", the list's length in three digits, and one list with
// longitude 01, latitude 02 and the machine from 04.
func readPI(i *txn.TerminalInfo, v []byte) bool {
	if len(v) == 0 {
		return true
	}
	list, ok := bytes.CutPrefix(v, []byte("PI"))
	if !ok || len(list) < 3 || !numeric(list[:3]) || int(decimal(list[:3])) != len(list)-3 {
		return false
	}
	list = list[3:]
	if !readMachine(i, hex2, list, 4) {
		return false
	}
	var lng, lat []byte
	for len(list) > 0 {
		tag, value, rest, _ := hex2.next(list)
		switch list = rest; string(tag) {
		case "01":
			lng = value
		case "02":
			lat = value
		}
	}
	i.Position = position(lng, lat)
	return true
}

// readBD reads DE59 with lengths of two digits: the machine in A2, the place in
// 17 as "BD", latitude, a comma and longitude, and the cell in 11 as area 5 and
// cell 5, or five zeros and a CDMA base. Some terminals put the place in front
// without tag and length. What BD says of the coordinates no source tells; they
// are taken for GCJ-02.
func readBD(i *txn.TerminalInfo, v []byte) bool {
	if place, ok := bytes.CutPrefix(v, []byte("BD")); ok {
		n := 0
		for n < len(place) && place[n] <= '9' { // digits, signs, points and the comma, up to a letter
			n++
		}
		i.Position = latLng(place[:n])
		v = place[n:]
	}
	for list := v; len(list) > 0; {
		tag, value, rest, ok := decimal2.next(list)
		if !ok {
			return false
		}
		switch list = rest; string(tag) {
		case "11":
			if len(value) == 10 && numeric(value) {
				if area, cell := decimal(value[:5]), decimal(value[5:]); area == 0 {
					i.Cell.Base = cell
				} else {
					i.Cell.Area, i.Cell.Cell = area, cell
				}
			}
		case "17":
			if place, ok := bytes.CutPrefix(value, []byte("BD")); ok {
				i.Position = latLng(place)
			}
		}
	}
	place, cell := i.Position, i.Cell
	ok := readLists(i, decimal2, v, 1)
	if !i.Position.Known {
		i.Position, i.Cell = place, cell
	}
	return ok
}

func latLng(v []byte) txn.Position {
	lat, lng, _ := bytes.Cut(v, []byte{','})
	return position(lng, lat)
}

// readStations reads DE63 behind its first three characters: what follows in
// ten, and up to three stations, of which the first is kept. CDMA: system,
// network and base, ten characters each. GPRS: country, operator, area, cell
// and signal, four each, area and cell in hexadecimal, since 65535 would not
// fit. LngLat: the two in twenty each, once. Sources give the sizes only; the
// order is that of DE59.
func readStations(i *txn.TerminalInfo, v []byte) bool {
	const head, most = 3 + 10, 3
	if len(v) <= 3 {
		return true
	}
	if len(v) < head {
		return false
	}
	kind, v := bytes.TrimRight(v[3:head], " "), v[head:]
	fields, size := 3, 10
	switch string(kind) {
	case "CDMA":
	case "GPRS":
		fields, size = 5, 4
	case "LngLat":
		if len(v) != 2*20 {
			return false
		}
		i.Position = position(bytes.Trim(v[:20], " "), bytes.Trim(v[20:], " "))
		return true
	default:
		return false
	}
	if n := fields * size; len(v)%n != 0 || len(v) > most*n || len(v) == 0 {
		return false
	}
	at := func(n int) []byte { return v[n*size : (n+1)*size] }
	if fields == 3 {
		i.Cell = txn.Cell{System: uint32(upTo(at(0), math.MaxUint32)), Network: uint32(upTo(at(1), math.MaxUint32)), Base: uint32(upTo(at(2), math.MaxUint32))}
		return true
	}
	i.Cell = txn.Cell{Country: uint16(upTo(at(0), math.MaxUint16)), Operator: uint16(upTo(at(1), math.MaxUint16)),
		Area: hexadecimal(at(2)), Cell: hexadecimal(at(3)), Signal: signal(at(4))}
	return true
}

// hexadecimal is the number that v writes, 0 when it writes none.
func hexadecimal(v []byte) (n uint32) {
	for _, c := range bytes.Trim(v, " ") {
		d := nibble(c)
		if d > 15 {
			return 0
		}
		n = n<<4 | uint32(d)
	}
	return n
}

// readSequence reads DE62 of a sign-on: "Sequence No", the length of what
// follows in two digits, four of the maker's licence and the machine's own
// number. DE62 of another use is not its business.
func readSequence(i *txn.TerminalInfo, v []byte) bool {
	const licence = 4
	v, ok := bytes.CutPrefix(v, []byte("Sequence No"))
	if !ok {
		return true
	}
	if len(v) <= 2+licence || !numeric(v[:2]) || int(decimal(v[:2])) != len(v)-2 {
		return false
	}
	return keep(i.Serial[:], bytes.TrimRight(v[2+licence:], " "))
}

// microdegrees reads "+121.4737", at most bound degrees either way. Decimals
// beyond the sixth, a tenth of a metre, are dropped.
func microdegrees(v []byte, bound int64) (int32, bool) {
	v = bytes.TrimRight(v, " ")
	negative := len(v) > 0 && v[0] == '-'
	if negative || len(v) > 0 && v[0] == '+' {
		v = v[1:]
	}
	degrees, fraction, _ := bytes.Cut(v, []byte{'.'})
	if len(degrees) < 1 || len(degrees) > 3 {
		return 0, false
	}
	var micro int64
	for i := range len(degrees) + max(6, len(fraction)) {
		d := byte('0')
		if i < len(degrees) {
			d = degrees[i]
		} else if j := i - len(degrees); j < len(fraction) {
			d = fraction[j]
		}
		if d < '0' || d > '9' {
			return 0, false
		}
		if i < len(degrees)+6 {
			micro = micro*10 + int64(d-'0')
		}
	}
	if micro > bound*1_000_000 {
		return 0, false
	}
	if negative {
		micro = -micro
	}
	return int32(micro), true
}
