package pos

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// connected is both ends of a TCP connection, the first as a session has it.
func connected(t *testing.T) (net.Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	theirs, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	ours, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	return asSocket(ours.(*net.TCPConn)), theirs.(*net.TCPConn)
}

// What is more than the kernel takes at once arrives whole and in order, in both
// directions at a time, and ends with io.EOF.
func TestSocketCarriesAll(t *testing.T) {
	ours, theirs := connected(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MB
	var echoed bytes.Buffer
	done := make(chan error, 2)
	go func() {
		n, err := ours.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		done <- err
	}()
	go func() {
		_, err := io.Copy(theirs, io.LimitReader(theirs, int64(len(sent))))
		done <- errors.Join(err, theirs.CloseWrite())
	}()
	if _, err := echoed.ReadFrom(struct{ io.Reader }{ours}); err != nil { // to io.EOF
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(echoed.Bytes(), sent) {
		t.Errorf("%d bytes came back, and not those %d", echoed.Len(), len(sent))
	}
}

// Rows: what happens to a socket that is being read and written, and what both are told.
func TestSocketEnds(t *testing.T) {
	never := make([]byte, 16<<20) // more than anybody takes who does not read
	for name, row := range map[string]struct {
		happens     func(ours net.Conn, theirs *net.TCPConn)
		read, write error // nil: any
	}{
		"deadline":    {func(ours net.Conn, _ *net.TCPConn) { ours.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		"closed here": {func(ours net.Conn, _ *net.TCPConn) { ours.Close() }, net.ErrClosed, net.ErrClosed},
		"reset there": {func(_ net.Conn, theirs *net.TCPConn) { theirs.SetLinger(0); theirs.Close() }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := connected(t)
			read, write := make(chan error, 1), make(chan error, 1)
			go func() { _, err := ours.Read(make([]byte, 1)); read <- err }()
			go func() { _, err := ours.Write(never); write <- err }()
			time.Sleep(20 * time.Millisecond) // both wait
			row.happens(ours, theirs)
			if err := <-read; err == nil || row.read != nil && !errors.Is(err, row.read) {
				t.Errorf("read: %v, want %v", err, row.read)
			}
			if err := <-write; err == nil || row.write != nil && !errors.Is(err, row.write) {
				t.Errorf("write: %v, want %v", err, row.write)
			}
		})
	}
}
