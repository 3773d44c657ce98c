package acquirer

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// voiceCode is the code with which an issuer authorized an offline sale by telephone.
const voiceCode = "VOICE1"

// about makes a request about an earlier one, in the same batch.
func about(kind txn.Kind, stan uint32, minor int64, of uint32) txn.Request {
	r := sale("10000001", stan, minor)
	r.Kind = kind
	if kind.Remedy() == txn.Repeat {
		r.MTI, r.Key.Class = 0x0220, txn.ClassAdvice
	}
	if kind == txn.KindOfflineSale {
		r.Original.AuthCode = [6]byte([]byte(voiceCode))
	}
	if of != 0 {
		r.Original = txn.Reference{STAN: of, Batch: 1}
	}
	return r
}

// shelf is an archive that holds what the test files in it.
type shelf struct {
	recs  []txn.Record
	err   error
	asked int                 // for what was decided long ago
	late  func() []txn.Record // what the drain still has to bring
}

func (s *shelf) CatchUp(context.Context) error {
	if s.late != nil {
		s.recs = append(s.recs, s.late()...)
	}
	return s.err
}

func (s *shelf) pick(fits func(*txn.Record) bool) (found []txn.Record, err error) {
	for i := range s.recs {
		if fits(&s.recs[i]) {
			found = append(found, s.recs[i])
		}
	}
	return found, s.err
}

func (s *shelf) ByKey(_ context.Context, m txn.MerchantID, day txn.Date, key txn.Key) ([]txn.Record, error) {
	return s.pick(func(r *txn.Record) bool {
		return r.Kind == txn.RecordOutcome && r.Merchant == m && r.Day == day && r.Key == key
	})
}

func (s *shelf) Decided(_ context.Context, m txn.MerchantID, days []txn.Date, key txn.Key) ([]txn.Record, error) {
	s.asked++
	found, err := s.pick(func(r *txn.Record) bool {
		return r.Kind == txn.RecordOutcome && r.Merchant == m && slices.Contains(days, r.Day) && r.Key == key
	})
	slices.Reverse(found)
	return found, err
}

func (s *shelf) ByRRN(_ context.Context, m txn.MerchantID, day txn.Date, rrn [12]byte) ([]txn.Record, error) {
	return s.pick(func(r *txn.Record) bool {
		return r.Kind == txn.RecordOutcome && r.Merchant == m && r.Day == day && r.RRN == rrn
	})
}

func (s *shelf) Preauths(_ context.Context, m txn.MerchantID, card txn.CardToken, auth [6]byte, since txn.Date) ([]txn.Record, error) {
	return s.pick(func(r *txn.Record) bool {
		return r.Request == txn.KindPreauth && r.Merchant == m && r.Card == card && r.AuthCode == auth && r.Day >= since
	})
}

func (s *shelf) Deeds(_ context.Context, m txn.MerchantID, id txn.ID) ([]txn.Record, error) {
	deeds := map[txn.ID]bool{id: true}
	for i := range s.recs {
		if s.recs[i].Original == id {
			deeds[s.recs[i].ID] = true
		}
	}
	return s.pick(func(r *txn.Record) bool { return r.Merchant == m && deeds[r.Original] })
}

