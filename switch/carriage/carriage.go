// Package carriage is what frames travel in between terminals and a switch: TCP, TLS
// over it, or HTTP over either, one POST for each frame and its answer in the
// response, as smart terminals do that pass the proxies of shops (the CUP networks'
// own gateways take the same).
//
// Over HTTP a connection is still one of frames: what is read from it are the frames,
// length prefixes included, and each frame written is a message of its own. Both ends
// are here. Requests are answered in their order.
//
// Not here: what a frame says, and whose certificates are believed (switch/certs).
package carriage

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

// headMax bounds the head of an HTTP message, in bytes; prefixMax is more than any
// length prefix has.
const (
	headMax   = 8 << 10
	prefixMax = 8
)

// ErrHTTP says that the peer does not speak HTTP as it should; ErrFrame that a body
// is not one whole frame.
var (
	ErrHTTP  = errors.New("no HTTP POST of a frame")
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

// readBody reads the body of an HTTP message, of whatever size up to a frame's.
func readBody(f Framing, body io.ReadCloser, dst []byte) ([]byte, error) {
	defer body.Close()
	b := bytes.NewBuffer(dst[:0])
	if _, err := b.ReadFrom(io.LimitReader(body, txn.FrameSizeMax+prefixMax+1)); err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	return b.Bytes(), oneFrame(f, b.Bytes())
}

// heads bounds what is read of a message until it is whole.
type heads struct {
	io.Reader
	left int
}

func (h *heads) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, ErrHTTP
	}
	n, err := h.Reader.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, err
}

// server is the switch's end of HTTP.
type server struct {
	net.Conn
	framing Framing
	began   func()
	limit   *heads
	in      *bufio.Reader
	body    []byte
	rest    []byte // of body, not yet read
	owed    bool   // a request was read and not answered
	last    bool   // the client wants no other after this one
}

// Serve takes a connection whose peer speaks HTTP. began is called when a request's
// first byte has come. A request that is not to be answered ends the connection with
// the next read: its client would wait for ever.
func Serve(conn net.Conn, f Framing, began func()) net.Conn {
	s := &server{Conn: conn, framing: f, began: began, limit: &heads{Reader: conn}}
	s.in = bufio.NewReaderSize(s.limit, 1024)
	return s
}

func (s *server) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.owed || s.last {
			return 0, io.EOF
		}
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next reads a request. What is wrong with it is said to the client, too.
func (s *server) next() error {
	s.limit.left = headMax + txn.FrameSizeMax
	first, err := s.in.Peek(1)
	if err != nil {
		return err // a clean end among them
	}
	s.began()
	if first[0] < 'A' || first[0] > 'Z' {
		return ErrHTTP // a frame without HTTP: it has no line to wait for, and who sent it reads none
	}
	req, err := http.ReadRequest(s.in)
	switch {
	case err != nil && broken(err):
		return s.refuse(http.StatusBadRequest, fmt.Errorf("read an HTTP request: %w", err))
	case err != nil: // its text quotes what came, which may be a frame
		return s.refuse(http.StatusBadRequest, ErrHTTP)
	case req.Method != http.MethodPost:
		return s.refuse(http.StatusMethodNotAllowed, ErrHTTP)
	}
	if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
		if _, err := io.WriteString(s.Conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
	}
	body, err := readBody(s.framing, req.Body, s.body)
	if err != nil {
		return s.refuse(http.StatusBadRequest, err)
	}
	s.body, s.rest, s.owed, s.last = body, body, true, req.Close
	return nil
}

// broken says that the connection is at fault, or its time is up, and not what came.
func broken(err error) bool {
	return errors.As(err, new(net.Error)) || errors.Is(err, io.ErrUnexpectedEOF)
}

// refuse says to the client what the switch makes of its request, if it can hear it.
func (s *server) refuse(status int, err error) error {
	if !broken(err) {
		fmt.Fprintf(s.Conn, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status))
	}
	return err
}

// Write answers the request that was read last with one frame.
func (s *server) Write(frame []byte) (int, error) {
	b := make([]byte, 0, 128+len(frame))
	b = append(b, "HTTP/1.1 200 OK\r\nContent-Type: "+ContentType+"\r\n"...)
	if s.last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(frame)), 10)
	b = append(append(b, "\r\n\r\n"...), frame...)
	s.owed = false
	if _, err := s.Conn.Write(b); err != nil {
		return 0, err
	}
	return len(frame), nil
}

// client is the terminal's end of HTTP.
type client struct {
	net.Conn
	framing Framing
	head    string // of a request, up to its length
	limit   *heads
	in      *bufio.Reader
	body    []byte
	rest    []byte
}

func (c *client) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *client) next() error {
	c.limit.left = headMax + txn.FrameSizeMax
	if _, err := c.in.Peek(1); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("read the HTTP response: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return fmt.Errorf("the host answers HTTP %s", resp.Status)
	}
	body, err := readBody(c.framing, resp.Body, c.body)
	if err != nil {
		return err
	}
	c.body, c.rest = body, body
	return nil
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
	var conn net.Conn
	if config != nil {
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	if err != nil || at == nil || at.Scheme == "tls" {
		return conn, err
	}
	c := &client{Conn: conn, framing: framing, limit: &heads{Reader: conn},
		head: "POST " + at.RequestURI() + " HTTP/1.1\r\nHost: " + at.Host + "\r\nContent-Type: " + ContentType + "\r\nContent-Length: "}
	c.in = bufio.NewReaderSize(c.limit, 1024)
	return c, nil
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
