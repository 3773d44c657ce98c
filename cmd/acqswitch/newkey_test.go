package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// An issuer changes its keys again and again while terminals sell: nothing is lost, MACs and
// PINs are made with the new ones, and a key whose answer was lost with the switch is answered when it
// comes again. What is no key of the issuer's changes nothing.
func TestF47IssuerSendsKeys(t *testing.T) {
	t.Parallel()
	for _, links := range []struct{ dialect, mac, unproved string }{{"cups", "x9.9", "A0"}, {"iso87", "x9.19", "63"}} {
		t.Run(links.dialect, func(t *testing.T) {
			t.Parallel()
			zmk, _ := testKey(t, algo.TDES2, 0x31)
			zpk, _ := testKey(t, algo.TDES2, 0x42)
			zak, _ := testKey(t, algo.TDES2, 0x53)
			dir := t.TempDir()
			bank, _ := startBank(t, simulator.Config{Dialect: links.dialect, MAC: links.mac, MACKey: fmt.Sprintf("%X", zak), PINKey: fmt.Sprintf("%X", zpk),
				ZMK: fmt.Sprintf("%X", zmk), Book: filepath.Join(dir, "issuer.book"), Rules: []simulator.Rule{{Latency: simulator.Latency{Fixed: 20 * time.Millisecond}}}})
			link := newCable(t, bank.Addr())
			s := newKeyedStack(t, dir, link.addr(), fmt.Sprintf("timeout: 15s, dialect: %s, mac: %s", links.dialect, links.mac))
			for word, key := range map[string][]byte{"zmk": zmk, "zak": zak, "issuer": zpk} {
				acqswitch(t, dir, nil, components(t, algo.TDES2, key), "keys", "load-"+word, "east").check(t, exitOK, "", "")
			}
			s.start()

			stan := new(atomic.Uint32)
			sellWithPIN := func(when string) {
				t.Helper()
				if r := s.sellWithPIN(stan.Add(1)); r.code != exitOK {
					t.Errorf("%s: a sale with a PIN: %s%s", when, r.out, r.errs)
				}
			}
			sell := func() error {
				frame := renumbered(t, with(t, with(t, with(t, with(t, frame(t, "cup-03"), 26, ""), 52, ""), 53, ""), 22, "052"), stan.Add(1))
				conn, err := net.Dial("tcp", s.cup)
				if err != nil {
					return err
				}
				defer conn.Close()
				conn.Write(frame)
				answer, err := receive(conn)
				if err != nil {
					return err
				}
				var m iso.Message
				if err := cupCodec.Parse(&m, answer); err != nil || string(m.Value(39)) != "00" {
					return fmt.Errorf("it is answered %q, %v", m.Value(39), err)
				}
				return nil
			}
			send := func(what string, mac bool, within time.Duration) string {
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				code, err := bank.NewKey(ctx, mac)
				if err != nil {
					t.Logf("%s: %v", what, err)
				}
				return code
			}
			sellWithPIN("before")

			var selling sync.WaitGroup
			stop, sold := make(chan struct{}), new(atomic.Int32)
			for range 3 {
				selling.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if err := sell(); err != nil {
							t.Errorf("a sale while keys change: %v", err)
							return
						}
						sold.Add(1)
					}
				})
			}
			for i := range 6 { // more than the bank takes at a time
				for _, mac := range []bool{true, false} {
					if code := send(fmt.Sprint(i), mac, binaryWait); code != "00" {
						t.Errorf("key %d, mac=%v, was answered %q", i, mac, code)
					}
				}
				before := sold.Load()
				s.until("there are sales between", func() bool { return sold.Load() > before+3 || t.Failed() })
			}
			close(stop)
			selling.Wait()
			sellWithPIN("under the new keys")
			list := s.cli("keys", "list").out
			if !strings.Contains(read(t, s.server.log), `"msg":"an issuer sent a key: it is in force","owner":"issuer east","purpose":"ZAK"`) {
				t.Error("the log does not say so")
			}

			link.set(func(c *cable, from, to net.Conn, chunk []byte) bool { // the answer is lost
				if bytes.Contains(chunk, []byte("0810")) {
					return true
				}
				return sound(c, from, to, chunk)
			})
			var lost sync.WaitGroup
			lost.Go(func() { send("lost", true, 2*time.Second) })
			s.until("the key is in force", func() bool { return s.cli("keys", "list").out != list })
			s.server.stop(syscall.SIGKILL)
			link.set(sound)
			s.start()
			if err := sell(); err != nil { // the bank still signs with the key before
				t.Errorf("after the kill: %v", err)
			}
			list = s.cli("keys", "list").out
			lost.Wait() // or it would hear the answer
			s.until("the key is answered when it comes again", func() bool { return send("again", true, binaryWait) == "00" })
			if s.cli("keys", "list").out != list {
				t.Error("the key that came again is another")
			}
			if err := sell(); err != nil {
				t.Errorf("after that: %v", err)
			}
			sellWithPIN("after that")

			acqswitch(t, dir, nil, components(t, algo.TDES2, zak), "keys", "load-zmk", "east").check(t, exitOK, "", "")
			list = s.cli("keys", "list").out
			for _, mac := range []bool{true, false} {
				if code := send("under another ZMK", mac, binaryWait); code != links.unproved {
					t.Errorf("a key under another ZMK was answered %q, want %q", code, links.unproved)
				}
			}
			if s.cli("keys", "list").out != list {
				t.Error("a key under another ZMK is in force")
			}
			sellWithPIN("at the end")
			if r := s.verify(); r.OpenRequests != 0 || r.OpenReversals != 0 || len(r.Breaks) != 0 {
				t.Errorf("%+v", r)
			}
			if n, m := s.booked(simulator.Reversed), s.booked(simulator.Approved); n != 0 || m < int(sold.Load()) {
				t.Errorf("%d are reversed and %d booked of %d", n, m, sold.Load())
			}
		})
	}
}

