package simulator

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
)

const card = "6222021234567890128"

// client is an acquirer's end of one connection.
type client struct {
	t     testing.TB
	conn  net.Conn
	br    *bufio.Reader
	link  *dialect.Link
	codec *iso.Codec
	key   dialect.MACKey // nil: what it sends has no MAC
}

// serve runs a simulator until the test ends or stop is called.
func serve(t testing.TB, cfg Config) (s *Simulator, stop func()) {
	t.Helper()
	if cfg.Book == "" {
		cfg.Book = filepath.Join(t.TempDir(), "book")
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func dial(t testing.TB, addr, name string) *client {
	t.Helper()
	link, err := dialect.LinkOf(name)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, br: bufio.NewReaderSize(conn, 1<<16), link: link, codec: link.Codec()}
}

// message appends a request of kind ("0200", "0401", "0400 3" for a reversal that
// leaves 3, "balance" or a DE70).
func (c *client) message(dst []byte, kind string, stan uint32, minor int64) []byte {
	mti, code := uint16(0x0200), "000000"
	kind, stays, inPart := strings.Cut(kind, " ")
	switch {
	case kind == "balance":
		code = "310000"
	case len(kind) == 4:
		v, err := strconv.ParseUint(kind, 16, 16)
		if err != nil {
			c.t.Fatal(err)
		}
		mti = uint16(v)
	default:
		e := c.codec.Begin(dst, nil, nil, 0x0800)
		e.Digits(7, []byte("1122120000"))
		e.Uint(11, uint64(stan))
		e.Text(70, []byte(kind))
		return c.finish(e, dst, nil)
	}
	e := c.codec.Begin(dst, nil, nil, mti)
	e.Digits(2, []byte(card))
	e.Digits(3, []byte(code))
	e.Uint(4, uint64(minor))
	e.Digits(7, []byte("1122120000"))
	e.Uint(11, uint64(stan))
	e.Text(37, []byte("112200000042"))
	e.Text(41, []byte("10000001"))
	e.Text(49, []byte("156"))
	if inPart {
		e.Digits(95, []byte(fmt.Sprintf("%012s%030d", stays, 0)))
	}
	return c.finish(e, dst, c.key)
}

func (c *client) finish(e iso.Encoder, dst []byte, key dialect.MACKey) []byte {
	frame, err := c.link.Finish(&e, dst, key)
	if err != nil {
		c.t.Fatal(err)
	}
	return frame
}

// read is the next answer; ok is false when none comes within wait.
func (c *client) read(wait time.Duration) (*iso.Message, bool) {
	c.conn.SetReadDeadline(time.Now().Add(wait))
	prefix := make([]byte, c.codec.Framing().PrefixSize())
	if _, err := io.ReadFull(c.br, prefix); err != nil {
		return nil, false
	}
	n, err := c.codec.ReadLength(prefix)
	if err != nil {
		c.t.Fatal(err)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.br, body); err != nil {
		c.t.Fatal(err)
	}
	m := new(iso.Message)
	if err := c.codec.Parse(m, body); err != nil {
		c.t.Fatal(err)
	}
	return m, true
}

// ask sends one request and returns DE39 of its answer, or "" for none.
func (c *client) ask(kind string, stan uint32, minor int64) string {
	c.t.Helper()
	c.conn.Write(c.message(nil, kind, stan, minor))
	m, ok := c.read(10 * time.Second)
	if !ok {
		return ""
	}
	if got, _ := m.Uint(11); got != uint64(stan) {
		c.t.Fatalf("asked with STAN %d, answered with %d", stan, got)
	}
	return string(m.Value(39))
}
