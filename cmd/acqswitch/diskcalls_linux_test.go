package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// diskCalls stands between a running binary and its journal's files: the kernel
// asks it before each write and each sync, by a seccomp filter that anybody may
// put on his own process. The binary is the one that is shipped, and what it is
// told comes from a system call.
type diskCalls struct {
	t        *testing.T
	listener int
	ended    chan struct{}

	mu    sync.Mutex // guards the plan
	fault *diskFault
}

// diskFault is how a call goes wrong.
type diskFault struct {
	call  int           // unix.SYS_PWRITE64 or SYS_FDATASYNC
	left  int           // such calls until then
	errno unix.Errno    // what it fails with
	half  bool          // a write: half of it was written before
	after time.Duration // how long it takes to fail
	began chan struct{} // closed when it is reached
	told  bool          // the half was told; the rest of the write is next
}

// filterSocket in the environment of the binary is the descriptor over which the
// filter's listener is to be sent.
const filterSocket = "DISKCALLS_SOCKET"

// A binary that is to be asked puts the filter on this thread, which is all that
// is left when it begins again as itself.
func init() {
	socket, ok := os.LookupEnv(filterSocket)
	if !ok {
		return
	}
	fd, err := strconv.Atoi(socket)
	if err == nil {
		err = beginFiltered(fd)
	}
	fmt.Fprintln(os.Stderr, "filter system calls:", err)
	os.Exit(125)
}

func beginFiltered(socket int) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 2, K: unix.SYS_PWRITE64},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.SYS_FDATASYNC},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return err
	}
	unix.CloseOnExec(int(listener))
	unix.CloseOnExec(socket)
	env := os.Environ()
	for i, v := range env {
		if strings.HasPrefix(v, filterSocket+"=") {
			env = append(env[:i], env[i+1:]...)
			break
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, env)
}

// startAsked starts the binary with its journal's calls asked about. The test is
// skipped where the kernel does not offer that.
func startAsked(t *testing.T, dir string, args ...string) (*process, *diskCalls) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	cmd := binary(t, context.Background(), dir, []string{filterSocket + "=3"}, args...)
	cmd.ExtraFiles = []*os.File{theirs}
	p := startCommand(t, dir, cmd)
	theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(binaryWait))
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), oob)
	if err != nil || n == 0 {
		t.Skipf("this kernel lets nobody filter system calls: %v %s", err, read(t, p.log))
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	d := &diskCalls{t: t, listener: fds[0], ended: make(chan struct{})}
	go d.serve(p.ended)
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-d.ended
	})
	return p, d
}

// fail makes the n-th call from now go wrong.
func (d *diskCalls) fail(f diskFault) (began <-chan struct{}) {
	f.began = make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = &f
	return f.began
}

// The kernel's struct seccomp_notif and seccomp_notif_resp.
type (
	diskCall struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	diskAnswer struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
	}
)

// serve answers the kernel until the binary has ended.
func (d *diskCalls) serve(ended <-chan struct{}) {
	defer close(d.ended)
	defer unix.Close(d.listener)
	for {
		select {
		case <-ended:
			return
		default:
		}
		poll := []unix.PollFd{{Fd: int32(d.listener), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 50); n == 0 || err != nil || poll[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var call diskCall
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); errno != 0 {
			continue // it was interrupted or has ended
		}
		answer := diskAnswer{id: call.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if f := d.next(&call); f != nil {
			answer = f.answer(&call)
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer))); errno != 0 && !errors.Is(errno, unix.ENOENT) {
			d.t.Errorf("answer the kernel: %v", errno)
		}
	}
}

// next is the fault that is due at call, or nil.
func (d *diskCalls) next(call *diskCall) *diskFault {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.fault
	if f == nil || int(call.nr) != f.call {
		return nil
	}
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", call.pid, call.args[0]))
	if err != nil || !strings.Contains(file, "/journal/") {
		return nil
	}
	if f.left--; f.left > 0 {
		return nil
	}
	if !f.half || f.told {
		d.fault = nil // later calls succeed, as they do on a disk
	}
	return f
}

