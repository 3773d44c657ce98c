package iso

import "bytes"

// infoShape is one shape of the terminal information that CUP dialects carry in
// text: a list of a two-character tag, a length and a value each.
type infoShape struct {
	field  int
	prefix string // in front of the list, with the list's length in three digits behind it
	needs  string // a tag without which a list is not taken for one of this shape
	digits int    // of a length
	base   int
	tags   infoTags
}

type infoTags map[string]infoTag

// infoTag is an element; one with tags of its own is a list again.
type infoTag struct {
	name   string
	hidden bool // it is a PIN, a code, or helps to guess a card number or a key
	tags   infoTags
}

var (
	infoMachine = infoTags{"01": {name: "device type"}, "02": {name: "serial number"}, "03": {name: "random factor", hidden: true},
		"04": {name: "serial number's ciphertext", hidden: true}, "05": {name: "application version"}}
	infoMachine57 = infoTags{"03": {name: "licence"}, "04": {name: "device type"}, "05": {name: "serial number"}, "06": {name: "random factor", hidden: true},
		"07": {name: "serial number's ciphertext", hidden: true}, "08": {name: "application version"}}
	infoPlace = infoTags{"01": {name: "longitude"}, "02": {name: "latitude"}, "03": {name: "MCC"}, "04": {name: "MNC"}, "05": {name: "coordinate system"},
		"06": {name: "LAC"}, "07": {name: "CID"}, "08": {name: "signal"}, "15": {name: "SID"}, "16": {name: "NID"}, "17": {name: "BID"}, "18": {name: "signal"}}

	infoShapes = []infoShape{
		{field: 46, prefix: "PI", digits: 2, base: 16, tags: infoTags{"01": {name: "longitude"}, "02": {name: "latitude"}, "03": {name: "licence"}, "04": {name: "device type"},
			"05": {name: "serial number"}, "06": {name: "random factor", hidden: true}, "07": {name: "serial number's ciphertext", hidden: true}, "08": {name: "application version"}}},
		{field: 57, digits: 3, base: 10, tags: infoLists(infoMachine57)},
		{field: 59, digits: 3, base: 10, tags: infoLists(infoMachine)},
		{field: 59, needs: "A2", digits: 2, base: 10, tags: func() infoTags {
			t := infoLists(infoMachine)
			t["11"], t["12"], t["17"] = infoTag{name: "base station"}, infoTag{name: "SIM card"}, infoTag{name: "position"}
			return t
		}()},
	}
)

func infoLists(machine infoTags) infoTags {
	return infoTags{"A1": {name: "PIN under SM4", hidden: true}, "A2": {name: "machine", tags: machine}, "A3": {name: "payment code", hidden: true},
		"A4": {name: "payment voucher", hidden: true}, "A5": {name: "place", tags: infoPlace}}
}

// list is the part of field n's value that is a list of this shape.
func (s *infoShape) list(n int, v []byte) ([]byte, bool) {
	if n != s.field {
		return nil, false
	}
	v, ok := bytes.CutPrefix(v, []byte(s.prefix))
	if s.prefix != "" {
		if !ok || len(v) < 3 {
			return nil, false
		}
		v = v[3:]
	}
	return v, ok
}

// walk gives the elements of list v to visit, nested ones behind the one they
// are in, with the tags above them. It says whether v is well formed.
func (s *infoShape) walk(v []byte, tags infoTags, above string, visit func(tag string, t infoTag, value []byte)) bool {
	for len(v) > 0 {
		if len(v) < 2+s.digits {
			return false
		}
		n := 0
		for _, c := range v[2 : 2+s.digits] {
			d := int(hexNibble(c))
			if d >= s.base {
				return false
			}
			n = n*s.base + d
		}
		tag := string(v[:2])
		if v = v[2+s.digits:]; n > len(v) {
			return false
		}
		t := tags[tag]
		visit(above+tag, t, v[:n])
		if t.tags != nil && !s.walk(v[:n], t.tags, above+tag+".", visit) {
			return false
		}
		v = v[n:]
	}
	return true
}

// maskInfo is v without what must not be seen, and its shape; that is nil where
// v has none, and then nothing is masked.
func maskInfo(n int, v []byte) ([]byte, *infoShape) {
	for i := range infoShapes {
		s := &infoShapes[i]
		shown := bytes.Clone(v)
		list, ok := s.list(n, shown)
		has := s.needs == ""
		if ok && s.walk(list, s.tags, "", func(tag string, t infoTag, value []byte) {
			has = has || tag == s.needs
			if t.hidden {
				copy(value, bytes.Repeat([]byte("*"), len(value)))
			}
		}) && has {
			return shown, s
		}
	}
	return v, nil
}

// infoParts takes field n apart where it is terminal information.
func infoParts(m *Message, n int, unmask bool) (parts []Part) {
	if n != 46 && n != 57 && n != 59 {
		return nil
	}
	v := m.AppendText(nil, n)
	shown, shape := maskInfo(n, v)
	if shape == nil {
		return nil
	}
	if unmask {
		shown = v
	}
	list, _ := shape.list(n, shown)
	shape.walk(list, shape.tags, "", func(tag string, t infoTag, value []byte) {
		p := Part{Tag: tag, Name: t.name}
		if t.tags == nil {
			p.Value = show(m, n, value)
		}
		parts = append(parts, p)
	})
	return parts
}
