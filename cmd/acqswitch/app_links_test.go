package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An outage is said when it begins, at its first try and at every tenth, and how long
// it was when it ends; that of another link is another.
func TestLinksAreSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		l := newLinkLog(slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}})))
		l.won("east", 0)
		for n := range 25 {
			l.lost("east", 0, fmt.Errorf("failure %d", n))
			time.Sleep(time.Second)
		}
		l.lost("east", 1, errors.New("other"))
		l.won("east", 0)
		l.lost("east", 0, errors.New("again"))
		const want = `msg="issuer link is up" issuer=east link=0
msg="issuer link is down" issuer=east link=0 for=0s error="failure 0"
msg="issuer link is down" issuer=east link=0 for=1s error="failure 1"
msg="issuer link is down" issuer=east link=0 for=9s error="failure 9"
msg="issuer link is down" issuer=east link=0 for=19s error="failure 19"
msg="issuer link is down" issuer=east link=1 for=0s error=other
msg="issuer link is up" issuer=east link=0 after=25s
msg="issuer link is down" issuer=east link=0 for=0s error=again
`
		if said.String() != want {
			t.Errorf("said\n%swant\n%s", &said, want)
		}
	})
}
