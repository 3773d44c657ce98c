package terminal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// withoutMAC is an answer whose last field, the MAC, is cut off.
func withoutMAC(answer []byte) []byte {
	const bitmap = 2 + 5 + 6 + 2
	answer[bitmap+7] &^= 1
	answer = answer[:len(answer)-8]
	answer[0], answer[1] = byte((len(answer)-2)>>8), byte(len(answer)-2)
	return answer
}

// An approval is believed only with its own MAC. Else a sale is reversed with
// reason A0, then the terminal signs on, then it goes on.
func TestTamperedAnswers(t *testing.T) {
	replace := func(from, to string) func([]byte) []byte {
		return func(answer []byte) []byte { return bytes.Replace(answer, []byte(from), []byte(to), 1) }
	}
	for _, row := range []struct {
		name  string
		alter func([]byte) []byte
		want  string // of the error; empty: believed
	}{
		{"as it is", func(b []byte) []byte { return b }, ""},
		{"no MAC", withoutMAC, "field 64 is missing from an approval"},
		{"another MAC", func(b []byte) []byte { copy(b[len(b)-8:], "00000000"); return b }, "field 64 of an approval: MAC is wrong"},
		{"MAC in small letters", func(b []byte) []byte { return append(b[:len(b)-8], bytes.ToLower(b[len(b)-8:])...) }, "field 64 of an approval"},
		{"another authorization", replace("123456", "123457"), "field 64 of an approval"},
		{"a refusal without a MAC", func(b []byte) []byte { return withoutMAC(replace("00100000019", "51100000019")(b)) }, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, c := startHost(t, nil, Options{})
			mustSignOn(t, p, c)
			p.SetAnswers(func(_ *txn.Request, answer []byte) []byte { return row.alter(answer) })
			// The MAC in small letters is the same one if it has no letters: ask until it has.
			a, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1})
			for n := 0; row.name == "MAC in small letters" && err == nil && n < 20; n++ {
				a, err = c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1})
			}
			p.SetAnswers(nil)
			stan := c.STAN()
			if row.want == "" {
				if err != nil || c.Owes() != 0 {
					t.Fatalf("%+v, %v", a, err)
				}
				return
			}
			var wrong *WrongAnswerError
			if !errors.As(err, &wrong) || wrong.Field != 64 || !strings.Contains(err.Error(), row.want) || c.Owes() != stan {
				t.Fatalf("error is %v, %06d is owed", err, c.Owes())
			}
			p.Came()
			for range 2 {
				if a, err := c.Balance(t.Context(), testCard(t)); err != nil || !a.Approved() {
					t.Fatalf("%+v, %v", a, err)
				}
			}
			if got := p.Came(); !slices.Equal(got, []string{"reversal A0", "sign-on", "balance", "balance"}) {
				t.Errorf("%v were sent", got)
			}
			if _, reversed := p.Sale("10000001", 1, stan); !reversed {
				t.Error("the sale was not reversed")
			}
		})
	}
}

// A balance that is not believed owes nothing; a reversal's answer that is not
// believed leaves it owed, and it goes out again under new keys.
func TestTamperedAnswersThatOweNoReversal(t *testing.T) {
	p, c := startHost(t, nil, Options{})
	mustSignOn(t, p, c)
	only := func(k txn.Kind) {
		p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
			if req.Kind == k {
				p.Answers = nil // once
				return withoutMAC(answer)
			}
			return answer
		})
	}
	only(txn.KindBalance)
	if _, err := c.Balance(t.Context(), testCard(t)); !isMACWrong(err) || c.Owes() != 0 {
		t.Errorf("balance: %v, %06d is owed", err, c.Owes())
	}
	a, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1})
	if err != nil || !a.Approved() {
		t.Fatalf("%+v, %v", a, err)
	}
	only(txn.KindReversal)
	if _, err := c.Reversal(t.Context(), txn.Amount{Minor: 1}, Original{STAN: c.STAN()}); !isMACWrong(err) || c.Owes() != c.STAN() {
		t.Errorf("reversal: %v, %06d is owed", err, c.Owes())
	}
	only(txn.KindReversal)
	if err := c.Settle(t.Context()); err != nil || c.Owes() != 0 {
		t.Error(err)
	}
	want := []string{"balance", "sign-on", "sale", "reversal 06", "reversal 06", "sign-on", "reversal 06"}
	if got := p.Came(); !slices.Equal(got, want) {
		t.Errorf("%v were sent, want %v", got, want)
	}
}

