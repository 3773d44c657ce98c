package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// ask is one request of a kind about an earlier one, over the real dialect.
func (b *bench) ask(kind txn.Kind, minor int64, about *result) (*txn.Request, result) {
	req := sale("10000001", minor)
	req.Kind = kind
	if about != nil {
		req.OriginalLeg, req.OriginalMTI = about.leg, 0x0200
		req.Original.AuthCode = about.reply.AuthCode
	}
	return req, b.exchange(req)
}

// TestEveryKindReachesTheIssuer sends one of each kind over a connection to the
// issuer and undoes what can be undone, in an order in which each is possible.
func TestEveryKindReachesTheIssuer(t *testing.T) {
	const begins, ends = "sale 100, refund 40, preauth 100, completion-advice 95, offline-sale 70, adjustment 7, ", ", instalment 1200"
	t.Run("iso87", func(t *testing.T) { everyKind(t, "iso87", "dialect", begins+"tip 3"+ends) })
	t.Run("cups", func(t *testing.T) { everyKind(t, "cups", "cups", begins+"adjustment 3"+ends) }) // a tip is one there
}

func everyKind(t *testing.T, theirs, ours, want string) {
	sim := simulate(t, simulator.Config{Dialect: theirs})
	b := start(t, sim.Addr(), func(c *issuer.Config) { c.Dialect = ours }).up(1)
	var names []string
	done := map[txn.Kind]*result{} // the latest of each kind
	for _, step := range []struct {
		kind  txn.Kind
		minor int64
		about txn.Kind
		undo  bool
	}{
		{kind: txn.KindVerify},
		{kind: txn.KindBalance},
		{kind: txn.KindSale, minor: 100},
		{kind: txn.KindVoid, minor: 100, about: txn.KindSale, undo: true},
		{kind: txn.KindRefund, minor: 40, about: txn.KindSale},
		{kind: txn.KindPreauth, minor: 100},
		{kind: txn.KindIncrement, minor: 50, about: txn.KindPreauth, undo: true},
		{kind: txn.KindPreauthVoid, minor: 100, about: txn.KindPreauth, undo: true},
		{kind: txn.KindCompletion, minor: 90, about: txn.KindPreauth, undo: true},
		{kind: txn.KindCompletionAdvice, minor: 95, about: txn.KindPreauth},
		{kind: txn.KindCompletionVoid, minor: 95, about: txn.KindCompletionAdvice, undo: true},
		{kind: txn.KindOfflineSale, minor: 70},
		{kind: txn.KindAdjustment, minor: 7, about: txn.KindOfflineSale},
		{kind: txn.KindTip, minor: 3, about: txn.KindOfflineSale},
		{kind: txn.KindInstalment, minor: 1200},
		{kind: txn.KindInstalmentVoid, minor: 1200, about: txn.KindInstalment, undo: true},
	} {
		names = append(names, step.kind.String())
		var about *result
		if step.about != 0 {
			about = done[step.about]
		}
		req, got := b.ask(step.kind, step.minor, about)
		got.want(t, txn.OutcomeApproved, txn.Approved)
		done[step.kind] = &got
		rec := got.record(req)
		rec.MTI, rec.Merchant, rec.ProcessingCode = 0x0200, req.Merchant, req.ProcessingCode
		if step.kind == txn.KindPreauth || step.kind == txn.KindIncrement || step.kind == txn.KindPreauthVoid {
			rec.MTI = 0x0100
		}
		switch {
		case step.undo:
			for attempt := range 2 {
				if ok, code, err := b.reverse(rec, attempt); !ok || code != "00" {
					t.Errorf("reversal of %s, attempt %d: %v, %q, %v", step.kind, attempt, ok, code, err)
				}
			}
		case step.kind.Remedy() == txn.Repeat: // as if its answer had been lost
			rec.Data = dialect.AppendOriginal(nil, req)
			for attempt := range 2 {
				if ok, code, err := b.Advise(t.Context(), rec, []byte(card), attempt); !ok || string(code[:]) != "00" || err != nil {
					t.Errorf("%s told again, attempt %d: %v, %q, %v", step.kind, attempt, ok, code, err)
				}
			}
		}
	}
	for k := range txn.Kind(txn.Kinds) {
		if k.Forwarded() && k != txn.KindStandIn && !slices.Contains(names, k.String()) {
			t.Errorf("no %s was sent", k)
		}
	}
	entries, err := sim.Book()
	if err != nil {
		t.Fatal(err)
	}
	var stands []string
	for _, e := range simulator.Standing(entries) {
		stands = append(stands, fmt.Sprint(e.Txn, " ", e.Amount))
	}
	if got := strings.Join(stands, ", "); got != want {
		t.Errorf("the book stands at\n%s, want\n%s", got, want)
	}
}

