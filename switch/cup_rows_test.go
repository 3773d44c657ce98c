package acquirer

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// The state machine of cup-pos C1, an arrow a test; what is voided, reversed or
// completed is the end for everything else.
func TestStatesOfATransaction(t *testing.T) {
	type step struct {
		kind  txn.Kind
		minor int64
		of    uint32 // the number of an earlier step, from 1
		want  txn.Reason
		code  string
	}
	ok := func(k txn.Kind, minor int64, of uint32) step { return step{k, minor, of, txn.Approved, "00"} }
	gone := func(k txn.Kind, minor int64, of uint32) step {
		return step{k, minor, of, txn.OriginalDoesNotStand, "25"}
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"C1 success to voided", []step{ok(txn.KindSale, 1000, 0), ok(txn.KindVoid, 1000, 1),
			gone(txn.KindVoid, 1000, 1), gone(txn.KindRefund, 1, 1), gone(txn.KindTip, 1, 1)}},
		{"C1 voided to success, its void reversed", []step{ok(txn.KindSale, 1000, 0), ok(txn.KindVoid, 1000, 1), ok(txn.KindReversal, 1000, 2),
			ok(txn.KindVoid, 1000, 1)}},
		{"C1 success to reversed", []step{ok(txn.KindSale, 1000, 0), ok(txn.KindReversal, 1000, 1),
			gone(txn.KindVoid, 1000, 1), gone(txn.KindRefund, 1, 1)}},
		{"C1 success to partially and fully refunded", []step{ok(txn.KindSale, 1000, 0), ok(txn.KindRefund, 400, 1), gone(txn.KindVoid, 1000, 1),
			ok(txn.KindRefund, 600, 1), {txn.KindRefund, 1, 1, txn.OriginalAmountDiffers, "64"}}},
		{"C1 preauth success to preauth-voided", []step{ok(txn.KindPreauth, 1000, 0), ok(txn.KindPreauthVoid, 1000, 1),
			gone(txn.KindCompletion, 1000, 1), gone(txn.KindPreauthVoid, 1000, 1)}},
		{"C1 preauth success to completed (20) to completion-voided", []step{ok(txn.KindPreauth, 1000, 0), ok(txn.KindCompletion, 1000, 1),
			{txn.KindPreauthVoid, 1000, 1, txn.OriginalIsCompleted, "12"}, ok(txn.KindCompletionVoid, 1000, 2),
			gone(txn.KindRefund, 1, 2), {txn.KindCompletion, 1000, 1, txn.OriginalIsCompleted, "12"}}},
		{"C1 preauth success to completed (24) to refunded", []step{ok(txn.KindPreauth, 1000, 0), ok(txn.KindCompletionAdvice, 1000, 1),
			ok(txn.KindRefund, 1000, 2), gone(txn.KindCompletionVoid, 1000, 2)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			var promise [6]byte
			for i, s := range c.steps {
				req := about(s.kind, uint32(i+1), s.minor, s.of)
				switch s.kind {
				case txn.KindReversal:
					req = reversal("10000001", s.of, s.minor)
				case txn.KindPreauthVoid, txn.KindCompletion, txn.KindCompletionAdvice:
					req.Original.AuthCode = promise
				}
				ans := h.ask(req)
				h.want(s.kind.String(), ans, s.want, s.code)
				if s.kind == txn.KindPreauth {
					promise = ans.Reply.AuthCode
				}
				h.settle()
			}
		})
	}
}

// Which messages need a MAC (cup-pos B3), without one.
func TestMessagesWithoutMAC(t *testing.T) {
	x := newSecured(t, "cup-pos", nil)
	x.signOn()
	financial := func(processing, more string) []put {
		return []put{{3, processing, false}, {4, "000000001000", false}, {11, "000009", false}, {22, "021", false}, {25, "00", false},
			{35, testPAN + "D49121010000012300", false}, {37, "112109310002", false}, {38, "A1B2C3", false}, {39, "98", false}, {41, "10000001", false}, {42, "999290054110001", false}, {49, "156", false},
			{53, "0600000000000000", false}, {55, "\x9f\x36\x02\x00\x01\x95\x05\x00\x00\x00\x00\x00", true}, {60, more, false}, {61, "0000010000021121", false}}
	}
	manage := func(more string) []put {
		return []put{{11, "000009", false}, {41, "10000001", false}, {42, "999290054110001", false}, {60, more, false}}
	}
	totals := []put{{11, "000009", false}, {41, "10000001", false}, {42, "999290054110001", false},
		{48, "00000000000000000000000000000000000000000000000000000000000000", false}, {49, "156", false}, {60, "00000001201", false}}
	for _, c := range []struct {
		name   string
		mti    uint16
		fields []put
		want   txn.Reason
	}{
		{"B3 0100 needs one: A0", 0x0100, financial("030000", "1000000100020"), txn.MACIsWrong},
		{"B3 0200 needs one: A0", 0x0200, financial("000000", "2200000100020"), txn.MACIsWrong},
		{"B3 0220 needs one, B4 77 at the third in a row", 0x0220, financial("200000", "2500000100020"), txn.SignOnIsRequired},
		{"B3 0400 needs one, 77 as before", 0x0400, financial("000000", "2200000100020"), txn.SignOnIsRequired},
		{"B3 0620 needs one, 77 as before", 0x0620, financial("000000", "0000000195160"), txn.SignOnIsRequired},
		{"B3 0800 needs none", 0x0800, manage("00000001004"), txn.Approved},
		{"B3 0820 echo needs none", 0x0820, manage("00000001301"), txn.Approved},
		{"B3 0500 needs none", 0x0500, totals, txn.Approved},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, ans := x.tell(x.frame(c.mti, 0, c.fields...))
			if ans.Reason != c.want {
				t.Errorf("%v, want %v", ans.Reason, c.want)
			}
			if m == nil || m.Has(64) {
				t.Error("the answer has a MAC, or there is none")
			}
		})
	}
	if len(x.asked) != 0 {
		t.Errorf("the bank was asked %d times", len(x.asked))
	}
}

