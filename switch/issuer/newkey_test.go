package issuer_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
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
		b.read(func() {
			if b.malformed != malformed {
				t.Errorf("%s: %d messages are counted, want %d", row.name, b.malformed, malformed)
			}
		})
		s.wait(t, row.name, row.events)
	}
}

// On a link of ISO 8583:1987 likewise; and where no keys are taken it is said.
func TestNewKeyByISO87(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
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
