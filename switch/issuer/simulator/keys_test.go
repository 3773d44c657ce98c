package simulator

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

const testKeyText = "0123456789ABCDEFFEDCBA9876543210"

// acquirer is a client that answers new keys.
type acquirer struct {
	*client
	d   *dialect.Issuer
	zmk *algo.Local
}

// newKey reads the next message, which has a new key, and makes MACs with that.
func (a *acquirer) newKey() (*iso.Message, *algo.MACKey) {
	a.t.Helper()
	m, ok := a.read(10 * time.Second)
	if !ok {
		a.t.Fatal("no key came")
	}
	k, err := a.d.ReadNewKey(m.Frame())
	if err != nil {
		a.t.Fatal(err)
	}
	a.zmk.Decrypt(k.Cryptogram, k.Cryptogram)
	key, err := algo.NewLocalMACKey(algo.TDES2, k.Cryptogram)
	if err != nil {
		a.t.Fatal(err)
	}
	if kcv, _ := algo.CheckValue(key.Whole); !bytes.Equal(kcv[:], k.CheckValue) && len(k.CheckValue) > 0 {
		a.t.Errorf("check value %X, want %v", k.CheckValue, kcv)
	}
	return m, &key
}

func (a *acquirer) answer(m *iso.Message, key *algo.MACKey, code string) {
	a.t.Helper()
	frame, err := a.d.AppendNewKeyAnswer(nil, m.Frame(), [2]byte([]byte(code)), macKey{algo.MACX99, key}.MAC)
	if err != nil {
		a.t.Fatal(err)
	}
	a.conn.Write(frame)
}

func meets(t *testing.T, s *Simulator, dialectName string) *acquirer {
	t.Helper()
	text, _ := hex.DecodeString(testKeyText)
	zmk, err := algo.NewLocal(algo.TDES2, text)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dialect.ForIssuer(dialectName, "48802900", dialect.CUPS{})
	if err != nil {
		t.Fatal(err)
	}
	return &acquirer{dial(t, s.Addr(), dialectName), d, zmk}
}

// A new MAC key is what messages may be made with as soon as it is sent, and what answers are
// made with once it is acknowledged; the one before is taken still. Refused, it is none.
func TestNewMACKey(t *testing.T) {
	s, _ := serve(t, Config{Dialect: "iso87", MAC: "x9.19", MACKey: testKeyText, ZMK: testKeyText})
	a := meets(t, s, "iso87")
	ctx := t.Context()
	first := s.keys.signer()
	sell := func(what string, stan uint32, with, signed dialect.MACKey, code string) {
		t.Helper()
		a.key = with
		a.conn.Write(a.message(nil, "0200", stan, 5))
		m, ok := a.read(10 * time.Second)
		if !ok || string(m.Value(39)) != code {
			t.Fatalf("%s: %v, want %s", what, m, code)
		}
		if err := a.link.Authentic(m, signed); err != nil {
			t.Errorf("%s: the answer: %v", what, err)
		}
	}
	sell("to begin with", 1, first, first, "00")
	code := make(chan string)
	send := func(within time.Duration) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		got, err := s.NewKey(ctx, true)
		if err != nil {
			got = err.Error()
		}
		code <- got
	}
	go send(10 * time.Second)
	m, key := a.newKey()
	second := macKey{algo.MACX919, key}
	sell("under the key that was sent", 2, second, first, "00")
	a.answer(m, key, "00")
	if got := <-code; got != "00" {
		t.Fatalf("the key was answered %q", got)
	}
	sell("acknowledged", 3, second, second, "00")
	sell("under the one before", 4, first, second, "00")

	go send(500 * time.Millisecond) // time enough to send it
	m, key = a.newKey()
	if got := <-code; got == "00" {
		t.Error("a key without an answer was acknowledged")
	}
	third := macKey{algo.MACX919, key}
	sell("unanswered", 5, third, second, "00")
	go send(10 * time.Second)
	again, key := a.newKey()
	if !bytes.Equal(again.Frame(), m.Frame()) {
		t.Error("sent again it is another")
	}
	a.answer(again, key, "96")
	if got := <-code; got != "96" {
		t.Errorf("a refused key was answered %q", got)
	}
	sell("under a refused key", 6, third, second, "63")

	if _, err := s.NewKey(ctx, false); err == nil {
		t.Error("a PIN key was sent in the place of none")
	}
}