// records are all of the house's.
func (h *house) records() (recs []txn.Record) {
	h.t.Helper()
	err := h.journal.Scan(h.journal.First(), func(_ journal.Position, b []byte) error {
		var rec txn.Record
		err := rec.Unmarshal(append([]byte(nil), b...))
		recs = append(recs, rec)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return recs
}

// What may be done about a sale, and what it does to the limits; the same after
// a restart.
func TestF09Void(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.want("void of another amount", h.ask(about(txn.KindVoid, 2, 999, 1)), txn.OriginalAmountDiffers, "64")
	h.want("void of nothing", h.ask(about(txn.KindVoid, 3, 1000, 77)), txn.OriginalIsUnknown, "25")
	if h.used("10000001") != 1000 {
		t.Errorf("refused voids gave limits back: %d are used", h.used("10000001"))
	}
	first := h.ask(about(txn.KindVoid, 4, 1000, 1))
	h.want("void", first, txn.Approved, "00")
	if h.used("10000001") != 0 {
		t.Errorf("a void left %d used", h.used("10000001"))
	}
	h.want("void again", h.ask(about(txn.KindVoid, 5, 1000, 1)), txn.OriginalDoesNotStand, "25")
	if again := h.ask(about(txn.KindVoid, 4, 1000, 1)); again.RRN != first.RRN || again.Reason != txn.Approved {
		t.Errorf("the same void was told %v %s", again.Reason, again.RRN)
	}
	h.want("reversal of a voided sale", h.ask(reversal("10000001", 1, 1000)), txn.Approved, "00")
	h.want("refund of a voided sale", h.ask(about(txn.KindRefund, 6, 100, 1)), txn.OriginalDoesNotStand, "25")

	h.restart()
	if h.used("10000001") != 0 {
		t.Errorf("after a restart %d are used", h.used("10000001"))
	}
	h.want("void after a restart", h.ask(about(txn.KindVoid, 7, 1000, 1)), txn.OriginalDoesNotStand, "25")
	h.want("reversal of the void", h.ask(reversal("10000001", 4, 1000)), txn.Approved, "00")
	h.settle()
	if h.used("10000001") != 1000 {
		t.Errorf("a reversed void leaves %d used, the sale stands again", h.used("10000001"))
	}
	h.want("void after the reversal of the first", h.ask(about(txn.KindVoid, 8, 1000, 1)), txn.Approved, "00")
	h.restart()
	if h.used("10000001") != 0 || h.bank.undone(0) != 1 {
		t.Errorf("%d used, %d reversals", h.used("10000001"), h.bank.undone(0))
	}
}

// A void whose fate is unknown is undone; until then nothing else may be done
// about the sale.
func TestVoidWithoutAnswer(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	acknowledged := make(chan struct{})
	h.bank.acknowledge = func(int) bool {
		select {
		case <-acknowledged:
			return true
		default:
			return false
		}
	}
	h.s.cfg.ReversalRetry = time.Millisecond
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	h.want("void", h.ask(about(txn.KindVoid, 2, 1000, 1)), txn.IssuerDidNotAnswer, "98")
	h.bank.behave = nil
	h.want("void while the first is being undone", h.ask(about(txn.KindVoid, 3, 1000, 1)), txn.OriginalIsBusy, "09")
	if h.used("10000001") != 1000 {
		t.Errorf("%d are used", h.used("10000001"))
	}
	close(acknowledged)
	h.settle()
	if h.used("10000001") != 1000 {
		t.Errorf("an undone void left %d used", h.used("10000001"))
	}
	h.want("reversal of the sale", h.ask(reversal("10000001", 1, 1000)), txn.Approved, "00")
	h.settle()
	if h.used("10000001") != 0 || h.bank.undone(0) != 2 {
		t.Errorf("%d are used after %d reversals", h.used("10000001"), h.bank.undone(0))
	}
}

// A terminal that had no answer to its void reverses it and asks again at once, while the
// issuer is still told of the reversal: that is waited for, and its cashier not sent away.
func TestVoidAgainBehindItsReversal(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.bank.acknowledge = func(int) bool {
		time.Sleep(50 * time.Millisecond) // an issuer's way
		return true
	}
	for stan := uint32(2); stan < 4; stan++ {
		h.want("void", h.ask(about(txn.KindVoid, stan, 1000, 1)), txn.Approved, "00")
		h.want("its reversal", h.ask(reversal("10000001", stan, 1000)), txn.Approved, "00")
	}
	h.want("void that stands", h.ask(about(txn.KindVoid, 4, 1000, 1)), txn.Approved, "00")
	if h.used("10000001") != 0 || h.bank.undone(0) != 2 {
		t.Errorf("%d are used after %d reversals", h.used("10000001"), h.bank.undone(0))
	}
}

// A refund is not undone, and its terminal is not told that it is: not even one
// that came as a request, as ISO 8583:1987 has it.
func TestRefundIsNotReversed(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	refund := about(txn.KindRefund, 2, 400, 1)
	refund.MTI, refund.Key.Class = 0x0200, txn.ClassFinancial
	h.want("refund", h.ask(refund), txn.Approved, "00")
	h.want("its reversal", h.ask(reversal("10000001", 2, 400)), txn.KindIsNotOffered, "40")
	too := about(txn.KindRefund, 3, 1001, 1)
	too.MTI, too.Key.Class = 0x0200, txn.ClassFinancial
	h.want("refund of too much", h.ask(too), txn.OriginalAmountDiffers, "64")
	h.want("its reversal: there is nothing to undo", h.ask(reversal("10000001", 3, 1001)), txn.Approved, "00")
}

// Refunds come in parts, and an unknown one is told to the issuer until it
// takes note.
func TestF10Refund(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.want("part", h.ask(about(txn.KindRefund, 2, 400, 1)), txn.Approved, "00")
	h.want("void of what is refunded", h.ask(about(txn.KindVoid, 3, 1000, 1)), txn.OriginalDoesNotStand, "25")
	h.want("too much", h.ask(about(txn.KindRefund, 4, 601, 1)), txn.OriginalAmountDiffers, "64")
	other := about(txn.KindRefund, 5, 100, 1)
	other.PAN, _ = txn.ParsePAN("6222020000000007")
	h.want("another card", h.ask(other), txn.CardIsNotTheOriginals, "14")
	if h.used("10000001") != 1000 {
		t.Errorf("a refund moved the limits to %d", h.used("10000001"))
	}
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	h.want("the rest, without an answer", h.ask(about(txn.KindRefund, 6, 600, 1)), txn.Approved, "00")
	if got := h.s.Batches().Totals(txn.MakeTerminalID("10000001"), 1, 0).Credit; got != (txn.Sum{Count: 2, Minor: 1000}) {
		t.Errorf("the batch has %v given back", got)
	}
	h.bank.behave = nil
	h.settle()
	if len(h.bank.advised) != 1 || h.bank.undone(0) != 0 {
		t.Errorf("%d advices, %d reversals", len(h.bank.advised), h.bank.undone(0))
	}
	h.want("nothing is left", h.ask(about(txn.KindRefund, 7, 1, 1)), txn.OriginalAmountDiffers, "64")
	h.restart()
	h.want("also after a restart", h.ask(about(txn.KindRefund, 8, 1, 1)), txn.OriginalAmountDiffers, "64")
}

// A refund that the issuer takes note of and refuses has not happened.
func TestRefundRefusedLate(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.bank.opinion = [2]byte{'1', '4'}
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	h.want("refund", h.ask(about(txn.KindRefund, 2, 1000, 1)), txn.Approved, "00")
	h.settle()
	h.bank.behave = nil
	h.want("refund again", h.ask(about(txn.KindRefund, 3, 1000, 1)), txn.Approved, "00")
}

// A link that is down says so itself: what waits for it says nothing. What was sent and
// is not acknowledged is said at the first try and every tenth.
func TestWhatIsOwedIsSaid(t *testing.T) {
	for _, c := range []struct {
		name       string
		down, vain int
		said       int
	}{
		{"the link is down", 25, 0, 0},
		{"no answer", 0, 3, 1},
		{"no answers behind a link that was down", 5, 21, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			var said bytes.Buffer
			h.s.log = slog.New(slog.NewTextHandler(&said, nil))
			h.s.cfg.ReversalRetry, h.s.cfg.ReversalRetryMax = 100*time.Microsecond, time.Millisecond
			h.bank.down = c.down
			left := c.vain
			h.bank.acknowledge = func(int) bool { left--; return left < 0 }
			h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
				return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
			}
			h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.IssuerDidNotAnswer, "98")
			h.settle()
			h.stop()
			if s := said.String(); strings.Count(s, "is not acknowledged yet") != c.said || strings.Count(s, "error=\"no answer\"") != c.said || strings.Contains(s, "code=") {
				t.Errorf("said %q, want %d lines", s, c.said)
			}
		})
	}
}

