package terminal

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// element is one of DE59: a tag of two characters, three digits of length, and
// the value.
func element(tag, v string) string {
	if v == "" {
		return ""
	}
	return fmt.Sprintf("%s%03d%s", tag, len(v), v)
}

// place is DE59: a PIN enciphered with SM4 (A1), the machine (A2), the code that
// the customer shows (A3) and the position (A5). A5 is left out where nothing is
// known.
func (m *Message) place(p *Profile) string {
	place := ""
	if len(m.PINBlock) > 8 {
		place = element("A1", string(m.PINBlock))
	}
	wanted := !m.NoPlace && !m.Kind.Told() && m.Kind != txn.KindScriptResult && m.Kind != txn.KindReversal
	if wanted {
		place += element("A2", machine(p, m.Card.number()))
	}
	if m.Card.Entry == Code {
		place += element("A3", m.Card.number())
	}
	if wanted && p.Position.Known {
		c := &p.Cell
		place += element("A5", element("01", degrees(p.Position.Lng))+element("02", degrees(p.Position.Lat))+
			element("03", c.Country)+element("04", c.Network)+element("05", "GCJ02")+
			element("06", c.Area)+element("07", c.ID)+element("08", c.Signal))
	}
	return place
}

// machine is DE59 A2: what kind of machine it is, its number, and with a serial
// key the proof that it has it, which changes with the last six digits of the
// card.
func machine(p *Profile, card string) string {
	serial := cmp.Or(p.TUSN, p.Serial)
	if serial == "" {
		return ""
	}
	proof := ""
	if len(p.SerialKey) > 0 {
		factor := card[max(0, len(card)-6):]
		if key, err := algo.NewLocal(algo.SM4, p.SerialKey); err == nil {
			text, err := algo.SerialCipher(key, []byte(serial), []byte(factor))
			key.Close()
			if err == nil {
				proof = element("03", factor) + element("04", string(text[:]))
			}
		}
	}
	return element("01", "04") + element("02", serial) + proof + element("05", fmt.Sprintf("%-8s", cmp.Or(p.Version, "100000")))
}

// degrees is a coordinate in ten characters, such as +121.47370 or +0.0000000.
func degrees(micro int32) string { return fmt.Sprintf("%+.7f", float64(micro)/1e6)[:10] }

// withoutElement is DE59, of the terminal's own making, without an element.
func withoutElement(v []byte, tag string) []byte {
	if found, ok := findElement(v, tag); ok {
		at := bytes.Index(v, append([]byte(tag), fmt.Sprintf("%03d", len(found))...))
		return slices.Concat(v[:at], v[at+5+len(found):])
	}
	return v
}

// findElement is the value of an element of DE59.
func findElement(v []byte, tag string) ([]byte, bool) {
	for len(v) >= 5 {
		n := 5 + int(v[2]-'0')*100 + int(v[3]-'0')*10 + int(v[4]-'0')
		if n < 5 || n > len(v) {
			return nil, false
		}
		if string(v[:2]) == tag {
			return v[5:n], true
		}
		v = v[n:]
	}
	return nil, false
}
