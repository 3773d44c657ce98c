//go:build linux && (amd64 || arm64) && !race

package pos

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// socket is a TCP connection that is used by recvfrom and sendto, where package net
// reads and writes it as a file: a sale passes three such calls, and what the kernel
// does for files in them takes 3 % of the switch's processor time. At any time one
// goroutine may read and one write. Deadlines and Close are the connection's.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn

	// The calls under way, and the functions that make them: they are made once, for
	// they would be allocated each time.
	received, sent transfer
	receive, send  func(fd uintptr) bool
}

// transfer is the bytes of a call, and what became of it.
type transfer struct {
	p     []byte
	n     int
	errno syscall.Errno
}

// try makes the call. It is false when the socket is not ready for it.
func (t *transfer) try(call, fd, flags uintptr) bool {
	for {
		n, _, errno := syscall.Syscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.p))), uintptr(len(t.p)), flags, 0, 0)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		t.n, t.errno = int(n), errno
		return true
	}
}

// asSocket is conn itself where it has no descriptor any more.
func asSocket(conn *net.TCPConn) net.Conn {
	raw, err := conn.SyscallConn()
	if err != nil {
		return conn
	}
	s := &socket{TCPConn: conn, raw: raw}
	s.receive = func(fd uintptr) bool { return s.received.try(syscall.SYS_RECVFROM, fd, 0) }
	s.send = func(fd uintptr) bool { return s.sent.try(syscall.SYS_SENDTO, fd, syscall.MSG_NOSIGNAL) }
	return s
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := &s.received
	t.p = p
	err := s.raw.Read(s.receive)
	t.p = nil
	switch {
	case err != nil:
		return 0, err
	case t.errno != 0:
		return 0, os.NewSyscallError("recvfrom", t.errno)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (n int, err error) {
	t := &s.sent
	for n < len(p) && err == nil {
		t.p = p[n:]
		switch err = s.raw.Write(s.send); {
		case err != nil:
		case t.errno != 0:
			err = os.NewSyscallError("sendto", t.errno)
		default:
			n += t.n
		}
	}
	t.p = nil
	return n, err
}