// TestAdvise holds when an advice need not be told again, by what the issuer
// does with it.
func TestAdvise(t *testing.T) {
	for _, c := range []struct {
		name   string
		rule   simulator.Rule
		taken  bool
		code   string
		booked int
	}{
		{"agreed", simulator.Rule{}, true, "00", 1},
		{"refused", simulator.Rule{Code: "14"}, true, "14", 1},
		{"malfunction", simulator.Rule{Code: "96"}, false, "96", 0},
		{"away", simulator.Rule{Code: "91"}, false, "91", 0},
		{"lost", simulator.Rule{Kind: "offline-sale", Lose: true}, false, "\x00\x00", 0},
		{"answer lost", simulator.Rule{Drop: true}, false, "\x00\x00", 1},
		{"disconnected", simulator.Rule{Kind: "offline-sale", Disconnect: true}, false, "\x00\x00", 1},
		{"other amount echoed", simulator.Rule{Echo: simulator.Echo{Amount: ptr[int64](1)}}, false, "\x00\x00", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, simulator.Config{Rules: []simulator.Rule{c.rule}})
			b := start(t, sim.Addr(), func(cfg *issuer.Config) { cfg.Dialect = "dialect" }).up(1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.code == "\x00\x00" { // nothing comes
				time.AfterFunc(500*time.Millisecond, cancel)
			}
			req := sale("10000001", 100)
			rec := result{leg: txn.Leg{Issuer: txn.MakeIssuerID("icbc"), STAN: 7, Time: [10]byte([]byte("1122120000"))}}.record(req)
			rec.Request, rec.Merchant, rec.ProcessingCode = txn.KindOfflineSale, req.Merchant, req.ProcessingCode
			taken, code, err := b.Advise(ctx, rec, []byte(card), 0)
			if taken != c.taken || string(code[:]) != c.code || (err == nil) != c.taken { // a refusal that would not be repeated is taken note of
				t.Errorf("taken %v, code %q, %v; want %v, %q", taken, code, err, c.taken, c.code)
			}
			eventually(t, "it is booked", func() bool {
				entries, err := sim.Book()
				return err == nil && len(entries) == c.booked
			})
			if n := b.InFlight(); n != 0 {
				t.Errorf("%d still held", n)
			}
		})
	}
	b := start(t, "127.0.0.1:1", func(cfg *issuer.Config) { cfg.Dialect = "dialect" })
	rec := &txn.Record{Request: txn.KindOfflineSale, Leg: txn.Leg{Issuer: txn.MakeIssuerID("gone")}}
	if taken, _, err := b.Advise(t.Context(), rec, []byte(card), 0); taken || !errors.Is(err, txn.ErrNotSent) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("an issuer that is not configured: %v, %v", taken, err)
	}
}