// Told to sign on, the terminal does and asks once more, under a new number.
func TestSignsOnAgain(t *testing.T) {
	for _, row := range []struct {
		name    string
		disturb func(*terminaltest.Peer)
		came    []string
		code    string
		want    string // of the error, empty: none
	}{
		{"77", func(p *terminaltest.Peer) { p.Host.ForgetKeys() }, []string{"sale", "sign-on", "sale"}, "00", ""},
		{"A0", func(p *terminaltest.Peer) { p.Host.ChangeKeys() }, []string{"sale", "sign-on", "sale"}, "00", ""},
		{"99", func(p *terminaltest.Peer) {
			p.Answers = func(_ *txn.Request, answer []byte) []byte {
				p.Answers = nil
				return bytes.Replace(answer, []byte("00100000019"), []byte("99100000019"), 1)
			}
		}, []string{"sale", "sign-on", "sale"}, "00", ""},
		{"A0 for ever", func(p *terminaltest.Peer) { p.Host.Refuse = func(*txn.Request) bool { return true } }, []string{"sale", "sign-on", "sale"}, "A0", ""},
		{"sign-on refused", func(p *terminaltest.Peer) {
			p.Host.ForgetKeys()
			p.Answers = func(req *txn.Request, answer []byte) []byte {
				if req.Kind == txn.KindSignOn {
					return bytes.Replace(answer, []byte("00100000019"), []byte("58100000019"), 1)
				}
				return answer
			}
		}, []string{"sale", "sign-on"}, "77", ""},
		{"sign-on with a wrong key", func(p *terminaltest.Peer) {
			p.Host.ForgetKeys()
			p.Host.Alter = func(b []byte) []byte { b[20] ^= 1; return b }
		}, []string{"sale", "sign-on"}, "", "sign on again after 77: sign-on 000003 of terminal 10000001: wrong answer: field 62"},
		{"sign-on not answered", func(p *terminaltest.Peer) {
			p.Host.ChangeKeys()
			p.Answers = func(req *txn.Request, answer []byte) []byte {
				if req.Kind == txn.KindSignOn {
					return nil
				}
				return answer
			}
		}, []string{"sale", "sign-on"}, "", "sign on again after A0: sign-on 000003 of terminal 10000001: wait for answer: no answer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, c := startHost(t, nil, Options{})
			mustSignOn(t, p, c)
			p.Mu.Lock()
			row.disturb(p)
			p.Mu.Unlock()
			a, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1})
			if row.want == "" && (err != nil || a.Code != row.code) || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Fatalf("%+v, %v", a, err)
			}
			if got := p.Came(); !slices.Equal(got, row.came) {
				t.Errorf("%v were sent", got)
			}
			if int(c.STAN()) != 1+len(row.came) || c.Owes() != 0 {
				t.Errorf("STAN %06d, %06d is owed", c.STAN(), c.Owes())
			}
		})
	}
}

