package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestF84UpgradeUnderLoad replaces the program of a switch three times while
// terminals sell on connections that stay open: no sale fails, none is sold
// twice, and the books agree.
func TestF84UpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: [{latency: {fixed: 60ms}}]")
	good, err := os.ReadFile(filepath.Join(s.dir, "acqswitch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// A card buys two hundred times a day, unless a changed configuration is read.
	write(t, s.dir, "policy.yaml", "version: 1\nplans: [{number: 0, name: all day, limits: [{of: card, day_count: 100000}]}]\n")
	good = append(good, "risk: {policy: policy.yaml}\n"...)
	write(t, s.dir, "acqswitch.yaml", string(good))
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitOK, "0 sessions kept", "")
	sale := frame(t, "cup-03")
	ctx, stop := context.WithCancel(t.Context())
	var selling sync.WaitGroup
	var sold atomic.Int64
	for n := range uint32(4) {
		conn := dial(t, s.cup)
		selling.Go(func() {
			for stan := n*10_000 + 1; ctx.Err() == nil; stan++ {
				if _, err := conn.Write(renumbered(t, sale, stan)); err != nil {
					t.Errorf("sale %d: %v", stan, err)
					return
				}
				conn.SetReadDeadline(time.Now().Add(binaryWait))
				answer, err := receive(conn)
				if err != nil {
					t.Errorf("sale %d: %v", stan, err)
					return
				}
				checkAnswer(t, answer, 0x0210, "00")
				sold.Add(1)
			}
		})
	}
	before := int64(0)
	for range 3 {
		s.until("sales are made", func() bool { return sold.Load() > before+20 })
		r := s.cli("upgrade", "--config", "acqswitch.yaml", "-o", "json")
		r.check(t, exitOK, `"sessions": 4`, "")
		var p presence
		if err := json.Unmarshal([]byte(r.out), &p); err != nil || p.PID != s.server.cmd.Process.Pid {
			t.Errorf("process %d came back as %+v: %v", s.server.cmd.Process.Pid, p, err)
		}
		before = sold.Load()
	}
	s.until("sales are made", func() bool { return sold.Load() > before+20 })

	stop()
	selling.Wait()
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d", code)
	}
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitUsage, "", "no switch serves data")
	r := s.verify()
	if r.OpenRequests+r.OpenReversals != 0 {
		t.Errorf("open after it: %+v", r)
	}
	if got := fmt.Sprint(r.Outcomes); got != fmt.Sprint(sold.Load()) {
		t.Errorf("%s transactions are in the books of %d that were answered", got, sold.Load())
	}
}

