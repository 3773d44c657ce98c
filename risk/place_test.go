package risk

import (
	"fmt"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// visit is one request, and what was said of it.
type visit struct {
	do     []func(*txn.Request)
	want   txn.Reason
	rule   txn.Rule // that found something, 0 none
	action txn.Action
}

// visits are assessed, and learned, one after another, ten minutes apart.
func visits(t *testing.T, e *Engine, all ...visit) {
	t.Helper()
	now := noon
	for i, x := range all {
		now = now.Add(10 * time.Minute)
		req := good()
		req.Received = now
		for _, f := range x.do {
			f(req)
		}
		v := e.Assess(req)
		if v.Reason != x.want || x.rule != 0 && !found(v, x.rule, x.action) || x.rule == 0 && v.Findings.Len() > 0 {
			t.Fatalf("visit %d: got %q with %+v, want %q by %s", i+1, v.Reason, v.Findings, x.want, x.rule)
		}
		e.Learn(outcomeOf(req, v))
	}
}

// outcomeOf is the record of req as far as places are learned from it.
func outcomeOf(req *txn.Request, v txn.Verdict) *txn.Record {
	return &txn.Record{Kind: txn.RecordOutcome, At: req.Received, Request: req.Kind, Key: txn.Key{Terminal: req.Terminal.ID}, Merchant: req.Merchant,
		Lat: req.Info.Position.Lat, Lng: req.Info.Position.Lng, Reason: v.Reason, Findings: v.Findings, Day: req.Day}
}

// at is a position so many metres north of the premises.
func north(metres float64) func(*txn.Request) {
	return func(r *txn.Request) {
		r.Info.Position = txn.Position{Lat: 31_230400 + int32(metres/0.111195), Lng: 121_473700, Known: true}
	}
}

func must(r *txn.Request) { r.Terminal.RequirePosition = true }

func TestT10PlaceIsMissing(t *testing.T) {
	e := policed(t, func(*Policy) {})
	alert := visit{fs(must), 0, ruleT10, txn.ActionAlert}
	refused := visit{fs(must), txn.PositionIsRequired, ruleT10, txn.ActionRefuse}
	visits(t, e, visit{}, alert, alert, refused, refused, visit{fs(must, north(0)), 0, 0, 0}, alert, alert, refused)
	cell := func(r *txn.Request) { r.Info.Cell = txn.Cell{Country: 460, Area: 6, Cell: 7} }
	visits(t, e, visit{fs(must, cell), 0, 0, 0}, alert)
}

func TestT11FixedTerminalIsFarFromPremises(t *testing.T) {
	far := txn.TerminalIsFarFromPremises
	alert := func(m float64) visit { return visit{fs(north(m)), 0, ruleT11, txn.ActionAlert} }
	refused := func(m float64) visit { return visit{fs(north(m)), far, ruleT11, txn.ActionRefuse} }
	home := visit{fs(north(499)), 0, 0, 0}
	t.Run("radius and confirmation", func(t *testing.T) {
		visits(t, policed(t, func(*Policy) {}), home, alert(502), alert(502), refused(502), refused(502), home, alert(502), visit{}, alert(502), refused(502))
	})
	t.Run("so far that nothing is to be confirmed", func(t *testing.T) {
		e := policed(t, func(p *Policy) { p.Places.SpeedMax = 10_000 })
		visits(t, e, alert(49_990), home, refused(50_010))
	})
	t.Run("premises that are not surveyed", func(t *testing.T) {
		bare := func(r *txn.Request) { r.Terminal.Lat, r.Terminal.Lng = 0, 0 }
		alert := visit{fs(bare, north(0)), 0, ruleT11, txn.ActionAlert}
		visits(t, policed(t, func(*Policy) {}), alert, alert, visit{fs(bare, north(0)), far, ruleT11, txn.ActionRefuse})
	})
	t.Run("radius of the policy", func(t *testing.T) {
		bare := func(r *txn.Request) { r.Terminal.RadiusMetres = 0 }
		e := policed(t, func(p *Policy) { p.Places.RadiusMetres = 800 })
		visits(t, e, visit{fs(bare, north(799)), 0, 0, 0}, visit{fs(bare, north(802)), 0, ruleT11, txn.ActionAlert})
	})
	t.Run("cells", func(t *testing.T) {
		hears := func(cell uint32) func(*txn.Request) {
			return func(r *txn.Request) {
				r.Terminal.Cells[0] = txn.CellID{Country: 460, Area: 6, Cell: 7}
				r.Terminal.Cells[1] = txn.CellID{Operator: 13, Area: 14, Cell: 15}
				r.Info.Cell = txn.Cell{Country: 460, Area: 6, Cell: cell}
			}
		}
		cdma := func(r *txn.Request) { r.Info.Cell = txn.Cell{System: 13, Network: 14, Base: 15} }
		e := policed(t, func(*Policy) {})
		visits(t, e, visit{fs(hears(7)), 0, 0, 0}, visit{fs(hears(7), cdma), 0, 0, 0}, visit{fs(hears(8)), 0, ruleT11, txn.ActionAlert},
			visit{fs(hears(8)), 0, ruleT11, txn.ActionAlert}, visit{fs(hears(8)), far, ruleT11, txn.ActionRefuse},
			visit{fs(hears(8), north(1)), 0, 0, 0}, // a position says more
			visit{fs(hears(8), func(r *txn.Request) { r.Info.Cell, r.Region = txn.Cell{}, 310101 }), 0, 0, 0}, // nothing is told of cells
			visit{fs(func(r *txn.Request) { r.Info.Cell = txn.Cell{Country: 460, Area: 6, Cell: 8} }), 0, 0, 0})
	})
	t.Run("after a restart", func(t *testing.T) {
		var recs []*txn.Record
		e := policed(t, func(*Policy) {})
		for range 2 {
			req := good()
			north(600)(req)
			recs = append(recs, outcomeOf(req, e.Assess(req)))
			e.Learn(recs[len(recs)-1])
		}
		again := policed(t, func(*Policy) {})
		for _, r := range recs {
			again.Learn(r)
		}
		visits(t, again, refused(600))
	})
	t.Run("in shadow", func(t *testing.T) {
		e := policed(t, func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleT11: {Mode: 1}} })
		for range 4 {
			req := good()
			north(600)(req)
			if v := e.Assess(req); v.Reason != txn.Approved || v.Findings.Len() != 1 {
				t.Fatalf("%+v", v)
			}
		}
	})
}

