package pos

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
)

// FuzzSession sends any bytes, in any segments, to a session that takes one frame
// at a time and to one that takes several. Each must end by itself soon; whole
// requests have one answer each, and nothing else has any.
func FuzzSession(f *testing.F) {
	one, two := saleFrame(1), saleFrame(2)
	response := mutate(one, func(b []byte) []byte { b[14] = 0x10; return b })
	for _, stream := range [][]byte{
		nil, {0}, {0, 0}, {0xFF, 0xFF}, one, one[:50], append(one[:len(one):len(one)], two...), append(two[:len(two):len(two)], one[:3]...),
		append(response, one...), append(bytes.Clone(one), "GET / HTTP/1.1\r\n\r\n"...), append([]byte{0, 5}, bytes.Repeat(one, 3)...),
		bytes.Repeat(one, 20), {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00},
	} {
		f.Add(stream, uint16(7), uint16(40))
	}
	dia, err := dialect.ForTerminal("cup-pos")
	if err != nil {
		f.Fatal(err)
	}
	var addrs []string
	for _, inFlight := range []int{1, 4} {
		cup, _, _ := open(f, Config{InFlightMax: inFlight}, &desk{})
		addrs = append(addrs, cup)
	}
	f.Fuzz(func(t *testing.T, stream []byte, first, second uint16) {
		want, clean := requests(dia, stream)
		for _, addr := range addrs {
			c := dial(t, addr)
			go func() {
				rest := stream
				for _, n := range []int{int(first), int(second), len(rest)} {
					n = min(n, len(rest))
					if _, err := c.Write(rest[:n]); err != nil {
						return // the session has ended: what follows is nobody's
					}
					rest = rest[n:]
					time.Sleep(time.Duration(n%3) * 100 * time.Microsecond)
				}
				c.(*net.TCPConn).CloseWrite()
			}()
			got := 0
			for {
				b, err := readFrame(c)
				var late net.Error
				if errors.As(err, &late) && late.Timeout() {
					t.Fatalf("the session did not end: %d answers to %d requests", got, want)
				}
				if err != nil {
					if clean && err != io.EOF {
						t.Fatalf("the session of good frames ended with %v", err)
					}
					break
				}
				if len(b) < 13 || b[12]&0x10 == 0 {
					t.Fatalf("%X is no answer", b)
				}
				got++
			}
			if got > want || clean && got != want {
				t.Fatalf("%d answers to %d requests, in a stream without other things: %v", got, want, clean)
			}
			c.Close()
		}
	})
}

// requests counts the requests at the head of stream that have an answer, and says
// whether nothing else stands in it.
func requests(d *dialect.Terminal, stream []byte) (n int, clean bool) {
	for len(stream) > 0 {
		size := d.PrefixSize()
		if len(stream) < size {
			return n, false
		}
		length, err := d.ReadLength(stream[:size])
		if err != nil || len(stream) < size+length {
			return n, false
		}
		var x dialect.Exchange
		x.Frame = bytes.Clone(stream[size : size+length])
		switch err := d.Decode(&x, time.Now()); {
		case errors.Is(err, dialect.ErrResponse):
		case err != nil:
			return n, false
		default:
			n++
		}
		stream = stream[size+length:]
	}
	return n, true
}
