package simulator

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// deal is one request about another, how it is spelled, and its answer.
type deal struct {
	asks  string // MTI, DE3 and DE25 or "-", such as "0200 02 06", and what a reversal leaves
	stan  uint32
	about uint32 // 0: nothing
	minor int64
	code  string
}

// strike asks d's question and returns the answer.
func (c *client) strike(d deal) *iso.Message {
	c.t.Helper()
	c.conn.Write(c.spell(d))
	m, ok := c.read(10 * time.Second)
	if !ok {
		c.t.Fatalf("%+v: no answer", d)
	}
	return m
}

// spell is d's message, length prefix included.
func (c *client) spell(d deal) []byte {
	c.t.Helper()
	var mti uint16
	var operation, condition string
	if _, err := fmt.Sscanf(d.asks, "%x %s %s", &mti, &operation, &condition); err != nil {
		c.t.Fatal(err)
	}
	e := c.codec.Begin(nil, nil, nil, mti)
	e.Digits(2, []byte(card))
	e.Digits(3, []byte(operation+"0000"))
	e.Uint(4, uint64(d.minor))
	e.Digits(7, []byte("1122120000"))
	e.Uint(11, uint64(d.stan))
	if condition != "-" {
		e.Digits(25, []byte(condition))
	}
	e.Text(41, []byte("10000001"))
	e.Text(49, []byte("156"))
	if d.about != 0 {
		e.Digits(90, fmt.Appendf(nil, "0200%06d1122120000%022d", d.about, 0))
	}
	if all := strings.Fields(d.asks); len(all) == 4 {
		e.Digits(95, fmt.Appendf(nil, "%012s%030d", all[3], 0))
	}
	return c.finish(e, nil, c.key)
}