// What an issuer answers that cannot now refuses a sale, and no fact and no refund:
// that is told again under its number, and taken.
func TestF38PassingRefusalIsNoneOfWhatIsRepeated(t *testing.T) {
	for _, c := range []struct {
		kind    txn.Kind
		code    string
		outcome txn.Outcome
		reason  txn.Reason
	}{
		{txn.KindSale, "91", txn.OutcomeDeclined, txn.IssuerDeclined},
		{txn.KindOfflineSale, "91", txn.OutcomeUnknown, txn.IssuerDidNotAnswer},
		{txn.KindOfflineSale, "96", txn.OutcomeUnknown, txn.IssuerDidNotAnswer},
		{txn.KindOfflineSale, "51", txn.OutcomeDeclined, txn.IssuerDeclined},
		{txn.KindRefund, "91", txn.OutcomeUnknown, txn.IssuerDidNotAnswer},
		{txn.KindRefund, "68", txn.OutcomeUnknown, txn.IssuerDidNotAnswer},
		{txn.KindRefund, "98", txn.OutcomeUnknown, txn.IssuerDidNotAnswer},
		{txn.KindSale, "98", txn.OutcomeDeclined, txn.IssuerDeclined},
		{txn.KindRefund, "14", txn.OutcomeDeclined, txn.IssuerDeclined},
	} {
		t.Run(c.kind.String()+" "+c.code, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, simulator.Config{})
			b := start(t, sim.Addr(), func(cfg *issuer.Config) { cfg.Dialect = "dialect" }).up(1)
			_, sold := b.ask(txn.KindSale, 100, nil)
			sim.Instruct([]simulator.Rule{{Code: c.code, Times: 1}})
			var about *result
			if c.kind.NamesOriginal() {
				about = &sold
			}
			req, got := b.ask(c.kind, 100, about)
			got.want(t, c.outcome, c.reason)
			if c.outcome != txn.OutcomeUnknown {
				return
			}
			rec := got.record(req)
			rec.Merchant, rec.ProcessingCode, rec.Data = req.Merchant, req.ProcessingCode, dialect.AppendOriginal(nil, req)
			if taken, code, err := b.Advise(t.Context(), rec, []byte(card), 0); !taken || string(code[:]) != "00" || err != nil {
				t.Errorf("told again: %v, %q, %v", taken, code, err)
			}
		})
	}
}

