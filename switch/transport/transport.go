// Package transport is what frames travel in between terminals and a switch: TCP, TLS
// over it, or HTTP over either, one POST for each frame and its answer in the
// response, as smart terminals do that pass the proxies of shops (the CUP networks'
// own gateways take the same).
//
// Over HTTP a connection is still one of frames: what is read from it are the frames,
// length prefixes included, and each frame written is a message of its own. Both ends
// are here. Requests are answered in their order.
//
// Not here: what a frame says, and whose certificates are believed (switch/certs).
package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// ContentType of a frame in HTTP.
const ContentType = "x-ISO-TPDU/x-auth"

// Framing is how a frame says its length.
type Framing interface {
	PrefixSize() int
	// ReadLength is the size of the frame that a prefix announces.
	ReadLength(prefix []byte) (int, error)
}

// headMax and linesMax bound the head of an HTTP message, in bytes and lines; bodyMax
// is more than any frame with its length has.
const (
	headMax  = 8 << 10
	linesMax = 64
	bodyMax  = txn.FrameSizeMax + 8
)

// ErrHTTP says that the peer does not speak HTTP as it should; ErrFrame that a body
// is not one whole frame.
var (
	ErrHTTP  = errors.New("no frame in HTTP")
	ErrFrame = errors.New("the body is not one frame")
)

// oneFrame refuses a body that is anything but a frame with its length.
func oneFrame(f Framing, body []byte) error {
	size := f.PrefixSize()
	if len(body) < size {
		return fmt.Errorf("%w: it has %d bytes", ErrFrame, len(body))
	}
	n, err := f.ReadLength(body[:size])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	if n != len(body)-size || n == 0 {
		return fmt.Errorf("%w: it announces %d bytes and has %d", ErrFrame, n, len(body)-size)
	}
	return nil
}

// readBody reads the body of an HTTP message, of whatever size up to a frame's. size is
// what its head announces, negative: nothing.
func readBody(f Framing, body io.Reader, size int64) ([]byte, error) {
	if size > bodyMax {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrFrame, size)
	}
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(body, bodyMax+1))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	switch {
	case err != nil && broken(err):
		return nil, fmt.Errorf("read the body: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w: read the body: %w", ErrHTTP, err)
	}
	return b.Bytes(), oneFrame(f, b.Bytes())
}

// broken says that the connection is at fault, or its time is up, and not what came.
func broken(err error) bool {
	return errors.As(err, new(net.Error)) || errors.Is(err, io.ErrUnexpectedEOF)
}

// heads bounds what is read of a message until it is whole.
type heads struct {
	io.Reader
	left int
	err  error // why there is no more: a line that it cuts off is parsed as if it were whole
}

func (h *heads) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, ErrHTTP
	}
	n, err := h.Reader.Read(p[:min(len(p), h.left)])
	h.left -= n
	if h.err = err; err == io.EOF {
		h.err = io.ErrUnexpectedEOF
	}
	return n, err
}

// client is the terminal's end of HTTP.
type client struct {
	net.Conn
	framing Framing
	head    string // of a request, up to its length
	limit   *heads
	in      *bufio.Reader
	rest    []byte // of a body, not yet read
	last    bool   // the host answers no other request after this one
}

// Last says that nothing more is to be asked over a connection of Dial's, after what
// was read: its host said so.
func Last(conn net.Conn) bool {
	c, ok := conn.(*client)
	return ok && c.last
}

func newClient(conn net.Conn, f Framing, head string) *client {
	limit := &heads{Reader: conn}
	return &client{Conn: conn, framing: f, head: head, limit: limit, in: bufio.NewReaderSize(limit, 1024)}
}