// What an issuer may have got before goes out as a repeat, also the first time that it
// is told anew; and an issuer that has it already (94) has taken it.
func TestAdviceIsRepeated(t *testing.T) {
	for _, c := range []struct {
		name    string
		outcome txn.Outcome
		restart bool
		down    int
		opinion string
		first   int // attempt of the first telling
		reason  txn.Reason
	}{
		{"no answer", txn.OutcomeUnknown, false, 0, "00", 1, txn.Approved},
		{"no answer, and the link is down", txn.OutcomeUnknown, false, 2, "00", 2, txn.Approved},
		{"it did not leave", txn.OutcomeNotSent, false, 0, "00", 0, txn.Approved},
		{"it did not leave, and the link is down", txn.OutcomeNotSent, false, 2, "00", 0, txn.Approved},
		{"it did not leave, but who knows after a restart", txn.OutcomeNotSent, true, 0, "00", 1, txn.Approved},
		{"the issuer had it", txn.OutcomeUnknown, false, 0, "94", 1, txn.Approved},
		{"approved for another reason", txn.OutcomeUnknown, false, 0, "11", 1, txn.Approved},
		{"refused", txn.OutcomeUnknown, false, 0, "05", 1, txn.IssuerDeclined},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.s.cfg.ReversalRetry = time.Millisecond
			h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
			h.bank.down = c.down
			h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) { return c.outcome, txn.IssuerDidNotAnswer, "" }
			h.bank.opinion = [2]byte([]byte(c.opinion))
			var attempts []int
			away := true
			h.bank.acknowledge = func(attempt int) bool {
				if away && c.restart {
					return false // no answer
				}
				attempts = append(attempts, attempt)
				return true
			}
			h.want("refund", h.ask(about(txn.KindRefund, 2, 1000, 1)), txn.Approved, "00")
			if c.restart {
				h.restart()
				h.bank.mu.Lock()
				away = false
				h.bank.mu.Unlock()
			}
			h.settle()
			h.bank.behave = nil
			if len(attempts) != 1 || attempts[0] < c.first || !c.restart && attempts[0] != c.first {
				t.Errorf("told at attempts %v, want one from %d on", attempts, c.first)
			}
			again := map[txn.Reason]txn.Reason{txn.Approved: txn.OriginalAmountDiffers, txn.IssuerDeclined: txn.Approved}[c.reason]
			if got := h.ask(about(txn.KindRefund, 3, 1000, 1)); got.Reason != again {
				t.Errorf("another refund: %s, want %s", got.Reason, again)
			}
			for _, rec := range h.records() {
				if rec.Kind == txn.RecordAdviceDone && (rec.Reason != c.reason || string(rec.IssuerCode[:]) != c.opinion) {
					t.Errorf("advice done: %s, issuer's %q; want %s, %q", rec.Reason, rec.IssuerCode[:], c.reason, c.opinion)
				}
			}
		})
	}
}

