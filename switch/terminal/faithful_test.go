package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// brokenFile takes some writes and fails for good.
type brokenFile struct {
	io.WriteCloser
	left int
}

var errDisk = errors.New("disk is full")

func (f *brokenFile) Write(b []byte) (int, error) {
	if f.left == 0 {
		return 0, errDisk
	}
	f.left--
	return f.WriteCloser.Write(b)
}

// life is a terminal that may be killed and brought to life again with the same
// store.
type life struct {
	t      *testing.T
	peer   *terminaltest.Peer
	path   string
	left   int // facts until the kill, -1 for none
	kills  int
	store  *Store
	client *Client
}

func (l *life) begin() {
	l.t.Helper()
	var err error
	if l.store, err = OpenStore(l.path); err != nil {
		l.t.Fatal(err)
	}
	if l.left >= 0 {
		l.store.file = &brokenFile{l.store.file, l.left}
		l.left = -1
	}
	if l.client, err = Dial(l.t.Context(), l.peer.Addr, l.peer.Dialect.Name(), testProfile, Options{Store: l.store}); err != nil {
		l.t.Fatal(err)
	}
	impatient(l.client, l.peer)
}

func (l *life) end() {
	l.client.Close()
	l.store.Close()
}

// do does something. A kill in it is followed by a new life, which does not know
// what the cashier wanted, except that again says so.
func (l *life) do(what string, again bool, f func(ctx context.Context, c *Client) error) {
	l.t.Helper()
	for range 3 {
		err := f(l.t.Context(), l.client)
		switch {
		case errors.Is(err, errDisk):
			l.end()
			l.begin()
			l.kills++
			if !again {
				return
			}
		case err == nil || !again:
			return
		case !errors.Is(err, ErrNoAnswer):
			l.t.Fatalf("%s: %v", what, err)
		}
	}
}

// A terminal is killed before and after each fact that its store takes, or loses
// each answer once. Whatever happened, at the end of its day its totals are the
// switch's, the batch is settled once, nothing is owed and no number was used
// for two things; the peer fails the test if one was.
func TestKilledOrUnansweredAnywhere(t *testing.T) {
	for _, name := range []string{"cup-pos", "iso87"} {
		for _, what := range []string{"killed", "unanswered"} {
			for _, forgetful := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s, uneven %v", name, what, forgetful), func(t *testing.T) {
					t.Parallel()
					for n := 0; ; n++ {
						if !dayDisturbed(t, name, what, n, forgetful) {
							if n < 10 {
								t.Fatalf("the day has only %d of them", n)
							}
							return
						}
					}
				})
			}
		}
	}
}

func dayDisturbed(t *testing.T, name, what string, n int, forgetful bool) (disturbed bool) {
	p := terminaltest.Start(t, name)
	l := &life{t: t, peer: p, path: filepath.Join(t.TempDir(), "terminal"), left: -1}
	if what == "killed" {
		l.left = n
	} else {
		seen := 0
		p.SetAnswers(func(_ *txn.Request, answer []byte) []byte {
			if seen++; seen == n+1 {
				disturbed = true
				return nil
			}
			return answer
		})
	}
	l.begin()
	defer func() { l.end() }()
	card, cny := testCard(t), func(minor int64) txn.Amount { return txn.Amount{Minor: minor, Currency: txn.CNY} }
	stripe := card
	stripe.Entry = Stripe
	var sale, preauth uint32
	ask := func(f func(ctx context.Context, c *Client) (Answer, error)) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error { _, err := f(ctx, c); return err }
	}
	l.do("sign-on", false, ask(func(ctx context.Context, c *Client) (Answer, error) { return c.SignOn(ctx) }))
	l.do("sale", false, ask(func(ctx context.Context, c *Client) (Answer, error) {
		a, err := c.Sale(ctx, card, cny(100_00))
		sale = c.STAN()
		return a, err
	}))
	l.do("stripe sale", false, ask(func(ctx context.Context, c *Client) (Answer, error) { return c.Sale(ctx, stripe, cny(7_00)) }))
	l.do("tip", false, ask(func(ctx context.Context, c *Client) (Answer, error) {
		return c.Tip(ctx, cny(5_00), Original{STAN: sale})
	}))
	l.do("refund", false, ask(func(ctx context.Context, c *Client) (Answer, error) {
		return c.Refund(ctx, Card{}, cny(1_00), Original{STAN: sale, RRN: "326000000009"})
	}))
	l.do("preauth", false, ask(func(ctx context.Context, c *Client) (Answer, error) {
		a, err := c.Preauth(ctx, card, cny(50_00))
		preauth = c.STAN()
		return a, err
	}))
	l.do("completion advice", false, ask(func(ctx context.Context, c *Client) (Answer, error) {
		return c.CompletionAdvice(ctx, card, cny(45_00), Original{STAN: preauth, AuthCode: "123456"})
	}))
	l.do("offline sale", false, ask(func(ctx context.Context, c *Client) (Answer, error) { return c.OfflineSale(ctx, card, cny(3_00), "") }))
	l.do("void", false, ask(func(ctx context.Context, c *Client) (Answer, error) { return c.Void(ctx, Card{}, Original{STAN: 3}) }))
	if forgetful {
		p.Forget("10000001", batchOf(p), 3)
	}
	var s Settlement
	var totals txn.Totals
	l.do("settlement", true, func(ctx context.Context, c *Client) (err error) {
		if c.Batch() == 2 { // the end was noted, and the kill came behind it
			return nil
		}
		totals = c.store.totals()
		if s, err = c.Settlement(ctx); err == nil {
			totals = s.Terminal
		}
		return err
	})
	disturbed = disturbed || l.kills > 0
	debits, debited, credits, credited := p.Totals("10000001", batchOf(p))
	ours := fmt.Sprint(totals.Debit.Count, totals.Debit.Minor, totals.Credit.Count, totals.Credit.Minor)
	theirs := fmt.Sprint(debits, debited, credits, credited)
	switch {
	case l.client.Batch() != 2 || len(p.Closed()) == 0:
		t.Fatalf("%s %d: batch %d, the switch closed %v", what, n, l.client.Batch(), p.Closed())
	case l.client.Owes() != 0 || l.client.Pending() != 0 || l.client.store.totals() != txn.Totals{}:
		t.Errorf("%s %d: %06d is owed, %d pending, totals of the new batch %+v", what, n, l.client.Owes(), l.client.Pending(), l.client.store.totals())
	case IsCUP(p.Dialect) && !forgetful && ours != theirs:
		t.Errorf("%s %d: the terminal has %s, the switch %s; %v", what, n, ours, theirs, p.All())
	}
	text, err := os.ReadFile(l.path)
	if err != nil || bytes.Contains(text, []byte("9999010000")) || strings.Contains(string(text), "123456=") {
		t.Errorf("a card number in the store: %v", err)
	}
	return disturbed
}

