package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
)

// beBinary in the environment makes the test binary the program under test, so
// that tests run the real main: exit codes, signals and standard error included.
const beBinary = "BE_ACQSWITCH=1"

func TestMain(m *testing.M) {
	if name, value, _ := strings.Cut(beBinary, "="); os.Getenv(name) == value {
		main()
	}
	os.Exit(m.Run())
}

// binaryWait bounds everything that a test waits for of the binary. It is there for
// what hangs: what is slow beside twenty others is no fault.
const binaryWait = 2 * time.Minute

// binary makes a run of the binary in dir. env is added to a clean environment.
func binary(t *testing.T, ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{beBinary, "HOME=" + dir, "PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"), "GORACE=atexit_sleep_ms=0"}, env...)
	return cmd
}

// result is a finished run of the binary.
type result struct {
	code      int
	out, errs string
}

// acqswitch runs the binary to its end. Standard error must be empty after
// success but for warnings, and one line after a failure; only a registry's faults are one each.
func acqswitch(t *testing.T, dir string, env []string, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := running(binaryWait)
	defer cancel()
	cmd := binary(t, ctx, dir, env, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // says where it hangs
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("acqswitch %v: %v", args, err)
	}
	r := result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	line, rest, _ := strings.Cut(r.errs, "\n")
	switch {
	case r.code == exitOK && r.errs != "" && !strings.HasPrefix(line, "acqswitch: warning: "):
		t.Errorf("acqswitch %v: exit 0 with standard error %q", args, r.errs)
	case r.errs != "" && (rest != "" && args[0] != "registry" || !strings.HasPrefix(line, "acqswitch: ") || !strings.HasSuffix(r.errs, "\n")):
		t.Errorf("acqswitch %v: standard error is not one line of acqswitch's: %q", args, r.errs)
	}
	return r
}

// check holds a result to an exit code and to parts of its outputs.
func (r result) check(t *testing.T, code int, out, errs string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.out, out) || !strings.Contains(r.errs, errs) {
		t.Errorf("exit %d, want %d\nstandard output, want %q in it:\n%s\nstandard error, want %q in it:\n%s", r.code, code, out, r.out, errs, r.errs)
	}
}

// process is a running binary.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // of standard output
	log   string      // file of standard error
	ended chan struct{}
}

// start runs the binary in the background until the test ends or stops it.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startIn(t, dir, nil, args...)
}

// startIn adds env to the binary's environment.
func startIn(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, dir, binary(t, context.Background(), dir, env, args...))
}

// startCommand starts a run of the binary.
func startCommand(t *testing.T, dir string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, lines: make(chan string, 64), ended: make(chan struct{})}
	args := cmd.Args[1:]
	log, err := os.CreateTemp(dir, args[0]+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	if p.log = log.Name(); cmd.Stderr == nil {
		cmd.Stderr = log
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		defer log.Close()
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.lines <- lines.Text() // a program under test prints less than it holds
		}
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			text, _ := os.ReadFile(p.log)
			t.Logf("%s %v said:\n%s", filepath.Base(p.log), args, text)
		}
	})
	return p
}

// running is a context that ends when this process has run for d. Time in which the
// machine stood still, or let nothing of this run, is no time that a program under
// test had.
func running(d time.Duration) (context.Context, context.CancelFunc) {
	const step = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		tick := time.NewTicker(step) // it keeps one that nobody takes
		defer tick.Stop()
		for ; d > 0; d -= step {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// await is what follows prefix on the next line of output that has it.
func (p *process) await(prefix string) string {
	p.t.Helper()
	late, cancel := running(binaryWait)
	defer cancel()
	for {
		select {
		case line := <-p.lines:
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return strings.TrimSpace(rest)
			}
		case <-p.ended:
			p.t.Fatalf("the process ended before it said %q", prefix)
		case <-late.Done():
			p.t.Fatalf("the process did not say %q", prefix)
		}
	}
}

// stop sends a signal and returns the exit code, -1 when the signal killed it.
func (p *process) stop(sig os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	late, cancel := running(binaryWait)
	defer cancel()
	select {
	case <-p.ended:
	case <-late.Done():
		p.t.Fatalf("the process did not end after %v", sig)
	}
	return p.cmd.ProcessState.ExitCode()
}

// write makes a file of the test.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// frame is a message of the constructed CUP fixtures, length prefix included, with a card
// that has not expired yet.
func frame(t *testing.T, id string) []byte {
	t.Helper()
	file, err := os.Open("../../testdata/messages/cup-pos-constructed/messages.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for d := json.NewDecoder(file); ; {
		var f struct{ ID, Hex string }
		if err := d.Decode(&f); err != nil {
			t.Fatalf("fixture %s: %v", id, err)
		}
		if f.ID == id {
			b, err := hex.DecodeString(f.Hex)
			m := new(iso.Message)
			if err == nil {
				err = cupCodec.Parse(m, b[2:])
			}
			if err != nil {
				t.Fatal(err)
			}
			m.Overwrite(14, 0, []byte("4912"))
			m.Overwrite(35, bytes.IndexAny(m.AppendDigits(nil, 35), "=D")+1, []byte("4912"))
			return b
		}
	}
}

// dial connects as a terminal.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, binaryWait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(binaryWait))
	return conn
}

// receive reads one frame behind its 2-byte length.
func receive(conn net.Conn) ([]byte, error) {
	var prefix [2]byte
	if _, err := io.ReadFull(conn, prefix[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, int(prefix[0])<<8|int(prefix[1]))
	_, err := io.ReadFull(conn, frame)
	return frame, err
}
