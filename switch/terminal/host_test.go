package terminal

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
)

// startHost is a peer that keeps keys under the published TMK, and a terminal
// with it that has not signed on.
func startHost(t testing.TB, change func(*Profile), o Options) (*terminaltest.Peer, *Client) {
	t.Helper()
	p := terminaltest.Start(t, "cup-pos")
	p.Host = &terminaltest.Host{TMK: unhex(t, publishedTMK), Signed: map[string]int{}}
	return p, dialHost(t, p, change, o)
}

func dialHost(t testing.TB, p *terminaltest.Peer, change func(*Profile), o Options) *Client {
	t.Helper()
	profile := testProfile
	profile.TMK = unhex(t, publishedTMK)
	if change != nil {
		change(&profile)
	}
	c, err := Dial(t.Context(), p.Addr, "cup-pos", profile, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	impatient(c, p)
	return c
}

// mustSignOn signs on and empties the peer's memory of what came.
func mustSignOn(t testing.TB, p *terminaltest.Peer, c *Client) {
	t.Helper()
	if a, err := c.SignOn(t.Context()); err != nil || !a.Approved() {
		t.Fatalf("sign-on: %+v, %v", a, err)
	}
	p.Came()
}