// TestF84WhatCannotTakeOverReplacesNothing asks for upgrades that the next program
// could not serve after, each wrong in one way: the old one goes on. Then for one
// whose program is gone when its turn comes, and one whose addresses are spelled
// otherwise.
func TestF84WhatCannotTakeOverReplacesNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	config, registry := read(t, filepath.Join(s.dir, "acqswitch.yaml")), read(t, filepath.Join(s.dir, "data", "registry.yaml"))
	also := func(address, speaks string) string {
		return strings.Replace(config, "listeners: [", fmt.Sprintf("listeners: [{address: %q, dialect: %s}, ", address, speaks), 1)
	}
	conn, sale, stan := dial(t, s.cup), frame(t, "cup-03"), uint32(0)
	sells := func(what string) {
		t.Helper()
		stan++
		if _, err := conn.Write(renumbered(t, sale, stan)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		answer, err := receive(conn)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		checkAnswer(t, answer, 0x0210, "00")
	}
	for _, c := range []struct{ name, config, registry, cardKeys, says string }{
		{"configuration", config + "answer_within: soon\n", registry, "card.keys", "answer_within"},
		{"issuer", strings.Replace(config, "timeout: 3s", "timeout: 3s, connections: 99", 1), registry, "card.keys", "connections"},
		{"policy", config + "risk: {policy: nowhere.yaml}\n", registry, "card.keys", "nowhere.yaml"},
		{"downloads", config + "downloads: nowhere.yaml\n", registry, "card.keys", "nowhere.yaml"},
		{"recorder", config + "recorder: {file: a.acq, key: acqswitch.yaml}\n", registry, "card.keys", "recorder.key"},
		{"recorder's directory", config + "recorder: {file: nowhere/a.acq}\n", registry, "card.keys", "recorder.file: stat "},
		{"an issuer's MAC key", strings.Replace(config, "timeout: 3s", "timeout: 3s, mac: x9.19", 1), registry, "card.keys", "load a key for it with acqswitch keys load-zak east"},
		{"card keys", config, registry, "elsewhere", "bring back the keys"},
		{"registry", config, strings.Replace(registry, "version: 1", "version: 9", 1), "card.keys", "registry.yaml"},
		{"address of another program", also(taken.Addr().String(), "cup-pos"), registry, "card.keys", "address already in use"},
		{"address twice", strings.Replace(also(s.cup, "cup-pos"), "127.0.0.1:0", s.cup, 1), registry, "card.keys", "stands twice"},
		{"operators' address", also(strings.TrimPrefix(s.admin, "http://"), "iso87"), registry, "card.keys", "address already in use"},
	} {
		write(t, s.dir, "acqswitch.yaml", c.config)
		write(t, s.dir, "data/registry.yaml", c.registry)
		keys := filepath.Join(s.dir, "data", c.cardKeys)
		if err := os.Rename(filepath.Join(s.dir, "data", "card.keys"), keys); err != nil {
			t.Fatal(err)
		}
		if r := s.cli("serve", "--check", "--config", "acqswitch.yaml"); r.code == exitOK || !strings.Contains(r.errs, c.says) {
			t.Errorf("%s: serve --check: exit %d, %q; want %q in it", c.name, r.code, r.errs, c.says)
		}
		// Told to the process itself: the command reads the configuration, too.
		asked := time.Now()
		if err := syscall.Kill(s.server.cmd.Process.Pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		s.until(c.name+" is refused", func() bool {
			p, err := readPresence(filepath.Join(s.dir, "data"))
			return err == nil && p.Asked.After(asked) && strings.Contains(p.Refused, c.says)
		})
		if err := os.Rename(keys, filepath.Join(s.dir, "data", "card.keys")); err != nil {
			t.Fatal(err)
		}
		sells(c.name)
	}
	write(t, s.dir, "data/registry.yaml", registry)

	// Another spelling of the addresses that are bound.
	_, cup, _ := net.SplitHostPort(s.cup)
	_, iso87, _ := net.SplitHostPort(s.iso87)
	_, admin, _ := net.SplitHostPort(strings.TrimPrefix(s.admin, "http://"))
	otherwise := regexp.MustCompile(`listeners: .*|admin: .*`).ReplaceAllStringFunc(config, func(line string) string {
		if strings.HasPrefix(line, "admin") {
			return fmt.Sprintf("admin: {address: \"localhost:%s\"}", admin)
		}
		return fmt.Sprintf("listeners: [{address: \":%s\", dialect: iso87}, {address: \"localhost:%s\", dialect: cup-pos}]", iso87, cup)
	})
	write(t, s.dir, "acqswitch.yaml", otherwise)
	s.cli("serve", "--check", "--config", "acqswitch.yaml").check(t, exitOK, "ok", "")
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitOK, "1 sessions kept", "")
	sells("spelled otherwise")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

// TestF84NewProgramCannotBegin has programs say that they can take over, which vanish or
// fail then, before and after they have the sockets: the old one goes on as itself, with its
// terminals, and a good one replaces it afterwards.
func TestF84NewProgramCannotBegin(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	self, install := s.startInstalled()
	conn, sale := dial(t, s.cup), frame(t, "cup-03")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	config := read(t, filepath.Join(s.dir, "acqswitch.yaml"))
	write(t, s.dir, "elsewhere.yaml", strings.Replace(config, "listeners: [", fmt.Sprintf("listeners: [{address: %q, dialect: iso87}, ", taken.Addr()), 1))
	sockets := func() (n int) {
		all, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.server.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range all {
			if what, err := os.Readlink(fd); err == nil && strings.HasPrefix(what, "socket:") {
				n++
			}
		}
		return n
	}
	sell(t, conn, renumbered(t, sale, 1))
	before := sockets()
	checked := "[ \"$2\" = --check ] && exit 0\n"
	for i, c := range []struct{ program, says string }{
		{"rm $0", "no such file or directory"},
		{checked + "exec " + self + " serve --config nowhere.yaml", "nowhere.yaml"},
		{checked + "exec " + self + " serve --config acqswitch.yaml --cpuprofile nowhere/cpu", "create CPU profile"},
		{checked + "exec " + self + " serve --config elsewhere.yaml", "address already in use"},
	} {
		install(c.program)
		s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitRefused, "", c.says)
		sell(t, conn, renumbered(t, sale, uint32(i+2)))
		dial(t, s.cup).Close()
	}
	install("exec " + self + " \"$@\"")
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitOK, "1 sessions kept", "")
	sell(t, conn, renumbered(t, sale, 9))
	s.until("no socket is left behind", func() bool { return sockets() <= before })
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