// The whole day in the order of cup-pos I2 and C4, of a batch that is equal and
// of one of which the switch has lost a sale.
func TestOrderOfADay(t *testing.T) {
	for _, row := range []struct {
		name   string
		forget uint32
		want   []string
	}{
		{"even", 0, []string{"settlement 9", "upload 2 203", "upload 10 207"}},
		{"uneven", 2, []string{"settlement 9", "upload 8 30", "upload 10 201", "upload 5 25", "upload 7 24", "upload 2 205", "upload 11 202"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := terminaltest.Start(t, "cup-pos")
			l := &life{t: t, peer: p, path: filepath.Join(t.TempDir(), "terminal"), left: -1}
			l.begin()
			defer l.end()
			card, ctx, c := testCard(t), t.Context(), l.client
			must := func(a Answer, err error) Answer {
				t.Helper()
				if err != nil || !a.Approved() {
					t.Fatalf("%+v, %v", a, err)
				}
				return a
			}
			manual := card
			manual.Entry = Manual
			must(c.SignOn(ctx))
			must(c.Sale(ctx, card, txn.Amount{Minor: 10_00}))
			must(c.Sale(ctx, manual, txn.Amount{Minor: 20_00}))
			must(c.Void(ctx, Card{}, Original{STAN: 3}))
			must(c.Refund(ctx, Card{}, txn.Amount{Minor: 1_00}, Original{STAN: 2}))
			must(c.Preauth(ctx, manual, txn.Amount{Minor: 30_00}))
			must(c.CompletionAdvice(ctx, Card{}, txn.Amount{Minor: 29_00}, Original{STAN: 6}))
			must(c.OfflineSale(ctx, manual, txn.Amount{Minor: 4_00}, "654321"))
			if row.forget != 0 {
				p.Forget("10000001", 1, row.forget)
			}
			before := len(p.All())
			s, err := c.Settlement(ctx)
			if err != nil || s.Even != (row.forget == 0) || s.Batch != 1 || c.Batch() != 2 {
				t.Fatalf("%+v, %v", s, err)
			}
			if got := p.All()[before:]; !slices.Equal(got, row.want) {
				t.Errorf("%v were sent, want %v", got, row.want)
			}
			want := totalsOf(4, 63_00, 2, 21_00)
			if s.Terminal != want || s.Even && s.Host != want {
				t.Errorf("totals %+v, the switch's %+v", s.Terminal, s.Host)
			}
			if !s.Even && s.Host != totalsOf(3, 53_00, 2, 21_00) {
				t.Errorf("the switch's totals %+v", s.Host)
			}
		})
	}
}

func totalsOf(debits uint32, debited int64, credits uint32, credited int64) txn.Totals {
	return txn.Totals{Debit: txn.Sum{Count: debits, Minor: debited}, Credit: txn.Sum{Count: credits, Minor: credited}}
}
