package dialect

import (
	"errors"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Checks of fields that the field table cannot make. They take bytes from
// outside, allocate nothing and never panic.

// checkFields names the first of x's fields in which something is wrong that the
// field table does not see. An ISO 8583:1987 terminal's DE54 may be a tip alone,
// and its DE55 is reserved text unless a chip was read.
func checkFields(x *Exchange) error {
	m, req := &x.message, &x.Request
	isCUP := req.Dialect == idCUPPOS
	if isCUP {
		for _, field := range [...]int{41, 42} {
			if v := m.Value(field); len(whole(v)) < len(v) {
				return errField{field, "has half a character"}
			}
		}
		if !checkAmounts(m.Value(54)) {
			return errField{54, "must be groups of account, kind, currency, sign and amount"}
		}
	}
	if isCUP || req.Entry == txn.EntryChip || req.Entry == txn.EntryContactless {
		if err := checkChip(req.Chip, req); err != nil {
			return errField{55, err.Error()}
		}
	}
	return nil
}

// Faults of chip data.
var (
	errChipCut    = errors.New("has an element that is cut short")
	errChipLength = errors.New("has an element whose length is not definite")
	errChipNested = errors.New("has an element that holds others")
	errChipTwice  = errors.New("has an element twice")
)

// checkChip says what is wrong with DE55: BER-TLV as EMV and PBOC write it, of
// primitive elements, each once. Tags FF.. hold what their owner likes and are
// not looked into. On the way it notes in req what the card was told to pay.
func checkChip(v []byte, req *txn.Request) error {
	// seen has the last bytes of the tags so far: only where one comes again may
	// a tag have come again.
	var seen [256]bool
	for rest := v; len(rest) > 0; {
		tag, size, fault := chipElement(rest)
		if fault != nil {
			return fault
		}
		if tag == 0 {
			rest = rest[size:]
			continue
		}
		if last := &seen[rest[tag-1]]; !*last {
			*last = true
		} else if chipHas(v[:len(v)-len(rest)], rest[:tag]) {
			return errChipTwice
		}
		if (size == 9 || size == 5) && tag == 2 {
			noteAmount(rest[:size], req)
		}
		rest = rest[size:]
	}
	return nil
}

// noteAmount takes amount, other amount and currency that the card made its cryptogram
// over (9F02, 9F03, 5F2A) from an element. What is no number is none.
func noteAmount(element []byte, req *txn.Request) {
	switch value := element[3:]; {
	case string(element[:3]) == "\x9F\x02\x06":
		req.ChipAmount.Minor = packed(value)
	case string(element[:3]) == "\x9F\x03\x06":
		req.ChipOther = packed(value)
	case string(element[:3]) == "\x5F\x2A\x02":
		req.ChipAmount.Currency = txn.Currency(packed(value))
	}
}

// packed is a number of two digits a byte, 0 if it is none.
func packed(v []byte) (n int64) {
	for _, b := range v {
		if b>>4 > 9 || b&0xF > 9 {
			return 0
		}
		n = n*100 + int64(b>>4*10+b&0xF)
	}
	return n
}

// chipElement is how many bytes the first element's tag has, and all of it. A zero byte
// between elements has no tag and no meaning (EMV book 3, annex B).
func chipElement(v []byte) (tag, size int, err error) {
	const constructed, private, more, long = 0x20, 0xFF, 0x1F, 0x80
	if v[0] == 0 {
		return 0, 1, nil
	}
	if v[0]&constructed != 0 && v[0] != private {
		return 0, 0, errChipNested
	}
	tag = 1
	if v[0]&more == more {
		for tag++; tag <= len(v) && v[tag-1]&long != 0; tag++ {
		}
	}
	if tag >= len(v) {
		return 0, 0, errChipCut
	}
	value := int(v[tag])
	size = tag + 1
	if value >= long {
		if value != long+1 && value != long+2 {
			return 0, 0, errChipLength
		}
		bytes := value - long
		if value = 0; size+bytes > len(v) {
			return 0, 0, errChipCut
		}
		for _, c := range v[size : size+bytes] {
			value = value<<8 | int(c)
		}
		size += bytes
	}
	if size += value; size > len(v) {
		return 0, 0, errChipCut
	}
	return tag, size, nil
}

// chipHas says that tag is among the elements of v, which is well formed.
func chipHas(v, tag []byte) bool {
	for len(v) > 0 {
		n, size, err := chipElement(v)
		if err != nil {
			return false
		}
		if string(v[:n]) == string(tag) {
			return true
		}
		v = v[size:]
	}
	return false
}

// checkAmounts says whether DE54 is groups of account 2, kind 2, currency 3, C
// or D, and amount 12.
func checkAmounts(v []byte) bool {
	const group, groupsMax = 20, 6
	if len(v)%group != 0 || len(v) > group*groupsMax {
		return false
	}
	for ; len(v) > 0; v = v[group:] {
		if !numeric(v[:7]) || v[7] != 'C' && v[7] != 'D' || !numeric(v[8:group]) {
			return false
		}
	}
	return true
}

// whole is v up to the first byte that begins no whole character of GBK: v
// itself where text was not cut.
func whole(v []byte) []byte {
	for i := 0; i < len(v); i++ {
		if v[i] < 0x80 {
			continue
		}
		if i+1 == len(v) || v[i] == 0x80 || v[i] == 0xFF || v[i+1] < 0x40 || v[i+1] == 0x7F || v[i+1] == 0xFF {
			return v[:i]
		}
		i++
	}
	return v
}

// copyText repeats a text field, unless it has half a character.
func copyText(e *iso.Encoder, n int, m *iso.Message) {
	if v := m.Value(n); len(whole(v)) == len(v) {
		e.Copy(n, m)
	}
}

func numeric(v []byte) bool {
	for _, c := range v {
		if c-'0' > 9 {
			return false
		}
	}
	return len(v) > 0
}