// answer is what the process is told of the call that goes wrong. Of half a write
// the kernel says how much was written, and the error when the rest is tried.
func (f *diskFault) answer(call *diskCall) diskAnswer {
	if f.half && !f.told {
		if half, err := writeHalf(call); err == nil {
			f.told = true
			return diskAnswer{id: call.id, val: int64(half)}
		}
	}
	close(f.began)
	time.Sleep(f.after)
	return diskAnswer{id: call.id, errno: -int32(f.errno)}
}

// writeHalf writes the first half of what a process wanted to write.
func writeHalf(call *diskCall) (int, error) {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", call.pid))
	if err != nil {
		return 0, err
	}
	defer memory.Close()
	half := make([]byte, call.args[2]/2)
	if _, err := memory.ReadAt(half, int64(call.args[1])); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", call.pid, call.args[0]), os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return file.WriteAt(half, int64(call.args[3]))
}

// TestF57DiskFails has one write or one sync of the journal fail under the switch
// at work, as the kernel says it: nobody hears anything of it any more, the process
// ends with one line that says what to do, and the next one goes on from what is
// on the disk, whether or not that call's records are there.
func TestF57DiskFails(t *testing.T) {
	t.Parallel()
	x := newMarket(t, 57, "sqlite:ledger.db")
	x.open()
	for i, c := range []struct {
		name  string
		fault diskFault
	}{
		{"a sync, EIO; what was written is there", diskFault{call: unix.SYS_FDATASYNC, errno: unix.EIO}},
		{"a sync, no space", diskFault{call: unix.SYS_FDATASYNC, errno: unix.ENOSPC}},
		{"a write, EIO; nothing of it is there", diskFault{call: unix.SYS_PWRITE64, errno: unix.EIO}},
		{"a write, no space for its second half", diskFault{call: unix.SYS_PWRITE64, errno: unix.ENOSPC, half: true}},
	} {
		if x.server.stop(syscall.SIGTERM) != exitOK {
			t.Fatalf("%s: the switch did not end well before", c.name)
		}
		var disk *diskCalls
		x.server, disk = startAsked(t, x.dir, "serve", "--config", "acqswitch.yaml")
		x.serving()
		x.last = c.name
		stop := x.work()
		time.Sleep(200 * time.Millisecond)
		c.fault.left, c.fault.after = 1+i, 300*time.Millisecond
		select {
		case <-disk.fail(c.fault):
		case <-time.After(binaryWait):
			t.Fatalf("%s: the switch writes nothing", c.name)
		}
		heard, cancel := running(100 * time.Millisecond) // what was told before
		<-heard.Done()
		cancel()
		told := x.sold.total()
		select {
		case <-x.server.ended:
		case <-time.After(binaryWait):
			t.Fatalf("%s: the switch did not end", c.name)
		}
		stop()
		if more := x.sold.total() - told; more != 0 {
			t.Errorf("%s: %d sales were approved after it", c.name, more)
		}
		said := strings.Split(strings.TrimSpace(read(t, x.server.log)), "\n")
		if code, line := x.server.cmd.ProcessState.ExitCode(), said[len(said)-1]; code != exitFailed || !strings.HasPrefix(line, "acqswitch: ") || !strings.Contains(line, "flush journal ") ||
			!strings.Contains(line, c.fault.errno.Error()) || !strings.HasSuffix(line, "; check the disk and its room, then start again: what was acknowledged is there") {
			t.Errorf("%s: exit %d, %q", c.name, code, line)
		}
		x.boot("")
		x.serving()
		if x.check(); t.Failed() {
			return
		}
	}
	if x.server.stop(syscall.SIGTERM) != exitOK {
		t.Error("the switch did not end well")
	}
}
