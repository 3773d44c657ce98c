package issuer_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// sentKeys are those that a test's hook is given.
type sentKeys struct {
	mu     sync.Mutex
	events []string
	refuse error // of the hook
	fail   error // of Set
}

func (s *sentKeys) note(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

// wait waits for what should have happened: a key may be closed after its answer has left.
func (s *sentKeys) wait(t *testing.T, what, want string) {
	t.Helper()
	eventually(t, what+": "+want, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Sprint(s.events) == want
	})
}

// oneKey is one of them: its key is what was sent, as it is.
type oneKey struct {
	*sentKeys
	key algo.MACKey
}

func (k oneKey) MAC(data []byte) ([8]byte, error) { return algo.MACX99.MAC(k.key, data) }
func (k oneKey) Close()                           { k.note("closed") }
func (k oneKey) Set() error {
	time.Sleep(20 * time.Millisecond) // as a vault and a disk take
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, "set")
	return k.fail
}

// TestNewKeyIsTaken: a key that the network sends is in force before it is answered and before what came
// behind it is looked at; what is no key is refused and put nowhere.
func TestNewKeyIsTaken(t *testing.T) {
	p, addr := listenCUPS(t)
	s := &sentKeys{}
	offer := func(from txn.IssuerID, k *txn.NewKey) (issuer.SentKey, error) {
		if from != txn.MakeIssuerID("icbc") {
			t.Errorf("the key is of %s", from)
		}
		s.mu.Lock()
		refusal := s.refuse
		s.mu.Unlock()
		if refusal != nil {
			return nil, refusal
		}
		key, err := algo.NewLocalMACKey(algo.TDES2, k.Cryptogram)
		s.note(fmt.Sprintf("received mac=%v", k.MAC))
		return oneKey{s, key}, err
	}
	b := startWith(t, nil, addr, func(c *issuer.Config) { c.Dialect, c.EchoEvery = "cups", -1 }, func(h *issuer.Hooks) {
		h.NewKey = offer
		h.CutOver = func(string, [4]byte) { s.note("what came behind it") } // by the same reader, so after the key is closed
	}).up(1)
	p.next(t, 0x0820)
	clearKey := bytes.Repeat([]byte{0x1F, 0x2E}, 8)
	whole, err := algo.NewLocalMACKey(algo.TDES2, clearKey)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(data []byte) ([8]byte, error) { return algo.MACX99.MAC(whole, data) }
	message := func(k txn.NewKey) []byte {
		t.Helper()
		frame, err := p.link.AppendNewKey(nil, &k, 9, [10]byte([]byte("1127034500")), mac)
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	header := iso.MakeCUPSHeader("48802900", "00010000")
	e := p.link.Codec().Begin(nil, nil, header[:], 0x0820)
	e.Widen()
	e.Digits(11, []byte("000010"))
	e.Digits(70, []byte("201"))
	behind, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	pin := message(txn.NewKey{Cryptogram: clearKey})
	forged := bytes.Clone(pin)
	forged[len(forged)-1] ^= 1
	nothing := bytes.Clone(pin)
	nothing[bytes.Index(nothing, []byte("1600000000000000"))] = '7'
	malformed := 0
	for _, row := range []struct {
		name          string
		frame         []byte
		refusal, fail error
		code          string
		events        string
	}{
		{"a PIN key", append(bytes.Clone(pin), behind...), nil, nil, "00", "[received mac=false set closed what came behind it]"},
		{"a MAC key", message(txn.NewKey{MAC: true, Cryptogram: clearKey}), nil, nil, "00", "[received mac=true set closed]"},
		{"a wrong MAC", forged, nil, nil, "A0", "[received mac=false closed]"},
		{"no key", nothing, nil, nil, "30", "[]"},
		{"one that cannot be", pin, fmt.Errorf("%w: it", issuer.ErrKeyWrong), nil, "63", "[]"},
		{"no ZMK", pin, issuer.ErrKeyNotOffered, nil, "12", "[]"},
		{"no vault", pin, errors.New("the vault is away"), nil, "96", "[]"},
		{"no disk", pin, nil, errors.New("the disk is full"), "96", "[received mac=false set closed]"},
	} {
		s.mu.Lock()
		s.events, s.fail, s.refuse = nil, row.fail, row.refusal
		s.mu.Unlock()
		p.says <- row.frame
		m := p.next(t, 0x0810)
		if string(m.Value(39)) != row.code || string(m.Value(70)) != "101" || string(m.Value(11)) != "000009" || m.Has(48) {
			t.Errorf("%s: answered %q, want %q", row.name, m.Value(39), row.code)
		}
		if err := p.link.CheckNewKey(m.Frame(), mac); (err == nil) != (row.code == "00") {
			t.Errorf("%s: the answer's MAC: %v", row.name, err)
		}
		if row.code != "00" {
			malformed++
		} else if len(row.frame) > len(pin)+10 {
			p.next(t, 0x0830)
		}
		b.tells(malformed)
		s.wait(t, row.name, row.events)
	}
}

// On a link of ISO 8583:1987 likewise; and where no keys are taken it is said.
func TestNewKeyByISO87(t *testing.T) {
	link, err := dialect.LinkOf("iso87")
	if err != nil {
		t.Fatal(err)
	}
	frame, err := link.AppendNewKey(nil, &txn.NewKey{MAC: true, Cryptogram: bytes.Repeat([]byte{7}, 16), CheckValue: []byte{1, 2, 3, 4}}, 9, [10]byte([]byte("1127034500")), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &sentKeys{}
	for _, taken := range []bool{true, false} {
		l, err := net.Listen("tcp", "127.0.0.1:0") // its own: the link of the one before is dialed anew
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		b := startWith(t, nil, l.Addr().String(), func(c *issuer.Config) { c.Dialect, c.EchoEvery, c.SkipSignOn = "dialect", -1, true }, func(h *issuer.Hooks) {
			if taken {
				h.NewKey = func(_ txn.IssuerID, k *txn.NewKey) (issuer.SentKey, error) {
					s.note(hex.EncodeToString(k.CheckValue))
					return oneKey{sentKeys: s}, nil
				}
			}
		})
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		b.up(1)
		conn.Write(frame)
		var prefix [2]byte
		if _, err := io.ReadFull(conn, prefix[:]); err != nil {
			t.Fatal(err)
		}
		n, _ := link.Codec().ReadLength(prefix[:])
		body := make([]byte, n)
		if _, err := io.ReadFull(conn, body); err != nil {
			t.Fatal(err)
		}
		var m iso.Message
		if err := link.Codec().Parse(&m, body); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "00", false: "12"}[taken]
		if m.MTI() != 0x0810 || string(m.Value(39)) != want || m.Has(64) || m.Has(128) {
			t.Errorf("answered %04x, %q, want %q", m.MTI(), m.Value(39), want)
		}
		conn.Close()
	}
	s.wait(t, "by its check value", "[01020304 set closed]")
}

// TestKeysAreAskedFor: what keys are not here the issuer is asked for before a link is up, once
// for all links, and nothing is sent to it without them. Where its MACs are wrong it is asked for
// all of them, once in a while.
func TestKeysAreAskedFor(t *testing.T) {
	link := realCodec("iso87")
	key := func(mac bool) []byte {
		frame, err := link.AppendNewKey(nil, &txn.NewKey{MAC: mac, Cryptogram: bytes.Repeat([]byte{7}, 16), CheckValue: []byte{1, 2, 3, 4}}, 9, [10]byte([]byte("1127034500")), nil)
		if err != nil {
			t.Error(err)
		}
		return frame
	}
	var refuses, withholds, forges, garbles atomic.Bool
	refuses.Store(true)
	var macs, pins atomic.Int32 // that were asked for, and not refused
	asked := map[byte]*atomic.Int32{'1': &pins, '2': &macs}
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		switch {
		case m.MTI() == 0x0820 && refuses.Load():
			c.answer(m, "12")
		case m.MTI() == 0x0820:
			which := m.AppendDigits(nil, 53)[0]
			asked[which].Add(1)
			c.answer(m, "00")
			if !withholds.Load() {
				c.Write(key(which == '2'))
			}
		case m.MTI()&0x10 != 0:
		case m.MTI() == 0x0200 && forges.Load():
			c.answer(m, forged)
		case m.MTI() == 0x0200 && garbles.Load():
			c.Write([]byte("\x00\x15this is not a message"))
		case !network(c, m):
			c.answer(m, "00")
		}
	})
	var have [2]atomic.Bool // for PINs, for MACs
	s := &sentKeys{}
	b := startWith(t, nil, p.addr(), func(cfg *issuer.Config) {
		cfg.Dialect, cfg.MAC, cfg.AskKeys, cfg.Connections, cfg.EchoTimeout = "forged", "x9.9", []string{"zak", "zpk"}, 2, 3*time.Second
	}, func(h *issuer.Hooks) {
		h.HasKey = func(_ txn.IssuerID, mac bool) bool { return have[index(mac)].Load() }
		h.NewKey = func(_ txn.IssuerID, k *txn.NewKey) (issuer.SentKey, error) {
			return settingKey{oneKey{sentKeys: s}, &have[index(k.MAC)]}, nil
		}
	})
	lost := func(why string) {
		t.Helper()
		eventually(t, why, func() (ok bool) {
			b.read(func() { n := len(b.downs); ok = n > 0 && strings.Contains(b.downs[n-1].Error(), why) })
			return ok
		})
		b.exchange(sale("10000001", 100)).want(t, txn.OutcomeNotSent, txn.IssuerIsUnavailable)
	}
	lost(`for its zak: 0820/101 was refused with "12"`)
	withholds.Store(true)
	refuses.Store(false)
	lost("was asked for its zak and has sent none that can be taken")
	withholds.Store(false)
	b.up(2).exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
	if p := pins.Load(); p != 1 {
		t.Errorf("the PIN key was asked for %d times", p)
	}

	s.wait(t, "both keys", "[set closed set closed]")
	before := macs.Load()
	garbles.Store(true)
	b.unanswered(sale("10000001", 100)).want(t, txn.OutcomeUnknown, txn.IssuerDidNotAnswer)
	garbles.Store(false)
	if time.Sleep(300 * time.Millisecond); macs.Load() != before {
		t.Error("what is no message has the keys renewed")
	}
	forges.Store(true)
	for range 3 {
		b.unanswered(sale("10000001", 100)).want(t, txn.OutcomeUnknown, txn.IssuerDidNotAnswer)
	}
	s.wait(t, "both keys anew", "[set closed set closed set closed set closed]")
	if m, p := macs.Load()-before, pins.Load(); m != 1 || p != 2 {
		t.Errorf("where MACs were wrong, its MAC key was asked for %d times and its PIN key %d times", m, p-1)
	}
	forges.Store(false)
	b.exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
}

func index(mac bool) int {
	if mac {
		return 1
	}
	return 0
}

// settingKey is a key that is there once it is set.
type settingKey struct {
	oneKey
	set *atomic.Bool
}

func (k settingKey) Set() error {
	k.set.Store(true)
	return k.oneKey.Set()
}
