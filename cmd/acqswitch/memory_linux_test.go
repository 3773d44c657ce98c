//go:build !race

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The memory that a switch of few terminals is given, in bytes: what Go is told
// to keep to, what may be resident, and what the kernel refuses to go over.
const (
	memoryTold     = 128 << 20
	memoryResident = 192 << 20
	memoryGiven    = 384 << 20
)

// TestF81MemoryLimit gives the switch little memory and as few sessions and
// requests in flight as that allows, and has a thousand and more strangers take
// what they can of it: frames of the greatest size that are never whole, answers
// that are never read, requests in the names of a million terminals, and
// connections that come and go. It stays within its memory and sells. The race
// detector needs memory of its own, so this is tried without it.
func TestF81MemoryLimit(t *testing.T) {
	x := newMarket(t, 81, "sqlite:ledger.db")
	x.env = []string{fmt.Sprintf("GOMEMLIMIT=%d", memoryTold)}
	config := read(t, filepath.Join(x.dir, "acqswitch.yaml"))
	write(t, x.dir, "acqswitch.yaml", strings.Replace(config, "terminals:\n", "terminals:\n  sessions_max: 2000\n  in_flight_max: 4\n", 1))
	x.open()
	pid := x.server.cmd.Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: memoryGiven, Max: memoryGiven}, nil); err != nil {
		t.Fatal(err)
	}
	stop := x.work()
	time.Sleep(500 * time.Millisecond)
	before := resident(t, pid)
	x.last = "a flood of strangers"
	const megabytes, connections, sales = 20, 1000, 50
	var sent, connected int
	for try := 0; try == 0 || try < 3 && x.sold.pause() > patience; try++ { // others may have had the processors
		x.sold.begin()
		sent, connected = x.flood(3*time.Second, func(sent, connected int) bool {
			return sent > megabytes<<20 && connected > connections && x.sold.since() > sales
		})
	}
	stop()
	most := resident(t, pid)
	t.Logf("%d connections and %d MB of strangers; resident %d MB before, %d MB at most; %d sales, the longest time without one was %v",
		connected, sent>>20, before>>20, most>>20, x.sold.count, x.sold.longest.Round(time.Millisecond))
	if sent < megabytes<<20 || connected < connections {
		t.Errorf("%d bytes over %d connections are no flood", sent, connected)
	}
	if most > memoryResident {
		t.Errorf("%d MB were resident, more than %d", most>>20, memoryResident>>20)
	}
	if x.sold.longest > patience || x.sold.count < sales {
		t.Errorf("%d sales, nothing was sold for %v", x.sold.count, x.sold.longest)
	}
	x.check()
	if x.server.stop(syscall.SIGTERM) != exitOK {
		t.Error("the switch did not end well")
	}
}

// resident is the most memory that a process had at a time.
func resident(t *testing.T, pid int) int {
	t.Helper()
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(read(t, fmt.Sprintf("/proc/%d/status", pid)))
	if m == nil {
		t.Fatal("the kernel does not say what is resident")
	}
	kb, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// flood has strangers at the terminals' door for a while, and until it was enough, if
// it ever is; and says how many bytes were sent over how many connections.
func (x *market) flood(d time.Duration, enough func(sent, connected int) bool) (sent, connected int) {
	x.t.Helper()
	const each, pause = 500, time.Second
	ctx, cancel := running(5 * d)
	defer cancel()
	least := time.Now().Add(d)
	sale := frame(x.t, "cup-03")
	m := new(iso.Message)
	if err := cupCodec.Parse(m, sale[2:]); err != nil {
		x.t.Fatal(err)
	}
	tid := 2 + m.Offset(41)
	var mu sync.Mutex // guards what is returned
	var strangers sync.WaitGroup
	send := func(conn net.Conn, b []byte) error {
		n, err := conn.Write(b)
		mu.Lock()
		defer mu.Unlock()
		sent += n
		return err
	}
	stranger := func(do func(conn net.Conn)) {
		strangers.Go(func() {
			conn, err := net.Dial("tcp", x.cup)
			if err != nil {
				return
			}
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			mu.Lock()
			connected++
			mu.Unlock()
			do(conn)
		})
	}
	// Sales of terminals that nobody knows, until the switch takes no more.
	ask := func(conn net.Conn, pause time.Duration) {
		var burst []byte
		for range 64 {
			burst = append(burst, sale...)
		}
		for {
			for at := 0; at < len(burst); at += len(sale) {
				copy(burst[at+tid:], fmt.Sprintf("%08d", 20_000_000+rand.IntN(1_000_000)))
			}
			if send(conn, burst) != nil {
				return
			}
			time.Sleep(pause)
		}
	}
	for i := range each {
		stranger(func(conn net.Conn) {
			send(conn, append([]byte{byte(txn.FrameSizeMax >> 8), byte(txn.FrameSizeMax & 0xff)}, make([]byte, txn.FrameSizeMax-1)...))
			io.Copy(io.Discard, conn)
		})
		if i%3 == 0 {
			stranger(func(conn net.Conn) {
				conn.(*net.TCPConn).SetReadBuffer(4 << 10)
				ask(conn, pause/5)
			})
		}
		stranger(func(conn net.Conn) {
			go io.Copy(io.Discard, conn)
			time.Sleep(rand.N(pause))
			ask(conn, pause)
		})
	}
	last := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ctx.Err() != nil || time.Now().After(least) && enough(sent, connected)
	}
	for !last() {
		if conn, err := net.Dial("tcp", x.cup); err == nil {
			conn.Write([]byte("GET / HTTP/1.1\r\n"))
			conn.Close()
			mu.Lock()
			connected++
			mu.Unlock()
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	strangers.Wait()
	return sent, connected
}
