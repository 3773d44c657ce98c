package txn

import "strings"

// Way is how a card was presented, whatever DE22 called it: several codes are
// one way.
type Way uint8

// The ways.
const (
	WayOther Way = iota
	WayManual
	WayStripe
	WayCode // a bar or QR code
	WayChip
	WayContactless
)

var wayNames = [...]string{"other", "manual", "stripe", "code", "chip", "contactless"}

func (w Way) String() string { return name(wayNames[:], w) }

// Way is the way that the entry mode is one of (cup-pos A5).
func (e EntryMode) Way() Way {
	switch e {
	case EntryManual:
		return WayManual
	case EntryStripe, 80, 90: // also as a fallback
		return WayStripe
	case EntryCode:
		return WayCode
	case EntryChip, 95, 96:
		return WayChip
	case EntryContactless, 91, 98:
		return WayContactless
	}
	return WayOther
}

// Method is how a payment was made: the way its card was presented, and with a
// PIN or without. It is what limits of payment methods tell apart.
type Method uint8

// MethodCount is the number of methods; values at and above it are invalid.
const MethodCount = 2 * len(wayNames)

// MakeMethod is the method of a way with or without a PIN.
func MakeMethod(w Way, pin bool) Method {
	m := Method(w) * 2
	if pin {
		m++
	}
	return m
}

// Way and PIN are what the method is made of.
func (m Method) Way() Way  { return Way(m / 2) }
func (m Method) PIN() bool { return m%2 == 1 }

func (m Method) String() string {
	if m.PIN() {
		return m.Way().String() + " with PIN"
	}
	return m.Way().String() + " without PIN"
}

// ParseMethods reads one word of a list of methods: a way, such as chip, which
// is both of its methods, or a way with "+pin" or "-pin".
func ParseMethods(s string) (Methods, bool) {
	way, with := strings.CutSuffix(s, "+pin")
	way, without := strings.CutSuffix(way, "-pin")
	for w := range wayNames {
		if wayNames[w] != way || with && without {
			continue
		}
		ms := Methods(0)
		if !with {
			ms |= 1 << MakeMethod(Way(w), false)
		}
		if !without {
			ms |= 1 << MakeMethod(Way(w), true)
		}
		return ms, true
	}
	return 0, false
}

// Methods are methods of payment: bit 1<<Method each.
type Methods uint16

// Has says that m is among them.
func (ms Methods) Has(m Method) bool { return ms&(1<<m) != 0 }
