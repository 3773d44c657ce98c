package original

import (
	"fmt"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const day = txn.Date(20261122)

var (
	merchant = txn.MakeMerchantID("999290054110001")
	auth     = [6]byte([]byte("A1B2C3"))
	key      = txn.Key{Acquirer: 48802900, Terminal: txn.MakeTerminalID("10000001"), Batch: 7, STAN: 2, Class: txn.ClassFinancial}
)

// of is an approved transaction of 1,000.00.
func of(k txn.Kind) *Transaction {
	return &Transaction{Kind: k, Key: key, Merchant: merchant, Card: txn.CardToken{1}, Amount: txn.Amount{Minor: 1000_00, Currency: txn.CNY},
		Day: day, AuthCode: auth, Stands: true}
}

// ask is a request about it, on the same day in the same batch.
func ask(k txn.Kind, minor int64) *txn.Request {
	pan, err := txn.ParsePAN("6222021234567890128")
	if err != nil {
		panic(err)
	}
	r := &txn.Request{Kind: k, Key: key, Merchant: merchant, Amount: txn.Amount{Minor: minor, Currency: txn.CNY}, PAN: pan, CardToken: txn.CardToken{1}, Day: day}
	r.Key.STAN = 9
	return r
}

func plus(d txn.Date, days int) txn.Date {
	for range days {
		d = d.After()
	}
	return d
}

// Rows are those of cup-pos C3, each with the values on both sides of its
// bounds; deeds are what was done before.
func TestPermit(t *testing.T) {
	later := func(days int) func(*Transaction, *txn.Request) {
		return func(_ *Transaction, r *txn.Request) { r.Day = plus(day, days) }
	}
	for _, c := range []struct {
		name  string
		of    txn.Kind
		deeds []Deed
		kind  txn.Kind
		minor int64
		but   func(*Transaction, *txn.Request)
		want  txn.Reason
	}{
		{"消费撤销", txn.KindSale, nil, txn.KindVoid, 1000_00, nil, txn.Approved},
		{"消费撤销 without the card", txn.KindSale, nil, txn.KindVoid, 1000_00, func(_ *Transaction, r *txn.Request) { r.PAN, r.CardToken = txn.PAN{}, txn.CardToken{} }, txn.Approved},
		{"消费撤销 of another kind", txn.KindCompletion, nil, txn.KindVoid, 1000_00, nil, txn.OriginalIsOfAnotherKind},
		{"消费撤销 of another merchant's", txn.KindSale, nil, txn.KindVoid, 1000_00, func(t *Transaction, _ *txn.Request) { t.Merchant[0] = 'x' }, txn.OriginalIsUnknown},
		{"消费撤销 of what was reversed", txn.KindSale, nil, txn.KindVoid, 1000_00, func(t *Transaction, _ *txn.Request) { t.Stands = false }, txn.OriginalDoesNotStand},
		{"消费撤销 of what is voided", txn.KindSale, []Deed{{Kind: txn.KindVoid}}, txn.KindVoid, 1000_00, nil, txn.OriginalDoesNotStand},
		{"消费撤销 after a void that was undone", txn.KindSale, []Deed{{Kind: txn.KindVoid, State: Undone}}, txn.KindVoid, 1000_00, nil, txn.Approved},
		{"消费撤销 while a void is uncertain", txn.KindSale, []Deed{{Kind: txn.KindVoid, State: Uncertain}}, txn.KindVoid, 1000_00, nil, txn.OriginalIsBusy},
		{"消费撤销 while a tip is not told", txn.KindSale, []Deed{{Kind: txn.KindTip, State: Untold}}, txn.KindVoid, 1000_00, nil, txn.OriginalIsBusy},
		{"消费撤销 while an earlier deed is uncertain", txn.KindSale, []Deed{{Kind: txn.KindVoid, State: Uncertain}, {Kind: txn.KindVoid, State: Undone}, {Kind: txn.KindVoid}}, txn.KindVoid, 1000_00, nil, txn.OriginalIsBusy},
		{"消费撤销 of what is refunded", txn.KindSale, []Deed{{Kind: txn.KindRefund, Minor: 1}}, txn.KindVoid, 1000_00, nil, txn.OriginalDoesNotStand},
		{"消费撤销 of what is tipped", txn.KindSale, []Deed{{Kind: txn.KindTip, Minor: 1}}, txn.KindVoid, 1000_00, nil, txn.OriginalAmountDiffers},
		{"消费撤销 of what stands of it", txn.KindSale, []Deed{{Kind: txn.KindReversal, Minor: 400_00}}, txn.KindVoid, 600_00, nil, txn.Approved},
		{"消费撤销 of the whole of a part", txn.KindSale, []Deed{{Kind: txn.KindReversal, Minor: 400_00}}, txn.KindVoid, 1000_00, nil, txn.OriginalAmountDiffers},
		{"消费撤销 while a part is being reversed", txn.KindSale, []Deed{{Kind: txn.KindReversal, Minor: 400_00, State: Uncertain}}, txn.KindVoid, 600_00, nil, txn.OriginalIsBusy},
		{"消费撤销 on another day", txn.KindSale, nil, txn.KindVoid, 1000_00, later(1), txn.OriginalIsOfAnotherBatch},
		{"消费撤销 in another batch", txn.KindSale, nil, txn.KindVoid, 1000_00, func(_ *Transaction, r *txn.Request) { r.Key.Batch++ }, txn.OriginalIsOfAnotherBatch},
		{"消费撤销 of a batch without number, settled", txn.KindSale, nil, txn.KindVoid, 1000_00, func(x *Transaction, _ *txn.Request) { x.Settled = true }, txn.OriginalIsOfAnotherBatch},
		{"消费撤销 at another terminal", txn.KindSale, nil, txn.KindVoid, 1000_00, func(_ *Transaction, r *txn.Request) { r.Key.Terminal[7]++ }, txn.OriginalIsOfAnotherBatch},
		{"消费撤销 with another card", txn.KindSale, nil, txn.KindVoid, 1000_00, func(_ *Transaction, r *txn.Request) { r.CardToken[0]++ }, txn.CardIsNotTheOriginals},
		{"消费撤销 of less", txn.KindSale, nil, txn.KindVoid, 999_99, nil, txn.OriginalAmountDiffers},
		{"消费撤销 of more", txn.KindSale, nil, txn.KindVoid, 1000_01, nil, txn.OriginalAmountDiffers},
		{"消费撤销 in another currency", txn.KindSale, nil, txn.KindVoid, 1000_00, func(_ *Transaction, r *txn.Request) { r.Amount.Currency = 840 }, txn.OriginalAmountDiffers},
		{"分期消费撤销", txn.KindInstalment, nil, txn.KindInstalmentVoid, 1000_00, nil, txn.Approved},
		{"分期消费撤销 of a sale", txn.KindSale, nil, txn.KindInstalmentVoid, 1000_00, nil, txn.OriginalIsOfAnotherKind},

		{"预授权完成撤销", txn.KindCompletion, nil, txn.KindCompletionVoid, 1000_00, nil, txn.Approved},
		{"预授权完成撤销 of an advice", txn.KindCompletionAdvice, nil, txn.KindCompletionVoid, 1000_00, nil, txn.Approved},
		{"预授权完成撤销 of the pre-authorization", txn.KindPreauth, nil, txn.KindCompletionVoid, 1000_00, nil, txn.OriginalIsOfAnotherKind},
		{"预授权完成撤销 on another day", txn.KindCompletion, nil, txn.KindCompletionVoid, 1000_00, later(1), txn.OriginalIsOfAnotherBatch},
		{"预授权完成撤销 of a part", txn.KindCompletion, nil, txn.KindCompletionVoid, 1, nil, txn.OriginalAmountDiffers},

		{"预授权撤销", txn.KindPreauth, nil, txn.KindPreauthVoid, 1000_00, nil, txn.Approved},
		{"预授权撤销 on the 30th day", txn.KindPreauth, nil, txn.KindPreauthVoid, 1000_00, later(30), txn.Approved},
		{"预授权撤销 on the 31st day", txn.KindPreauth, nil, txn.KindPreauthVoid, 1000_00, later(31), txn.OriginalIsTooOld},
		{"预授权撤销 of more than the sum", txn.KindPreauth, []Deed{{Kind: txn.KindIncrement, Minor: 100_00}}, txn.KindPreauthVoid, 1000_00, nil, txn.OriginalAmountDiffers},
		{"预授权撤销 of the sum", txn.KindPreauth, []Deed{{Kind: txn.KindIncrement, Minor: 100_00}}, txn.KindPreauthVoid, 1100_00, nil, txn.Approved},
		{"预授权撤销 of what is completed", txn.KindPreauth, []Deed{{Kind: txn.KindCompletion}}, txn.KindPreauthVoid, 1000_00, nil, txn.OriginalIsCompleted},
		{"预授权撤销 with another code", txn.KindPreauth, nil, txn.KindPreauthVoid, 1000_00, func(_ *Transaction, r *txn.Request) { r.Original.AuthCode = [6]byte([]byte("A1B2C4")) }, txn.OriginalIsUnknown},

		{"预授权完成撤销 with the promise's code", txn.KindCompletion, nil, txn.KindCompletionVoid, 1000_00, func(_ *Transaction, r *txn.Request) { r.Original.AuthCode = [6]byte([]byte("A1B2C4")) }, txn.Approved},

		{"预授权完成", txn.KindPreauth, nil, txn.KindCompletion, 1000_00, nil, txn.Approved},
		{"预授权完成 at 115 %", txn.KindPreauth, nil, txn.KindCompletion, 1150_00, nil, txn.Approved},
		{"预授权完成 above 115 %", txn.KindPreauth, nil, txn.KindCompletion, 1150_01, nil, txn.OriginalAmountDiffers},
		{"预授权完成 at 115 % of the sum", txn.KindPreauth, []Deed{{Kind: txn.KindIncrement, Minor: 100_00}}, txn.KindCompletion, 1265_00, nil, txn.Approved},
		{"预授权完成 twice", txn.KindPreauth, []Deed{{Kind: txn.KindCompletionAdvice, Minor: 1}}, txn.KindCompletion, 1, nil, txn.OriginalIsCompleted},
		{"预授权完成 of what is voided", txn.KindPreauth, []Deed{{Kind: txn.KindPreauthVoid}}, txn.KindCompletion, 1, nil, txn.OriginalDoesNotStand},
		{"预授权完成 after the void of one", txn.KindPreauth, []Deed{{Kind: txn.KindCompletion, Voided: true}}, txn.KindCompletion, 1, nil, txn.OriginalIsCompleted},
		{"预授权完成 on the 31st day", txn.KindPreauth, nil, txn.KindCompletionAdvice, 1, later(31), txn.OriginalIsTooOld},
		{"追加预授权", txn.KindPreauth, nil, txn.KindIncrement, 5000_00, later(30), txn.Approved},
		{"追加预授权 of what is completed", txn.KindPreauth, []Deed{{Kind: txn.KindCompletion}}, txn.KindIncrement, 1, nil, txn.OriginalIsCompleted},

		{"退货", txn.KindSale, nil, txn.KindRefund, 1000_00, later(30), txn.Approved},
		{"退货 of a completion", txn.KindCompletion, nil, txn.KindRefund, 1, nil, txn.Approved},
		{"退货 of a completion that was told", txn.KindCompletionAdvice, nil, txn.KindRefund, 1000_00, later(30), txn.Approved},
		{"退货 of an offline sale", txn.KindOfflineSale, nil, txn.KindRefund, 1000_00, later(30), txn.Approved},
		{"退货 on the 31st day", txn.KindSale, nil, txn.KindRefund, 1, later(31), txn.OriginalIsTooOld},
		{"退货 of what is left", txn.KindSale, []Deed{{Kind: txn.KindRefund, Minor: 400_00}}, txn.KindRefund, 600_00, nil, txn.Approved},
		{"退货 of more than is left", txn.KindSale, []Deed{{Kind: txn.KindRefund, Minor: 400_00}}, txn.KindRefund, 600_01, nil, txn.OriginalAmountDiffers},
		{"退货 of sale and tip", txn.KindSale, []Deed{{Kind: txn.KindTip, Minor: 50_00}}, txn.KindRefund, 1050_00, nil, txn.Approved},
		{"退货 of an instalment sale", txn.KindInstalment, nil, txn.KindRefund, 1, nil, txn.OriginalIsOfAnotherKind},
		{"退货 of a refund", txn.KindRefund, nil, txn.KindRefund, 1, nil, txn.OriginalIsOfAnotherKind},
		{"退货 to another card", txn.KindSale, nil, txn.KindRefund, 1, func(_ *Transaction, r *txn.Request) { r.CardToken[0]++ }, txn.CardIsNotTheOriginals},

		{"小费 at 15 %", txn.KindSale, nil, txn.KindTip, 150_00, nil, txn.Approved},
		{"小费 above 15 %", txn.KindSale, nil, txn.KindTip, 150_01, nil, txn.OriginalAmountDiffers},
		{"小费 after another", txn.KindSale, []Deed{{Kind: txn.KindTip, Minor: 100_00}}, txn.KindTip, 50_01, nil, txn.OriginalAmountDiffers},
		{"小费 on another day", txn.KindSale, nil, txn.KindTip, 1, later(1), txn.OriginalIsOfAnotherBatch},
		{"小费 of an offline sale", txn.KindOfflineSale, nil, txn.KindTip, 150_00, nil, txn.Approved},
		{"小费 of a completion", txn.KindCompletion, nil, txn.KindTip, 1, nil, txn.OriginalIsOfAnotherKind},
		{"结算调整 on another day", txn.KindSale, nil, txn.KindAdjustment, 1, later(1), txn.OriginalIsOfAnotherBatch},
		{"结算调整 of what is refunded", txn.KindSale, []Deed{{Kind: txn.KindRefund, Minor: 1}}, txn.KindAdjustment, 1, nil, txn.OriginalDoesNotStand},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := Rules{}.WithDefaults()
			tr, req := of(c.of), ask(c.kind, c.minor)
			if c.but != nil {
				c.but(tr, req)
			}
			if got := rules.Permit(tr, c.deeds, req); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// The acquirer's own limits replace the defaults.
func TestRules(t *testing.T) {
	rules := Rules{RefundDays: 180, PreauthDays: 29, CompletionPercent: 100, TipPercent: 20, PreauthReopens: true}.WithDefaults()
	for _, c := range []struct {
		of    txn.Kind
		deeds []Deed
		kind  txn.Kind
		minor int64
		days  int
		want  txn.Reason
	}{
		{txn.KindSale, nil, txn.KindRefund, 1, 180, txn.Approved},
		{txn.KindSale, nil, txn.KindRefund, 1, 181, txn.OriginalIsTooOld},
		{txn.KindPreauth, nil, txn.KindCompletion, 1, 29, txn.Approved},
		{txn.KindPreauth, nil, txn.KindCompletion, 1, 30, txn.OriginalIsTooOld},
		{txn.KindPreauth, nil, txn.KindCompletion, 1000_01, 0, txn.OriginalAmountDiffers},
		{txn.KindPreauth, []Deed{{Kind: txn.KindCompletion, Voided: true}}, txn.KindCompletion, 1000_00, 0, txn.Approved},
		{txn.KindSale, nil, txn.KindTip, 200_00, 0, txn.Approved},
	} {
		req := ask(c.kind, c.minor)
		req.Day = plus(day, c.days)
		if got := rules.Permit(of(c.of), c.deeds, req); got != c.want {
			t.Errorf("%v of %d after %d days: %v, want %v", c.kind, c.minor, c.days, got, c.want)
		}
	}
}

// Every kind that names an original can be about something, and no other can.
func TestAbout(t *testing.T) {
	for k := range txn.Kind(txn.Kinds) {
		possible := false
		for original := range txn.Kind(txn.Kinds) {
			possible = possible || About(k, original)
			if About(k, original) && !original.MovesMoney() {
				t.Errorf("%v may be about %v, which moved nothing", k, original)
			}
		}
		if want := k.NamesOriginal() && k.Forwarded(); possible != want {
			t.Errorf("%v can be about something: %t, want %t", k, possible, want)
		}
	}
}

// TestDeeds: what holds a transaction up, what its terminal knows of, and what was
// taken back of it.
func TestDeeds(t *testing.T) {
	for _, c := range []struct {
		name        string
		deed        Deed
		used, holds bool
		reversed    int64
	}{
		{"standing", Deed{Kind: txn.KindRefund, Minor: 5}, true, true, 0},
		{"not told yet", Deed{Kind: txn.KindTip, State: Untold}, true, true, 0},
		{"being told until it is taken note of", Deed{Kind: txn.KindTip, State: Uncertain}, true, true, 0},
		{"being undone", Deed{Kind: txn.KindVoid, State: Uncertain}, true, false, 0},
		{"undone", Deed{Kind: txn.KindVoid, State: Undone}, false, false, 0},
		{"told, and undone", Deed{Kind: txn.KindTip, State: Undone}, false, false, 0},
		{"a part reversed", Deed{Kind: txn.KindReversal, Minor: 5}, true, false, 5},
		{"a part being reversed", Deed{Kind: txn.KindReversal, Minor: 5, State: Uncertain}, true, false, 5},
	} {
		for _, deeds := range [][]Deed{{c.deed}, {{Kind: txn.KindVoid, State: Undone}, c.deed}} {
			if used, holds, reversed := Used(deeds), Holds(deeds), Reversed(deeds); used != c.used || holds != c.holds || reversed != c.reversed {
				t.Errorf("%s: used %v, holds %v, %d reversed", c.name, used, holds, reversed)
			}
		}
	}
	if Used(nil) || Holds(nil) || Reversed(nil) != 0 {
		t.Error("nothing was done about it")
	}
}

func ExampleRules_Permit() {
	rules := Rules{}.WithDefaults()
	fmt.Println(rules.Permit(of(txn.KindSale), []Deed{{ID: 2, Kind: txn.KindRefund, Minor: 900_00}}, ask(txn.KindRefund, 100_01)))
	// Output: original amount differs
}
