package terminal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Whatever the switch can answer has a meaning.
func TestEveryAnswerHasAMeaning(t *testing.T) {
	for _, name := range []string{"cup-pos", "iso87"} {
		p := terminaltest.Start(t, name)
		var number uint8
		p.SetAnswers(func(req *txn.Request, answer []byte) []byte { number = uint8(req.Dialect); return answer })
		c := dialPeer(t, p, Options{})
		if _, err := c.Balance(t.Context(), testCard(t)); err != nil {
			t.Fatal(err)
		}
		for r := txn.Reason(0); int(r) < txn.Reasons; r++ {
			for issuers := range 100 {
				code := dialect.Code(number, r, [2]byte([]byte(fmt.Sprintf("%02d", issuers))))
				if Meaning(string(code[:])) == "" {
					t.Errorf("%s: %s, issuer's %02d: code %s has no meaning", name, r, issuers, code)
				}
			}
		}
	}
}

// An echo of CUP POS has no trace number, and its error none either.
func TestEchoIsNotNumbered(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	p.SetAnswers(func(*txn.Request, []byte) []byte { return nil })
	c, err := Dial(t.Context(), p.Addr, "cup-pos", testProfile, Options{Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Echo(context.Background()); !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
	_, err = dialPeer(t, p, Options{}).Echo(context.Background())
	if err == nil || !strings.HasPrefix(err.Error(), "echo of terminal 10000001: wait for answer") {
		t.Error(err)
	}
}