// sell has a sale approved over a session that stands.
func sell(t *testing.T, conn net.Conn, sale []byte) {
	t.Helper()
	if _, err := conn.Write(sale); err != nil {
		t.Fatal(err)
	}
	answer, err := receive(conn)
	if err != nil {
		t.Fatal(err)
	}
	checkAnswer(t, answer, 0x0210, "00")
}

// startInstalled starts the switch anew from a path of its own. install puts a shell
// script there.
func (s *stack) startInstalled() (self string, install func(script string)) {
	s.t.Helper()
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		s.t.Fatalf("exit %d", code)
	}
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	installed := filepath.Join(s.dir, "installed")
	if err := os.Symlink(self, installed); err != nil {
		s.t.Fatal(err)
	}
	cmd := binary(s.t, context.Background(), s.dir, nil, "serve", "--config", "acqswitch.yaml")
	cmd.Args[0] = installed
	s.startAs(cmd)
	return self, func(script string) {
		s.t.Helper()
		if err := os.Remove(installed); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(installed, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestF84AskedBetweenTheTwoPrograms has a reload and a second upgrade asked for when the
// old program is no longer there and the new one does not listen yet. Who asked before, and
// was refused, can still read that.
func TestF84AskedBetweenTheTwoPrograms(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	self, install := s.startInstalled()
	conn := dial(t, s.cup)
	between := filepath.Join(s.dir, "between")
	install("exit 1")
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitRefused, "", "exit status 1")
	install(fmt.Sprintf("[ \"$2\" = --check ] && exit 0\ntouch %s\nkill -HUP $$\nsleep 0.5\nexec %s \"$@\"", between, self))
	first := make(chan result, 1)
	go func() { first <- s.cli("upgrade", "--config", "acqswitch.yaml") }()
	s.until("one program is gone", func() bool { return there(between) })
	if p, err := readPresence(filepath.Join(s.dir, "data")); err != nil || !strings.Contains(p.Refused, "exit status 1") {
		t.Errorf("between the two: %+v, %v", p, err)
	}
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitOK, "1 sessions kept", "")
	r := <-first
	r.check(t, exitOK, "1 sessions kept", "")
	sell(t, conn, frame(t, "cup-03"))
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

// TestF84DiskThatCannotBeWritten: nothing is stopped for a program that would not find
// room on the disk. With room again it is, and one that ends at once is told of as a failure.
func TestF84DiskThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	_, install := s.startInstalled()
	conn := dial(t, s.cup)
	full := filepath.Join(s.dir, "data", presenceFile+".new")
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o700); err != nil { // nothing can be written there
		t.Fatal(err)
	}
	s.cli("upgrade", "--config", "acqswitch.yaml", "--within", "3s").check(t, exitUnreachable, "", "see its log")
	s.until("the upgrade is given up", func() bool { return strings.Contains(read(t, s.server.log), "this one goes on") })
	if log := read(t, s.server.log); strings.Contains(log, "handing over") {
		t.Errorf("it says:\n%s", log)
	}
	if err := os.RemoveAll(full); err != nil {
		t.Fatal(err)
	}
	sell(t, conn, frame(t, "cup-03"))
	install("[ \"$2\" = --check ] && exit 0\nsleep 1\nexit 1") // time to be told of the upgrade before
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitFailed, "", "the switch has ended, see its log")
}

// A program that does not end when it is asked, and what it has started, keep nobody
// waiting for them.
func TestF84NewProgramHangs(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "hangs")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nsleep 60\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	if err := probe(ctx, program, ""); err == nil || !strings.Contains(err.Error(), "has not ended within") {
		t.Errorf("it says %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}
