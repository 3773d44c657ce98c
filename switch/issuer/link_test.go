package issuer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/journal/memdisk"
	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestNoRequestGoesOutBeforeTheSignOn(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	var early atomic.Int64
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		switch {
		case m.MTI() != 0x0800:
			early.Add(1)
			c.answer(m, "00")
		case refuse.Load():
			c.answer(m, "05")
		default:
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), nil)
	eventually(t, "three refused sign-ons", func() (ok bool) { b.read(func() { ok = len(b.downs) >= 3 }); return ok })
	b.exchange(sale("10000001", 100)).want(t, txn.OutcomeNotSent, txn.IssuerIsUnavailable)
	if early.Load() != 0 {
		t.Error("a request went out on a link that was not signed on")
	}
	refuse.Store(false)
	b.up(1).exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
}

// An issuer that answers a sale (0200) as an authorization (0110) has not booked it.
func TestAuthorizationIsNoAnswerToASale(t *testing.T) {
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if !network(c, m) {
			c.answerAs(0x0110, m, "00")
		}
	})
	b := start(t, p.addr(), nil).up(1)
	b.exchange(sale("10000001", 100)).want(t, txn.OutcomeUnknown, txn.IssuerAnsweredNonsense)
	preauth := sale("10000001", 100)
	preauth.MTI = 0x0100
	b.exchange(preauth).want(t, txn.OutcomeApproved, txn.Approved)
}

// The peer is gone and no RST tells of it: only echoes find out.
func TestF42SilentPeerLosesItsLink(t *testing.T) {
	var answered atomic.Int64
	lively := listen(t, nil, func(c *peerConn, m *iso.Message) {
		network(c, m)
		answered.Add(1)
	})
	b := start(t, lively.addr(), func(cfg *issuer.Config) { cfg.EchoEvery = 20 * time.Millisecond }).up(1)
	eventually(t, "its echoes are answered", func() bool { return answered.Load() > 4 })
	b.read(func() {
		if len(b.downs) != 0 {
			t.Fatalf("a link that answers echoes was lost: %v", b.downs)
		}
	})
	silent := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if c.index > 0 || string(m.Value(70)) == "001" {
			network(c, m)
		}
	})
	b = start(t, silent.addr(), func(cfg *issuer.Config) { cfg.EchoEvery, cfg.EchoTimeout = 20*time.Millisecond, time.Second })
	eventually(t, "second connection", func() bool { return silent.conn(1) != nil })
	b.read(func() {
		if len(b.downs) == 0 || !strings.Contains(b.downs[0].Error(), "silent") {
			t.Errorf("downs %v", b.downs)
		}
	})
	b.up(1)
}

// One of two links is dead and no RST tells of it. What it has is waited for far longer
// than an echo is, so it is asked soon; meanwhile the other one has all that comes, and
// its breaker stays closed.
func TestF42LinkThatIsGoneIsAskedSoon(t *testing.T) {
	var gone atomic.Bool
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		switch {
		case c.index == 0 && gone.Load():
		case !network(c, m):
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) {
		cfg.Connections, cfg.EchoEvery, cfg.EchoTimeout = 2, time.Hour, time.Second
		cfg.Breaker = issuer.BreakerConfig{Failures: 3, OpenFor: time.Hour}
	}).up(2)
	gone.Store(true)
	began := time.Now()
	var lost atomic.Int64
	var selling sync.WaitGroup
	for range 20 {
		selling.Go(func() {
			if b.exchange(sale("10000001", 100)).outcome == txn.OutcomeUnknown {
				lost.Add(1)
			}
		})
	}
	selling.Wait()
	if took := time.Since(began); lost.Load() == 0 || took > lastResort/4 {
		t.Errorf("%d of 20 sales were lost, after %v", lost.Load(), took)
	}
	b.exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
	b.up(2)
	b.read(func() {
		if len(b.states) > 0 || len(b.downs) != 1 || !strings.Contains(b.downs[0].Error(), "silent") {
			t.Errorf("breaker %v, downs %v", b.states, b.downs)
		}
	})
}

