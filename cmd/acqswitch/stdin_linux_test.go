package main

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestSignalEndsAWaitForInput has nobody type on what a command reads.
func TestSignalEndsAWaitForInput(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	const page = 4096
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), syscall.F_SETPIPE_SZ, page); errno != 0 {
		t.Fatal(errno)
	}
	dir := t.TempDir()
	cmd := binary(t, t.Context(), dir, nil, "inspect", "-")
	cmd.Stdin = r
	p := startCommand(t, dir, cmd)
	if _, err := w.Write(make([]byte, page+1)); err != nil { // one more than there is room for: it was read from
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(binaryWait / 4):
		t.Fatal("the command still waits")
	}
	if code := cmd.ProcessState.ExitCode(); code <= exitOK {
		t.Errorf("exit %d", code)
	}
}
