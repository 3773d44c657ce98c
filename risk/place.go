package risk

import (
	"math"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// china is the country of GB/T 2260's regions.
const china = 156

// earthRadius is the mean radius in metres (IUGG); distances by it are right
// to half a percent, far below what a position fix is worth.
const earthRadius = 6_371_008.8

// place holds what the message reports against the terminal's place, and
// where the terminal works against the merchant's region. Whatever is reported
// must fit: a good position does not excuse a wrong region.
//
//	        position                            region
//	fixed   within the premises' radius         in the city of the terminal's region
//	mobile  in the circle of a listed area      in a listed area
//	chain   either of the two                   in a listed area or the merchant's city
//
// A terminal whose premises are not surveyed is at no position.
func (j *judgement) place(req *txn.Request, t *txn.Terminal, m *txn.Merchant) (refused bool) {
	if req.Country != 0 && req.Country != m.Country && j.finds(ruleT13, txn.CountryIsNotAccepted) {
		return true
	}
	if t.RequirePosition && !req.Info.Position.Known && req.Region == 0 && j.finds(ruleT10, txn.PositionIsRequired) {
		return true
	}
	if req.Info.Position.Known && !positionFits(req.Info.Position, t) ||
		req.Region != 0 && !regionFits(req.Region, t, m) {
		if t.Mobility == txn.Fixed && j.finds(ruleT11, txn.TerminalIsFarFromPremises) ||
			t.Mobility != txn.Fixed && j.finds(ruleT12, txn.TerminalIsOutsideItsAreas) {
			return true
		}
	}
	return (!mayWorkIn(t.Region, t, m) || req.Region != 0 && !mayWorkIn(req.Region, t, m)) && j.finds(ruleT13, txn.RegionIsNotTheMerchants)
}

func positionFits(p txn.Position, t *txn.Terminal) bool {
	if t.Mobility != txn.Mobile && (t.Lat != 0 || t.Lng != 0) && within(p, t.Lat, t.Lng, t.RadiusMetres) {
		return true
	}
	if t.Mobility == txn.Fixed {
		return false
	}
	for i := range areas(t) {
		if a := &t.Areas[i]; within(p, a.Lat, a.Lng, a.RadiusMetres) {
			return true
		}
	}
	return false
}

func regionFits(r txn.Region, t *txn.Terminal, m *txn.Merchant) bool {
	switch t.Mobility {
	case txn.Fixed:
		return t.Region.City().Contains(r)
	case txn.Chain:
		return listed(r, t) || m.Region.City().Contains(r)
	}
	return listed(r, t)
}

// mayWorkIn applies the merchant's policy to a region where its terminal works.
func mayWorkIn(r txn.Region, t *txn.Terminal, m *txn.Merchant) bool {
	if m.Region.City().Contains(r) {
		return true
	}
	switch m.Policy {
	case txn.RegionListed:
		return listed(r, t)
	case txn.RegionAllow:
		return m.Country == china
	}
	return false
}

func listed(r txn.Region, t *txn.Terminal) bool {
	for i := range areas(t) {
		if t.Areas[i].Region.Contains(r) {
			return true
		}
	}
	return false
}

func areas(t *txn.Terminal) int { return min(int(t.AreaCount), txn.AreasMax) }

// within says that p is no further than radius metres from a point, along the
// great circle. It compares haversines, which needs no inverse function and
// stays exact for small distances.
func within(p txn.Position, lat, lng int32, radius uint32) bool {
	const rad = math.Pi / 180 / 1e6
	dLat := math.Sin(float64(int64(p.Lat)-int64(lat)) * rad / 2)
	dLng := math.Sin(float64(int64(p.Lng)-int64(lng)) * rad / 2)
	hav := dLat*dLat + math.Cos(float64(p.Lat)*rad)*math.Cos(float64(lat)*rad)*dLng*dLng
	angle := float64(radius) / earthRadius / 2
	if angle >= math.Pi/2 {
		return true
	}
	reach := math.Sin(angle)
	return hav <= reach*reach
}