// The order in which a request is held to what it must be (cup-pos C5, up to
// the rules of risk, whose order package risk tests). Each row breaks its own
// step and all below it; a stranger, who has no keys, its own alone.
func TestOrderOfValidation(t *testing.T) {
	x := newSecured(t, "cup-pos", nil)
	x.signOn()
	type message struct {
		tid, mid, batch, stan, amount string
		noSTAN, badMAC                bool
	}
	build := func(m message) []byte {
		fields := []put{{3, "000000", false}, {4, m.amount, false}, {11, m.stan, false}, {22, "021", false}, {25, "00", false},
			{35, testPAN + "D49121010000012300", false}, {41, m.tid, false}, {42, m.mid, false}, {49, "156", false}, {53, "0600000000000000", false}, {60, "22" + m.batch + "00020", false}}
		if m.noSTAN {
			fields = append(fields[:2:2], fields[3:]...)
		}
		b := x.frame(0x0200, 64, fields...)
		if m.badMAC {
			b[len(b)-1] ^= 1
		}
		return b
	}
	good := message{tid: "10000001", mid: "999290054110001", batch: "000001", stan: "000002", amount: "000000001000"}
	_, ans := x.tell(build(good))
	x.want("the first sale", ans, txn.Approved, "00")
	fresh := good
	fresh.stan = "000003"
	for _, row := range []struct {
		name string
		m    func(m *message)
		last func(m *message) // what is wrong beside it and comes later
		want txn.Reason
		code string
	}{
		{"C5 1 header and parse (30)", func(m *message) { m.noSTAN = true }, func(m *message) { m.badMAC, m.mid, m.batch = true, "999290054119999", "000009" }, txn.FormatIsWrong, "30"},
		{"C5 2 MAC (A0)", func(m *message) { m.badMAC = true }, func(m *message) { m.mid, m.batch = "999290054119999", "000009" }, txn.MACIsWrong, "A0"},
		{"C5 4 merchant exists (03)", func(m *message) { m.mid = "999290054119999" }, func(m *message) { m.batch, m.amount = "000009", "000000000000" }, txn.MerchantIsUnknown, "03"},
		{"C5 5 terminal exists (97)", func(m *message) { m.tid = "10009999" }, func(m *message) { m.batch, m.amount = "000009", "000000000000" }, txn.TerminalIsUnknown, "97"},
		{"C5 8 batch (77)", func(m *message) { m.batch = "000009" }, func(m *message) { m.amount = "000000000000" }, txn.BatchIsNotCurrent, "77"},
		{"C5 9 duplicate (94)", func(m *message) { m.stan = "000002" }, func(m *message) { m.amount = "000000000000" }, txn.DuplicateWithOtherContent, "94"},
		{"C5 10 0 amount (13)", func(m *message) { m.amount = "000000000000" }, nil, txn.AmountMustNotBeZero, "13"},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := len(x.asked)
			m := fresh
			row.m(&m)
			if row.last != nil {
				row.last(&m)
			}
			_, ans := x.tell(build(m))
			if ans.Reason != row.want || string(ans.Code[:]) != row.code || len(x.asked) != before {
				t.Errorf("%v %s, want %v %s", ans.Reason, ans.Code, row.want, row.code)
			}
		})
	}
	t.Run("C5 7 sign-on status (77)", func(t *testing.T) {
		key := x.tak
		x := newSecured(t, "cup-pos", nil)
		x.tak = key // of another day
		m := fresh
		m.batch, m.amount = "000009", "000000000000"
		b := build(m)
		_, ans := x.tell(b)
		x.want("before the sign-on", ans, txn.SignOnIsRequired, "77")
	})
}