// A refund that has a number and did not leave is told to its issuer when that is
// back: its terminal is told once what became of it, and never two things.
func TestF41RefundThatDidNotLeave(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeNotSent, txn.IssuerIsUnavailable, ""
	}
	away := true
	h.bank.acknowledge = func(int) bool { return !away }
	first := h.ask(about(txn.KindRefund, 2, 400, 1))
	h.want("refund", first, txn.Approved, "00")
	h.want("another while the issuer does not know it", h.ask(about(txn.KindRefund, 3, 100, 1)), txn.OriginalIsBusy, "09")
	h.restart()
	if again := h.ask(about(txn.KindRefund, 2, 400, 1)); again.Reason != txn.Approved || again.RRN != first.RRN {
		t.Errorf("told %v %s first, and then %v %s", first.Reason, first.RRN, again.Reason, again.RRN)
	}
	h.bank.mu.Lock()
	h.bank.behave, away = nil, false
	h.bank.mu.Unlock()
	h.settle()
	h.want("another", h.ask(about(txn.KindRefund, 3, 100, 1)), txn.Approved, "00")
	h.want("too much", h.ask(about(txn.KindRefund, 4, 501, 1)), txn.OriginalAmountDiffers, "64")
	if got := h.s.Batches().Totals(txn.MakeTerminalID("10000001"), 1, 0).Credit; got != (txn.Sum{Count: 2, Minor: 500}) || len(h.bank.advised) != 1 {
		t.Errorf("the batch has %v given back, after %d advices", got, len(h.bank.advised))
	}
}

