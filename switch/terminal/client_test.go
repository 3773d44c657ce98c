package terminal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

var testProfile = Profile{
	Terminal: txn.MakeTerminalID("10000001"), Merchant: txn.MakeMerchantID("999290054110001"), Serial: "SUNMIP2-2600037",
	Currency: txn.CNY, Position: txn.Position{Lat: 31_230400, Lng: 121_473700, Known: true},
}

func testCard(t testing.TB) Card {
	t.Helper()
	pan, err := TestPAN("99990100", 7)
	if err != nil {
		t.Fatal(err)
	}
	return Card{PAN: pan, Expiry: "4912"}
}

func dialPeer(t testing.TB, p *terminaltest.Peer, o Options) *Client {
	t.Helper()
	return dialAs(t, p, testProfile, o)
}

func dialAs(t testing.TB, p *terminaltest.Peer, as Profile, o Options) *Client {
	t.Helper()
	c, err := Dial(t.Context(), p.Addr, p.Dialect.Name(), as, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	impatient(c, p)
	return c
}

// impatient ends c's patience when p will not answer, and not before: no machine is
// too slow for it.
func impatient(c *Client, p *terminaltest.Peer) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.Silent = func() { c.line.conn.SetReadDeadline(time.Unix(1, 0)) }
}

func TestClientVerbs(t *testing.T) {
	for _, name := range dialect.Names() {
		t.Run(name, func(t *testing.T) {
			p := terminaltest.Start(t, name)
			routed := testProfile
			routed.TPDU = []byte("\x60\x00\x03\x00\x12")
			c := dialAs(t, p, routed, Options{STAN: 999_998})
			card, amount := testCard(t), txn.Amount{Minor: 123_45, Currency: txn.CNY}
			for _, step := range []struct {
				what string
				do   func(context.Context) (Answer, error)
				stan uint32 // after it
			}{
				{"sign-on", c.SignOn, 999_998},
				{"sale", func(ctx context.Context) (Answer, error) { return c.Sale(ctx, card, amount) }, 999_999},
				{"reversal", func(ctx context.Context) (Answer, error) { return c.Reversal(ctx, amount, Original{STAN: 999_999}) }, 999_999},
				{"balance", func(ctx context.Context) (Answer, error) { return c.Balance(ctx, card) }, 1},
				{"sign-off", c.SignOff, 2},
			} {
				a, err := step.do(t.Context())
				if err != nil {
					t.Fatalf("%s: %v", step.what, err)
				}
				if !a.Approved() || a.Latency <= 0 || c.STAN() != step.stan {
					t.Errorf("%s: %+v, STAN %d", step.what, a, c.STAN())
				}
				if !bytes.HasPrefix(a.body, []byte("\x60\x00\x12\x00\x03")) {
					t.Errorf("%s: answered behind %x", step.what, a.body[:5])
				}
			}
			if a, err := c.Echo(t.Context()); err != nil || !a.Approved() {
				t.Errorf("echo: %+v, %v", a, err)
			}
			if _, reversed := p.Sale("10000001", batchOf(p), 999_999); !reversed {
				t.Error("the sale was not reversed")
			}
		})
	}
}

func batchOf(p *terminaltest.Peer) uint32 {
	if IsCUP(p.Dialect) {
		return 1
	}
	return 0
}

func TestAnswerIsMaskedUnlessAsked(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	a, err := dialPeer(t, p, Options{}).Sale(t.Context(), testCard(t), txn.Amount{Minor: 1, Currency: txn.CNY})
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Describe(false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.MarshalJSON()
	if err != nil || strings.Contains(string(text), "9999010000000") || !strings.Contains(string(text), "999901") {
		t.Errorf("%s, %v", text, err)
	}
}

// Each answer is wrong in one way; the sale is then without an answer and owed
// a reversal, which is sent before the next sale.
func TestWrongAnswersAreNone(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	patch := func(at int, b ...byte) func([]byte) []byte {
		return func(answer []byte) []byte { copy(answer[at:], b); return answer }
	}
	replace := func(from, to string) func([]byte) []byte {
		return func(answer []byte) []byte { return bytes.Replace(answer, []byte(from), []byte(to), 1) }
	}
	for _, row := range []struct {
		name  string
		alter func([]byte) []byte
		field int // of the WrongAnswerError, -1: another error
	}{
		{"another message type", patch(13, 0x02, 0x30), 0},
		{"TPDU not swapped", patch(2, 0x60, 0x00, 0x03, 0x00, 0x00), 1},
		{"another processing code", replace("\x00\x00\x00\x00\x00\x00\x00\x12\x34", "\x31\x00\x00\x00\x00\x00\x00\x12\x34"), 3},
		{"another amount", replace("\x12\x34", "\x12\x35"), 4},
		{"another terminal", replace("10000001", "10000002"), 41},
		{"another merchant in an approval", replace("999290054110001", "999290054110002"), 42},
		{"no message", patch(13, 0xAA, 0xAA), -1},
		{"none", func([]byte) []byte { return nil }, -1},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := dialPeer(t, p, Options{})
			p.SetAnswers(func(req *txn.Request, answer []byte) []byte { return row.alter(answer) })
			_, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 12_34, Currency: txn.CNY})
			var wrong *WrongAnswerError
			switch {
			case row.field >= 0 && (!errors.As(err, &wrong) || wrong.Field != row.field):
				t.Fatalf("error is %v", err)
			case row.field < 0 && (err == nil || errors.As(err, &wrong)):
				t.Fatalf("error is %v", err)
			case c.Owes() != 1:
				t.Fatalf("%06d is owed", c.Owes())
			}
			p.SetAnswers(nil)
			if a, err := c.Balance(t.Context(), testCard(t)); err != nil || !a.Approved() {
				t.Fatalf("%+v, %v", a, err)
			}
			if _, reversed := p.Sale("10000001", 1, 1); !reversed || c.Owes() != 0 {
				t.Error("the sale was not reversed before the next transaction")
			}
			p.Mu.Lock()
			clear(p.Sales)
			p.Mu.Unlock()
		})
	}
}

