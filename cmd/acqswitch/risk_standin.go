package main

import (
	"context"
	"math"

	"github.com/acqswitch/acqswitch/risk"
	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// standInSaid is what an issuer's stand_in says of a request.
type standInSaid struct {
	Issuer string                  `json:"issuer"`
	Would  string                  `json:"would"`
	Checks []acquirer.StandInCheck `json:"checks"`
}

// explainStandIn says what stand_in would make of a request while its issuer cannot be
// reached, after the use of limits that the ledger has from before it (before rec, if
// that was recorded). It is nil where the issuer has no stand_in, or where risk refuses
// the request.
func explainStandIn(ctx context.Context, cfg *config, x *risk.Explanation, req *txn.Request, rec txn.Record, recorded bool) (*standInSaid, error) {
	all, err := cfg.standIns()
	if err != nil || x.Verdict.Reason != txn.Approved {
		return nil, err
	}
	if len(all) == 0 {
		return nil, nil
	}
	l, err := openLedger(cfg)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	before := uint64(math.MaxUint64)
	rec.Leg.Issuer = issuer.Of(cfg.Issuers, &req.PAN)
	if recorded {
		found, err := l.ByRRN(ctx, rec.Day, txn.Text(rec.RRN[:]))
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			if e.Rec.ID != rec.ID {
				continue
			}
			if before = e.Pos; e.Rec.Leg.Issuer != (txn.IssuerID{}) { // whatever is routed where now
				rec.Leg.Issuer = e.Rec.Leg.Issuer
			}
		}
	}
	rules, ok := all[rec.Leg.Issuer]
	if !ok {
		return nil, nil
	}
	entries, err := l.StandIns(ctx, before, rec.Day)
	if err != nil {
		return nil, err
	}
	var open []*txn.Record
	for _, e := range entries {
		open = append(open, e.Rec)
	}
	said := &standInSaid{Issuer: rec.Leg.Issuer.String(), Would: "While it cannot be reached: refused, issuer is unavailable"}
	var approved bool
	if said.Checks, approved = rules.Explain(req, &rec, open); approved {
		said.Would = "While it cannot be reached: approved in its place"
	}
	return said, nil
}