// TestAccount holds what an issuer lets be done with an earlier transaction, in
// any order, and that a restart before each request changes nothing.
func TestAccount(t *testing.T) {
	const (
		sale, void, refund            = "0200 00 -", "0200 02 -", "0220 20 -"
		preauth, increment, giveBack  = "0100 00 06", "0100 00 60", "0100 20 06"
		completion, advice, uncomplet = "0200 00 06", "0220 00 06", "0200 02 06"
		offline, adjust, reverse      = "0220 00 -", "0220 02 -", "0400 00 -"
		instalment, uninstalment      = "0200 00 64", "0200 02 64"
	)
	for _, c := range []struct {
		name   string
		deals  []deal
		totals string
		rules  []Rule
	}{
		{"void", []deal{
			{sale, 1, 0, 100, "00"}, {void, 2, 1, 99, "64"}, {void, 3, 1, 100, "00"}, {void, 3, 1, 100, "00"}, {void, 4, 1, 100, "12"}, {refund, 5, 1, 10, "12"},
			{uncomplet, 6, 1, 100, "12"}, {reverse, 7, 1, 100, "12"},
		}, "sale 1 100, void 1 100", nil},
		{"a void undone leaves the sale", []deal{
			{sale, 1, 0, 100, "00"}, {void, 2, 1, 100, "00"}, {reverse, 2, 2, 100, "00"}, {reverse, 2, 2, 100, "00"}, {void, 3, 1, 100, "00"},
		}, "sale 1 100, void 1 100", nil},
		{"what was reversed in part is for what stands", []deal{
			{sale, 1, 0, 100, "00"}, {reverse + " 60", 2, 1, 100, "00"}, {void, 3, 1, 100, "64"}, {refund, 4, 1, 61, "61"}, {refund, 5, 1, 20, "00"},
			{reverse + " 50", 6, 1, 100, "12"}, {reverse + " 60", 7, 1, 100, "00"}, {reverse, 5, 5, 20, "00"}, {reverse + " 50", 8, 1, 100, "00"}, {void, 9, 1, 50, "00"},
			{reverse + " 40", 10, 9, 50, "12"},
		}, "sale 1 50, void 1 50", nil},
		{"a promise reversed in part", []deal{
			{preauth, 1, 0, 100, "00"}, {reverse + " 40", 2, 1, 100, "00"}, {completion, 3, 1, 47, "64"}, {completion, 4, 1, 46, "00"}, {reverse + " 20", 5, 4, 46, "00"}, {refund, 6, 4, 21, "61"},
		}, "completion 1 20, preauth 1 40", nil},
		{"nothing to be about", []deal{
			{void, 1, 9, 100, "25"}, {refund, 2, 9, 100, "25"}, {increment, 3, 9, 100, "25"}, {giveBack, 4, 9, 100, "25"}, {completion, 5, 9, 100, "25"},
			{uncomplet, 6, 9, 100, "25"}, {adjust, 7, 9, 100, "25"}, {uninstalment, 8, 9, 100, "25"}, {void, 10, 0, 100, "25"}, {advice, 11, 9, 100, "25"},
		}, "", nil},
		{"what was reversed or declined is nothing to be about", []deal{
			{sale, 1, 0, 100, "00"}, {reverse, 1, 1, 100, "00"}, {void, 2, 1, 100, "25"}, {void, 3, 2, 100, "25"},
		}, "", nil},
		{"refunds in parts", []deal{
			{sale, 1, 0, 100, "00"}, {refund, 2, 1, 60, "00"}, {refund, 3, 1, 41, "61"}, {void, 4, 1, 100, "12"}, {reverse, 1, 1, 100, "12"}, {refund, 5, 1, 40, "00"},
			{refund, 6, 1, 1, "61"}, {reverse, 5, 5, 40, "00"}, {refund, 7, 1, 40, "00"},
		}, "refund 2 100, sale 1 100", nil},
		{"a refund's repeat is the refund", []deal{
			{sale, 1, 0, 100, "00"}, {refund, 2, 1, 60, "00"}, {"0221 20 -", 2, 1, 60, "00"}, {"0221 20 -", 2, 1, 61, "94"}, {"0221 00 -", 2, 0, 60, "94"}, {refund, 2, 0, 60, "94"},
		}, "refund 1 60, sale 1 100", nil},
		{"a promise taken", []deal{
			{preauth, 1, 0, 100, "00"}, {increment, 2, 1, 50, "00"}, {reverse, 1, 1, 100, "12"}, {completion, 3, 1, 173, "64"}, {completion, 4, 1, 172, "00"},
			{completion, 5, 1, 10, "12"}, {giveBack, 6, 1, 150, "12"}, {advice, 7, 1, 10, "12"}, {increment, 8, 1, 10, "12"}, {void, 9, 4, 172, "12"},
			{refund, 10, 4, 72, "00"}, {uncomplet, 11, 4, 172, "12"},
		}, "completion 1 172, increment 1 50, preauth 1 100, refund 1 72", nil},
		{"a completion taken back leaves its promise ended", []deal{
			{preauth, 1, 0, 100, "00"}, {completion, 2, 1, 90, "00"}, {uncomplet, 3, 2, 80, "64"}, {uncomplet, 4, 2, 90, "00"}, {completion, 5, 1, 90, "12"}, {refund, 6, 2, 90, "12"},
		}, "completion 1 90, completion-void 1 90, preauth 1 100", nil},
		{"a completion reversed leaves its promise open", []deal{
			{preauth, 1, 0, 100, "00"}, {completion, 2, 1, 90, "00"}, {reverse, 2, 2, 90, "00"}, {advice, 3, 1, 90, "00"},
		}, "completion-advice 1 90, preauth 1 100", nil},
		{"a promise given back", []deal{
			{preauth, 1, 0, 100, "00"}, {increment, 2, 1, 50, "00"}, {reverse, 2, 2, 50, "00"}, {giveBack, 3, 1, 150, "64"}, {giveBack, 4, 1, 100, "00"}, {completion, 5, 1, 90, "12"},
		}, "preauth 1 100, preauth-void 1 100", nil},
		{"authorized by telephone", []deal{{advice, 1, 0, 90, "00"}, {completion, 2, 0, 90, "25"}}, "completion-advice 1 90", nil},
		{"a tip may be refunded too", []deal{
			{offline, 1, 0, 100, "00"}, {adjust, 2, 1, 15, "00"}, {void, 3, 1, 100, "12"}, {refund, 4, 1, 116, "61"}, {refund, 5, 1, 115, "00"}, {adjust, 6, 1, 1, "12"},
		}, "adjustment 1 15, offline-sale 1 100, refund 1 115", nil},
		{"instalments", []deal{
			{instalment, 1, 0, 100, "00"}, {refund, 2, 1, 10, "12"}, {void, 3, 1, 100, "12"}, {uninstalment, 4, 1, 100, "00"}, {uninstalment, 5, 1, 100, "12"},
		}, "instalment 1 100, instalment-void 1 100", nil},
		{"an advice that was not taken may be told again", []deal{
			{offline, 1, 0, 100, "96"}, {"0221 00 -", 1, 0, 100, "00"}, {offline, 2, 0, 100, "14"}, {"0221 00 -", 2, 0, 100, "14"},
		}, "offline-sale 1 100", []Rule{{Kind: "offline-sale", Times: 1, Code: "96"}, {Kind: "offline-sale", Times: 1}, {Kind: "offline-sale", Times: 1, Code: "14"}}},
		{"a verification moves nothing", []deal{{"0100 33 -", 1, 0, 0, "00"}, {void, 2, 1, 0, "25"}}, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, restart := range []bool{false, true} {
				if restart && c.rules != nil {
					break // how often a rule was used is forgotten
				}
				cfg := Config{Book: filepath.Join(t.TempDir(), "book"), LogSync: "none", Rules: c.rules}
				s, stop := serve(t, cfg)
				cl := dial(t, s.Addr(), "iso87")
				auth := map[uint32]string{}
				for i, d := range c.deals {
					if restart {
						stop()
						s, stop = serve(t, cfg)
						cl = dial(t, s.Addr(), "iso87")
					}
					m := cl.strike(d)
					if got := string(m.Value(39)); got != d.code {
						t.Fatalf("restart %v, step %d, %s: %s, want %s", restart, i+1, d.asks, got, d.code)
					}
					if d.code == "00" && m.MTI()>>8 < 3 && d.minor > 0 {
						if code := string(m.Value(38)); len(code) != 6 || auth[d.stan] != "" && auth[d.stan] != code {
							t.Errorf("restart %v, step %d: authorization code %q, was %q", restart, i+1, code, auth[d.stan])
						}
						auth[d.stan] = string(m.Value(38))
					}
				}
				entries, err := s.Book()
				if err != nil {
					t.Fatal(err)
				}
				if got := sums(entries); got != c.totals {
					t.Errorf("restart %v: the book stands at %q, want %q", restart, got, c.totals)
				}
			}
		})
	}
}