// A switch that has nothing but the ZMK asks the issuer for its keys, and sells with MACs and PINs.
// When the issuer comes back with other keys it is asked for those, and what was in doubt is undone.
func TestKeysAreAskedFor(t *testing.T) {
	t.Parallel()
	for _, links := range []struct{ dialect, mac string }{{"cups", "x9.9"}, {"iso87", "x9.19"}} {
		t.Run(links.dialect, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			hexKey := func(seed byte) string {
				key, _ := testKey(t, algo.TDES2, seed)
				return fmt.Sprintf("%X", key)
			}
			cfg := simulator.Config{Dialect: links.dialect, MAC: links.mac, MACKey: hexKey(0x53), PINKey: hexKey(0x42), ZMK: hexKey(0x31), Book: filepath.Join(dir, "issuer.book")}
			bank, end := startBank(t, cfg)
			cfg.Listen = bank.Addr()
			s := newKeyedStack(t, dir, cfg.Listen, fmt.Sprintf("timeout: 3s, echo_timeout: 10s, dialect: %s, mac: %s, ask_keys: [zak, zpk]", links.dialect, links.mac))
			s.cli("serve", "--check").check(t, exitUsage, "", `issuer "east" has ask_keys: ZMK of issuer east: there is no such key; load one with acqswitch keys load-zmk east`)
			zmk, _ := testKey(t, algo.TDES2, 0x31)
			acqswitch(t, dir, nil, components(t, algo.TDES2, zmk), "keys", "load-zmk", "east").check(t, exitOK, "", "")
			if r := s.cli("serve", "--check"); r.code != exitOK || strings.Contains(r.out+r.errs, "PIN key") {
				t.Errorf("with the ZMK alone: %s%s", r.out, r.errs)
			}
			s.start()
			if r := s.sellWithPIN(1); r.code != exitOK {
				t.Fatalf("a sale with MAC and PIN: %s%s", r.out, r.errs)
			}

			list := s.cli("keys", "list").out
			s.cli("keys", "ask", "east").check(t, exitOK, "issuer east sends a new zak and zpk", "")
			s.until("both are others", func() bool {
				now := s.cli("keys", "list").out
				return changedLines(list, now) == 2
			})
			if r := s.sellWithPIN(2); r.code != exitOK {
				t.Errorf("a sale with new keys that were asked for: %s%s", r.out, r.errs)
			}
			s.cli("keys", "ask", "west").check(t, exitFailed, "", "issuer west has no ask_keys in the configuration")

			cfg.MACKey, cfg.PINKey = hexKey(0x64), hexKey(0x75)
			end()
			bank, _ = startBank(t, cfg)
			stan := uint32(2)
			s.until("a sale has the new ones", func() bool { stan++; return s.sellWithPIN(stan).code == exitOK })
			s.until("nothing is owed", func() bool { return s.verify().OpenReversals == 0 })
			if n := bank.Figures().Forged.Load(); n == 0 {
				t.Error("the bank has found no MAC wrong")
			}
			s.server.stop(syscall.SIGTERM)
			s.cli("keys", "ask", "east").check(t, exitUnreachable, "", "no switch serves data")
		})
	}
}

// changedLines counts the lines of two texts as long as each other that differ.
func changedLines(a, b string) (n int) {
	other := strings.Split(b, "\n")
	for i, line := range strings.Split(a, "\n") {
		if i >= len(other) || line != other[i] {
			n++
		}
	}
	return n
}

// startBank runs a simulated issuer until the test or end ends it.
func startBank(t *testing.T, cfg simulator.Config) (bank *simulator.Simulator, end func()) {
	t.Helper()
	bank, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- bank.Run(ctx) }()
	end = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(end)
	return bank, end
}

// newKeyedStack is a switch in dir, not yet started, with the issuer east and a terminal
// 10000002 that has a master key.
func newKeyedStack(t *testing.T, dir, address, issuer string) *stack {
	t.Helper()
	s := &stack{t: t, dir: dir, issuer: address}
	write(t, dir, "merchants.yaml", registryText+strings.NewReplacer("10000001", "10000002", "SN1", "SN2", "mac: none", "mac: cup-ecb").Replace(
		registryText[strings.LastIndex(registryText, "      - {"):]))
	write(t, dir, "acqswitch.yaml", fmt.Sprintf(`
answer_within: 20s
terminals: {drain_within: 30s, listeners: [{address: "127.0.0.1:0", dialect: cup-pos}, {address: "127.0.0.1:0", dialect: iso87}]}
reversals: {retry: 20ms, retry_max: 100ms}
admin: {address: "127.0.0.1:0"}
issuers:
  - {name: east, address: %q, bins: ["62"], reconnect_max: 100ms, utc_offset: 8h, %s}
`, address, issuer))
	s.cli("registry", "import", "merchants.yaml").check(t, exitOK, "", "")
	acqswitch(t, dir, nil, testTMKComponents, "keys", "load-terminal", "10000002").check(t, exitOK, "", "")
	return s
}

// sellWithPIN is a sale with a PIN at terminal 10000002.
func (s *stack) sellWithPIN(stan uint32) result {
	return acqswitch(s.t, s.dir, []string{tmkVariable + "=" + testTMK, pinVariable + "=1234"}, "", "terminal", "sale", "--addr", s.cup, "--terminal", "10000002",
		"--merchant", "999290054110001", "--amount", "12.50", "--card", testPAN, "--stan", fmt.Sprint(stan))
}
