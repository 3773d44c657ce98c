package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
)

// server is the switch's end of HTTP. Between requests it holds what came of the next
// one, and nothing else.
type server struct {
	net.Conn
	framing Framing
	began   func()
	in      *bufio.Reader
	rest    []byte // of a body, not yet read
	owed    bool   // a request was read and not answered
	last    bool   // the client wants no other after this one
}

// Serve takes a connection whose peer speaks HTTP. began is called when a request's
// first byte has come. A request that is not to be answered ends the connection with
// the next read: its client would wait for ever.
func Serve(conn net.Conn, f Framing, began func()) net.Conn {
	return &server{Conn: conn, framing: f, began: began, in: bufio.NewReaderSize(conn, 1024)}
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
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.rest = nil
	}
	return n, nil
}

// next reads a request. What is wrong with it is said to the client, too.
func (s *server) next() error {
	first, err := s.first()
	if err != nil {
		return err // a clean end among them
	}
	s.began()
	if first < 'A' || first > 'Z' {
		return ErrHTTP // a frame without HTTP: it has no line to wait for, and who sent it reads none
	}
	head, err := s.head()
	if err != nil {
		return s.refuse(http.StatusBadRequest, err)
	}
	req, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(head), len(head)))
	switch {
	case err != nil, req.ProtoMajor != 1:
		return s.refuse(http.StatusBadRequest, ErrHTTP) // err quotes what came, which may be a frame
	case req.Method != http.MethodPost:
		return s.refuse(http.StatusMethodNotAllowed, ErrHTTP)
	}
	old, body, size := !req.ProtoAtLeast(1, 1), io.LimitReader(s.in, req.ContentLength), req.ContentLength
	if size < 0 {
		body = httputil.NewChunkedReader(s.in)
	}
	if size != 0 && size <= bodyMax && !old && strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
		if _, err := io.WriteString(s.Conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
	}
	frame, err := readBody(s.framing, body, size)
	if err == nil && size < 0 {
		_, err = s.head() // behind the last chunk, of which nothing is wanted
	}
	if err != nil {
		return s.refuse(http.StatusBadRequest, err)
	}
	// A client of HTTP/1.0 that wants the connection to stay would have to be told that
	// it does.
	s.rest, s.owed, s.last = frame, true, req.Close || old
	return nil
}

// first waits for a request's first byte. Old clients send an empty line behind a body,
// which is none (RFC 9112, 2.2).
func (s *server) first() (byte, error) {
	for range linesMax {
		b, err := s.in.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != '\r' && b != '\n' {
			return b, s.in.UnreadByte()
		}
	}
	return 0, ErrHTTP
}

// head reads the lines up to an empty one, which it returns too. Refused is what
// proxies in front read in different ways, or this one reader: by it the bytes of one
// client would become a request of another's (RFC 9112, 11.2). So the length is said
// once, in one way, and a line is a field.
func (s *server) head() ([]byte, error) {
	var head []byte
	lengths := 0
	for range linesMax {
		at := len(head)
		for more := true; more; {
			piece, err := s.in.ReadSlice('\n')
			if head = append(head, piece...); len(head) > headMax {
				return nil, ErrHTTP
			}
			if more = err == bufio.ErrBufferFull; err == io.EOF {
				return nil, io.ErrUnexpectedEOF
			} else if err != nil && !more {
				return nil, err
			}
		}
		line, whole := bytes.CutSuffix(head[at:], []byte("\r\n"))
		switch name, _, is := bytes.Cut(line, []byte(":")); {
		case !whole:
			return nil, ErrHTTP
		case len(line) == 0:
			if lengths > 1 {
				return nil, ErrHTTP
			}
			return head, nil
		case at == 0: // the request line
		case !is, bytes.ContainsAny(name, " \t"): // among them one that goes on the line before
			return nil, ErrHTTP
		case bytes.EqualFold(name, []byte("Content-Length")), bytes.EqualFold(name, []byte("Transfer-Encoding")):
			lengths++
		}
	}
	return nil, ErrHTTP
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
