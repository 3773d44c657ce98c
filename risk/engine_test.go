package risk

import (
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const today txn.Date = 20261122

var (
	shanghai = time.FixedZone("CST", 8*3600)
	noon     = time.Date(2026, 11, 22, 12, 0, 0, 0, shanghai)
)

// good is a request that passes every check, with parties of its own to spoil.
func good() *txn.Request {
	m := &txn.Merchant{ID: txn.MakeMerchantID("999290054110001"), Status: txn.StatusActive, Region: 310101, Country: 156, MCC: 5411,
		Currency: txn.CNY, Kinds: 1<<txn.Kinds - 1, Identity: txn.Identity{7}}
	t := &txn.Terminal{ID: txn.MakeTerminalID("10000001"), Merchant: m.ID, Status: txn.StatusActive,
		Region: 310101, Lat: 31_230400, Lng: 121_473700, RadiusMetres: 500}
	pan, err := txn.ParsePAN("6222000000000009")
	if err != nil {
		panic(err)
	}
	return &txn.Request{Kind: txn.KindSale, Merchant: m.ID, Amount: txn.Amount{Minor: 10_00, Currency: txn.CNY}, PAN: pan,
		Received: noon, Day: today, CardToken: txn.CardToken{1}, Terminal: t, Acceptor: m}
}

// engine refuses at the first time what others alert a few times.
func engine(t testing.TB) *Engine {
	return policed(t, func(p *Policy) { p.Number, p.Places.SilentMax, p.Places.FarMax = 0, 0, 0 })
}

// spoilers break one rule each, in precedence order.
var spoilers = []struct {
	want  txn.Reason
	spoil func(*txn.Request)
}{
	{txn.KindIsNotOffered, func(r *txn.Request) { r.Kind = txn.KindUnknown }},
	{txn.MerchantIsUnknown, func(r *txn.Request) { r.Acceptor = nil }},
	{txn.MerchantIsNotActive, func(r *txn.Request) { r.Acceptor.Status = txn.StatusSuspended }},
	{txn.TerminalIsUnknown, func(r *txn.Request) { r.Terminal = nil }},
	{txn.TerminalIsNotActive, func(r *txn.Request) { r.Terminal.Status = txn.StatusInactive }},
	{txn.TerminalIsBoundToAnotherMerchant, func(r *txn.Request) { r.Terminal.Merchant = txn.MakeMerchantID("999290054110002") }},
	{txn.CallerIsNotTheTerminals, func(r *txn.Request) { r.Terminal.Phone, r.Caller = 1, 2 }},
	{txn.TerminalInfoIsRequired, func(r *txn.Request) { r.Terminal.SerialCheck, r.Info.Broken = txn.SerialRequired, true }},
	{txn.SerialIsNotTheTerminals, func(r *txn.Request) {
		r.Terminal.SerialCheck, r.Info.Serial = txn.SerialCompared, txn.MakeSerial("another")
	}},
	{txn.SerialCipherIsWrong, func(r *txn.Request) { r.Info.Proof = txn.ProofWrong }},
	{txn.SoftwareIsTooOld, func(r *txn.Request) { r.Info.Software = txn.SoftwareTooOld }},
	{txn.CountryIsNotAccepted, func(r *txn.Request) { r.Country = 840 }},
	{txn.TerminalIsFarFromPremises, func(r *txn.Request) { r.Region = 110101 }},
	{txn.RegionIsNotTheMerchants, func(r *txn.Request) { r.Acceptor.Region = 440300 }},
	{txn.CategoryIsNotTheMerchants, func(r *txn.Request) { r.Acceptor.MCC = 5812 }},
	{txn.KindIsNotAllowed, func(r *txn.Request) { r.Acceptor.Kinds = 0 }},
	{txn.EntryIsNotAllowed, func(r *txn.Request) { r.Entry, r.Acceptor.Entries = txn.EntryChip, 1<<txn.EntryStripe }},
	{txn.CardTypeIsNotAllowed, func(r *txn.Request) { r.Acceptor.Cards = 1 << txn.CardDebit }},
	{txn.CurrencyIsNotAccepted, func(r *txn.Request) { r.Amount.Currency = 840 }},
	{txn.AmountMustNotBeZero, func(r *txn.Request) { r.Amount.Minor = 0 }},
	{txn.AmountIsOverMaximum, func(r *txn.Request) { r.Amount.Minor = txn.AmountMax + 1 }},
	{txn.CardNumberIsInvalid, func(r *txn.Request) { r.PAN, _ = txn.ParsePAN("6222000000000008") }},
	{txn.CardIsExpired, func(r *txn.Request) { r.Expiry = [4]byte([]byte("2610")) }},
	{txn.AmountIsOverTransactionLimit, func(r *txn.Request) { r.Terminal.Limits.Transaction = r.Amount.Minor - 1 }},
	{txn.DayAmountIsOverLimit, func(r *txn.Request) { r.Acceptor.Limits.DayAmount = r.Amount.Minor - 1 }},
	{txn.DayCountIsOverLimit, func(r *txn.Request) { r.Terminal.Limits.DayCount = 1 }},
}

// c5 are the steps of cup-pos C5 that risk takes, by what refuses there.
var c5 = map[txn.Reason]string{
	txn.MerchantIsUnknown:                "C5 4 merchant exists, 03:",
	txn.MerchantIsNotActive:              "C5 4 merchant status, 03 or 58:",
	txn.TerminalIsUnknown:                "C5 5 terminal exists, 97:",
	txn.TerminalIsNotActive:              "C5 5 terminal status, 58:",
	txn.TerminalIsBoundToAnotherMerchant: "C5 5 terminal bound to the MID, 97 or 58:",
	txn.SerialIsNotTheTerminals:          "C5 6 TUSN, 58:",
	txn.SerialCipherIsWrong:              "C5 6 TUSN's ciphertext, 58:",
	txn.TerminalIsFarFromPremises:        "C5 10 location, 58:",
	txn.KindIsNotAllowed:                 "C5 10 merchant's transaction permission, 58:",
	txn.AmountMustNotBeZero:              "C5 10 0 amount, 13:",
	txn.AmountIsOverTransactionLimit:     "C5 10 single max, 61:",
	txn.DayAmountIsOverLimit:             "C5 10 daily cumulative, 61:",
}

// until says that a reason stands among the spoilers no later than last.
func until(r, last txn.Reason) bool {
	for _, s := range spoilers {
		switch s.want {
		case r:
			return true
		case last:
			return false
		}
	}
	return false
}

// Each request breaks its own rule and every rule below it.
func TestPrecedence(t *testing.T) {
	for i, row := range spoilers {
		t.Run(strings.TrimSpace(c5[row.want]+" "+row.want.String()), func(t *testing.T) {
			e := engine(t)
			if v := e.Assess(good()); v.Reason != txn.Approved {
				t.Fatalf("the unspoilt request: %v", v.Reason)
			}
			req := good()
			for j := len(spoilers) - 1; j >= i; j-- {
				spoilers[j].spoil(req)
			}
			if v := e.Assess(req); v.Reason != row.want {
				t.Fatalf("got %q", v.Reason)
			}
			if n := e.InFlight(); n != 1 {
				t.Fatalf("%d uses in flight: a refusal reserved one", n)
			}
		})
	}
}

// A sign-on that names no merchant, of a terminal that nobody knows, lacks the
// terminal: there is no merchant that could be unknown.
func TestSignOnNeedsNoMerchant(t *testing.T) {
	for _, row := range []struct {
		spoil func(*txn.Request)
		want  txn.Reason
	}{
		{func(r *txn.Request) { r.Merchant, r.Acceptor, r.Terminal = txn.NoMerchant, nil, nil }, txn.TerminalIsUnknown},
		{func(r *txn.Request) { r.Acceptor, r.Terminal = nil, nil }, txn.MerchantIsUnknown},
		{func(r *txn.Request) { r.Merchant, r.Acceptor = txn.NoMerchant, nil }, txn.MerchantIsUnknown},
	} {
		req := good()
		req.Kind = txn.KindSignOn
		row.spoil(req)
		if v := engine(t).Assess(req); v.Reason != row.want {
			t.Errorf("got %q, want %q", v.Reason, row.want)
		}
	}
}

// Mobile and chain terminals have a refusal of their own in the same place.
func TestOutsideAreasStandsBetweenCountryAndRegion(t *testing.T) {
	req := good()
	req.Terminal.Mobility = txn.Mobile
	req.Region = 440300
	req.Acceptor.Region = 440300
	if v := engine(t).Assess(req); v.Reason != txn.TerminalIsOutsideItsAreas {
		t.Fatalf("got %q", v.Reason)
	}
}

// Which rules a kind is held to: each spoiler refuses it or is of no concern.
func TestMatrix(t *testing.T) {
	all := func(r txn.Reason) bool { return true }
	place := func(r txn.Reason) bool {
		return r >= txn.CountryIsNotAccepted && r <= txn.RegionIsNotTheMerchants
	}
	limit := func(r txn.Reason) bool {
		return r >= txn.AmountIsOverTransactionLimit && r <= txn.DayCountIsOverLimit
	}
	card := func(r txn.Reason) bool {
		return r == txn.CardNumberIsInvalid || r == txn.CardIsExpired || r == txn.EntryIsNotAllowed || r == txn.CardTypeIsNotAllowed
	}
	asks := func(r txn.Reason) bool { // about the card alone
		return r != txn.TerminalInfoIsRequired && r != txn.CategoryIsNotTheMerchants && until(r, txn.KindIsNotAllowed) || card(r)
	}
	unsaid := func(r txn.Reason) bool { return r == txn.TerminalInfoIsRequired }
	later := func(r txn.Reason) bool { return !place(r) && !card(r) && !limit(r) && !unsaid(r) } // about an original
	told := func(r txn.Reason) bool {
		return later(r) && r != txn.MerchantIsNotActive && r != txn.TerminalIsNotActive && r != txn.CallerIsNotTheTerminals && r != txn.SerialIsNotTheTerminals && r != txn.SerialCipherIsWrong && r != txn.SoftwareIsTooOld && r != txn.CategoryIsNotTheMerchants
	}
	known := func(r txn.Reason) bool {
		return r == txn.MerchantIsUnknown || r == txn.TerminalIsUnknown || r == txn.TerminalIsBoundToAnotherMerchant
	}
	kinds := map[txn.Kind]func(txn.Reason) bool{
		txn.KindSale:             all,
		txn.KindBalance:          asks,
		txn.KindReversal:         known,
		txn.KindSignOn:           func(r txn.Reason) bool { return until(r, txn.SoftwareIsTooOld) },
		txn.KindSignOff:          known,
		txn.KindEcho:             func(txn.Reason) bool { return false },
		txn.KindVoid:             later,
		txn.KindRefund:           later,
		txn.KindPreauth:          all,
		txn.KindIncrement:        func(r txn.Reason) bool { return !place(r) && !unsaid(r) },
		txn.KindPreauthVoid:      later,
		txn.KindCompletion:       later,
		txn.KindCompletionAdvice: told,
		txn.KindCompletionVoid:   later,
		txn.KindOfflineSale:      told,
		txn.KindAdjustment:       told,
		txn.KindTip:              told,
		txn.KindInstalment:       all,
		txn.KindInstalmentVoid:   later,
		txn.KindVerify:           asks,
		txn.KindScriptResult:     known,
	}
	for kind, concerns := range kinds {
		for _, row := range spoilers[1:] {
			e := engine(t)
			e.Assess(good())
			req := good()
			req.Kind = kind
			row.spoil(req)
			want := txn.Approved
			if concerns(row.want) {
				want = row.want
			}
			if v := e.Assess(req); v.Reason != want {
				t.Errorf("%v, %q: got %q, want %q", kind, row.want, v.Reason, want)
			}
			reserved := int64(1)
			if kind.Limits() == txn.Debit && want == txn.Approved {
				reserved++
			}
			if e.InFlight() != reserved {
				t.Errorf("%v, %q: %d uses of limits are reserved, want %d", kind, row.want, e.InFlight(), reserved)
			}
		}
	}
	req := good()
	if req.Kind = txn.KindStatus + 1; engine(t).Assess(req).Reason != txn.KindIsNotOffered {
		t.Error("a kind without a row is let through")
	}
}

// Values on both sides of every boundary.
func TestBoundaries(t *testing.T) {
	at := func(lat, lng int32) func(*txn.Request) {
		return func(r *txn.Request) { r.Info.Position = txn.Position{Lat: lat, Lng: lng, Known: true} }
	}
	area := func(r txn.Region, lat, lng int32, radius uint32) func(*txn.Request) {
		return func(q *txn.Request) {
			q.Terminal.Areas[q.Terminal.AreaCount] = txn.Area{Region: r, Lat: lat, Lng: lng, RadiusMetres: radius}
			q.Terminal.AreaCount++
		}
	}
	region := func(r txn.Region) func(*txn.Request) { return func(q *txn.Request) { q.Region = r } }
	class := func(m txn.Mobility) func(*txn.Request) { return func(q *txn.Request) { q.Terminal.Mobility = m } }
	policy := func(p txn.RegionPolicy) func(*txn.Request) { return func(q *txn.Request) { q.Acceptor.Policy = p } }
	home := func(term, merch txn.Region) func(*txn.Request) {
		return func(q *txn.Request) { q.Terminal.Region, q.Acceptor.Region = term, merch }
	}
	needs := func(q *txn.Request) { q.Terminal.RequirePosition = true }
	expiry := func(s string) func(*txn.Request) { return func(q *txn.Request) { copy(q.Expiry[:], s) } }
	received := func(t time.Time) func(*txn.Request) { return func(q *txn.Request) { q.Received = t } }
	amount := func(n int64) func(*txn.Request) { return func(q *txn.Request) { q.Amount.Minor = n } }
	card := func(s string) func(*txn.Request) {
		return func(q *txn.Request) {
			if q.PAN, _ = txn.ParsePAN(s); q.PAN.IsZero() {
				panic(s)
			}
		}
	}
	far, outside, foreign := txn.TerminalIsFarFromPremises, txn.TerminalIsOutsideItsAreas, txn.RegionIsNotTheMerchants

	for _, row := range []struct {
		name string
		want txn.Reason
		do   []func(*txn.Request)
	}{
		{"country of the merchant", 0, fs(func(q *txn.Request) { q.Country = 156 })},
		{"country not reported", 0, fs(func(q *txn.Request) { q.Country = 0 })},
		{"country of nobody", txn.CountryIsNotAccepted, fs(func(q *txn.Request) { q.Country = 157 })},

		// One millionth of a degree of latitude is 0.1112 m.
		{"fixed, 499.9 m north", 0, fs(at(31_230400+4496, 121_473700))},
		{"fixed, 500.1 m north", far, fs(at(31_230400+4498, 121_473700))},
		{"fixed, 499.9 m south", 0, fs(at(31_230400-4496, 121_473700))},
		{"fixed, 499.9 m east", 0, fs(at(31_230400, 121_473700+5257))},
		{"fixed, 500.1 m east", far, fs(at(31_230400, 121_473700+5260))},
		{"fixed, antipode", far, fs(at(-31_230400, -58_526300))},
		{"fixed, position zero is a position", far, fs(at(0, 0))},
		{"fixed, not surveyed", far, fs(at(31_230400, 121_473700), func(q *txn.Request) { q.Terminal.Lat, q.Terminal.Lng = 0, 0 })},
		{"fixed, across the date line", 0, fs(at(0, -179_999000), func(q *txn.Request) { q.Terminal.Lat, q.Terminal.Lng = 0, 179_999000 })},
		{"fixed, another district of the city", 0, fs(region(310115))},
		{"fixed, the city itself", 0, fs(region(310000))},
		{"fixed, another city", far, fs(region(320500))},
		{"fixed, good position does not excuse a wrong region", far, fs(at(31_230400, 121_473700), region(320500))},
		{"fixed, silent", 0, nil},
		{"fixed, silent though it must report", txn.PositionIsRequired, fs(needs)},
		{"fixed, region is enough of a report", 0, fs(needs, region(310101))},

		{"mobile, region in its area", 0, fs(class(txn.Mobile), area(310000, 0, 0, 0), region(310115))},
		{"mobile, region in its second area", 0, fs(class(txn.Mobile), area(110000, 0, 0, 0), area(310000, 0, 0, 0), region(310115))},
		{"mobile, region in no area", outside, fs(class(txn.Mobile), area(310000, 0, 0, 0), region(320500))},
		{"mobile, its own region is no area", outside, fs(class(txn.Mobile), region(310101))},
		{"mobile, inside the circle", 0, fs(class(txn.Mobile), area(310000, 31_000000, 121_000000, 1000), at(31_008990, 121_000000))},
		{"mobile, outside the circle", outside, fs(class(txn.Mobile), area(310000, 31_000000, 121_000000, 1000), at(31_008995, 121_000000))},
		{"mobile, its premises are no area", outside, fs(class(txn.Mobile), area(310000, 0, 0, 1), at(31_230400, 121_473700))},
		{"mobile, silent though it must report", txn.PositionIsRequired, fs(class(txn.Mobile), area(310000, 0, 0, 0), needs)},

		{"chain, at its premises", 0, fs(class(txn.Chain), at(31_230400, 121_473700))},
		{"chain, at a listed area", 0, fs(class(txn.Chain), area(310000, 31_000000, 121_000000, 1000), at(31_000000, 121_000000))},
		{"chain, elsewhere", outside, fs(class(txn.Chain), area(310000, 31_000000, 121_000000, 1000), at(32_000000, 121_000000))},
		{"chain, in the merchant's city", 0, fs(class(txn.Chain), region(310115))},
		{"chain, in a listed area", 0, fs(class(txn.Chain), policy(txn.RegionListed), area(330100, 0, 0, 0), region(330106))},
		{"chain, in an area that is not listed", outside, fs(class(txn.Chain), policy(txn.RegionListed), area(330100, 0, 0, 0), region(330200))},

		{"refuse: terminal in another district", 0, fs(home(310115, 310101))},
		{"refuse: terminal in another city", foreign, fs(home(330106, 310101))},
		{"refuse: districts of one city", 0, fs(home(440305, 440304))},
		{"refuse: cities of one province", foreign, fs(home(440106, 440304))},
		{"refuse: reported area is not the merchant's", foreign, fs(class(txn.Mobile), area(330100, 0, 0, 0), region(330106))},
		{"listed: terminal in a listed city", 0, fs(policy(txn.RegionListed), home(330106, 310101), area(330100, 0, 0, 0))},
		{"listed: terminal in another city", foreign, fs(policy(txn.RegionListed), home(330206, 310101), area(330100, 0, 0, 0))},
		{"listed: reported area is listed", 0, fs(policy(txn.RegionListed), class(txn.Mobile), area(330100, 0, 0, 0), region(330106))},
		{"allow: another province", 0, fs(policy(txn.RegionAllow), home(110101, 310101))},
		{"allow: China is not abroad", foreign, fs(policy(txn.RegionAllow), home(110101, 0), func(q *txn.Request) { q.Acceptor.Country = 840 })},
		{"abroad, no regions", 0, fs(home(0, 0), func(q *txn.Request) { q.Acceptor.Country, q.Country = 840, 840 })},

		{"one minor unit", 0, fs(amount(1))},
		{"nothing", txn.AmountMustNotBeZero, fs(amount(0))},
		{"less than nothing", txn.AmountMustNotBeZero, fs(amount(-1))},
		{"the maximum", 0, fs(amount(txn.AmountMax))},
		{"over the maximum", txn.AmountIsOverMaximum, fs(amount(txn.AmountMax + 1))},
		{"no currency on either side", txn.CurrencyIsNotAccepted, fs(func(q *txn.Request) { q.Amount.Currency, q.Acceptor.Currency = 0, 0 })},

		{"no card number", txn.CardNumberIsInvalid, fs(func(q *txn.Request) { q.PAN = txn.PAN{} })},
		{"check digit right", 0, fs(card("6222000000000009"))},
		{"check digit wrong", txn.CardNumberIsInvalid, fs(card("6222000000000008"))},

		{"no expiry", 0, nil},
		{"expires this month", 0, fs(expiry("2611"))},
		{"expired last month", txn.CardIsExpired, fs(expiry("2610"))},
		{"expired last year", txn.CardIsExpired, fs(expiry("2512"))},
		{"49 years ahead", 0, fs(expiry("7501"))},
		{"50 years ahead is 50 back", txn.CardIsExpired, fs(expiry("7612"))},
		{"month 0", txn.CardIsExpired, fs(expiry("2700"))},
		{"month 13", txn.CardIsExpired, fs(expiry("2713"))},
		{"letters", txn.CardIsExpired, fs(expiry("27a1"))},
		{"last second of its month", 0, fs(expiry("2611"), received(time.Date(2026, 11, 30, 15, 59, 59, 0, time.UTC)),
			func(q *txn.Request) { q.Day = 20261201 })},
		{"first second of the next", txn.CardIsExpired, fs(expiry("2611"), received(time.Date(2026, 11, 30, 16, 0, 0, 0, time.UTC)))},

		{"no business day", txn.SwitchFailed, fs(func(q *txn.Request) { q.Day = 0 })},
	} {
		t.Run(row.name, func(t *testing.T) {
			req := good()
			for _, f := range row.do {
				f(req)
			}
			if v := engine(t).Assess(req); v.Reason != row.want {
				t.Fatalf("got %q, want %q", v.Reason, row.want)
			}
		})
	}
}

func fs(f ...func(*txn.Request)) []func(*txn.Request) { return f }

func TestCheckDigitCanBeSkipped(t *testing.T) {
	e, err := New(Config{SkipCheckDigit: true})
	if err != nil {
		t.Fatal(err)
	}
	req := good()
	req.PAN, _ = txn.ParsePAN("6222000000000008")
	if v := e.Assess(req); v.Reason != txn.Approved {
		t.Fatalf("got %q", v.Reason)
	}
}

func TestNewRefusesWhatItCannotCount(t *testing.T) {
	for _, cfg := range []Config{{CardsPerDayMax: -1}, {CardsPerMonthMax: -1}, {Policy: &Policy{Plans: []Plan{{Number: 1}, {Number: 1}}}}} {
		if e, err := New(cfg); err == nil || e != nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
