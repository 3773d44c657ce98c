package registry

import (
	"slices"
	"strconv"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

func (l *loader) premises(y *premisesYAML, t *txn.Terminal, at yamlfile.Scalar, chinese bool) {
	const field = "terminals[].premises"
	if s := yamlfile.First(y.Lat, y.Lng, y.Radius); s.Line == 0 {
		if t.Mobility == txn.Fixed {
			l.Add(at, field, "is missing: a fixed terminal needs its premises' lat and lng")
		}
		return
	}
	t.Lat, t.Lng = l.point(at, y.Lat, y.Lng, field)
	if chinese && (t.Lat < 3_000000 || t.Lat > 54_000000 || t.Lng < 73_000000 || t.Lng > 136_000000) {
		l.Add(at.Or(y.Lat), field, "is not in China, where the merchant is: check for lat and lng changed over")
	}
	if t.RadiusMetres = radiusDefault; y.Radius.Line > 0 {
		t.RadiusMetres = uint32(l.decimal(y.Radius, field+".radius_m", 0, 1, radiusMax))
	}
}

// cells reads the radio cells that are heard at a fixed terminal's premises.
func (l *loader) cells(ys []yamlfile.Scalar, t *txn.Terminal) {
	const field = "terminals[].cells"
	switch {
	case len(ys) > txn.CellsMax:
		l.Add(ys[0], field, "are %d, at most %d may be listed", len(ys), txn.CellsMax)
		return
	case len(ys) > 0 && t.Mobility != txn.Fixed:
		l.Add(ys[0], field, "mean nothing to a terminal that moves: remove them, or make it fixed")
	}
	for i, y := range ys {
		c, ok := parseCell(y.Text)
		switch {
		case !ok:
			l.Add(y, field+"[]", "%q must be country-operator-area-cell, such as 460-0-6243-12345678, or of CDMA system-network-base", y.Text)
		case slices.Contains(t.Cells[:i], c):
			l.Add(y, field+"[]", "%s is listed twice", y.Text)
		}
		t.Cells[i] = c
	}
}

// parseCell reads the decimal numbers of a radio cell, with dashes between: MCC,
// MNC, LAC and CID, or of a CDMA cell SID, NID and BID.
func parseCell(s string) (c txn.CellID, ok bool) {
	parts := strings.Split(s, "-")
	var n [4]uint64
	if len(parts) != 3 && len(parts) != 4 {
		return c, false
	}
	at := n[4-len(parts):]
	for i, p := range parts {
		bits := 32
		if len(parts)-i > 2 { // country, operator, system
			bits = 16
		}
		v, err := strconv.ParseUint(p, 10, bits)
		if err != nil || !txn.Digits(p) {
			return c, false
		}
		at[i] = v
	}
	c = txn.CellID{Country: uint16(n[0]), Operator: uint16(n[1]), Area: uint32(n[2]), Cell: uint32(n[3])}
	return c, c.Cell != 0
}

// phone reads the number of the line that a terminal calls from.
func (l *loader) phone(y yamlfile.Scalar, t *txn.Terminal) {
	if y.Line == 0 {
		return
	}
	n, err := strconv.ParseUint(y.Text, 10, 64)
	if err != nil || !txn.Digits(y.Text) || len(y.Text) > phoneDigitsMax || n == 0 {
		l.Add(y, "terminals[].phone", "%q must be 1 to %d digits, with the area code: the number that the network shows", y.Text, phoneDigitsMax)
		return
	}
	t.Phone = n
}

func (l *loader) listAreas(ys []yamlfile.Scalar, t *txn.Terminal, at yamlfile.Scalar) {
	const field = "terminals[].areas"
	switch {
	case len(ys) > txn.AreasMax:
		l.Add(ys[0], field, "are %d, at most %d may be listed: list their province", len(ys), txn.AreasMax)
		return
	case len(ys) == 0 && t.Mobility == txn.Mobile:
		l.Add(at, field, "is empty: a mobile terminal works in the areas it lists")
	case len(ys) > 0 && t.Mobility == txn.Fixed:
		l.Add(ys[0], field, "mean nothing to a fixed terminal: remove them, or make it mobile or chain")
	}
	for i, y := range ys {
		r := l.region(y, field+"[]", true)
		a, ok := l.areas[r]
		if !ok && r != 0 {
			l.Add(y, field+"[]", "%s has no circle: add it to the regions at the head of the file", y.Text)
		}
		if slices.ContainsFunc(t.Areas[:i], func(b txn.Area) bool { return b.Region == r }) {
			l.Add(y, field+"[]", "%s is listed twice", y.Text)
		}
		t.Areas[i] = a
		t.AreaCount++
	}
}
