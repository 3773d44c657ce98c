package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An outage is said when it begins, at its first two tries and at every eleventh
// failure, and how long it was when it ends; that of another link is another.
func TestLinksAreSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		l := newLinkLog(slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}})))
		l.won("east", 0, "a:1")
		for n := range 25 {
			l.lost("east", 0, fmt.Errorf("failure %d", n))
			time.Sleep(time.Second)
		}
		l.lost("east", 1, errors.New("other"))
		l.won("east", 0, "a:1")
		l.lost("east", 0, errors.New("again"))
		const want = `msg="issuer link is up" issuer=east link=0 host=a:1
msg="issuer link is down" issuer=east link=0 for=0s error="failure 0"
msg="issuer link is down" issuer=east link=0 for=1s error="failure 1"
msg="issuer link is down" issuer=east link=0 for=2s error="failure 2"
msg="issuer link is down" issuer=east link=0 for=10s error="failure 10"
msg="issuer link is down" issuer=east link=0 for=21s error="failure 21"
msg="issuer link is down" issuer=east link=1 for=0s error=other
msg="issuer link is up" issuer=east link=0 host=a:1 after=25s
msg="issuer link is down" issuer=east link=0 for=0s error=again
`
		if said.String() != want {
			t.Errorf("said\n%swant\n%s", &said, want)
		}
	})
}

// An issuer that says what nobody asked for, without end, fills neither the log nor the
// journal.
func TestF24IssuerThatFloods(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const each = 20_000
	flooded := make(chan int)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := receive(conn); err != nil { // its sign-on
			return
		}
		answer := []byte("0210" + "0020000002000000" + "000001" + "00")
		text := append([]byte{0, byte(len(answer))}, answer...)
		n, _ := conn.Write(bytes.Repeat(text, each))
		flooded <- n
		io.Copy(io.Discard, conn)
	}()
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	write(t, s.dir, "acqswitch.yaml", strings.Replace(read(t, s.dir+"/acqswitch.yaml"), s.issuer, l.Addr().String(), 1))
	server := start(t, s.dir, "serve", "--config", "acqswitch.yaml")
	if n := <-flooded; n == 0 {
		t.Fatal("nothing was said")
	}
	s.until("it is said", func() bool { return strings.Contains(read(t, server.log), "answers no request") })
	time.Sleep(time.Second)
	if code := server.stop(os.Interrupt); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if lines := strings.Count(read(t, server.log), "answers no request"); lines == 0 || lines > 10*linesPerSecond {
		t.Errorf("%d lines of log", lines)
	}
	if late := strings.Count(s.cli("journal", "dump", "--config", "acqswitch.yaml").out, "late"); late == 0 || late > 2500 {
		t.Errorf("%d late answers are in the journal", late)
	}
}