// sums are a book's standing approvals by kind, in the alphabet's order: how many,
// and what they come to.
func sums(entries []Entry) string {
	type sum struct{ count, minor int64 }
	totals := map[txn.Kind]sum{}
	for _, e := range Standing(entries) {
		t := totals[e.Transaction()]
		totals[e.Transaction()] = sum{t.count + 1, t.minor + e.Amount}
	}
	var parts []string
	for k, t := range totals {
		parts = append(parts, fmt.Sprintf("%s %d %d", k, t.count, t.minor))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// FuzzDesk gives any two messages to a desk. Nothing panics, and a desk that
// goes on from the book answers as the one that wrote it.
func FuzzDesk(f *testing.F) {
	link, err := dialect.LinkOf("iso87-binary")
	if err != nil {
		f.Fatal(err)
	}
	c := &client{t: f, codec: link.Codec()}
	for _, d := range [][2]deal{
		{{asks: "0200 00 -", stan: 1, minor: 100}, {asks: "0200 02 -", stan: 2, about: 1, minor: 100}},
		{{asks: "0100 00 06", stan: 1, minor: 100}, {asks: "0220 00 06", stan: 2, about: 1, minor: 115}},
		{{asks: "0400 00 -", stan: 1, about: 2, minor: 100}, {asks: "0200 00 -", stan: 2, minor: 100}},
		{{asks: "0220 20 -", stan: 1, about: 1, minor: 100}, {asks: "0221 20 -", stan: 1, about: 1, minor: 100}},
	} {
		f.Add(c.spell(d[0])[2:], c.spell(d[1])[2:])
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		cfg := Config{}.withDefaults()
		live := newDesk(&cfg, nil)
		var book []byte
		ask := func(d *desk, frame []byte) ([2]byte, bool) {
			var m iso.Message
			var r request
			if link.Codec().Parse(&m, frame) != nil {
				return [2]byte{}, false
			}
			r.read(&m, link)
			dec := d.decide(&r)
			if dec.entry != "" {
				book = appendEntry(book, &r, &dec)
			}
			return dec.code, true
		}
		if _, ok := ask(live, first); !ok {
			return
		}
		entries, _, err := parseBook(book)
		if err != nil {
			t.Fatal(err)
		}
		again := newDesk(&cfg, entries)
		want, ok := ask(live, second)
		if got, _ := ask(again, second); ok && got != want {
			t.Errorf("answered %q, after a restart %q", want, got)
		}
	})
}
