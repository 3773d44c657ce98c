package risk

import (
	"bytes"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// machine holds what the message says of its machine against the registered
// one (cup-pos T03 to T05, T09 and S01), as far as the registration asks for it, and
// says whether the request is refused. told says that this kind of message must say
// something of its machine.
func (j *judgement) machine(req *txn.Request, t *txn.Terminal, told bool) bool {
	i := &req.Info
	if t.Phone != 0 && req.Caller != 0 && req.Caller != t.Phone &&
		j.counts(ruleT09, 0, int64(req.Caller), int64(t.Phone), txn.CallerIsNotTheTerminals) {
		return true
	}
	known := i.Serial != txn.Serial{}
	if told && t.SerialCheck == txn.SerialRequired && (i.Broken || !known || i.Proof == txn.ProofMissing) {
		most := txn.ActionRefuse
		if req.Day < j.policy.Places.InfoFrom {
			most = txn.ActionAlert // in the days of grace
		}
		if j.atMost(ruleT04, most, 0, 0, txn.TerminalInfoIsRequired) {
			return true
		}
	}
	checked := t.SerialCheck != txn.SerialIgnored
	// A sign-on has the maker's own number, of which a TUSN is the longer form.
	if checked && known && i.Serial != t.Serial && (req.Kind != txn.KindSignOn || i.Serial != t.Serial.Own()) &&
		j.finds(ruleT03, txn.SerialIsNotTheTerminals) {
		return true
	}
	if (i.Proof == txn.ProofWrong || (checked || i.Proof == txn.ProofRight) && !factorFits(i.FactorBytes(), &req.PAN)) &&
		j.finds(ruleT05, txn.SerialCipherIsWrong) {
		return true
	}
	return i.Software == txn.SoftwareTooOld && j.finds(ruleS01, txn.SoftwareIsTooOld)
}

// goesBack is S06: a new transaction's trace number is behind its batch's last. A
// terminal may wrap or lose its memory, and has no other way to sell: it alerts,
// and a policy may have it refused, but for a few of a business day.
func (j *judgement) goesBack(e *Engine, req *txn.Request) bool {
	before := int64(0)
	if seen := e.trails.of(req.Terminal.ID); seen.backDay == req.Day {
		before = int64(seen.back)
	}
	return j.escalates(ruleS06, before, int64(j.policy.Patterns.BackwardsMax), txn.TraceNumberWentBack)
}

// factorFits says that a random factor is the end of the card's number or the
// code's. Where either is not told there is nothing to compare.
func factorFits(factor []byte, pan *txn.PAN) bool {
	const digits = 6
	if len(factor) == 0 || pan.IsZero() {
		return true
	}
	var buf [txn.PANDigitsMax]byte
	defer clear(buf[:])
	number := pan.Append(buf[:0])
	return len(factor) == digits && bytes.Equal(factor, number[len(number)-digits:])
}
