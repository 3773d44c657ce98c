package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// keeper runs a command and kills it when its own standard input ends. Our end
// of that pipe is closed by stop, or by the kernel when this process is gone.
// (A parent-death signal is tied to a thread, not to the process.) Its first
// line of output is the command's process id.
const keeper = `
sh -c 'echo $$; exec "$@"' sh "$@" </dev/null &
exec >/dev/null
cat
kill -KILL $! 2>/dev/null
wait
`

// process is a part of the system under test.
type process struct {
	role     string
	pid      int
	cmd      *exec.Cmd
	lifeline io.Closer
	lines    *bufio.Reader
}

// startMax bounds the wait for a process's first words, and for its end.
const startMax = 20 * time.Second

// start starts a process and returns when it has said which address is its own:
// in its first line of output with one of the words, behind it.
func start(role string, args ...string) (*process, error) {
	p := &process{role: role}
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", keeper, "keeper"}, args...)...)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we stop the rest
	lifeline, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.lifeline = lifeline
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	line, err := p.line()
	if err == nil {
		p.pid, err = strconv.Atoi(line)
	}
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return p, nil
}

// says returns what follows a word in the process's output.
func (p *process) says(words string) (string, error) {
	for {
		line, err := p.line()
		if err != nil {
			return "", fmt.Errorf("wait for %s to say %q: %w", p.role, words, err)
		}
		if _, after, ok := strings.Cut(line, words); ok {
			return strings.TrimSpace(after), nil
		}
	}
}

// line is the next line of output. A process that says nothing for startMax is
// killed, which ends the wait.
func (p *process) line() (string, error) {
	timeout := time.AfterFunc(startMax, func() { p.lifeline.Close() })
	defer timeout.Stop()
	line, err := p.lines.ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = errors.New("it has ended or is silent")
	}
	return strings.TrimSpace(line), err
}

// kill ends the process at once.
func (p *process) kill() {
	p.lifeline.Close()
	p.cmd.Wait() // the keeper's status says nothing
}

// stop asks the process to end, and kills it when it does not.
func (p *process) stop() {
	if syscall.Kill(p.pid, syscall.SIGTERM) == nil {
		timeout := time.AfterFunc(startMax, func() { p.lifeline.Close() })
		io.Copy(io.Discard, p.lines) // its output ends with it
		timeout.Stop()
	}
	p.kill()
}

// tick is the unit of the processor times in /proc; Linux has fixed it.
const tick = 10 * time.Millisecond

// cpuTime is what a process has used of the processors; 0 where /proc does not
// say.
func cpuTime(pid int) time.Duration {
	fields := procStat(pid)
	if fields == nil {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick
}

// procStat are the fields of /proc/PID/stat behind the name, from the state on.
func procStat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return nil
	}
	return fields
}

// children are the processes that a process has started.
func children(pid int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		child, _ := strconv.Atoi(filepath.Base(dir))
		if fields := procStat(child); fields != nil && fields[1] == strconv.Itoa(pid) {
			pids = append(pids, child)
		}
	}
	return pids
}

// every calls fn each d until ctx ends.
func every(ctx context.Context, d time.Duration, fn func() error) error {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := fn(); err != nil {
				return err
			}
		}
	}
}