// The whole life of a pre-authorization.
func TestF11Preauth(t *testing.T) {
	h := newHouse(t)
	authorize := func(stan uint32) (auth [6]byte) {
		ans := h.ask(about(txn.KindPreauth, stan, 1000, 0))
		h.want("preauth", ans, txn.Approved, "00")
		return ans.Reply.AuthCode
	}
	with := func(r txn.Request, auth [6]byte) txn.Request { r.Original.AuthCode = auth; return r }
	auth := authorize(1)
	h.want("increment", h.ask(with(about(txn.KindIncrement, 2, 200, 1), auth)), txn.Approved, "00")
	if h.used("10000001") != 1200 {
		t.Errorf("%d are used", h.used("10000001"))
	}
	h.want("completion of too much", h.ask(with(about(txn.KindCompletion, 3, 1381, 1), auth)), txn.OriginalAmountDiffers, "64")
	h.want("completion with another code", h.ask(with(about(txn.KindCompletion, 4, 1000, 1), [6]byte{'9'})), txn.OriginalIsUnknown, "25")
	h.want("completion", h.ask(with(about(txn.KindCompletion, 5, 1380, 1), auth)), txn.Approved, "00")
	h.want("a second completion", h.ask(with(about(txn.KindCompletion, 6, 1, 1), auth)), txn.OriginalIsCompleted, "12")
	h.want("void of what is completed", h.ask(with(about(txn.KindPreauthVoid, 7, 1200, 1), auth)), txn.OriginalIsCompleted, "12")
	h.want("sale's void of a completion", h.ask(about(txn.KindVoid, 8, 1380, 5)), txn.OriginalIsOfAnotherKind, "12")
	h.want("void of the completion", h.ask(about(txn.KindCompletionVoid, 9, 1380, 5)), txn.Approved, "00")
	h.want("completion after that", h.ask(with(about(txn.KindCompletion, 10, 1000, 1), auth)), txn.OriginalIsCompleted, "12")
	h.s.cfg.Originals.PreauthReopens = true
	h.want("where it may reopen", h.ask(with(about(txn.KindCompletion, 11, 1000, 1), auth)), txn.Approved, "00")

	auth = authorize(15)
	h.want("increment by card and code alone", h.ask(with(about(txn.KindIncrement, 16, 100, 0), auth)), txn.Approved, "00")
	h.restart()
	h.want("void of the sum, also after a restart", h.ask(with(about(txn.KindPreauthVoid, 17, 1100, 0), auth)), txn.Approved, "00")
	h.want("another code names nothing", h.ask(with(about(txn.KindIncrement, 18, 100, 0), [6]byte{'9'})), txn.OriginalIsUnknown, "25")

	// Where it was made at another terminal its number is none here, or another's.
	auth = authorize(30)
	h.ask(sale("10000002", 30, 1))
	elsewhere := func(kind txn.Kind, stan, of uint32, auth [6]byte) txn.Request {
		r := with(about(kind, stan, 1000, of), auth)
		r.Key.Terminal = txn.MakeTerminalID("10000002")
		return r
	}
	h.want("elsewhere, with another code", h.ask(elsewhere(txn.KindCompletion, 31, 29, [6]byte{'9'})), txn.OriginalIsUnknown, "25")
	h.want("elsewhere, with another code and a number of there", h.ask(elsewhere(txn.KindCompletion, 32, 30, [6]byte{'9'})), txn.OriginalIsOfAnotherKind, "12")
	h.want("elsewhere", h.ask(elsewhere(txn.KindCompletion, 33, 29, auth)), txn.Approved, "00")
	auth = authorize(34)
	h.want("void elsewhere, its number is of another there", h.ask(elsewhere(txn.KindPreauthVoid, 35, 30, auth)), txn.Approved, "00")

	auth = authorize(20)
	h.want("void of a part", h.ask(with(about(txn.KindPreauthVoid, 21, 900, 20), auth)), txn.OriginalAmountDiffers, "64")
	h.want("void", h.ask(with(about(txn.KindPreauthVoid, 22, 1000, 20), auth)), txn.Approved, "00")
	h.want("completion of what is void", h.ask(with(about(txn.KindCompletion, 23, 1000, 20), auth)), txn.OriginalDoesNotStand, "25")
	h.want("sale of the same trade", h.ask(about(txn.KindRefund, 24, 1000, 20)), txn.OriginalIsOfAnotherKind, "12")
}

// What has happened at a terminal is taken note of whatever the limits say, and
// told to the issuer until that does.
func TestToldIsNeverLost(t *testing.T) {
	h := newHouse(t)
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeNotSent, txn.IssuerIsUnavailable, ""
	}
	h.bank.acknowledge = func(attempt int) bool { return attempt > 1 }
	h.s.cfg.ReversalRetry = time.Millisecond
	h.want("offline sale over the day's limit", h.ask(about(txn.KindOfflineSale, 1, 200_000, 0)), txn.Approved, "00")
	if h.used("10000001") != 200_000 {
		t.Errorf("%d are used", h.used("10000001"))
	}
	h.settle()
	if len(h.bank.advised) != 1 || h.bank.undone(0) != 0 {
		t.Errorf("%d advices, %d reversals", len(h.bank.advised), h.bank.undone(0))
	}
	var done *txn.Record
	for _, rec := range h.records() {
		if rec.Kind == txn.RecordAdviceDone {
			done = &rec
		}
	}
	if done == nil || done.Attempts != 3 || done.Reason != txn.Approved {
		t.Errorf("advice done: %+v", done)
	}
	h.bank.refuse = txn.IssuerIsUnavailable
	h.want("refused for now: the terminal keeps it", h.ask(about(txn.KindOfflineSale, 2, 100, 0)), txn.IssuerIsUnavailable, "91")
	before := h.journal.Last()
	h.want("and so for a refund", h.ask(about(txn.KindRefund, 3, 100, 1)), txn.IssuerIsUnavailable, "91")
	if h.used("10000001") != 200_000 || h.journal.Last() != before {
		t.Errorf("%d are used after %d records", h.used("10000001"), h.journal.Last()-before)
	}
	h.bank.refuse, h.bank.behave = txn.Approved, nil
	h.want("said again with the link up", h.ask(about(txn.KindOfflineSale, 2, 100, 0)), txn.Approved, "00")
	h.want("and the refund", h.ask(about(txn.KindRefund, 3, 100, 1)), txn.Approved, "00")
	h.restart()
	if h.used("10000001") != 200_100 || h.s.Figures().ReversalsOwed != 0 {
		t.Errorf("after a restart %d used, %+v", h.used("10000001"), h.s.Figures())
	}
}

