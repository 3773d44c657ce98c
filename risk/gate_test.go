package risk

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

func kind(k txn.Kind) func(*txn.Request) { return func(r *txn.Request) { r.Kind = k } }

func TestM01MerchantIsUnknown(t *testing.T) {
	visits(t, engine(t), visit{}, visit{fs(func(r *txn.Request) { r.Acceptor = nil }), txn.MerchantIsUnknown, ruleM01, txn.ActionRefuse})
}

func TestM02MerchantIsNotActiveOrShunned(t *testing.T) {
	status := func(s txn.Status) func(*txn.Request) { return func(r *txn.Request) { r.Acceptor.Status = s } }
	person := func(b byte) func(*txn.Request) { return func(r *txn.Request) { r.Acceptor.Identity = txn.Identity{b} } }
	e := policed(t, func(p *Policy) { p.Shunned = map[txn.Identity]struct{}{{9}: {}, {}: {}} })
	shunned := txn.MerchantIsShunned
	visits(t, e, visit{}, visit{fs(status(txn.StatusSuspended)), txn.MerchantIsNotActive, ruleM02, txn.ActionRefuse},
		visit{fs(status(txn.StatusClosed)), txn.MerchantIsNotActive, ruleM02, txn.ActionRefuse},
		visit{fs(person(9)), shunned, ruleM02, txn.ActionRefuse}, visit{fs(person(8)), 0, 0, 0}, visit{fs(person(0)), 0, 0, 0},
		visit{fs(person(9), kind(txn.KindReversal)), 0, 0, 0})
}

func TestT01TerminalIsUnknownOrNotActive(t *testing.T) {
	visits(t, engine(t), visit{}, visit{fs(func(r *txn.Request) { r.Terminal.Status = txn.StatusSuspended }), txn.TerminalIsNotActive, ruleT01, txn.ActionRefuse})
	req := good()
	req.Terminal = nil
	if v := engine(t).Assess(req); v.Reason != txn.TerminalIsUnknown || !found(v, ruleT01, txn.ActionRefuse) {
		t.Errorf("%+v", v)
	}
}

func TestT02TerminalIsBoundToAnotherMerchant(t *testing.T) {
	visits(t, engine(t), visit{}, visit{fs(func(r *txn.Request) { r.Terminal.Merchant[14] = '9' }), txn.TerminalIsBoundToAnotherMerchant, ruleT02, txn.ActionRefuse})
}

func TestT04DaysOfGrace(t *testing.T) {
	e := policed(t, func(p *Policy) { p.Places.InfoFrom = 20261123 })
	must := func(r *txn.Request) { r.Terminal.SerialCheck = txn.SerialRequired }
	visits(t, e, visit{}, visit{fs(must), 0, ruleT04, txn.ActionAlert}, visit{fs(must, on(20261123)), txn.TerminalInfoIsRequired, ruleT04, txn.ActionRefuse})
}

func TestM03CategoryIsNotTheMerchants(t *testing.T) {
	mcc := func(n uint16) func(*txn.Request) { return func(r *txn.Request) { r.Acceptor.MCC = n } }
	named := func(r *txn.Request) {
		for _, id := range [...]*txn.MerchantID{&r.Acceptor.ID, &r.Terminal.Merchant, &r.Merchant} {
			*id = txn.MakeMerchantID("SHOP5412")
		}
	}
	visits(t, engine(t), visit{fs(mcc(5411)), 0, 0, 0}, visit{fs(mcc(5412)), txn.CategoryIsNotTheMerchants, ruleM03, txn.ActionRefuse},
		visit{fs(mcc(0)), 0, 0, 0}, visit{fs(mcc(5411), named), 0, 0, 0}, visit{fs(mcc(5412), kind(txn.KindOfflineSale)), 0, 0, 0})
}

func TestM04MerchantMustBeVerified(t *testing.T) {
	ends := func(d txn.Date) func(*txn.Request) { return func(r *txn.Request) { r.Acceptor.LicenceEnds = d } }
	unmatched := func(r *txn.Request) { r.Acceptor.Unmatched = true }
	hold := txn.ActionHold
	visits(t, engine(t), visit{fs(ends(today)), 0, 0, 0}, visit{fs(ends(today - 1)), 0, ruleM04, hold}, visit{fs(unmatched), 0, ruleM04, hold}, visit{fs(ends(0)), 0, 0, 0})
	strict := policed(t, func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleM04: {Action: txn.ActionRefuse}} })
	visits(t, strict, visit{fs(unmatched), txn.MerchantMustBeVerified, ruleM04, txn.ActionRefuse})
}

