package acquirer

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// desk is a Librarian that hands one thing out and asks for one digit. It fails
// the test when it is asked to serve whom risk should have refused.
type desk struct {
	t     *testing.T
	asked uint8
}

func (d *desk) Serve(req *txn.Request, ans *txn.Answer) txn.Reason {
	if req.Terminal == nil || req.Acceptor == nil || req.Terminal.Status != txn.StatusActive || req.Terminal.Merchant != req.Acceptor.ID {
		d.t.Errorf("terminal %s of %s is served", req.Key.Terminal, req.Merchant)
	}
	if req.Network == 370 {
		return txn.ItemIsUnknown
	}
	ans.Custom = append(ans.Custom, "1160"...)
	return txn.Approved
}

func (d *desk) Pending(req *txn.Request) uint8 {
	if req.Terminal == nil {
		d.t.Error("a stranger is asked for something")
	}
	return d.asked
}

func (h *house) management(kind txn.Kind, terminal string, network uint16) txn.Request {
	r := sale(terminal, 0, 0)
	r.Kind, r.Network, r.Key.Class, r.MTI, r.PAN = kind, network, txn.ClassNetwork, 0x0800, txn.PAN{}
	return r
}

// What is told and asked for, and that nothing of it is recorded.
func TestDownloadsAreServedAndNotRecorded(t *testing.T) {
	h := newHouse(t)
	for _, row := range []struct {
		name      string
		librarian Librarian
		kind      txn.Kind
		terminal  string
		network   uint16
		reason    txn.Reason
		code      string
		custom    string
		asks      uint8
	}{
		{"no librarian", nil, txn.KindDownload, "10000001", 360, txn.KindIsNotOffered, "40", "", 0},
		{"download", &desk{t, 0xC}, txn.KindDownload, "10000001", 360, txn.Approved, "00", "1160", 0xC},
		{"status", &desk{t, 0}, txn.KindStatus, "10000001", 362, txn.Approved, "00", "1160", 0},
		{"unknown item", &desk{t, 4}, txn.KindDownload, "10000001", 370, txn.ItemIsUnknown, "25", "", 0},
		{"unknown terminal", &desk{t, 4}, txn.KindDownload, "99999999", 360, txn.TerminalIsUnknown, "97", "", 0},
		{"sign-on", &desk{t, 4}, txn.KindSignOn, "10000001", 3, txn.Approved, "00", "", 4},
		{"echo", &desk{t, 4}, txn.KindEcho, "10000001", 301, txn.Approved, "00", "", 4},
		{"echo of a stranger", &desk{t, 4}, txn.KindEcho, "99999999", 301, txn.Approved, "00", "", 0},
	} {
		before := h.journal.Last()
		h.s.librarian = row.librarian
		got := h.ask(h.management(row.kind, row.terminal, row.network))
		h.want(row.name, got, row.reason, row.code)
		if string(got.Custom) != row.custom || got.Asks != row.asks {
			t.Errorf("%s: told %q and asked for %x, want %q and %x", row.name, got.Custom, got.Asks, row.custom, row.asks)
		}
		if h.journal.Last() != before {
			t.Errorf("%s: it is recorded", row.name)
		}
	}
}

// Approvals carry the digit, refusals do not; only "sign on" says so whatever
// else is pending.
func TestAnswersAsk(t *testing.T) {
	h := newHouse(t)
	h.s.librarian = &desk{t, 7}
	got := h.ask(sale("10000001", 1, 500))
	if h.want("sale", got, txn.Approved, "00"); got.Asks != 7 {
		t.Errorf("sale: asked for %x", got.Asks)
	}
	got = h.ask(sale("10000001", 1, 500))
	if h.want("told again", got, txn.Approved, "00"); got.Asks != 7 {
		t.Errorf("told again: asked for %x", got.Asks)
	}
	got = h.ask(sale("10000001", 2, 0))
	if h.want("refused", got, txn.AmountMustNotBeZero, "13"); got.Asks != 0 {
		t.Errorf("refused: asked for %x", got.Asks)
	}
	req, ans := sale("10000001", 3, 500), txn.Answer{Reason: txn.SignOnIsRequired}
	if h.s.finish(&req, &ans); ans.Asks != 3 {
		t.Errorf("sign-on is required: asked for %x", ans.Asks)
	}
}

// TestS01: a terminal below its model's target is told to update, one below the
// minimum is told so with its refusal; what else is pending comes first.
func TestS01(t *testing.T) {
	h := newHouse(t)
	for i, row := range []struct {
		app  string
		want txn.Reason
		code string
		asks uint8
	}{
		{"309999  ", txn.SoftwareIsTooOld, "58", 6},
		{"310000  ", txn.Approved, "00", 6},
		{"320000  ", txn.Approved, "00", 6},
		{"320001  ", txn.Approved, "00", 0},
	} {
		req := sale("10000008", uint32(i+1), 500)
		req.Carriers.DE59 = txn.Secret("A201305008" + row.app)
		got := h.ask(req)
		if h.want(row.app, got, row.want, row.code); got.Asks != row.asks {
			t.Errorf("%s: asked for %x, want %x", row.app, got.Asks, row.asks)
		}
	}
	h.s.librarian = &desk{t, 7}
	req := sale("10000008", 9, 500)
	req.Carriers.DE59 = txn.Secret("A201305008310000  ")
	if got := h.ask(req); got.Asks != 7 {
		t.Errorf("asked for %x", got.Asks)
	}
}