func TestT12TerminalThatMovesIsOutsideItsAreas(t *testing.T) {
	mobile := func(r *txn.Request) {
		r.Terminal.Mobility, r.Terminal.AreaCount, r.Acceptor.Policy = txn.Mobile, 1, txn.RegionAllow
		r.Terminal.Areas[0] = txn.Area{Region: 310000, Lat: 31_230400, Lng: 121_473700, RadiusMetres: 30_000}
	}
	in := func(r txn.Region) func(*txn.Request) { return func(q *txn.Request) { q.Region = r } }
	outside := txn.TerminalIsOutsideItsAreas
	permit := func(change func(*Permit)) *Engine {
		return policed(t, func(p *Policy) {
			x := Permit{Merchant: good().Acceptor.ID, Region: 330100, From: 20261122, To: 20261123}
			change(&x)
			p.Permits = []Permit{x}
		})
	}
	refused := func(f ...func(*txn.Request)) visit { return visit{f, outside, ruleT12, txn.ActionRefuse} }
	passes := func(f ...func(*txn.Request)) visit { return visit{f, 0, 0, 0} }
	visits(t, policed(t, func(*Policy) {}), passes(mobile, in(310115)), refused(mobile, in(320500)), passes(mobile, north(29_990)), refused(mobile, north(30_010)))
	visits(t, permit(func(*Permit) {}), passes(mobile, in(330106)), refused(mobile, in(330206)), refused(mobile, in(330106), on(20261121)),
		passes(mobile, in(330106), on(20261123)), refused(mobile, in(330106), on(20261124)), passes(mobile, north(30_010)))
	visits(t, permit(func(p *Permit) { p.Terminal = good().Terminal.ID }), passes(mobile, in(330106)))
	visits(t, permit(func(p *Permit) { p.Terminal = txn.MakeTerminalID("10000002") }), refused(mobile, in(330106)))
	visits(t, permit(func(p *Permit) { p.Merchant[14] = '9' }), refused(mobile, in(330106)))
	visits(t, permit(func(p *Permit) { p.Region = 0 }), passes(mobile, in(650102)))
}