// What keeps its number, a refund or an advice, keeps it at 77 too, unless the
// sign-on leads to another batch. Then it is sent as one of that batch, and the
// terminal's store has it there.
func TestSignsOnAgainWithWhatKeepsItsNumber(t *testing.T) {
	for _, kind := range []txn.Kind{txn.KindRefund, txn.KindOfflineSale} {
		for _, moved := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, another batch: %v", kind, moved), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "store")
				store, err := OpenStore(path)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { store.Close() }()
				p, c := startHost(t, nil, Options{Store: store})
				mustSignOn(t, p, c)
				told := false
				p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
					switch {
					case req.Kind == txn.KindSignOn && moved:
						return bytes.Replace(answer, []byte("\x00\x11\x00\x00\x00\x01"), []byte("\x00\x11\x00\x00\x00\x02"), 1)
					case req.Kind == kind && !told:
						told = true
						clear(p.Sales)
						return bytes.Replace(answer, []byte("00100000019"), []byte("77100000019"), 1)
					}
					return answer
				})
				a, err := c.Do(t.Context(), kind, Transaction{Card: testCard(t), Amount: txn.Amount{Minor: 7}, Original: Original{STAN: 9, RRN: "326000000009", Date: "1122"}})
				if err != nil || !a.Approved() || a.First == nil || a.First.Code != "77" {
					t.Fatalf("%+v, %v", a, err)
				}
				batch, stan := uint32(1), "000002"
				if moved {
					batch, stan = 2, "000004"
				}
				if got := p.Came(); !slices.Equal(got, []string{kind.String(), "sign-on", kind.String()}) || a.STAN != stan || c.Batch() != batch {
					t.Errorf("%v were sent, STAN %s, batch %d", got, a.STAN, c.Batch())
				}
				totals := c.store.totals()
				if totals.Debit.Minor+totals.Credit.Minor != 7 || totals.Debit.Count+totals.Credit.Count != 1 || c.Pending() != 0 {
					t.Errorf("%+v, %d pending", totals, c.Pending())
				}
				store.Close()
				if store, err = OpenStore(path); err != nil {
					t.Fatal(err)
				}
				if store.totals() != totals || max(store.batch, 1) != batch || len(store.told) != 0 {
					t.Errorf("after a restart: %+v, batch %d, %d to tell", store.totals(), store.batch, len(store.told))
				}
			})
		}
	}
}

// A terminal without a master key signs on at 77, for its batch's sake, and gets
// no keys by it.
func TestWithoutKeysToldToSignOn(t *testing.T) {
	p, _ := startHost(t, nil, Options{})
	c := dialHost(t, p, func(p *Profile) { p.TMK = nil }, Options{})
	if a, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1}); err != nil || a.Code != "A0" {
		t.Errorf("%+v, %v", a, err)
	}
	if got := p.Came(); !slices.Equal(got, []string{"sale", "sign-on", "sale"}) {
		t.Errorf("%v were sent", got)
	}
}

// A reversal that the switch did not look at for its MAC keeps its number and
// stays owed, also across a restart; the restarted terminal has no keys.
func TestReversalRefusedForItsMACIsOwed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	store, err := OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	p, c := startHost(t, nil, Options{Store: store})
	mustSignOn(t, p, c)
	a, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 7})
	if err != nil || !a.Approved() {
		t.Fatalf("%+v, %v", a, err)
	}
	sale := c.STAN()
	p.With(func(h *terminaltest.Host) { h.Refuse = func(*txn.Request) bool { return true } })
	if a, err = c.Reversal(t.Context(), txn.Amount{Minor: 7}, Original{STAN: sale}); err != nil || a.Code != "A0" || c.Owes() != sale {
		t.Fatalf("%+v, %v, %06d is owed", a, err, c.Owes())
	}
	if err := c.Settle(t.Context()); err == nil || !strings.Contains(err.Error(), "answered A0, MAC is wrong, sign on again") || c.Owes() != sale {
		t.Fatalf("%v, %06d is owed", err, c.Owes())
	}
	c.Close()
	store.Close()
	p.With(func(h *terminaltest.Host) { h.Refuse = nil })
	p.Came()
	if store, err = OpenStore(path); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c = dialHost(t, p, nil, Options{Store: store})
	if err := c.Settle(t.Context()); !errors.Is(err, ErrSignOnFirst) || c.Owes() != sale {
		t.Fatalf("%v, %06d is owed", err, c.Owes())
	}
	mustSignOn(t, p, c)
	if err := c.Settle(t.Context()); err != nil || c.Owes() != 0 {
		t.Fatal(err)
	}
	if _, reversed := p.Sale("10000001", 1, sale); !reversed {
		t.Error("the sale was not reversed")
	}
}
