package ledgertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	envURL       = "ACQ_TEST_POSTGRES_URL"
	startTimeout = 60 * time.Second // on a machine that runs other packages' tests too
)

var errNoServer = errors.New("no PostgreSQL server binaries in /usr/lib/postgresql/*/bin or on PATH: " +
	"run 'sudo apt-get install postgresql', or set " + envURL)

// lifelines are the write ends of the keepers' standard inputs, by the server's
// directory. They are never closed: the kernel does that when this process ends,
// whatever ends it.
var lifelines = map[string]io.WriteCloser{}

// serverURL is the server's maintenance database. It starts the private server
// at the first call.
var serverURL = sync.OnceValues(func() (*url.URL, error) {
	if s := os.Getenv(envURL); s != "" {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("%s must be a postgres:// URL: %w", envURL, err)
		}
		return u, nil
	}
	return Start("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB")
})

// keeper runs the server and outlives this process by the time it takes to
// clean up: read ends when the lifeline does. (A parent-death signal would not
// do: it is tied to the thread that started the child, not to the process.) A
// line on the lifeline is a crash of the server, which is started again every
// second until what it was running has gone.
const keeper = `
bin=$1 dir=$2
shift 2
(
	until [ -e "$dir/end" ]; do
		"$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=50 "$@"
		sleep 1
	done >>"$dir/log" 2>&1 </dev/null
	: >"$dir/ended"
) &
while read -r crash; do
	kill -KILL "$(head -n 1 "$dir/data/postmaster.pid")"
done
: >"$dir/end"
until [ -e "$dir/ended" ]; do
	kill -QUIT "$(head -n 1 "$dir/data/postmaster.pid")"
	sleep 0.1
done 2>/dev/null
rm -rf "$dir"
`

// Start starts a private server with settings, such as "shared_buffers=32MB",
// over PostgreSQL's own defaults, which are durable. It ends with this process.
// It is called from one goroutine at a time.
func Start(settings ...string) (*url.URL, error) {
	u, err := start(settings, "initdb", "-U", role, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return nil, fmt.Errorf("start a private PostgreSQL server: %w", err)
	}
	return u, nil
}

// Standby starts a standby of a server that Start started. From then on a commit
// is acknowledged once both have it on their disks.
func Standby(server *url.URL) (*url.URL, error) {
	u, err := start(nil, "pg_basebackup", "-U", role, "-h", server.Query().Get("host"), "-R", "-X", "stream", "-c", "fast", "--no-sync")
	if err == nil {
		err = admin(server, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
	}
	if err != nil {
		return nil, fmt.Errorf("start a standby of a PostgreSQL server: %w", err)
	}
	return u, nil
}

// Promote makes a standby the server. Nothing keeps the other one from going on.
func Promote(standby *url.URL) error { return admin(standby, "SELECT pg_promote()") }

// Socket is where a server that Start or Standby started listens.
func Socket(server *url.URL) string {
	return filepath.Join(server.Query().Get("host"), ".s.PGSQL.5432")
}

// Crash kills a server that Start started, as the system does when memory is
// short. It comes back some seconds later, and recovers.
func Crash(server *url.URL) error {
	lifeline := lifelines[server.Query().Get("host")]
	if lifeline == nil {
		return errors.New("crash a PostgreSQL server: it was not started here")
	}
	_, err := io.WriteString(lifeline, "crash\n")
	return err
}

// role is the private servers' only one.
const role = "acqswitch"

// start makes a directory of data with a program of the server's, and starts the server.
func start(settings []string, maker string, args ...string) (*url.URL, error) {
	bin, err := findBinaries()
	if err != nil {
		return nil, err
	}
	// Not $TMPDIR: a socket's path must stay below 108 bytes, and the server's
	// user must be able to enter.
	dir, err := os.MkdirTemp("/tmp", "acqswitch-pg-")
	if err != nil {
		return nil, err
	}
	attr, err := serverUser(dir)
	if err != nil {
		return nil, err
	}
	data := exec.Command(filepath.Join(bin, maker), append(args, "-D", filepath.Join(dir, "data"))...)
	data.Dir, data.SysProcAttr = dir, attr
	if out, err := data.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: %w\n%s", maker, err, out)
	}
	cmd := exec.Command("/bin/sh", "-c", keeper, "acqswitch-test-postgres", bin, dir)
	for _, s := range settings {
		cmd.Args = append(cmd.Args, "-c", s)
	}
	cmd.Dir, cmd.SysProcAttr = dir, attr
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	lifelines[dir] = lifeline
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	u := &url.URL{Scheme: "postgres", User: url.User(role), Path: "/postgres",
		RawQuery: url.Values{"host": {dir}, "sslmode": {"disable"}}.Encode()}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		err := admin(u, "SELECT 1")
		if err == nil {
			return u, nil
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return nil, fmt.Errorf("not ready after %s: %w\n%s", startTimeout, err, bytes.TrimSpace(log))
		}
	}
}

// findBinaries is the directory of the newest server on this machine.
func findBinaries() (string, error) {
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(versions, func(a, b string) int { return major(b) - major(a) })
	if len(versions) > 0 {
		return filepath.Dir(versions[0]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errNoServer
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

func major(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

// serverUser says as whom the server runs: as us, or, since PostgreSQL refuses
// to be root, as an unprivileged user who is given dir. The process group is
// its own, so that Ctrl-C reaches the tests and not the server below them.
func serverUser(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() != 0 {
		return attr, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return attr, os.Chown(dir, uid, gid)
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}
