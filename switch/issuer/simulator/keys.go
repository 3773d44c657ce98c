package simulator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// sharedKeys are the test keys that a simulator shares with its acquirer. Its mutex guards
// what of them changes.
type sharedKeys struct {
	by       algo.MACAlgorithm // of MACs
	mac, pin sharedKey
	zmk      algo.Cipher // nil: no keys are sent
	stan     uint32      // of the last that was
}

// sharedKey is a key for one use.
type sharedKey struct {
	now   *algo.MACKey   // nil: there is none
	taken []*algo.MACKey // what messages may be made with: those before, now, and one that was sent
	sent  *sentKey       // until it is acknowledged
}

// sentKey is a key that the acquirer has not acknowledged: sent again it is the same.
type sentKey struct {
	key      *algo.MACKey
	stan     uint32
	frame    []byte
	answered chan string // its answer's code
}

// takenMost is how many keys are taken: what was made with those before may be under way.
const takenMost = 4

func (k *sharedKeys) of(mac bool) *sharedKey {
	if mac {
		return &k.mac
	}
	return &k.pin
}

func (k *sharedKey) take(key *algo.MACKey) {
	k.taken = append(k.taken, key)
	k.taken = k.taken[max(0, len(k.taken)-takenMost):]
}

// macKey makes MACs with a key.
type macKey struct {
	by  algo.MACAlgorithm
	key *algo.MACKey
}

func (k macKey) MAC(data []byte) ([algo.MACSize]byte, error) { return k.by.MAC(*k.key, data) }

// wrongKey makes MACs that are wrong.
type wrongKey struct{ dialect.MACKey }

func (k wrongKey) MAC(data []byte) ([algo.MACSize]byte, error) {
	mac, err := k.MACKey.MAC(data)
	mac[0] ^= 1
	return mac, err
}

// readKeys are a configuration's keys, or what is wrong with them.
func readKeys(c *Config) (*sharedKeys, error) {
	k := &sharedKeys{}
	for _, row := range [...]struct {
		name, text string
		set        func(*algo.MACKey) error
	}{
		{"mac_key", c.MACKey, func(key *algo.MACKey) (err error) {
			if k.by, err = algo.ParseMAC(c.MAC); err == nil {
				_, err = k.by.MAC(*key, nil) // a key that the algorithm has no use for says so now
			}
			k.mac.now = key
			k.mac.take(key)
			return err
		}},
		{"pin_key", c.PINKey, func(key *algo.MACKey) error {
			k.pin.now = key
			k.pin.take(key)
			if key.Whole.Kind() != algo.TDES2 {
				return algo.ErrKeyInvalid
			}
			return nil
		}},
		{"zmk", c.ZMK, func(key *algo.MACKey) error { k.zmk = key.Whole; return nil }},
	} {
		if row.text == "" {
			continue
		}
		kind, digits := algo.TDES2, row.text
		if text, ok := strings.CutPrefix(digits, "sm4 "); ok {
			kind, digits = algo.SM4, text
		}
		text, err := hex.DecodeString(digits)
		var key algo.MACKey
		if err == nil {
			key, err = algo.NewLocalMACKey(kind, text)
		}
		if err == nil {
			err = row.set(&key)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: must be 32 hexadecimal digits of a TDES key, or sm4 and those of one where that has a use: %w", row.name, err)
		}
	}
	switch {
	case c.MAC == "none" && c.MACKey != "":
		return nil, errors.New("mac_key: is for a mac other than none")
	case c.MAC == "none":
	case c.MAC != "x9.9" && (c.MAC != "x9.19" || c.Dialect == dialect.NameCUPS):
		return nil, fmt.Errorf("mac: %q must be none, x9.9 or, with another dialect than cups, x9.19", c.MAC)
	case c.MACKey == "":
		return nil, errors.New("mac_key: must be 32 hexadecimal digits of a TDES key, or sm4 and those of one")
	}
	return k, nil
}

// signer is what answers are signed with now, nil without MACs.
func (k *sharedKeys) signer() dialect.MACKey {
	if k.mac.now == nil {
		return nil
	}
	return macKey{k.by, k.mac.now}
}

// authentic says that a message was made with one of the keys taken.
func (k *sharedKeys) authentic(link *dialect.Link, m *iso.Message) bool {
	for _, key := range k.mac.taken {
		if link.Authentic(m, macKey{k.by, key}) == nil {
			return true
		}
	}
	return k.mac.now == nil
}