func TestTips(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.want("tip", h.ask(about(txn.KindTip, 2, 100, 1)), txn.Approved, "00")
	h.want("tip that makes it too much", h.ask(about(txn.KindTip, 3, 51, 1)), txn.OriginalAmountDiffers, "64")
	h.want("adjustment up to the percentage", h.ask(about(txn.KindAdjustment, 4, 50, 1)), txn.Approved, "00")
	bill := func(stan uint32, minor, whole int64) txn.Request {
		r := about(txn.KindTip, stan, minor, 21)
		r.Bill = whole
		return r
	}
	h.want("another sale", h.ask(sale("10000001", 21, 1000)), txn.Approved, "00")
	h.want("tip to a bill of something else", h.ask(bill(22, 50, 1049)), txn.OriginalAmountDiffers, "64")
	h.want("tip to a bill", h.ask(bill(23, 50, 1050)), txn.Approved, "00")
	h.want("tip to a bill without the first", h.ask(bill(24, 50, 1050)), txn.OriginalAmountDiffers, "64")
	h.want("second tip to it", h.ask(bill(25, 50, 1100)), txn.Approved, "00")
	h.want("refund of it all", h.ask(about(txn.KindRefund, 5, 1150, 1)), txn.Approved, "00")
	h.want("sale over the limit", h.ask(sale("10000001", 6, 200_000)), txn.DayAmountIsOverLimit, "61")
	cardless := about(txn.KindTip, 7, 1, 6)
	cardless.PAN = txn.PAN{}
	h.want("tip of a sale that was refused here", h.ask(cardless), txn.OriginalDoesNotStand, "25")
}

// What a script did to a card is kept and told nobody.
// A tip that names no card uses its sale's card's limits, and one that is refused
// leaves them as they were.
func TestTipWithoutCard(t *testing.T) {
	h := newHouse(t)
	used := func(card txn.CardToken) int64 {
		return h.risk.UsageOf(h.s.cfg.Day.Of(time.Now()), risk.Party{Scope: txn.ScopeCard, Currency: txn.CNY, ID: card}).Minor
	}
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	tip := func(stan uint32, minor int64) txn.Request {
		r := about(txn.KindTip, stan, minor, 1)
		r.PAN = txn.PAN{}
		return r
	}
	card := h.records()[0].Card
	h.want("tip of too much", h.ask(tip(2, 900)), txn.OriginalAmountDiffers, "64")
	if got, nobodys := used(card), used(txn.CardToken{}); got != 1000 || nobodys != 0 {
		t.Errorf("after a refused tip the card has used %d, nobody %d", got, nobodys)
	}
	h.want("tip", h.ask(tip(3, 100)), txn.Approved, "00")
	for range 2 {
		if got, nobodys := used(card), used(txn.CardToken{}); got != 1100 || nobodys != 0 || h.used("10000001") != 1100 || h.risk.InFlight() != 0 || h.risk.Unmatched() != 0 {
			t.Errorf("the card has used %d, nobody %d, the terminal %d; %d in flight, %d unmatched", got, nobodys, h.used("10000001"), h.risk.InFlight(), h.risk.Unmatched())
		}
		h.restart()
	}
}

func TestScriptResult(t *testing.T) {
	t.Run("C3 脚本: stored, nothing is matched or moved", func(t *testing.T) {
		h := newHouse(t)
		r := about(txn.KindScriptResult, 2, 0, 1)
		r.MTI, r.Key.Class = 0x0620, txn.ClassAdvice
		h.want("script result", h.ask(r), txn.Approved, "00")
		recs := h.records()
		if len(recs) != 1 || recs[0].Request != txn.KindScriptResult || recs[0].Outcome != txn.OutcomeLocal {
			t.Errorf("records: %+v", recs)
		}
	})
}