func (c *client) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.last {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *client) next() error {
	c.limit.left = headMax + bodyMax
	if _, err := c.in.Peek(1); err != nil {
		return err
	}
	for {
		resp, err := http.ReadResponse(c.in, nil)
		if err != nil && c.limit.err != nil {
			err = c.limit.err
		}
		switch {
		case err != nil && broken(err):
			return fmt.Errorf("read the HTTP response: %w", err)
		case err != nil: // its text quotes what came, which may be a frame
			return fmt.Errorf("read the HTTP response: %w", ErrHTTP)
		case resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols:
			continue // the answer is still to come
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%w: the host answers %d %s", ErrHTTP, resp.StatusCode, http.StatusText(resp.StatusCode))
		}
		c.last = resp.Close
		c.rest, err = readBody(c.framing, resp.Body, resp.ContentLength)
		return err
	}
}

// Write sends each frame in b, which are whole, as a request.
func (c *client) Write(b []byte) (int, error) {
	var out []byte
	size := c.framing.PrefixSize()
	for rest := b; len(rest) > 0; {
		if len(rest) < size {
			return 0, ErrFrame
		}
		n, err := c.framing.ReadLength(rest[:size])
		if err != nil || n == 0 || len(rest) < size+n {
			return 0, ErrFrame // a test that sends halves
		}
		out = append(out, c.head...)
		out = strconv.AppendInt(out, int64(size+n), 10)
		out = append(append(out, "\r\n\r\n"...), rest[:size+n]...)
		rest = rest[size+n:]
	}
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Head is the size of the head of an HTTP message that data begins with, behind which
// its frame is: 0 where there is none, -1 while it is not whole.
func Head(data []byte) int {
	if !bytes.HasPrefix(data, []byte("POST ")) && !bytes.HasPrefix(data, []byte("HTTP/1.")) {
		return 0
	}
	n := bytes.Index(data[:min(len(data), headMax)], []byte("\r\n\r\n"))
	switch {
	case n >= 0:
		return n + 4
	case len(data) >= headMax:
		return 0
	}
	return -1
}

// Dial connects within a time, TLS included. address is HOST:PORT, for frames over
// TCP, and over TLS unless config is nil; or tls://HOST:PORT, or http://HOST:PORT/PATH
// or https://..., where config must be as Check has it. framing may be nil where there
// is no HTTP.
func Dial(ctx context.Context, address string, framing Framing, config *tls.Config, within time.Duration) (net.Conn, error) {
	at, err := parse(address)
	if err != nil {
		return nil, err
	}
	if at != nil {
		address = at.Host
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err == nil && config != nil {
		conn, err = secure(ctx, conn, address, config)
	}
	if err != nil || at == nil || at.Scheme == "tls" {
		return conn, err
	}
	return newClient(conn, framing, "POST "+at.RequestURI()+" HTTP/1.1\r\nHost: "+at.Host+"\r\nContent-Type: "+ContentType+"\r\nContent-Length: "), nil
}

// secure agrees on TLS with whom conn leads to, or closes it. Its errors say that it was
// there: an EOF or a wait in vain at a peer that can be connected to is else a riddle.
func secure(ctx context.Context, conn net.Conn, address string, config *tls.Config) (net.Conn, error) {
	if config.ServerName == "" {
		host, _, _ := net.SplitHostPort(address)
		config = config.Clone()
		config.ServerName = host
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("agree on TLS: %w", err)
	}
	return secured, nil
}

// Check says what is wrong with an address of Dial's. secured is whether there are
// certificates for it.
func Check(address string, secured bool) error {
	at, err := parse(address)
	switch {
	case err != nil:
		return err
	case at == nil:
		return nil
	case at.Scheme != "http" && !secured:
		return fmt.Errorf("%s needs an authority of the host's certificate", address)
	case at.Scheme == "http" && secured:
		return fmt.Errorf("%s has no TLS: say https", address)
	}
	return nil
}

// parse is nil for HOST:PORT.
func parse(address string) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("%q must be HOST:PORT, or http://HOST:PORT/PATH", address)
		}
		return nil, nil
	}
	at, err := url.Parse(address)
	if err == nil && at.Port() != "" && at.User == nil {
		switch at.Scheme {
		case "http", "https":
			return at, nil
		case "tls":
			if at.RequestURI() == "/" {
				return at, nil
			}
		}
	}
	return nil, fmt.Errorf("%q must be HOST:PORT, or http://HOST:PORT/PATH", address)
}