// A terminal that died waiting reverses in its next life, without the card.
func TestOwedReversalOutlivesTheProcess(t *testing.T) {
	for _, name := range []string{"cup-pos", "iso87"} {
		t.Run(name, func(t *testing.T) {
			p := terminaltest.Start(t, name)
			path := filepath.Join(t.TempDir(), "terminal")
			store, err := OpenStore(path)
			if err != nil {
				t.Fatal(err)
			}
			p.SetAnswers(func(*txn.Request, []byte) []byte { return nil })
			c := dialPeer(t, p, Options{Store: store})
			if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 5, Currency: txn.CNY}); !errors.Is(err, ErrNoAnswer) {
				t.Fatal(err)
			}
			c.Close()
			store.Close()
			p.SetAnswers(nil)
			if store, err = OpenStore(path); err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			c = dialPeer(t, p, Options{Store: store})
			if c.Owes() != 1 {
				t.Fatalf("%06d is owed", c.Owes())
			}
			if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 6, Currency: txn.CNY}); err != nil {
				t.Fatal(err)
			}
			if _, reversed := p.Sale("10000001", batchOf(p), 1); !reversed || c.STAN() != 2 {
				t.Errorf("reversed %v, STAN %d", reversed, c.STAN())
			}
			text, err := os.ReadFile(path)
			if err != nil || bytes.Contains(text, []byte("999901")) {
				t.Errorf("card number in the log: %s, %v", text, err)
			}
		})
	}
}

// The reversal that is owed needs no amount: the terminal has the request.
func TestOwedReversalIsAskedFor(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	p.SetAnswers(func(*txn.Request, []byte) []byte { return nil })
	c := dialPeer(t, p, Options{})
	if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 5}); !errors.Is(err, ErrNoAnswer) {
		t.Fatal(err)
	}
	amount := ""
	p.SetAnswers(func(req *txn.Request, answer []byte) []byte { amount = req.Amount.String(); return answer })
	if a, err := c.Reversal(t.Context(), txn.Amount{}, Original{STAN: 1}); err != nil || !a.Approved() || c.Owes() != 0 || amount != "0.05 156" {
		t.Errorf("%+v, %v, %06d is owed, reversed %s", a, err, c.Owes(), amount)
	}
}

// A cashier who undoes one sale while the reversal of another is owed: both are
// undone, the owed one first.
func TestOneReversalDoesNotForgetAnother(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	c := dialPeer(t, p, Options{})
	if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 5}); err != nil {
		t.Fatal(err)
	}
	p.SetAnswers(func(*txn.Request, []byte) []byte { return nil })
	if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 6}); !errors.Is(err, ErrNoAnswer) {
		t.Fatal(err)
	}
	if _, err := c.Reversal(t.Context(), txn.Amount{}, Original{STAN: 1}); err == nil || c.Owes() != 2 {
		t.Fatalf("the switch does not answer: %v, %06d is owed, want 000002", err, c.Owes())
	}
	p.SetAnswers(nil)
	if a, err := c.Reversal(t.Context(), txn.Amount{}, Original{STAN: 1}); err != nil || !a.Approved() || c.Owes() != 0 {
		t.Errorf("%+v, %v, %06d is owed", a, err, c.Owes())
	}
	for stan := range uint32(2) {
		if _, reversed := p.Sale("10000001", batchOf(p), stan+1); !reversed {
			t.Errorf("%06d is not reversed", stan+1)
		}
	}
}

