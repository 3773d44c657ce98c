package main

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestF60LogPipeThatNobodyReads fills the pipe that the log goes to, with strangers
// that knock: sales are made, and a stop ends well.
func TestF60LogPipeThatNobodyReads(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.server.stop(syscall.SIGTERM)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	size, err := unix.FcntlInt(write.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	cmd := binary(t, context.Background(), s.dir, []string{"ACQ_LOG_LEVEL=debug"}, "serve", "--config", "acqswitch.yaml")
	cmd.Stderr = write
	s.startAs(cmd)
	write.Close()
	for range 200 { // a line of 150 bytes each, of which a hundred are written
		conn, err := net.Dial("tcp", s.cup)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		conn.Write([]byte{0xff, 0xff}) // longer than any frame: the session ends
		if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
			t.Fatal(err)
		}
		conn.Close()
	}
	checkAnswer(t, s.tell(frame(t, "cup-03")), 0x0210, "00")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if said, _ := io.ReadAll(read); len(said) < size*9/10 {
		t.Errorf("only %d bytes were logged: the pipe was not full", len(said))
	}
}
