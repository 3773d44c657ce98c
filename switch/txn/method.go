package txn

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

// String is such as chip+pin, and chip-pin where there was none.
func (m Method) String() string {
	switch {
	case int(m) >= MethodCount:
		return "invalid"
	case m.PIN():
		return m.Way().String() + "+pin"
	}
	return m.Way().String() + "-pin"
}

// ParseMethods reads a method's String, or a way's for both of its methods.
func ParseMethods(s string) (Methods, bool) {
	for m := range Method(MethodCount) {
		if m.String() == s {
			return 1 << m, true
		}
		if m.Way().String() == s {
			return 3 << m, true // without is the first
		}
	}
	return 0, false
}

// Methods are methods of payment: bit 1<<Method each.
type Methods uint16

// Has says that m is among them.
func (ms Methods) Has(m Method) bool { return ms&(1<<m) != 0 }