func TestT13PlaceIsNotInTheMerchantsRegion(t *testing.T) {
	region := func(home, terminal txn.Region) func(*txn.Request) {
		return func(r *txn.Request) { r.Acceptor.Region, r.Terminal.Region = home, terminal }
	}
	alert, refuse := txn.ActionAlert, txn.ActionRefuse
	foreign := txn.RegionIsNotTheMerchants
	e := policed(t, func(p *Policy) {
		p.Classes[txn.Enterprise] = Crossing{City: 0, Province: alert, Border: refuse}
		p.Classes[txn.Micro] = Crossing{City: alert, Province: refuse, Border: refuse}
		p.Permits = []Permit{{Merchant: good().Acceptor.ID, Country: 840, From: 20261124}}
	})
	micro := func(r *txn.Request) { r.Acceptor.Type = txn.Micro }
	abroad := func(r *txn.Request) { r.Country = 840 }
	visits(t, e,
		visit{fs(region(440300, 440304)), 0, 0, 0},
		visit{fs(region(440300, 440106)), 0, 0, 0},           // another city
		visit{fs(region(440300, 330106)), 0, ruleT13, alert}, // another province
		visit{fs(micro, region(440300, 440304)), 0, 0, 0},
		visit{fs(micro, region(440300, 440106)), 0, ruleT13, alert},
		visit{fs(micro, region(440300, 330106)), foreign, ruleT13, refuse},
		visit{fs(region(310101, 310115)), 0, 0, 0}, // districts of a municipality
		visit{fs(abroad), txn.CountryIsNotAccepted, ruleT13, refuse},
		visit{fs(abroad, on(20261124)), 0, 0, 0},
		visit{fs(micro, region(0, 310115)), 0, 0, 0}, // its number says area 2900, Shanghai
		visit{fs(micro, region(0, 330106)), foreign, ruleT13, refuse})
	for want, do := range map[[2]int64]func(*txn.Request){{330106, 440300}: region(440300, 330106), {840, 156}: abroad} {
		req := good()
		do(req)
		v := e.Assess(req)
		if v.Findings.Len() != 1 {
			t.Errorf("%+v", v)
		}
		for f := range v.Findings.All() {
			if f.Seen != want[0] || f.Bound != want[1] {
				t.Errorf("%+v, want %d of %d", f, want[0], want[1])
			}
		}
	}
	for area, province := range map[string]txn.Region{"1000": 110000, "1100": 120000, "2900": 310000, "5810": 440000, "5840": 440000, "6530": 500000, "6510": 510000,
		"3310": 330000, "3050": 320000, "9900": 0, "12A0": 0} {
		if got := areaProvince(txn.MakeMerchantID("999" + area + "54110001")); got != province {
			t.Errorf("area %s is in %d, want %d", area, got, province)
		}
	}
}

func TestT14TerminalMovesTooFast(t *testing.T) {
	mobile := func(r *txn.Request) {
		r.Terminal.Mobility, r.Terminal.AreaCount = txn.Mobile, 1
		r.Terminal.Areas[0] = txn.Area{Region: 310000, Lat: 31_230400, Lng: 121_473700, RadiusMetres: 20_000_000}
	}
	after := func(d time.Duration) func(*txn.Request) { return func(r *txn.Request) { r.Received = noon.Add(d) } }
	fast := txn.TerminalMovesTooFast
	first := visit{fs(mobile, after(0), north(0)), 0, 0, 0}
	e := func() *Engine { return policed(t, func(*Policy) {}) }
	visits(t, e(), first, visit{fs(mobile, after(time.Hour), north(200_000)), 0, 0, 0})
	visits(t, e(), first, visit{fs(mobile, after(time.Hour), north(201_100)), fast, ruleT14, txn.ActionRefuse},
		visit{fs(mobile, after(time.Hour), north(100)), 0, 0, 0}) // the refused place is not where it is
	// Two fixes within a minute are no better than a minute.
	visits(t, e(), first, visit{fs(mobile, after(time.Second), north(3_300)), 0, 0, 0})
	visits(t, e(), first, visit{fs(mobile, after(time.Second), north(3_400)), fast, ruleT14, txn.ActionRefuse})
	visits(t, e(), first, visit{fs(mobile, after(time.Hour)), 0, 0, 0}, visit{fs(mobile, after(2*time.Hour), north(400_000)), 0, 0, 0})
	slow := policed(t, func(p *Policy) { p.Places.SpeedMax = 100 })
	visits(t, slow, first, visit{fs(mobile, after(time.Hour), north(101_100)), fast, ruleT14, txn.ActionRefuse})
}

func many(i int32) txn.TerminalID {
	return txn.MakeTerminalID(fmt.Sprintf("%08d", uint64(i+1)*2654435761%1e8))
}

// The trails of a million terminals are no pointer and no allocation in Assess.
func TestTrailsOfManyTerminals(t *testing.T) {
	ts := trails{makeRows[trail]()}
	rec := outcomeOf(good(), txn.Verdict{})
	const n = 100_000
	for i := range int32(n) {
		rec.Key.Terminal = many(i)
		rec.Lat, rec.Lng = i, 1
		ts.learn(rec)
	}
	for i := range int32(n) {
		if tr := ts.of(many(i)); !tr.known || tr.lat != i {
			t.Fatalf("terminal %d: %+v", i, tr)
		}
	}
	if used := ts.of(txn.MakeTerminalID("nobody")); used != (trail{}) {
		t.Errorf("%+v", used)
	}
}