func TestM07KindCardAndEntryAreNotAllowed(t *testing.T) {
	refused := func(want txn.Reason, f ...func(*txn.Request)) visit {
		return visit{f, want, ruleM07, txn.ActionRefuse}
	}
	kinds := func(r *txn.Request) { r.Acceptor.Kinds = 1 << txn.KindSale }
	cards := func(r *txn.Request) { r.Acceptor.Cards = 1<<txn.CardDebit | 1<<txn.CardUnknown }
	entries := func(r *txn.Request) { r.Acceptor.Entries = 1<<txn.EntryChip | 1<<txn.EntryContactless }
	device := func(r *txn.Request) { r.Terminal.Capabilities = 1 << txn.EntryStripe }
	visits(t, engine(t), visit{fs(kinds), 0, 0, 0}, refused(txn.KindIsNotAllowed, kinds, kind(txn.KindPreauth)),
		visit{fs(cards, with(txn.CardDebit)), 0, 0, 0}, visit{fs(cards), 0, 0, 0}, refused(txn.CardTypeIsNotAllowed, cards, with(txn.CardCredit)), refused(txn.CardTypeIsNotAllowed, cards, with(txn.CardPrepaid)),
		visit{fs(entries, by(txn.EntryChip)), 0, 0, 0}, visit{fs(entries, by(98)), 0, 0, 0}, refused(txn.EntryIsNotAllowed, entries, by(txn.EntryStripe)), refused(txn.EntryIsNotAllowed, entries, by(90)),
		refused(txn.EntryIsNotAllowed, device, by(txn.EntryChip)), visit{fs(device, by(txn.EntryStripe)), 0, 0, 0}, visit{fs(device, by(txn.EntryChip), kind(txn.KindVoid)), 0, 0, 0})
}

func TestL06ContactlessPaymentWithoutPINIsTooLarge(t *testing.T) {
	tap := by(txn.EntryContactless)
	pin := txn.PINIsRequired
	refused := func(want txn.Reason, f ...func(*txn.Request)) visit {
		return visit{f, want, ruleL06, txn.ActionRefuse}
	}
	visits(t, engine(t), visit{fs(tap, pay(1_000_00)), 0, 0, 0}, refused(pin, tap, pay(1_000_01)), visit{fs(tap, pay(1_000_01), withPIN), 0, 0, 0},
		visit{fs(by(txn.EntryChip), pay(1_000_01)), 0, 0, 0}, refused(pin, tap, pay(1_000_01), kind(txn.KindPreauth)),
		visit{fs(tap, pay(1_000_01), kind(txn.KindOfflineSale)), 0, 0, 0},
		visit{fs(tap, pay(1_000_01), func(r *txn.Request) { r.Amount.Currency, r.Acceptor.Currency = 840, 840 }), 0, 0, 0})
	none := policed(t, func(p *Policy) { p.Plans = []Plan{{NoPINRefused: true}} })
	visits(t, none, refused(txn.PaymentWithoutPINIsNotAllowed, tap, pay(1)), visit{fs(tap, pay(1), withPIN), 0, 0, 0})
	free := policed(t, func(p *Policy) { p.Legal.NoPIN = 0 })
	visits(t, free, visit{fs(tap, pay(5_000_00)), 0, 0, 0})
}

func TestR01StripeOfACardWithAChip(t *testing.T) {
	track := func(s string) func(*txn.Request) {
		return func(r *txn.Request) { r.Entry, r.Track2 = txn.EntryStripe, txn.Secret(s) }
	}
	refused := func(f ...func(*txn.Request)) visit {
		return visit{f, txn.FallbackIsNotAllowed, ruleR01, txn.ActionRefuse}
	}
	sealed := func(r *txn.Request) { r.TrackDigits = 37 }
	visits(t, engine(t), visit{fs(track("6222000000000009=30121010000")), 0, 0, 0}, refused(track("6222000000000009=30122010000")), refused(track("6222000000000009D30126010000")),
		visit{fs(track("6222000000000009=30122010000"), by(txn.EntryChip)), 0, 0, 0}, visit{fs(track("6222000000000009=3012")), 0, 0, 0}, visit{fs(track("")), 0, 0, 0},
		visit{fs(track("6222000000000009=30122010000"), sealed), 0, 0, 0}, refused(track("6222000000000009=30122010000"), by(80)),
		visit{fs(track("6222000000000009=30122010000"), kind(txn.KindRefund)), 0, 0, 0})
}

func TestR02CardIsKeyedIn(t *testing.T) {
	manual := by(txn.EntryManual)
	mail := func(r *txn.Request) { r.Acceptor.Entries = 1 << txn.EntryManual }
	refused := func(f ...func(*txn.Request)) visit {
		return visit{f, txn.ManualEntryIsNotAllowed, ruleR02, txn.ActionRefuse}
	}
	visits(t, engine(t), refused(manual), visit{fs(manual, mail), 0, 0, 0}, refused(manual, mail, kind(txn.KindRefund)), visit{fs(kind(txn.KindRefund), by(txn.EntryStripe)), 0, 0, 0},
		visit{fs(manual, kind(txn.KindVoid)), 0, 0, 0}, visit{fs(manual, kind(txn.KindCompletionAdvice)), 0, 0, 0})
}

func TestR08CardIsBlocked(t *testing.T) {
	e := policed(t, func(p *Policy) {
		p.Blocked = map[txn.CardToken]Block{{2}: {Why: BlockLost}, {3}: {Why: BlockStolen}, {4}: {From: 20261122, To: 20261123}}
	})
	refused := func(want txn.Reason, f ...func(*txn.Request)) visit {
		return visit{f, want, ruleR08, txn.ActionRefuse}
	}
	visits(t, e, visit{}, refused(txn.CardIsLost, token(2)), refused(txn.CardIsStolen, token(3)), refused(txn.CardIsRestricted, token(4)),
		visit{fs(token(4), on(20261121)), 0, 0, 0}, refused(txn.CardIsRestricted, token(4), on(20261123)), visit{fs(token(4), on(20261124)), 0, 0, 0},
		refused(txn.CardIsLost, token(2), kind(txn.KindBalance)), visit{fs(token(2), kind(txn.KindVoid)), 0, 0, 0})
}
