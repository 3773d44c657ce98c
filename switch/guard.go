package acquirer

import (
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// guarded says that the request's terminal is one the Guard has keys for.
func guarded(req *txn.Request) bool {
	return req.Terminal != nil && req.Terminal.Keys != txn.KeysNone
}

// authenticated says that the request must have a MAC, and so must its approval:
// its terminal's messages carry them. Network management carries none; totals
// and uploads need not (cup-pos B3), but one that is there must be right.
func authenticated(req *txn.Request) bool {
	switch {
	case !guarded(req) || req.Terminal.MAC == txn.MACNone || req.Key.Class == txn.ClassNetwork:
		return false
	case req.Key.Class == txn.ClassUpload:
		return len(req.MAC) > 0
	}
	return true
}

// authenticate checks the MAC of a request that must have one.
func (s *Switch) authenticate(req *txn.Request) txn.Reason {
	switch {
	case !authenticated(req):
		return txn.Approved
	case s.guard == nil:
		return txn.SignOnIsRequired // no keys are kept here
	}
	return s.guard.Check(req)
}

// unreadable says that the card of a request on an enciphered track cannot be
// read, and why. One of a stranger stays as it is: nobody has its key.
func (s *Switch) unreadable(req *txn.Request, ans *txn.Answer) bool {
	if req.TrackDigits == 0 || req.Terminal == nil {
		return false
	}
	if s.guard == nil || !guarded(req) {
		ans.Reason = txn.TerminalHasNoKeys
		return true
	}
	if ans.Reason = s.guard.DecipherTrack(req); ans.Reason != txn.Approved {
		return true
	}
	if err := dialect.ReadTrack(req); err != nil {
		ans.Reason = txn.FormatIsWrong
		return true
	}
	s.identify(req)
	return false
}

// translatePIN asks the guard, whose key store may be another machine.
func (s *Switch) translatePIN(req *txn.Request, issuer txn.IssuerID) txn.Reason {
	s.gate.leave()
	defer s.gate.enter()
	return s.guard.TranslatePIN(req, issuer)
}

// identify sets what tells one request from another: card and content.
func (s *Switch) identify(req *txn.Request) {
	if !req.PAN.IsZero() {
		req.CardToken = s.cards.Token(&req.PAN)
		if s.cfg.CardType != nil {
			req.CardType = s.cfg.CardType(&req.PAN)
		}
	}
	req.Fingerprint = fingerprint(req)
	if req.Kind.Batch() {
		req.Fingerprint = s.settlementFingerprint(req, req.Fingerprint)
	}
}