// While a silent link is asked, what comes goes over the other one.
func TestF42DoubtedLinkIsSpared(t *testing.T) {
	asked := make(chan struct{})
	var once sync.Once
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		switch {
		case c.index == 0 && string(m.Value(70)) == "301":
			once.Do(func() { close(asked) })
		case !network(c, m):
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) { cfg.Connections, cfg.EchoEvery = 2, 500*time.Millisecond })
	<-asked
	b.up(2)
	for range 20 {
		b.exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
	}
	if n := p.conn(0).sales.Load(); n > 5 { // some, while the other one is asked, too
		t.Errorf("%d of 20 sales went over a link that is in doubt", n)
	}
}

func TestF45AnswerMayComeOverTheOtherLink(t *testing.T) {
	var p *peer
	p = listen(t, nil, func(c *peerConn, m *iso.Message) {
		if !network(c, m) {
			p.conn(1-c.index).answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) { cfg.Connections = 2 }).up(2)
	for range 10 {
		b.exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
	}
}

func TestOneLinkCarriesOnWhileTheOtherIsDown(t *testing.T) {
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if !network(c, m) {
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) {
		cfg.Connections, cfg.ReconnectMin, cfg.ReconnectMax = 2, time.Minute, time.Minute
	}).up(2)
	p.conn(0).reset()
	b.up(1)
	for range 10 {
		b.exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
	}
}

func TestGarbageEndsTheLinkAndBadMessagesDoNot(t *testing.T) {
	request, err := iso87.AppendNetwork(nil, "301", 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		bytes string
		lost  bool
	}{
		{"length over the maximum", "\xff\xff", true},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", true},
		{"not a message", "\x00\x1cthis is no ISO 8583 message!", false},
		{"a request instead of an answer", string(request), false},
		{"keep-alives", "\x00\x00\x00\x00\x00\x00", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := listen(t, nil, func(p *peerConn, m *iso.Message) {
				if !network(p, m) {
					p.answer(m, "00")
				}
			})
			b := start(t, p.addr(), nil).up(1)
			p.conn(0).Write([]byte(c.bytes))
			if c.lost {
				eventually(t, "link lost", func() (ok bool) { b.read(func() { ok = len(b.downs) == 1 }); return ok })
			}
			b.up(1).exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
			if !c.lost && p.conn(1) != nil {
				t.Error("a whole but bad message cost the link")
			}
		})
	}
}

func TestF46BusyAndCancel(t *testing.T) {
	p := listen(t, nil, func(c *peerConn, m *iso.Message) { network(c, m) })
	b := start(t, p.addr(), func(cfg *issuer.Config) { cfg.InFlightMax = 2 }).up(1)
	unknown := sale("10000001", 100)
	unknown.PAN, _ = txn.ParsePAN("5100000000000016")
	b.exchange(unknown).want(t, txn.OutcomeNotSent, txn.IssuerIsUnknown)

	req := sale("10000001", 100)
	first, _ := b.Begin(req)
	second, reason := b.Begin(req)
	if reason != txn.Approved || first.STAN == second.STAN {
		t.Fatalf("legs %+v, %+v", first, second)
	}
	if leg, reason := b.Begin(req); reason != txn.IssuerIsBusy || leg.STAN != 0 || !b.Busy(req) {
		t.Fatalf("third leg: %+v, %v", leg, reason)
	}
	refund := sale("10000001", 100)
	refund.Kind = txn.KindRefund // an advice to its issuer, whose places are others
	if leg, reason := b.Begin(refund); reason != txn.Approved || b.Busy(refund) {
		t.Fatalf("a refund beside them: %+v, %v, busy %v", leg, reason, b.Busy(refund))
	} else {
		b.Cancel(&leg)
	}
	b.Cancel(&first)
	third, reason := b.Begin(req)
	if reason != txn.Approved {
		t.Fatalf("after a cancel: %v", reason)
	}
	b.Cancel(&third)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a leg was cancelled twice")
			}
		}()
		b.Cancel(&first)
	}()
	for range 5 { // a number alone holds no place
		if leg, ok := b.Number(req); !ok || leg.STAN <= third.STAN {
			t.Fatalf("numbered %+v, %v", leg, ok)
		}
	}
	req.Deadline = time.Now().Add(-time.Second)
	var reply txn.Reply
	if outcome, reason := b.Exchange(req, &second, [12]byte{}, 0, func() {}, &reply); outcome != txn.OutcomeNotSent || reason != txn.SwitchIsOverloaded {
		t.Errorf("a request whose time was up: %v, %v", outcome, reason)
	}
}

