package issuer_test

import (
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func ptr[T any](v T) *T { return &v }

// What one request costs and owes, by what the issuer does with it.
func TestExchange(t *testing.T) {
	for _, c := range []struct {
		name    string
		rule    simulator.Rule
		outcome txn.Outcome
		reason  txn.Reason
		booked  []string // kinds, after the request and, if it is owed, its reversal
	}{
		{"approved", simulator.Rule{}, txn.OutcomeApproved, txn.Approved, []string{"approved"}},
		{"important customer", simulator.Rule{Code: "11"}, txn.OutcomeApproved, txn.Approved, []string{"approved"}},
		{"flawed success", simulator.Rule{Code: "A4"}, txn.OutcomeApproved, txn.Approved, []string{"approved"}},
		{"no success", simulator.Rule{Code: "A3"}, txn.OutcomeDeclined, txn.IssuerDeclined, []string{"declined"}},
		{"declined", simulator.Rule{Code: "51"}, txn.OutcomeDeclined, txn.IssuerDeclined, []string{"declined"}},
		{"partial approval was not asked for", simulator.Rule{Code: "10"}, txn.OutcomeUnknown, txn.IssuerAnsweredNonsense, []string{"declined"}},
		{"request lost", simulator.Rule{Kind: "sale", Lose: true}, txn.OutcomeUnknown, txn.IssuerDidNotAnswer, []string{"unknown"}},
		{"answer lost", simulator.Rule{Drop: true}, txn.OutcomeUnknown, txn.IssuerDidNotAnswer, []string{"approved", "reversed"}},
		{"answer late", simulator.Rule{Kind: "sale", Latency: simulator.Latency{Fixed: lastResort}}, txn.OutcomeUnknown, txn.IssuerDidNotAnswer, []string{"approved", "reversed"}},
		{"answer twice", simulator.Rule{Copies: 2}, txn.OutcomeApproved, txn.Approved, []string{"approved"}},
		{"other amount echoed", simulator.Rule{Echo: simulator.Echo{Amount: ptr[int64](1)}}, txn.OutcomeUnknown, txn.IssuerAnsweredNonsense, []string{"approved", "reversed"}},
		{"other terminal echoed", simulator.Rule{Kind: "sale", Echo: simulator.Echo{Terminal: "99999999"}}, txn.OutcomeUnknown, txn.IssuerAnsweredNonsense, []string{"approved", "reversed"}},
		{"other STAN echoed", simulator.Rule{Kind: "sale", Echo: simulator.Echo{STAN: ptr[uint32](999_998)}}, txn.OutcomeUnknown, txn.IssuerDidNotAnswer, []string{"approved", "reversed"}},
		{"disconnected", simulator.Rule{Kind: "sale", Disconnect: true, Times: 1}, txn.OutcomeUnknown, txn.IssuerDidNotAnswer, []string{"approved", "reversed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, simulator.Config{Rules: []simulator.Rule{c.rule}})
			b := start(t, sim.Addr(), func(cfg *issuer.Config) { cfg.Timeout = 20 * time.Second }).up(1)
			req, ask := sale("10000001", 12345), b.exchange
			if c.reason == txn.IssuerDidNotAnswer {
				ask = b.unanswered
			}
			got := ask(req).want(t, c.outcome, c.reason)
			if got.outcome == txn.OutcomeApproved && (got.reply.AuthCode == [6]byte{} || got.reply.Amount != req.Amount) {
				t.Errorf("reply %+v", got.reply)
			}
			if got.outcome == txn.OutcomeUnknown {
				attempt := 0
				eventually(t, "reversal", func() bool { attempt++; ok, _, _ := b.reverse(got.record(req), attempt-1); return ok })
			}
			entries, err := sim.Book()
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, e := range entries {
				kinds = append(kinds, e.Kind)
				if e.STAN != got.leg.STAN || e.Time != string(got.leg.Time[:]) || e.Amount != 12345 || e.Terminal != "10000001" {
					t.Errorf("entry %+v is not of leg %+v", e, got.leg)
				}
			}
			if len(kinds) != len(c.booked) || kinds[0] != c.booked[0] || kinds[len(kinds)-1] != c.booked[len(kinds)-1] {
				t.Errorf("booked %v, want %v", kinds, c.booked)
			}
			if n := b.InFlight(); n != 0 {
				t.Errorf("%d still held", n)
			}
		})
	}
}