// A PIN that does not open is refused, after a new key as before it. Keys go out by themselves if they are to.
func TestNewPINKey(t *testing.T) {
	s, _ := serve(t, Config{Dialect: "cups", PINKey: testKeyText, ZMK: testKeyText, NewKeys: 20 * time.Millisecond})
	if _, err := s.NewKey(t.Context(), false); err == nil {
		t.Error("a key was sent to nobody")
	}
	a := meets(t, s, "cups")
	m, key := a.newKey()
	sell := func(what string, with algo.Cipher, code string) {
		t.Helper()
		block, err := algo.EncipherPIN(nil, with, algo.PINISO0, []byte("1234"), []byte(card))
		if err != nil {
			t.Fatal(err)
		}
		header := iso.MakeCUPSHeader("00010000", "48802900")
		e := a.codec.Begin(nil, nil, header[:], 0x0200)
		e.Widen()
		e.Digits(2, []byte(card))
		e.Digits(3, []byte("000000"))
		e.Uint(4, 5)
		e.Digits(7, []byte("1122120000"))
		e.Uint(11, 1)
		e.Text(41, []byte("10000001"))
		e.Text(49, []byte("156"))
		e.Bytes(52, block)
		a.conn.Write(a.finish(e, nil, nil))
		for { // new keys between
			m, ok := a.read(10 * time.Second)
			if !ok {
				t.Fatalf("%s: no answer", what)
			}
			if m.MTI() == 0x0210 {
				if got := string(m.Value(39)); got != code {
					t.Errorf("%s: %s, want %s", what, got, code)
				}
				return
			}
		}
	}
	other, err := algo.NewLocal(algo.TDES2, bytes.Repeat([]byte{0x77, 0x12}, 8))
	if err != nil {
		t.Fatal(err)
	}
	sell("under another key", other, "99")
	sell("under the key that was sent", key.Whole, "00")
	a.answer(m, key, "00")
	next, _ := a.newKey()
	if bytes.Equal(next.Value(48), m.Value(48)) {
		t.Error("an acknowledged key is sent again")
	}
}

// A key that is asked for comes behind the answer, the same until it is acknowledged; where there is
// none to replace, or no key to send it under, that is refused.
func TestKeyIsAskedFor(t *testing.T) {
	for _, name := range [...]string{"cups", "iso87"} {
		for _, cfg := range [...]Config{{ZMK: testKeyText}, {PINKey: testKeyText}, {PINKey: testKeyText, ZMK: testKeyText}} {
			cfg.Dialect = name
			s, _ := serve(t, cfg)
			a := meets(t, s, name)
			code, sent := "12", cfg.PINKey != "" && cfg.ZMK != ""
			if sent {
				code = "00"
			}
			var before *iso.Message
			for stan := range uint32(2) {
				frame, err := a.d.AppendKeyRequest(nil, false, stan+1, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				a.conn.Write(frame)
				m, ok := a.read(10 * time.Second)
				if !ok || m.MTI() != 0x0830 || string(m.Value(39)) != code {
					t.Fatalf("%s: answered %v, want %s", name, m, code)
				}
				if !sent {
					continue
				}
				m, _ = a.newKey()
				if before != nil && !bytes.Equal(m.Frame(), before.Frame()) {
					t.Errorf("%s: asked for again it is another", name)
				}
				before = m
			}
		}
	}
}

// An answer whose MAC is wrong acknowledges nothing that is used.
func TestForgedAcknowledgment(t *testing.T) {
	s, _ := serve(t, Config{Dialect: "cups", PINKey: testKeyText, ZMK: testKeyText})
	a := meets(t, s, "cups")
	failed := make(chan error, 1)
	go func() {
		for { // until the link is there
			code, err := s.NewKey(t.Context(), false)
			if err == nil && code == "00" {
				err = errors.New("it was acknowledged")
			}
			if err == nil || code != "" {
				failed <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	m, _ := a.newKey()
	wrong, err := algo.NewLocalMACKey(algo.TDES2, bytes.Repeat([]byte{0x77, 0x12}, 8))
	if err != nil {
		t.Fatal(err)
	}
	a.answer(m, &wrong, "00")
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
