package main

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A nameserver that is gone does not use up the time of who connects: the next one is
// asked.
func TestNameserverThatIsGone(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	gone, err := net.ListenPacket("udp", "127.0.0.1:0") // takes what comes and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	go func() {
		question := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(question)
			if err != nil {
				return
			}
			// Nothing but the question comes behind the name's end: type 1 is A.
			answer := append([]byte(nil), question[:n]...)
			answer[2], answer[3] = answer[2]|0x80, 0x80
			answer[10], answer[11] = 0, 0 // our question has a record of its own behind it
			end := 12
			for answer[end] != 0 {
				end += 1 + int(answer[end])
			}
			if answer = answer[:end+5]; answer[end+2] == 1 {
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 7)
			}
			server.WriteTo(answer, from)
		}
	}()
	var asked atomic.Int32
	r := net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if asked.Add(1) <= 2 { // the first time, for A and AAAA
			return lookup.Dial(ctx, network, gone.LocalAddr().String())
		}
		return lookup.Dial(ctx, network, server.LocalAddr().String())
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
	defer cancel()
	if found, err := r.LookupHost(ctx, "issuer.example."); err != nil || len(found) != 1 || found[0] != "192.0.2.7" {
		t.Errorf("%v, %v", found, err)
	}
}
