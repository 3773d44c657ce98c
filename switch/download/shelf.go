package download

import (
	"bytes"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// content is a kind of thing to take. The order is the order of asking: keys
// before applications, since a terminal without them refuses chip cards, and
// what only describes last. The numbers are in every log and never change.
type content uint8

const (
	capks content = iota
	aids
	parameters
	tms
	blackList
	contactless
	noPINNew
	noPINBlack
	status // of the terminal: what it gives, not takes

	contents = iota
)

// form is how a content is handed out.
type form uint8

const (
	single form = iota // in one message
	items              // a list of names (query), then each item by its name
	blocks             // pages of card BINs, by number
)

// shelf is what there is to know of each content: its digit in the header
// (cup-pos A2) and its network codes DE60.3 (A5).
var shelf = [contents]struct {
	name            string
	digit           uint8
	query, get, end uint16
	form            form
}{
	capks:       {"capks", 4, 372, 370, 371, items},
	aids:        {"aids", 5, 382, 380, 381, items},
	parameters:  {"parameters", 1, 0, 360, 361, single},
	tms:         {"tms", 6, 0, 364, 365, single},
	blackList:   {"black_list", 7, 0, 390, 391, blocks},
	contactless: {"contactless", 9, 0, 394, 395, single},
	noPINNew:    {"no_pin_new", 0xB, 0, 396, 397, blocks},
	noPINBlack:  {"no_pin_black", 0xC, 0, 398, 399, blocks},
	status:      {"status", 2, 0, 362, 0, single},
}

// step is what a request asks about a content.
type step uint8

const (
	stepPage   step = iota // the content, or a page of it
	stepItem               // one item of a list
	stepEnd                // all was taken
	stepUpload             // a status
)

// request is a request's DE60.3 and DE62.
type request struct {
	content content
	step    step
	start   int    // of a page: how many items the terminal has
	name    []byte // of an item: the TLVs that name it; aliases the request
}

// Limits of what is handed out.
const (
	payloadMax = 512 // bytes, DE62
	listMax    = 99  // CAPKs or AIDs: a query counts with two digits
	binsMax    = 999 // BINs of one list: a request counts with three

	ridSize    = 5
	aidSizeMin = 5
	aidSizeMax = 16
	binSize    = 12
	binPage    = (payloadMax - 4) / binSize
)

// The flags at the head of a page.
const (
	none       = '0' // there is nothing, or no more
	complete   = '1' // all of it
	more       = '2' // the terminal must ask again
	lastOfMany = '3'
)

// parse reads a request. What it does not need in DE62 it does not look at; one
// for a page without DE62 (cup-pos A7 has it in brackets) is for the first.
func parse(network uint16, de62 []byte) (r request, ok bool) {
	if network == 0 { // what the shelf has where there is no such step
		return request{}, false
	}
	for c := range shelf {
		b := &shelf[c]
		r = request{content: content(c)}
		switch {
		case network == b.end:
			r.step = stepEnd
			return r, true
		case r.content == status && network == b.get:
			r.step = stepUpload
			return r, statusText(de62)
		case len(de62) == 0 && (network == b.query || network == b.get && b.form == blocks):
			return r, true
		case network == b.query: // 1 and the number of items that the terminal has
			n, digits := txn.ParseDigits(de62)
			r.start = int(n) - 100
			return r, digits && len(de62) == 3 && de62[0] == '1'
		case network != b.get:
		case b.form == items:
			r.step, r.name = stepItem, de62
			return r, r.content == capks && capkName(de62) || r.content == aids && aidName(de62)
		case b.form == blocks: // 000, and then the last number taken and one
			n, digits := txn.ParseDigits(de62)
			r.start = max(int(n)-1, 0)
			return r, digits && len(de62) == 3
		default:
			return r, true
		}
	}
	return request{}, false
}

// ends says that a network code is that of an end.
func ends(network uint16) bool {
	for c := range shelf {
		if network != 0 && network == shelf[c].end {
			return true
		}
	}
	return false
}

// statusText is ASCII that can be printed.
func statusText(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= payloadMax
}

var capkHead, capkIndex = []byte{0x9F, 0x06, ridSize}, []byte{0x9F, 0x22, 1}

// capkName is 9F06 of five bytes and 9F22 of one.
func capkName(b []byte) bool {
	return len(b) == 3+ridSize+3+1 && bytes.HasPrefix(b, capkHead) && bytes.HasPrefix(b[3+ridSize:], capkIndex)
}

// aidName is 9F06 of 5 to 16 bytes.
func aidName(b []byte) bool {
	return len(b) >= 3+aidSizeMin && len(b) <= 3+aidSizeMax && b[0] == 0x9F && b[1] == 0x06 && int(b[2]) == len(b)-3
}

// pageState is what a payload is of its content.
type pageState uint8

const (
	pageUnknown pageState = iota // there is no such item
	pageMore                     // more follows
	pageLast
)

// appendNames appends a page of names behind those the terminal has: a flag, and
// as many whole names as DE62 holds.
func appendNames(dst []byte, names [][]byte, start int) ([]byte, pageState) {
	if start >= len(names) {
		return append(dst, none), pageLast
	}
	flag, room, end := len(dst), payloadMax-1, start
	dst = append(dst, more)
	for ; end < len(names) && len(names[end]) <= room; end++ {
		dst = append(dst, names[end]...)
		room -= len(names[end])
	}
	switch {
	case end < len(names):
		return dst, pageMore
	case start > 0:
		dst[flag] = lastOfMany
	default:
		dst[flag] = complete
	}
	return dst, pageLast
}

// appendBINs appends a page of BINs behind those the terminal has: a flag, the
// number of its last BIN, the first being 001, and the BINs.
func appendBINs(dst []byte, bins [][binSize]byte, start int) ([]byte, pageState) {
	if start >= len(bins) {
		return append(dst, none, '0', '0', '0'), pageLast
	}
	end := min(start+binPage, len(bins))
	flag, page := byte(complete), pageLast
	if end < len(bins) {
		flag, page = more, pageMore
	}
	dst = append(dst, flag, '0'+byte(end/100), '0'+byte(end/10%10), '0'+byte(end%10))
	for i := range bins[start:end] {
		dst = append(dst, bins[start+i][:]...)
	}
	return dst, page
}