// What is older than yesterday is found in the archive, with all that was done
// about it.
func TestOriginalsOfTheArchive(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	old := h.records()[1]
	for range 10 {
		old.Day = old.Day.Before()
	}
	old.ID, old.Key.STAN, old.RRN, old.Date = 5, 900, h.s.numbers.rrn(old.Day.In(time.UTC).YearDay()), settlementDate(old.Day)
	pan, _ := txn.ParsePAN(testPAN)
	h.s.cards.Seal(&old.SealedPAN, &pan, old.ID)
	part := old
	part.ID, part.Request, part.Original, part.OriginalKey, part.Amount.Minor = 6, txn.KindRefund, old.ID, old.Key, 300
	undone := part
	undone.ID = 7
	event := undone
	event.Kind, event.ID, event.Original, event.Reason = txn.RecordAdviceDone, 8, undone.ID, txn.IssuerDeclined
	archive := &shelf{recs: []txn.Record{old, part, undone, event}}
	h.s.archive = archive
	byRRN := about(txn.KindRefund, 2, 701, 0)
	byRRN.Original = txn.Reference{RRN: old.RRN, Date: old.Date}
	h.want("more than is left", h.ask(byRRN), txn.OriginalAmountDiffers, "64")
	byRRN.Key.STAN, byRRN.Amount.Minor, byRRN.PAN = 3, 700, txn.PAN{}
	h.want("what is left, without the card", h.ask(byRRN), txn.Approved, "00")
	byRRN.Key.STAN, byRRN.Amount.Minor = 4, 1
	h.want("nothing is left", h.ask(byRRN), txn.OriginalAmountDiffers, "64")

	h.s.cfg.Originals.RefundDays = 9
	byRRN.Key.STAN = 5
	h.want("too late", h.ask(byRRN), txn.OriginalIsTooOld, "22")
	h.s.cfg.Originals.RefundDays = 10

	preauth := old
	preauth.ID, preauth.Request, preauth.Key.STAN, preauth.AuthCode = 9, txn.KindPreauth, 901, [6]byte([]byte("A1B2C3"))
	h.s.cards.Seal(&preauth.SealedPAN, &pan, preauth.ID)
	archive.recs = append(archive.recs, preauth)
	complete := about(txn.KindCompletion, 10, 1000, 0)
	complete.Original.AuthCode = preauth.AuthCode
	h.want("completion by card and code", h.ask(complete), txn.Approved, "00")
	complete.Key.STAN = 11
	h.want("only once", h.ask(complete), txn.OriginalIsCompleted, "12")

	archive.recs = append(archive.recs, txn.Record{Kind: txn.RecordReversalDone, Merchant: old.Merchant, Original: old.ID})
	h.restart()
	h.s.archive = archive
	byRRN.Key.STAN = 12
	h.want("reversed long ago", h.ask(byRRN), txn.OriginalDoesNotStand, "25")
	archive.err = context.DeadlineExceeded
	byRRN.Key.STAN = 13
	h.want("archive away", h.ask(byRRN), txn.RecordsAreUnavailable, "96")
}

// A transaction that is named by nothing but its reference number is found at
// once, also before the ledger has it; where the ledger does not get it, nobody
// is told that it is unknown.
func TestOriginalOfAMomentAgoByItsReference(t *testing.T) {
	h := newHouse(t)
	archive := &shelf{late: h.records}
	h.s.archive = archive
	sold := h.ask(sale("10000001", 1, 1000))
	void := about(txn.KindVoid, 2, 1000, 0)
	void.Original.RRN = sold.RRN
	h.want("void", h.ask(void), txn.Approved, "00")

	sold = h.ask(sale("10000001", 3, 1000))
	void.Key.STAN, void.Original.RRN = 4, sold.RRN
	archive.late, archive.err = nil, context.DeadlineExceeded
	h.want("the ledger is away", h.ask(void), txn.RecordsAreUnavailable, "96")
	archive.err = nil
	void.Key.STAN, void.Original.RRN[11] = 5, 'X'
	h.want("a number that is not ours", h.ask(void), txn.OriginalIsUnknown, "25")
}

