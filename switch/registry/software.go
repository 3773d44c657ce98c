package registry

import (
	"bytes"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Software judges the version that a terminal reports on a day, zero padded. A
// terminal that reports none, or whose model is unknown or has no policy, is
// served as it is.
func (s *Snapshot) Software(t *txn.Terminal, app [8]byte, day txn.Date) txn.Software {
	m, ok := s.model(t.Model)
	if !ok || app == ([8]byte{}) {
		return txn.SoftwareServed
	}
	below := func(v *[8]byte) bool { return *v != [8]byte{} && compareVersions(app[:], v[:]) < 0 }
	switch old := below(&m.Target); {
	case below(&m.Minimum), old && m.Deadline != 0 && day > m.Deadline:
		return txn.SoftwareTooOld
	case old:
		return txn.SoftwareOld
	}
	return txn.SoftwareServed
}

// compareVersions compares versions of software: runs of digits as numbers, any
// other byte as it is, and a version that goes on as the newer one. Padding with
// zero bytes or spaces counts as nothing. It allocates nothing.
func compareVersions(a, b []byte) int {
	a, b = bytes.TrimRight(a, "\x00 "), bytes.TrimRight(b, "\x00 ")
	for len(a) > 0 && len(b) > 0 {
		if isDigit(a[0]) && isDigit(b[0]) {
			var x, y []byte
			x, a = number(a)
			y, b = number(b)
			if len(x) != len(y) {
				return sign(len(x) - len(y))
			}
			if c := bytes.Compare(x, y); c != 0 {
				return c
			}
			continue
		}
		if a[0] != b[0] {
			return sign(int(a[0]) - int(b[0]))
		}
		a, b = a[1:], b[1:]
	}
	return sign(len(a) - len(b))
}

// number cuts the digits off at the front of v, without leading zeros.
func number(v []byte) (digits, rest []byte) {
	n := 0
	for n < len(v) && isDigit(v[n]) {
		n++
	}
	return bytes.TrimLeft(v[:n], "0"), v[n:]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