// TestIssuersOwnRequestsAreAnswered holds what is told to an issuer that asks
// us: yes to an echo and a cut-over, and that we do not offer what we do not know, for
// it would say an advice again for ever. Notifications have no answer.
func TestIssuersOwnRequestsAreAnswered(t *testing.T) {
	answers := make(chan *iso.Message, 10)
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if m.MTI()&0x10 != 0 {
			answers <- m
			return
		}
		network(c, m)
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) { cfg.Dialect = "dialect" }).up(1)
	link := realCodec("iso87")
	ask := func(code string, stan uint32) {
		frame, err := link.AppendNetwork(nil, code, stan, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p.conn(0).Write(frame)
	}
	for i, x := range []struct{ code, told string }{{"301", "00"}, {"201", "00"}, {"202", "00"}, {"001", "00"}, {"101", "12"}, {"999", "12"}} {
		code := x.code
		ask(code, uint32(i+1))
		select {
		case m := <-answers:
			stan, _ := m.Uint(11)
			if m.MTI() != 0x0810 || stan != uint64(i+1) || string(m.Value(39)) != x.told || string(m.Value(70)) != code {
				t.Errorf("0800/%s is answered %04x, STAN %d, %q, %q", code, m.MTI(), stan, m.Value(39), m.Value(70))
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("0800/%s is not answered", code)
		}
	}
	eventually(t, "the unknown ones are reported", func() (told bool) {
		b.read(func() { told = len(b.unmatched) == 2 })
		return told
	})
	e := link.Codec().Begin(nil, nil, nil, 0x0820)
	e.Uint(11, 9)
	frame, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	p.conn(0).Write(frame)
	if m := <-answers; m.MTI() != 0x0830 || string(m.Value(39)) != "30" || m.Has(70) {
		t.Errorf("0820 that asks for nothing is answered %04x, %q, %q", m.MTI(), m.Value(39), m.Value(70))
	}
	for asked, answer := range map[uint16]uint16{0x0100: 0x0110, 0x0200: 0x0210, 0x0220: 0x0230, 0x0221: 0x0230, 0x0420: 0x0430, 0x0520: 0x0530, 0x0620: 0x0630} {
		for _, mti := range [...]uint16{asked&0xFF00 + 0x40, asked} {
			e := link.Codec().Begin(nil, nil, nil, mti)
			e.Digits(7, []byte("1122093105"))
			e.Uint(11, uint64(asked))
			e.Text(37, []byte("633012000099"))
			e.Text(41, []byte("10000001"))
			frame, err := e.Finish()
			if err != nil {
				t.Fatal(err)
			}
			p.conn(0).Write(frame)
		}
		var m *iso.Message
		select {
		case m = <-answers:
		case <-time.After(10 * time.Second):
			t.Fatalf("%04x is not answered", asked)
		}
		stan, _ := m.Uint(11)
		if m.MTI() != answer || stan != uint64(asked) || string(m.Value(7))+string(m.Value(37))+string(m.Value(41)) != "112209310563301200009910000001" || string(m.Value(39)) != "12" {
			t.Errorf("%04x is answered %04x, STAN %d, %q", asked, m.MTI(), stan, m.Value(39))
		}
	}
}

// TestF48CutOver holds which day of the issuer's a request is settled on: what its
// answer names, else what the issuer's last cut-over began, else none, which the
// switch then fills with its own.
func TestF48CutOver(t *testing.T) {
	link := realCodec("iso87")
	names := map[int64]string{2: "0131"} // amounts whose answers name a day
	agreed := make(chan string, 10)
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		switch amount, _ := m.Uint(4); {
		case m.MTI() == 0x0810:
			agreed <- string(m.Value(39))
		case m.MTI() == 0x0200 && names[int64(amount)] != "":
			e := link.Codec().Begin(nil, nil, nil, 0x0210)
			for _, n := range [...]int{2, 3, 4, 7, 11} {
				e.Copy(n, m)
			}
			e.Digits(15, []byte(names[int64(amount)]))
			e.Text(39, []byte("00"))
			for _, n := range [...]int{41, 42, 49} {
				e.Copy(n, m)
			}
			frame, err := e.Finish()
			if err != nil {
				panic(err)
			}
			c.Write(frame)
		default:
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) { cfg.Dialect = "dialect" }).up(1)
	for i, step := range []struct {
		began  string // by a cut-over before the sale; "-": without saying what
		amount int64
		want   string
	}{
		{"", 1, "\x00\x00\x00\x00"},
		{"-", 1, "\x00\x00\x00\x00"},
		{"0201", 1, "0201"},
		{"", 2, "0131"}, // of before it, and so says its answer
		{"", 1, "0201"},
		{"-", 1, "0201"},
		{"0202", 1, "0202"},
		{"0230", 1, "0202"}, // no day of any year
		{"0000", 1, "0202"},
		{"9912", 1, "0202"},
		{"0229", 1, "0229"},
	} {
		if step.began != "" {
			e := link.Codec().Begin(nil, nil, nil, 0x0800)
			e.Digits(7, []byte("0131225959"))
			e.Uint(11, uint64(i+1))
			if step.began != "-" {
				e.Digits(15, []byte(step.began))
			}
			e.Digits(70, []byte("201"))
			frame, err := e.Finish()
			if err != nil {
				t.Fatal(err)
			}
			p.conn(0).Write(frame)
			want := "00"
			if step.began != "-" && step.began != step.want {
				want = "30"
			}
			if code := <-agreed; code != want {
				t.Errorf("the cut-over to %q is answered %q, want %q", step.began, code, want)
			}
		}
		got := b.exchange(sale("10000001", step.amount)).want(t, txn.OutcomeApproved, txn.Approved)
		if string(got.reply.SettlementDate[:]) != step.want {
			t.Errorf("step %d: settled on %q, want %q", i+1, got.reply.SettlementDate[:], step.want)
		}
	}
	var told []string
	var malformed int
	b.read(func() { told, malformed = b.cutOvers, b.malformed })
	if malformed != 3 {
		t.Errorf("told of %d messages that cannot be used, want 3", malformed)
	}
	if want := []string{"\x00\x00\x00\x00", "0201", "\x00\x00\x00\x00", "0202", "0229"}; !slices.Equal(told, want) {
		t.Errorf("told of cut-overs to %q, want %q", told, want)
	}
}
