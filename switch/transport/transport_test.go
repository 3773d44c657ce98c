package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// two is a framing of two bytes.
type two struct{}

func (two) PrefixSize() int { return 2 }
func (two) ReadLength(b []byte) (int, error) {
	if n := int(binary.BigEndian.Uint16(b)); n <= 4096 {
		return n, nil
	}
	return 0, errors.New("too long")
}

func framed(body string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

// answering is a switch's end that answers each frame with itself, until it fails.
func answering(t *testing.T) (addr string, ended chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	ended = make(chan error, 16)
	go func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				raw.SetDeadline(time.Now().Add(10 * time.Second))
				ended <- answer(Serve(raw, two{}, func() {}))
			}()
		}
	}()
	return ln.Addr().String(), ended
}

func answer(conn net.Conn) error {
	for {
		prefix := make([]byte, 2)
		if _, err := io.ReadFull(conn, prefix); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint16(prefix))
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		if string(body) == "silence" {
			continue
		}
		if _, err := conn.Write(append(prefix, body...)); err != nil {
			return err
		}
	}
}

// What clients say, what they hear, and how the connection ends.
func TestServe(t *testing.T) {
	post := func(body string, more ...string) string {
		return fmt.Sprintf("POST /mjc/webtrans/VPB_lb HTTP/1.1\r\nHost: 1.2.3.4\r\nContent-Type: x-ISO-TPDU/x-auth\r\n%sContent-Length: %d\r\n\r\n%s", strings.Join(more, ""), len(body), body)
	}
	ok := func(body string, more ...string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: x-ISO-TPDU/x-auth\r\n%sContent-Length: %d\r\n\r\n%s", strings.Join(more, ""), len(body), body)
	}
	const bad, not = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	for _, row := range []struct {
		name, say, hear string
		end             error
	}{
		{"one", post(framed("sale")), ok(framed("sale")), io.EOF},
		{"one after the other, at once", post(framed("sale")) + post(framed("void")), ok(framed("sale")) + ok(framed("void")), io.EOF},
		{"in chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\x00\x04\r\n4\r\nsale\r\n0\r\n\r\n", ok(framed("sale")), io.EOF},
		{"the largest", post(framed(strings.Repeat("x", 4096))), ok(framed(strings.Repeat("x", 4096))), io.EOF},
		{"that asks first", post(framed("sale"), "Expect: 100-continue\r\n"), "HTTP/1.1 100 Continue\r\n\r\n" + ok(framed("sale")), io.EOF},
		{"its last", post(framed("sale"), "Connection: close\r\n") + post(framed("void")), ok(framed("sale"), "Connection: close\r\n"), io.EOF},
		{"of HTTP 1.0", "POST / HTTP/1.0\r\nContent-Length: 6\r\n\r\n" + framed("sale"), ok(framed("sale"), "Connection: close\r\n"), io.EOF},
		{"that is not answered", post(framed("silence")) + post(framed("sale")), "", io.EOF},
		{"nothing", "", "", io.EOF},
		{"no POST", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", not, ErrHTTP},
		{"a frame without HTTP", framed("6222021234567890128\n"), "", ErrHTTP},
		{"a head without end", "POST / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20_000), bad, ErrHTTP},
		{"without a length", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", bad, ErrFrame},
		{"an empty frame", post(framed("")), bad, ErrFrame},
		{"shorter than it says", post(framed("sale")[:5]), bad, ErrFrame},
		{"longer than it says", post(framed("sale") + "x"), bad, ErrFrame},
		{"two frames", post(framed("sale") + framed("void")), bad, ErrFrame},
		{"too long a frame", post(framed(strings.Repeat("x", 5000))), bad, ErrFrame},
		{"of HTTP 1.0, that wants to stay", "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 6\r\n\r\n" + framed("sale"), ok(framed("sale"), "Connection: close\r\n"), io.EOF},
		{"of HTTP 1.0, that asks first", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n" + framed("sale"), ok(framed("sale"), "Connection: close\r\n"), io.EOF},
		{"that asks first for nothing", post("", "Expect: 100-continue\r\n"), bad, ErrFrame},
		{"that asks first for too much", "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n", bad, ErrFrame},
		{"empty lines around", "\r\n" + post(framed("sale")) + "\r\n" + post(framed("void")) + "\r\n", ok(framed("sale")) + ok(framed("void")), io.EOF},
		{"empty lines only", strings.Repeat("\r\n", 5000), "", ErrHTTP},
		{"in chunks, with fields behind", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n\x00\x04sale\r\n0\r\nA: b\r\n\r\n" + post(framed("void")), ok(framed("sale")) + ok(framed("void")), io.EOF},
		{"in wrong chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n\x00\x04sale\r\n0\r\n\r\n", bad, ErrHTTP},
		{"in chunks and with a length", post(framed("sale"), "Transfer-Encoding: chunked\r\n"), bad, ErrHTTP},
		{"two lengths", post(framed("sale"), "Content-Length: 6\r\n"), bad, ErrHTTP},
		{"a length on the next line", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 6\r\n\r\n" + framed("sale"), bad, ErrHTTP},
		{"a space in front of a colon", post(framed("sale"), "Transfer-Encoding : chunked\r\n"), bad, ErrHTTP},
		{"a line end without CR", post(framed("sale"), "A: b\n"), bad, ErrHTTP},
		{"a line without colon", post(framed("sale"), "A\r\n"), bad, ErrHTTP},
		{"a path that is none", strings.Replace(post(framed("sale")), "/mjc", "%6222021234567890128", 1), bad, ErrHTTP},
		{"of HTTP 2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad, ErrHTTP},
		{"too many fields", post(framed("sale"), strings.Repeat("A: b\r\n", 64)), bad, ErrHTTP},
		{"a long field", post(framed("sale"), "A: "+strings.Repeat("b", 4000)+"\r\n"), ok(framed("sale")), io.EOF},
		{"half a head", "POST / HTTP/1.1\r\nHost: x\r\n", "", io.ErrUnexpectedEOF},
		{"half a field", "POST / HTTP/1.1\r\nHost", "", io.ErrUnexpectedEOF},
		{"half a chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n\x00", "", io.ErrUnexpectedEOF},
		{"half a body", post(framed("sale"))[:80], "", io.ErrUnexpectedEOF},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr, ended := answering(t)
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(conn, row.say)
			conn.(*net.TCPConn).CloseWrite()
			heard, _ := io.ReadAll(conn)
			err = <-ended
			if string(heard) != row.hear || !errors.Is(err, row.end) {
				t.Errorf("heard %q, wanted %q\nended with %v, wanted %v", heard, row.hear, err, row.end)
			}
			if strings.Contains(err.Error(), "6222") {
				t.Errorf("the error quotes what came: %v", err)
			}
		})
	}
}

// A terminal's end and a switch's end understand each other: several frames in one
// write, answers in their order.
func TestDial(t *testing.T) {
	addr, _ := answering(t)
	conn, err := Dial(t.Context(), "http://"+addr+"/frames?a=b", two{}, nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	for range 2 {
		all := framed("sale") + framed("a longer void")
		if n, err := io.WriteString(conn, all); n != len(all) || err != nil {
			t.Fatal(n, err)
		}
		got := make([]byte, len(all))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != all {
			t.Fatalf("answered %q, %v", got, err)
		}
	}
	for _, half := range []string{"\x00", "\x00\x04sal", "\xff\xffx"} {
		if _, err := io.WriteString(conn, half); !errors.Is(err, ErrFrame) {
			t.Errorf("%q is sent: %v", half, err)
		}
	}
	io.WriteString(conn, framed("silence"))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("not answered: %v", err)
	}
}

// Hosts that answer otherwise.
func TestDialHears(t *testing.T) {
	for say, want := range map[string]string{
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nabc": "the host answers 502 Bad Gateway",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc":          ErrFrame.Error(),
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":             ErrFrame.Error(),
		"\x00\x306222021234567890128 of a host without HTTP\r\n":   "read the HTTP response: no frame in HTTP",
		"HTTP/1.1 302 \x1b[2J\r\nLocation: /\r\n\r\n":              "the host answers 302 Found",
		"HTTP/1.1 101 No\r\n\r\n":                                  "the host answers 101 Switching Protocols",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20_000):     "read the HTTP response",
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\x00\x04sa":   "unexpected EOF",
		"HTTP/1.1 20": "read the HTTP response: unexpected EOF",
		"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n\x00\x04sal": "unexpected EOF",
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if conn, err := ln.Accept(); err == nil {
				conn.Read(make([]byte, 1000))
				io.WriteString(conn, say)
				conn.Close()
			}
		}()
		conn, err := Dial(t.Context(), "http://"+ln.Addr().String(), two{}, nil, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, framed("sale"))
		if _, err := conn.Read(make([]byte, 10)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "6222") {
			t.Errorf("%.40q: %v", say, err)
		}
		conn.Close()
		ln.Close()
	}
}

// A host that says something before its answer, and closes after it, is understood.
func TestDialHearsTheLast(t *testing.T) {
	for say, last := range map[string]bool{
		"HTTP/1.1 103 Early Hints\r\nLink: /\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n":        false,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n": true,
		"HTTP/1.0 200 OK\r\n\r\n": true,
	} {
		here, there := net.Pipe()
		go func() {
			there.Read(make([]byte, 1000))
			io.WriteString(there, say+framed("sale"))
			there.Close()
		}()
		conn := newClient(here, two{}, "")
		io.WriteString(conn, framed("sale"))
		got := make([]byte, 6)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != framed("sale") || Last(conn) != last {
			t.Errorf("%q: %q, %v, the last is %v", say, got, err, Last(conn))
		}
		if n, err := conn.Read(got); n != 0 || err != io.EOF {
			t.Errorf("%q: there is more: %v", say, err)
		}
	}
}

// A host that is there and does not agree on TLS is told from one that is not there.
func TestDialSaysThatTLSFailed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, hangsUp := range []bool{true, false} {
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if hangsUp {
				io.ReadFull(conn, make([]byte, 1))
			} else {
				io.Copy(io.Discard, conn) // until the dialer gives up
			}
			conn.Close()
		}()
		if _, err := Dial(t.Context(), ln.Addr().String(), nil, &tls.Config{}, 300*time.Millisecond); err == nil || !strings.HasPrefix(err.Error(), "agree on TLS: ") {
			t.Errorf("it hangs up %v: %v", hangsUp, err)
		}
	}
	ln.Close()
	if _, err := Dial(t.Context(), ln.Addr().String(), nil, &tls.Config{}, time.Second); err == nil || strings.Contains(err.Error(), "TLS") {
		t.Errorf("nobody is there: %v", err)
	}
}

func TestHead(t *testing.T) {
	for say, want := range map[string]int{
		"": 0, "\x00\x04sale": 0, "GET / HTTP/1.1\r\n\r\n": 0, "0004sale": 0,
		"POST / HTTP/1.1\r\nA: b\r\n\r\n\x00\x04sale": 25, "HTTP/1.1 200 OK\r\n\r\n": 19,
		"POST / HTTP/1.1\r\nA: b\r\n": -1, "POST " + strings.Repeat("x", headMax): 0,
	} {
		if n := Head([]byte(say)); n != want {
			t.Errorf("%.30q: %d, want %d", say, n, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for address, want := range map[string][2]string{ // without certificates, and with
		"127.0.0.1:8583":              {"", ""},
		"http://127.0.0.1:8583":       {"", "say https"},
		"https://127.0.0.1:8583/a/b":  {"needs an authority", ""},
		"tls://127.0.0.1:8583":        {"needs an authority", ""},
		"tls://127.0.0.1:8583/a":      {"must be HOST:PORT", "must be HOST:PORT"},
		"127.0.0.1":                   {"must be HOST:PORT", "must be HOST:PORT"},
		"http://127.0.0.1/":           {"must be HOST:PORT", "must be HOST:PORT"},
		"ftp://127.0.0.1:21/":         {"must be HOST:PORT", "must be HOST:PORT"},
		"http://me:you@127.0.0.1:80/": {"must be HOST:PORT", "must be HOST:PORT"},
	} {
		for i, secured := range []bool{false, true} {
			err := Check(address, secured)
			if want[i] == "" && err != nil || want[i] != "" && (err == nil || !strings.Contains(err.Error(), want[i])) {
				t.Errorf("%s, secured %v: %v", address, secured, err)
			}
		}
	}
	if _, err := Dial(context.Background(), "nowhere", nil, nil, time.Second); err == nil {
		t.Error("nowhere is dialed")
	}
}

// piped is a connection of bytes that came, with nobody who listens.
type piped struct {
	net.Conn
	io.Reader
}

func (p *piped) Read(b []byte) (int, error)  { return p.Reader.Read(b) }
func (p *piped) Write(b []byte) (int, error) { return len(b), nil }

// FuzzServe holds that whatever comes, what is read is whole frames.
func FuzzServe(f *testing.F) {
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n\x00\x04salePOST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n\x00\x04void\r\n0\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))
	f.Add([]byte("\x00\x04sale"))
	f.Fuzz(func(t *testing.T, b []byte) {
		conn := Serve(&piped{Reader: bytes.NewReader(b)}, two{}, func() {})
		for prefix := make([]byte, 2); ; {
			if _, err := io.ReadFull(conn, prefix); err != nil {
				return
			}
			if _, err := io.ReadFull(conn, make([]byte, binary.BigEndian.Uint16(prefix))); err != nil {
				t.Fatalf("a frame ends inside: %v", err)
			}
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	})
}