// After any deeds in any order, with repeats, reversals and restarts between:
// what stands about one sale or pre-authorization fits it, and the limits are
// used by exactly what stands.
func TestF09DeedsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouse(t)
		defer h.stop()
		h.t = t
		kind := rapid.SampledFrom([]txn.Kind{txn.KindSale, txn.KindPreauth, txn.KindInstalment}).Draw(rt, "original")
		first := h.ask(about(kind, 1, 1000, 0))
		if first.Reason != txn.Approved {
			rt.Fatal(first.Reason)
		}
		type deed struct {
			req      txn.Request
			approved bool
		}
		deeds := []deed{{about(kind, 1, 1000, 0), true}}
		standing := map[uint32]bool{1: true}
		for stan := uint32(2); stan < 12; stan++ {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0: // asked again
				d := deeds[rapid.IntRange(0, len(deeds)-1).Draw(rt, "again")]
				if again := h.ask(d.req); d.approved && standing[d.req.Key.STAN] && again.Reason != txn.Approved {
					rt.Fatalf("%v %d was approved and is told %v when asked again", d.req.Kind, d.req.Key.STAN, again.Reason)
				}
			case 1, 2: // reversed
				d := deeds[rapid.IntRange(0, len(deeds)-1).Draw(rt, "reversed")]
				if d.req.Kind.Remedy() != txn.Reverse {
					continue
				}
				before := h.bank.undone(0)
				if ans := h.ask(reversal("10000001", d.req.Key.STAN, d.req.Amount.Minor)); ans.Reason != txn.Approved {
					rt.Fatalf("reversal of %v: %v", d.req.Kind, ans.Reason)
				}
				h.settle()
				if h.bank.undone(0) > before {
					standing[d.req.Key.STAN] = false
				}
			case 3:
				h.restart()
			default:
				k := rapid.SampledFrom([]txn.Kind{txn.KindVoid, txn.KindRefund, txn.KindTip, txn.KindAdjustment, txn.KindIncrement, txn.KindPreauthVoid,
					txn.KindCompletion, txn.KindCompletionAdvice, txn.KindCompletionVoid, txn.KindInstalmentVoid}).Draw(rt, "kind")
				of := deeds[rapid.IntRange(0, len(deeds)-1).Draw(rt, "of")].req.Key.STAN
				d := deed{req: about(k, stan, int64(rapid.SampledFrom([]int{1, 50, 150, 500, 1000, 1100, 1150}).Draw(rt, "minor")), of)}
				d.approved = h.ask(d.req).Reason == txn.Approved
				standing[stan] = d.approved
				deeds = append(deeds, d)
			}
		}
		h.restart()
		var refunds, increments, tips, completed, used int64
		voids := map[uint32]int{}
		for _, d := range deeds {
			r := &d.req
			if !standing[r.Key.STAN] {
				continue
			}
			if of := r.Original.STAN; of != 0 && !standing[of] {
				rt.Fatalf("%v %d stands about %d, which does not", r.Kind, r.Key.STAN, of)
			}
			switch r.Kind {
			case txn.KindRefund:
				refunds += r.Amount.Minor
			case txn.KindIncrement:
				increments += r.Amount.Minor
			case txn.KindTip, txn.KindAdjustment:
				tips += r.Amount.Minor
			case txn.KindCompletion, txn.KindCompletionAdvice:
				completed++
			case txn.KindVoid, txn.KindPreauthVoid, txn.KindCompletionVoid, txn.KindInstalmentVoid:
				voids[r.Original.STAN]++
			}
			switch r.Kind.Limits() {
			case txn.Debit:
				used += r.Amount.Minor
			case txn.Credit:
				used -= r.Amount.Minor
			}
		}
		for of, n := range voids {
			if n > 1 {
				rt.Fatalf("%d voids of %d stand", n, of)
			}
		}
		switch {
		case tips > 150, completed > 1, voids[1] > 0 && refunds+completed > 0, kind == txn.KindSale && refunds > 1000+tips:
			rt.Fatalf("refunds %d, tips %d, completions %d, voids %v", refunds, tips, completed, voids)
		case h.used("10000001") != used:
			rt.Fatalf("%d are used, %d stand", h.used("10000001"), used)
		}
	})
}

// What is our own trouble is no answer to a refund or a fact, which are said again
// until they are taken: the next copy is decided as the first. A sale has its answer.
func TestTroubleOfOursIsNotRemembered(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	ours := h.s.cards
	others, err := keys.OpenCards(filepath.Join(t.TempDir(), "card.keys"))
	if err != nil {
		t.Fatal(err)
	}
	without := func(kind txn.Kind, stan uint32) txn.Request {
		r := about(kind, stan, 1000, 1)
		r.PAN = txn.PAN{}
		return r
	}
	h.s.cards = others
	before := h.journal.Last()
	h.want("refund whose original's card does not open", h.ask(without(txn.KindRefund, 2)), txn.SwitchFailed, "96")
	if h.journal.Last() != before {
		t.Error("it is remembered")
	}
	h.want("a void of it", h.ask(without(txn.KindVoid, 3)), txn.SwitchFailed, "96")
	h.s.cards = ours
	h.want("the refund again", h.ask(without(txn.KindRefund, 2)), txn.Approved, "00")
	h.want("the void again", h.ask(without(txn.KindVoid, 3)), txn.SwitchFailed, "96")
}