func TestDeadlineOfTheRequestComesBeforeTheIssuersTimeout(t *testing.T) {
	p := listen(t, nil, func(c *peerConn, m *iso.Message) { network(c, m) })
	b := start(t, p.addr(), func(cfg *issuer.Config) { cfg.Timeout = time.Minute }).up(1)
	req := sale("10000001", 100)
	b.unanswered(req).want(t, txn.OutcomeUnknown, txn.IssuerDidNotAnswer)
	if late := time.Since(req.Deadline); late > lastResort/2 {
		t.Errorf("returned %v after the deadline", late)
	}
}

func TestF39Reverse(t *testing.T) {
	var codes sync.Map // STAN -> DE39
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		stan, _ := m.Uint(11)
		if code, ok := codes.Load(uint32(stan)); ok && !network(c, m) {
			c.answer(m, code.(string))
		} else {
			network(c, m)
		}
	})
	b := start(t, p.addr(), nil).up(1)
	hasty := start(t, p.addr(), func(cfg *issuer.Config) { cfg.Timeout = 100 * time.Millisecond }).up(1)
	rec := result{leg: txn.Leg{Issuer: txn.MakeIssuerID("icbc"), Time: [10]byte{'1', '1', '2', '2', '0', '0', '0', '0', '0', '0'}}}.record(sale("10000001", 100))
	for i, c := range []struct {
		code string
		ok   bool
	}{{"00", true}, {"25", true}, {"11", true}, {"A2", true}, {"A6", true}, {"10", false}, {"A3", false}, {"96", false}, {"30", false}, {"", false}} {
		rec.Leg.STAN = uint32(i + 1)
		at := hasty
		if c.code != "" {
			codes.Store(rec.Leg.STAN, c.code)
			at = b
		}
		ok, code, err := at.reverse(rec, 0)
		again := c.code == "" || c.code == "96" // told again it may be taken
		if ok != c.ok || (err != nil) != again || err == nil && code != c.code {
			t.Errorf("answer %q: %v, %q, %v", c.code, ok, code, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if ok, _, err := b.Reverse(ctx, rec, []byte(card), 1); ok || err == nil {
		t.Error("acknowledged without an answer")
	}
	rec.Leg.Issuer = txn.MakeIssuerID("gone")
	if _, _, err := b.reverse(rec, 0); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("an issuer that is not configured: %v", err)
	}
}

func TestDrain(t *testing.T) {
	release := make(chan struct{})
	var signedOff atomic.Bool
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if string(m.Value(70)) == "002" {
			signedOff.Store(true)
		}
		if !network(c, m) {
			go func() { <-release; c.answer(m, "00") }()
		}
	})
	r, err := issuer.New([]issuer.Config{{Name: "icbc", Hosts: issuer.Hosts{p.addr()}, BINs: []string{"6"}}}, codecs, nil, issuer.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	b := (&bench{Router: r, t: t}).up(1)
	got := make(chan result, 1)
	go func() { got <- b.exchange(sale("10000001", 100)) }()
	eventually(t, "in flight", func() bool { return r.Status()[0].InFlight == 1 })
	cancel()
	eventually(t, "refusing", func() bool {
		leg, reason := b.Begin(sale("10000001", 100))
		if reason == txn.Approved {
			b.Cancel(&leg)
		}
		return reason == txn.IssuerIsUnavailable
	})
	select {
	case <-ended:
		t.Fatal("ended with a request in flight")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	(<-got).want(t, txn.OutcomeApproved, txn.Approved)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !signedOff.Load() {
		t.Error("left without signing off")
	}
}

func TestTLS(t *testing.T) {
	ca, pair := certificate(t)
	p := listen(t, &tls.Config{Certificates: []tls.Certificate{pair}}, func(c *peerConn, m *iso.Message) {
		if !network(c, m) {
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) { cfg.TLS = &certs.Client{CA: ca} }).up(1)
	b.exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)

	other, _ := certificate(t)
	b = start(t, p.addr(), func(cfg *issuer.Config) { cfg.TLS = &certs.Client{CA: other} })
	var unknown x509.UnknownAuthorityError
	eventually(t, "refused certificate", func() (ok bool) {
		b.read(func() { ok = len(b.downs) > 0 && errors.As(b.downs[0], &unknown) })
		return ok
	})
}

// certificate is a new self-signed one for 127.0.0.1, as a CA file and as a pair.
func certificate(t *testing.T) (file string, pair tls.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// An authority is changed for the next: the links that stand stay, new ones are made
// with it, a wrong file changes nothing, and what ends first is known.
func TestF86CertificatesAreReloaded(t *testing.T) {
	ca, pair := certificate(t)
	next, follows := certificate(t)
	var shown atomic.Pointer[tls.Certificate]
	shown.Store(&pair)
	p := listen(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil }}, func(c *peerConn, m *iso.Message) {
		if !network(c, m) {
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) { cfg.TLS = &certs.Client{CA: ca} }).up(1)
	sells := func() {
		t.Helper()
		b.exchange(sale("10000001", 100)).want(t, txn.OutcomeApproved, txn.Approved)
	}
	sells()
	if left := time.Until(b.Status()[0].CertificateEnds); left < 50*time.Minute || left > time.Hour {
		t.Errorf("the certificate ends in %v", left)
	}
	for _, file := range []string{"no certificate", ""} {
		if err := os.WriteFile(ca, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := b.ReloadTLS(); err == nil || !strings.Contains(err.Error(), "icbc") {
			t.Errorf("%q is taken for an authority: %v", file, err)
		}
	}
	p.conn(0).Close()
	eventually(t, "a link by the old authority", func() bool { return p.conn(1) != nil })
	b.up(1)
	sells()
	text, err := os.ReadFile(next)
	if err == nil {
		err = os.WriteFile(ca, text, 0o600)
	}
	if err == nil {
		err = b.ReloadTLS()
	}
	if err != nil {
		t.Fatal(err)
	}
	sells()
	if p.conn(2) != nil {
		t.Error("a reload made a new link")
	}
	shown.Store(&follows)
	p.conn(1).Close()
	eventually(t, "a link by the new authority", func() bool { return p.conn(2) != nil })
	b.up(1)
	sells()
}

// What opens the breaker, and what passes an open one.
func TestF43Breaker(t *testing.T) {
	for _, c := range []struct {
		name string
		rule simulator.Rule
		open bool
	}{
		{"no answer", simulator.Rule{Kind: "sale", Drop: true}, true},
		{"none in the little time that was left", simulator.Rule{Kind: "sale", Drop: true}, false},
		{"issuer inoperative", simulator.Rule{Kind: "sale", Code: "91"}, true},
		{"issuer malfunction", simulator.Rule{Kind: "sale", Code: "96"}, true},
		{"decline", simulator.Rule{Kind: "sale", Code: "05"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, simulator.Config{Rules: []simulator.Rule{c.rule}})
			left, timeout := time.Minute, lastResort/2
			switch {
			case c.rule.Drop && c.open:
				left, timeout = 450*time.Millisecond, 500*time.Millisecond
			case c.rule.Drop:
				left = 100 * time.Millisecond
			}
			b := start(t, sim.Addr(), func(cfg *issuer.Config) {
				cfg.Timeout, cfg.Breaker = timeout, issuer.BreakerConfig{Failures: 3, OpenFor: time.Minute}
			}).up(1)
			var last result
			// What was held up here until it had little time left is not the issuer's failure.
			for n := 0; n < 3 || n < 30 && c.rule.Drop && c.open && b.Status()[0].Breaker != "open"; n++ {
				req := sale("10000001", 100)
				req.Deadline = time.Now().Add(left)
				last = b.exchange(req)
			}
			if open := b.Status()[0].Breaker == "open"; open != c.open {
				t.Fatalf("breaker is %s", b.Status()[0].Breaker)
			}
			if reason := b.unanswered(sale("10000001", 100)).reason; (reason == txn.IssuerIsUnavailable) != c.open {
				t.Errorf("next request: %v", reason)
			}
			attempt := 0
			eventually(t, "a reversal at an open breaker", func() bool {
				attempt++
				ok, _, _ := b.reverse(last.record(sale("10000001", 100)), attempt-1)
				return ok
			})
		})
	}
}

func TestF44BreakerAsksWithAnEchoFirst(t *testing.T) {
	var deaf, sick atomic.Bool
	var sales atomic.Int64
	sick.Store(true)
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		switch {
		case string(m.Value(70)) == "301" && deaf.Load():
		case network(c, m):
		case sick.Load():
			sales.Add(1)
			c.answer(m, "96")
		default:
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) {
		cfg.EchoTimeout = 30 * time.Millisecond
		cfg.Breaker = issuer.BreakerConfig{Failures: 3, OpenFor: 20 * time.Millisecond, Probes: 2}
	}).up(1)
	deaf.Store(true)
	eventually(t, "it opens", func() bool { // a link that is held up for long is silent, and made anew
		b.exchange(sale("10000001", 100))
		return b.Status()[0].Breaker != "closed"
	})
	before := sales.Load()
	eventually(t, "half-open", func() bool { return b.Status()[0].Breaker == "half-open" })
	for range 20 {
		b.exchange(sale("10000001", 100)).want(t, txn.OutcomeNotSent, txn.IssuerIsUnavailable)
		time.Sleep(5 * time.Millisecond)
	}
	if n := sales.Load() - before; n != 0 {
		t.Fatalf("%d requests reached a sick issuer before an echo did", n)
	}
	// The echo is answered, but the probe finds the issuer still sick.
	deaf.Store(false)
	eventually(t, "a failing probe", func() bool { return b.exchange(sale("10000001", 100)).outcome == txn.OutcomeDeclined })
	sick.Store(false)
	eventually(t, "closed", func() bool { b.exchange(sale("10000001", 100)); return b.Status()[0].Breaker == "closed" })
	b.read(func() {
		if want := []string{"open", "half-open", "open", "half-open", "closed"}; !slices.Equal(b.states, want) {
			t.Errorf("states %v, want %v", b.states, want)
		}
	})
}

