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

// place holds what the message reports against the terminal's place, and where
// the terminal works against the merchant's region, and says whether the request
// is refused. Whatever is reported must fit: a good position does not excuse a
// wrong region.
//
//	        position                            region                                       cell, where no position is told
//	fixed   within the premises' radius (T11)   in the city of the terminal's region (T11)   one of its list (T11)
//	mobile  in the circle of a listed area      in a listed area (T12)                       not held to anything
//	chain   either of the two (T12)             in a listed area or the merchant's city      not held to anything
//
// A terminal whose premises are not surveyed is at no position. A permit in force
// lets a terminal that moves be in its region, and at any position: it names no
// circle. What a fixed terminal reports may be wrong a few times in a row, which
// alerts; then it is refused. The count is made from the records of its last requests,
// so a restart forgets nothing of this business day and the one before.
func (j *judgement) place(e *Engine, req *txn.Request, t *txn.Terminal, m *txn.Merchant) (refused bool) {
	p, cell := &req.Info.Position, req.Info.Cell.ID()
	told := p.Known || req.Region != 0 || cell != txn.CellID{}
	var seen trail
	if told || t.RequirePosition {
		seen = e.trails.of(t.ID)
	}
	if req.Country != 0 && req.Country != m.Country && !j.permits(req, t, m, 0, req.Country) &&
		j.crosses(j.policy.Classes[m.Type].Border, int64(req.Country), int64(m.Country), txn.CountryIsNotAccepted) {
		return true
	}
	if t.RequirePosition && !told &&
		j.escalates(ruleT10, int64(seen.silent), int64(j.policy.Places.SilentMax), txn.PositionIsRequired) {
		return true
	}
	if t.Mobility == txn.Fixed {
		refused = j.strays(req, t, seen)
	} else {
		permit := j.permits(req, t, m, req.Region, china)
		refused = (p.Known && !positionFits(*p, t) || req.Region != 0 && !regionFits(req.Region, t, m)) && !permit &&
			j.finds(ruleT12, txn.TerminalIsOutsideItsAreas)
	}
	if refused || j.leaves(req, t, m, t.Region) || req.Region != 0 && j.leaves(req, t, m, req.Region) {
		return true
	}
	return p.Known && j.races(*p, req.Received.Unix(), seen)
}

// strays is T11: a fixed terminal is away from its premises.
func (j *judgement) strays(req *txn.Request, t *txn.Terminal, seen trail) bool {
	places := &j.policy.Places
	bound := int64(t.RadiusMetres)
	if bound == 0 {
		bound = int64(places.RadiusMetres)
	}
	away := int64(0)
	switch p := req.Info.Position; {
	case p.Known && (t.Lat != 0 || t.Lng != 0):
		away = metres(p, t.Lat, t.Lng)
	case p.Known: // at no position
		away = bound + 1
	default:
		if cell := req.Info.Cell.ID(); cell != (txn.CellID{}) && t.Cells != [txn.CellsMax]txn.CellID{} && !t.Hears(cell) {
			away = bound + 1
		}
	}
	if req.Region != 0 && !t.Region.City().Contains(req.Region) {
		away = max(away, bound+1)
	}
	switch {
	case away <= bound:
		return false
	case away > int64(places.FarMetres) || seen.far >= places.FarMax:
		return j.counts(ruleT11, 0, away, bound, txn.TerminalIsFarFromPremises)
	}
	return j.atMost(ruleT11, txn.ActionAlert, away, bound, txn.TerminalIsFarFromPremises)
}

// races is T14: nothing moves so fast. Of two fixes within a minute the distance
// counts as made in a minute: they are no better than that.
func (j *judgement) races(p txn.Position, now int64, seen trail) bool {
	if !seen.known {
		return false
	}
	seconds := max(now-int64(seen.at), 60)
	kmh := metres(p, seen.lat, seen.lng) * 36 / (seconds * 10)
	return kmh > int64(j.policy.Places.SpeedMax) && j.counts(ruleT14, 0, kmh, int64(j.policy.Places.SpeedMax), txn.TerminalMovesTooFast)
}

// leaves is T13: a region where the terminal works is not the merchant's. What
// is done depends on the merchant's class, on what its row allows and on permits.
func (j *judgement) leaves(req *txn.Request, t *txn.Terminal, m *txn.Merchant, r txn.Region) bool {
	home := m.Region
	if home == 0 && m.Country == china {
		home = areaProvince(m.ID) // the merchant number says in which province it is
	}
	does := j.policy.Classes[m.Type].Province
	switch {
	case home.City().Contains(r), m.Region == 0 && r == 0:
		return false
	case m.Policy == txn.RegionListed && listed(r, t), m.Policy == txn.RegionAllow && m.Country == china, j.permits(req, t, m, r, china):
		return false
	case home.Province() == r.Province():
		does = j.policy.Classes[m.Type].City
	}
	return j.crosses(does, int64(r), int64(home), txn.RegionIsNotTheMerchants)
}

// crosses is what T13 does where a boundary is crossed, from a region or country
// to another: what the class says, and no more than the rule.
func (j *judgement) crosses(does txn.Action, at, home int64, reason txn.Reason) bool {
	return does != 0 && j.atMost(ruleT13, does, at, home, reason)
}

// permits says that a permit in force lets the terminal work in a region, or
// anywhere in a country, as far as the request tells where it is.
func (j *judgement) permits(req *txn.Request, t *txn.Terminal, m *txn.Merchant, r txn.Region, country uint16) bool {
	for i := range j.permit[m.ID] {
		p := &j.permit[m.ID][i]
		of := p.Country
		if of == 0 {
			of = china
		}
		if of == country && (p.Terminal == txn.TerminalID{} || p.Terminal == t.ID) && during(req.Day, p.From, p.To) &&
			(p.Region == 0 || r == 0 && country == china || p.Region.Contains(r)) {
			return true
		}
	}
	return false
}

func positionFits(p txn.Position, t *txn.Terminal) bool {
	if t.Mobility != txn.Mobile && (t.Lat != 0 || t.Lng != 0) && within(p, t.Lat, t.Lng, t.RadiusMetres) {
		return true
	}
	for i := range areas(t) {
		if a := &t.Areas[i]; within(p, a.Lat, a.Lng, a.RadiusMetres) {
			return true
		}
	}
	return false
}

func regionFits(r txn.Region, t *txn.Terminal, m *txn.Merchant) bool {
	return listed(r, t) || t.Mobility == txn.Chain && m.Region.City().Contains(r)
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

// within says that p is no further than radius metres from a point.
func within(p txn.Position, lat, lng int32, radius uint32) bool {
	return metres(p, lat, lng) <= int64(radius)
}

// metres is the distance of p from a point along the great circle, rounded up.
// It goes by haversines, which stay exact for small distances.
func metres(p txn.Position, lat, lng int32) int64 {
	const rad = math.Pi / 180 / 1e6
	dLat := math.Sin(float64(int64(p.Lat)-int64(lat)) * rad / 2)
	dLng := math.Sin(float64(int64(p.Lng)-int64(lng)) * rad / 2)
	hav := dLat*dLat + math.Cos(float64(p.Lat)*rad)*math.Cos(float64(lat)*rad)*dLng*dLng
	return int64(math.Ceil(2 * earthRadius * math.Asin(math.Sqrt(min(hav, 1)))))
}