// opens says that a message's PIN block, if it has one that is looked at, has a PIN for its card
// under one of the keys taken.
func (k *sharedKeys) opens(m *iso.Message, pan []byte) bool {
	block := m.Value(52)
	if k.pin.now == nil || len(block) == 0 {
		return true
	}
	var raw [8]byte
	block = m.AppendText(raw[:0], 52)
	for _, key := range k.pin.taken {
		if _, err := algo.TranslatePIN(nil, key.Whole, algo.PINISO0, key.Whole, algo.PINISO0, block, pan); err == nil {
			return true
		}
	}
	return false
}

// NewKey sends the acquirer a new key on one of its links, for MACs or for PINs, and says what that
// was answered with. One that was not answered is sent again. Answers are made with it once
// it is acknowledged; messages may be from now on.
func (s *Simulator) NewKey(ctx context.Context, mac bool) (code string, err error) {
	s.mu.Lock()
	k := s.keys.of(mac)
	if k.sent == nil {
		err = s.makeKey(k, mac)
	}
	var on *conn
	for on = range s.conns {
		break
	}
	sent := k.sent
	s.mu.Unlock()
	switch {
	case err != nil:
		return "", fmt.Errorf("make a new key: %w", err)
	case on == nil || !on.write(sent.frame):
		return "", errors.New("send a new key: no link is up")
	}
	select {
	case code := <-sent.answered:
		return code, nil
	case <-ctx.Done():
		return "", fmt.Errorf("send a new key: %w", ctx.Err())
	}
}

// keyAsked is the message with a key that the acquirer asked for; nil: there is none to send.
// The simulator's mutex is held.
func (s *Simulator) keyAsked(mac bool) []byte {
	k := s.keys.of(mac)
	if k.sent == nil && s.makeKey(k, mac) != nil {
		return nil
	}
	return k.sent.frame
}

// makeKey makes the key that is to be sent next.
func (s *Simulator) makeKey(k *sharedKey, mac bool) error {
	if k.now == nil || s.keys.zmk == nil {
		return errors.New("there is no key to replace, or no zmk")
	}
	kind := k.now.Whole.Kind()
	text := make([]byte, kind.KeySize())
	if _, err := rand.Read(text); err != nil {
		return err
	}
	if kind.IsDES() {
		algo.OddParity(text)
	}
	key, err := algo.NewLocalMACKey(kind, text)
	if err != nil {
		return err
	}
	kcv, err := algo.CheckValue(key.Whole)
	if err == nil {
		err = s.keys.zmk.Encrypt(text, text)
	}
	if err != nil {
		return err
	}
	s.keys.stan++
	sent := &sentKey{key: &key, stan: s.keys.stan, answered: make(chan string, 1)}
	sent.frame, err = s.link.AppendNewKey(nil, &txn.NewKey{MAC: mac, SM4: kind == algo.SM4, Cryptogram: text, CheckValue: kcv[:]}, sent.stan,
		[10]byte([]byte(time.Now().Format("0102150405"))), macKey{algo.MACX99, &key}.MAC)
	if err == nil {
		k.sent = sent
		k.take(&key)
	}
	return err
}

// acknowledged takes note of the answer to a new key. The simulator's mutex is held.
func (s *Simulator) acknowledged(frame []byte, m *iso.Message) bool {
	stan, err := m.Uint(11)
	for _, k := range [...]*sharedKey{&s.keys.mac, &s.keys.pin} {
		if k.sent == nil || err != nil || uint64(k.sent.stan) != stan || m.MTI() != 0x0810 {
			continue
		}
		sent, code := k.sent, string(m.Value(39))
		switch {
		case code != "00":
			k.taken = k.taken[:len(k.taken)-1]
		case s.link.CheckNewKey(frame, macKey{algo.MACX99, sent.key}.MAC) != nil:
			code = "its answer has a wrong MAC"
		default:
			k.now = sent.key
		}
		k.sent = nil
		sent.answered <- code
		return true
	}
	return false
}

// sendKeys sends new keys every now and then.
func (s *Simulator) sendKeys(ctx context.Context) {
	if s.cfg.NewKeys == 0 {
		return
	}
	tick := time.NewTicker(s.cfg.NewKeys)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, mac := range [...]bool{true, false} {
			if mac && s.keys.by == 0 || !mac && s.cfg.PINKey == "" {
				continue
			}
			within, cancel := context.WithTimeout(ctx, answerWithin)
			s.NewKey(within, mac) // without an answer it is sent again
			cancel()
		}
	}
}

// answerWithin is how long a new key's answer is waited for.
const answerWithin = 10 * time.Second