// The loss of a link is one failure of its issuer, however much it had; none where
// another one stands.
func TestF43LostLinkAndTheBreaker(t *testing.T) {
	for links, open := range map[int]bool{1: true, 2: false} {
		p := listen(t, nil, func(c *peerConn, m *iso.Message) { network(c, m) })
		b := start(t, p.addr(), func(cfg *issuer.Config) {
			cfg.Connections, cfg.Breaker = links, issuer.BreakerConfig{Failures: 2, OpenFor: time.Hour}
		})
		var selling sync.WaitGroup
		var ended atomic.Int64 // and have told the breaker
		for lost := range 2 {
			at := lost * links // the link that is made anew is the last connection
			b.up(links)
			for range 8 * links {
				selling.Go(func() { b.exchange(sale("10000001", 100)); ended.Add(1) })
			}
			eventually(t, "all are sent", func() bool {
				sent := int64(0)
				for i := 0; p.conn(i) != nil; i++ {
					sent += p.conn(i).sales.Load()
				}
				return sent == int64(8*links*(lost+1))
			})
			lose := ended.Load() + p.conn(at).sales.Load()
			p.conn(at).reset()
			eventually(t, "those of the link have ended", func() bool { return ended.Load() == lose })
			if state := b.Status()[0].Breaker; (state == "open") != (open && lost == 1) {
				t.Errorf("one of %d links is lost for the %d. time: the breaker is %s", links, lost+1, state)
			}
		}
		for i := range 2 * links {
			if c := p.conn(i); c != nil {
				c.reset()
			}
		}
		selling.Wait()
	}
}