// A refund that nobody answered, of a batch that was closed meanwhile, is refused there for
// good: it does not keep its terminal from settling, which is all that the switch asks for.
func TestRefundOfAClosedBatchIsGivenUp(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	c := dialPeer(t, p, Options{})
	impatient(c, p)
	if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 5}); err != nil {
		t.Fatal(err)
	}
	p.SetAnswers(func(*txn.Request, []byte) []byte { return nil })
	if _, err := c.Refund(t.Context(), testCard(t), txn.Amount{Minor: 5}, Original{STAN: 1}); err == nil || c.Pending() != 1 {
		t.Fatalf("a refund without an answer: %v, %d are owed", err, c.Pending())
	}
	refuse := func(kinds ...txn.Kind) {
		p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
			if slices.Contains(kinds, req.Kind) {
				return bytes.Replace(answer, []byte("0010000001"), []byte("7710000001"), 1)
			}
			return answer
		})
	}
	refuse(txn.KindRefund, txn.KindSignOn)
	if err := c.Settle(t.Context()); c.Pending() != 1 {
		t.Errorf("not signed on, a refund is given up: %v", err)
	}
	refuse(txn.KindRefund)
	if s, err := c.Settlement(t.Context()); err != nil || c.Pending() != 0 {
		t.Errorf("settled: %+v, %v; %d are owed", s, err, c.Pending())
	}
}

func TestUnreachableSwitch(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := Dial(t.Context(), ln.Addr().String(), "cup-pos", testProfile, Options{}); err == nil {
		t.Error("dialed nobody")
	}
	if _, err := Dial(t.Context(), ln.Addr().String(), "morse", testProfile, Options{}); err == nil || !strings.Contains(err.Error(), "morse") {
		t.Error(err)
	}
}

// The sample of the specification: a position in DE59 as terminals send it.
func TestPlaceIsReadBack(t *testing.T) {
	d, err := dialect.ForTerminal("cup-pos")
	if err != nil {
		t.Fatal(err)
	}
	m := Message{Kind: txn.KindSale, STAN: 1, Card: testCard(t), Amount: txn.Amount{Minor: 1, Currency: txn.CNY}}
	p := testProfile
	p.Batch = 3
	frame, err := m.Append(nil, d, &p)
	if err != nil {
		t.Fatal(err)
	}
	x := dialect.Exchange{Frame: frame[2:]}
	if err := d.Decode(&x, time.Now()); err != nil || x.Fault != nil {
		t.Fatalf("%v, %v: %s", err, x.Fault, hex.EncodeToString(frame))
	}
	dialect.ReadInfo(&x.Request, txn.CarrierDE59)
	if got := &x.Request.Info; got.Position != p.Position || got.Serial.String() != p.Serial || got.Broken {
		t.Errorf("%v, want %+v and %s", got, p.Position, p.Serial)
	}
	var parsed iso.Message
	if err := d.Codec().Parse(&parsed, x.Frame); err != nil {
		t.Fatal(err)
	}
	if want := "A2040" + "01002" + "04" + "02015" + "SUNMIP2-2600037"; !bytes.HasPrefix(parsed.Value(59), []byte(want)) || x.Request.Key.Batch != 3 {
		t.Errorf("DE59 %q, batch %d", parsed.Value(59), x.Request.Key.Batch)
	}
}

// A coordinate has ten characters wherever the terminal stands.
func TestEveryDegreeHasTenCharacters(t *testing.T) {
	for micro, want := range map[int32]string{
		121_473700: "+121.47370", 31_230400: "+31.230400", -99_999999: "-99.999999", 9_999999: "+9.9999990", 0: "+0.0000000", -1: "-0.0000010", -180_000000: "-180.00000",
	} {
		if got := degrees(micro); got != want {
			t.Errorf("%d: %q, want %q", micro, got, want)
		}
	}
}

func TestParseEntry(t *testing.T) {
	for e := range Manual + 1 {
		if got, err := ParseEntry(e.String()); err != nil || got != e {
			t.Errorf("%s: %v, %v", e, got, err)
		}
	}
	if _, err := ParseEntry("knock"); err == nil {
		t.Error("an unknown entry was read")
	}
}

func TestTestPAN(t *testing.T) {
	for _, prefix := range []string{"", "999901", "62220212345678"} {
		if pan, err := TestPAN(prefix, 7); err != nil || pan.Len() != 16 || !pan.LuhnValid() {
			t.Errorf("%q: %v, %v", prefix, pan, err)
		}
	}
	for _, bad := range []struct {
		prefix  string
		account uint64
	}{{"9999011234567890", 1}, {"99990112345678", 10}, {"9x", 1}} {
		if pan, err := TestPAN(bad.prefix, bad.account); err == nil {
			t.Errorf("%+v: %v", bad, pan)
		}
	}
}