// An issuer that takes no echoes comes back, too.
func TestF44BreakerWithoutEchoes(t *testing.T) {
	var sick atomic.Bool
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		switch {
		case string(m.Value(70)) == "301":
			t.Error("an echo was sent")
		case network(c, m):
		case sick.Load():
			c.answer(m, "96")
		default:
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) {
		cfg.EchoEvery = -1
		cfg.Breaker = issuer.BreakerConfig{Failures: 3, OpenFor: 20 * time.Millisecond, Probes: 2}
	}).up(1)
	sick.Store(true)
	for range 3 {
		b.exchange(sale("10000001", 100))
	}
	sick.Store(false)
	eventually(t, "closed", func() bool { b.exchange(sale("10000001", 100)); return b.Status()[0].Breaker == "closed" })
}

func TestF41ResetsUnderLoadLoseNothing(t *testing.T) {
	sim := simulate(t, simulator.Config{Seed: 7, Rules: []simulator.Rule{
		{Kind: "sale", Percent: 2, Disconnect: true},
		{Kind: "sale", Percent: 2, Drop: true},
		{Kind: "sale", Percent: 2, Lose: true},
		{Kind: "sale", Percent: 5, Latency: simulator.Latency{Fixed: 120 * time.Millisecond}},
		{Kind: "sale", Percent: 5, Copies: 3},
		{Kind: "sale", Percent: 10, Code: "51"},
	}})
	b := start(t, sim.Addr(), func(cfg *issuer.Config) {
		cfg.Connections, cfg.Timeout = 2, 100*time.Millisecond
		cfg.Breaker = issuer.BreakerConfig{Failures: 1 << 30, RequestsMin: 1 << 30}
	}).up(2)
	var mu sync.Mutex
	approved := map[txn.Leg]bool{}
	reversed := map[txn.Leg]bool{}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 60 {
				req := sale("10000001", 100)
				r := b.exchange(req)
				switch r.outcome {
				case txn.OutcomeApproved:
					mu.Lock()
					approved[r.leg] = true
					mu.Unlock()
				case txn.OutcomeUnknown:
					for attempt := 0; ; attempt++ {
						if ok, _, _ := b.reverse(r.record(req), attempt); ok {
							break
						}
						time.Sleep(time.Millisecond)
					}
					mu.Lock()
					reversed[r.leg] = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	entries, err := sim.Book()
	if err != nil {
		t.Fatal(err)
	}
	standing := map[txn.Leg]bool{}
	for _, e := range entries {
		leg := txn.Leg{Issuer: txn.MakeIssuerID("icbc"), STAN: e.STAN}
		copy(leg.Time[:], e.Time)
		switch e.Kind {
		case simulator.Approved:
			standing[leg] = true
		case simulator.Reversed:
			delete(standing, leg)
			fallthrough
		case simulator.Unknown:
			if !reversed[leg] {
				t.Errorf("the issuer reversed %+v, which nobody asked for", leg)
			}
		}
	}
	for leg := range standing {
		if !approved[leg] {
			t.Errorf("the issuer holds an approval of %+v, we do not", leg)
		}
	}
	if len(standing) != len(approved) || len(approved) == 0 || len(reversed) == 0 {
		t.Errorf("issuer %d approvals, we %d; %d reversed", len(standing), len(approved), len(reversed))
	}
}

// An offline sale is numbered while its issuer is away: what has happened is
// recorded and told of later, and an online sale is refused at once.
func TestF41AdvicesAreNumberedWhileTheIssuerIsAway(t *testing.T) {
	b := start(t, "127.0.0.1:1", nil) // nobody listens
	b.exchange(sale("10000001", 100)).want(t, txn.OutcomeNotSent, txn.IssuerIsUnavailable)
	offline := sale("10000001", 100)
	offline.Kind = txn.KindOfflineSale
	if r := b.exchange(offline).want(t, txn.OutcomeNotSent, txn.IssuerIsUnavailable); r.leg.STAN == 0 {
		t.Error("it has no number to be told under")
	}
}

// A frame leaves when its intent is on stable storage and not before, and never
// if it will not be.
func TestFrameWaitsForItsIntent(t *testing.T) {
	for _, durable := range []bool{true, false} {
		var asked atomic.Int64
		p := listen(t, nil, func(c *peerConn, m *iso.Message) {
			if !network(c, m) {
				asked.Add(1)
				c.answer(m, "00")
			}
		})
		j, err := journal.Open("journal", journal.Config{Disk: memdisk.New()})
		if err != nil {
			t.Fatal(err)
		}
		b := startOn(t, j, p.addr(), nil).up(1)
		intent, err := j.Queue([]byte("intent")) // on its way: the journal does not run yet
		if err != nil {
			t.Fatal(err)
		}
		req := sale("10000001", 100)
		leg, reason := b.Begin(req)
		if reason != txn.Approved {
			t.Fatal(reason)
		}
		ended := make(chan result)
		go func() {
			var r result
			r.outcome, r.reason = b.Exchange(req, &leg, [12]byte{}, intent, func() {}, &r.reply)
			ended <- r
		}()
		time.Sleep(20 * time.Millisecond)
		if asked.Load() != 0 {
			t.Fatal("a request reached the issuer before its intent was durable")
		}
		if durable {
			before := time.Since(req.Received)
			run(t, j.Run)
			(<-ended).want(t, txn.OutcomeApproved, txn.Approved)
			if at := req.Trace[txn.StageIntent]; at < before || at > time.Minute {
				t.Errorf("the intent was durable after %v, which nothing was for %v", at, before)
			}
			continue
		}
		j.Close()
		(<-ended).want(t, txn.OutcomeUnknown, txn.IssuerDidNotAnswer)
		if asked.Load() != 0 {
			t.Error("a request without an intent reached the issuer")
		}
	}
}

// Who waits for an answer is not told that time is up while the frame has not
// left: its reversal could go out on another link, and be before it at the issuer.
func TestF34TimeIsNotUpBeforeTheFrameLeft(t *testing.T) {
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if !network(c, m) {
			c.answer(m, "00")
		}
	})
	j, err := journal.Open("journal", journal.Config{Disk: memdisk.New()})
	if err != nil {
		t.Fatal(err)
	}
	b := startOn(t, j, p.addr(), func(cfg *issuer.Config) { cfg.Connections, cfg.Timeout = 2, 20*time.Millisecond }).up(2)
	intent, err := j.Queue([]byte("intent")) // the journal does not run yet
	if err != nil {
		t.Fatal(err)
	}
	req := sale("10000001", 100)
	leg, reason := b.Begin(req)
	if reason != txn.Approved {
		t.Fatal(reason)
	}
	ended := make(chan result, 1)
	go func() {
		var r result
		r.outcome, r.reason = b.Exchange(req, &leg, [12]byte{}, intent, func() {}, &r.reply)
		ended <- r
	}()
	select {
	case r := <-ended:
		t.Errorf("%v while the frame waits", r.outcome)
		ended <- r
	case <-time.After(100 * time.Millisecond):
	}
	run(t, j.Run)
	if r := <-ended; r.outcome != txn.OutcomeApproved && r.outcome != txn.OutcomeUnknown {
		t.Errorf("%v after it left", r.outcome)
	}
}

// clumsy panics instead of spelling the messages of one amount.
type clumsy struct {
	issuer.Codec
	amount int64
}

func (c clumsy) AppendRequest(dst []byte, req *txn.Request, leg *txn.Leg, rrn [12]byte) ([]byte, error) {
	if req.Amount.Minor == c.amount {
		panic("a bug of the codec, about " + card)
	}
	return c.Codec.AppendRequest(dst, req, leg, rrn)
}

func (c clumsy) AppendReversal(dst []byte, rec *txn.Record, pan []byte, mti uint16) ([]byte, error) {
	if rec.Amount.Minor == c.amount {
		panic("a bug of the codec, about " + card)
	}
	return c.Codec.AppendReversal(dst, rec, pan, mti)
}

func (c clumsy) ReadReply(frame []byte, head *txn.ReplyHead, reply *txn.Reply) error {
	err := c.Codec.ReadReply(frame, head, reply)
	if head.Amount.Minor == c.amount+1 {
		panic("a bug of the codec, about " + card)
	}
	return err
}

// A message that a bug cannot spell was not sent, and holds nothing: no place, no
// lock of the link. One that it cannot read is as one that never came.
func TestF82PanicOfACodec(t *testing.T) {
	sim := simulate(t, simulator.Config{})
	var said []error
	r, err := issuer.New([]issuer.Config{{Name: "icbc", Hosts: issuer.Hosts{sim.Addr()}, BINs: []string{"622202"}, InFlightMax: 2, Timeout: lastResort / 2}},
		func(*issuer.Config) (issuer.Codec, error) { return clumsy{iso87, 666}, nil }, nil, issuer.Hooks{Malformed: func(_ string, err error) { said = append(said, err) }})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, Router: r}
	run(t, r.Run)
	b.up(1)
	for range 5 {
		req := sale("10000001", 666)
		got := b.exchange(req).want(t, txn.OutcomeNotSent, txn.SwitchFailed)
		if ok, _, err := b.reverse(got.record(req), 0); ok || err == nil {
			t.Errorf("its reversal: %v, %v", ok, err)
		}
		b.exchange(sale("10000001", 1)).want(t, txn.OutcomeApproved, txn.Approved)
	}
	b.unanswered(sale("10000001", 667)).want(t, txn.OutcomeUnknown, txn.IssuerDidNotAnswer)
	b.exchange(sale("10000001", 1)).want(t, txn.OutcomeApproved, txn.Approved)
	if n, s := b.InFlight(), b.Status()[0]; n != 0 || s.Breaker != "closed" {
		t.Errorf("%d in flight, %+v", n, s)
	}
	if text := errors.Join(said...).Error(); strings.Contains(text, card) || !strings.Contains(text, "AppendRequest") {
		t.Errorf("it is told as %s", text)
	}
}
