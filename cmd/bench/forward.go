package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// The baseline is what the machine allows: four hops of the same frames with
// nothing done to them. It is shaped as the switch is (a goroutine for each
// terminal, one link to the issuer, writes joined) and leaves out everything
// else: no decoding, no checks, no records, no deadlines.

const (
	slotSize  = 4         // the number of the waiting terminal before a forwarded frame's body
	answersAt = 5 + 6 + 1 // TPDU, header, half the MTI: the byte of a body that says whether it is an answer
)

// forward is the baseline's switch. It serves until the process is killed.
func forward(issuer string, out io.Writer) error {
	up, err := net.Dial("tcp", issuer)
	if err != nil {
		return fmt.Errorf("connect to the echo: %w", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	f := &forwarder{up: up, wake: make(chan struct{}, 1)}
	fmt.Fprintln(out, "listens on", ln.Addr())
	failed := make(chan error, 3)
	go func() { failed <- f.write() }()
	go func() { failed <- f.read() }()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				failed <- err
				return
			}
			go f.serve(&peer{conn: conn})
		}
	}()
	return <-failed
}

type forwarder struct {
	up      net.Conn
	waiting [1 << 16]atomic.Pointer[peer] // by slot; more than can be in flight
	slot    atomic.Uint32
	wake    chan struct{} // holds one: the queue is not empty

	mu    sync.Mutex // guards queue
	queue []byte
}

// peer is one terminal. out and dirty belong to the reader of the link.
type peer struct {
	conn  net.Conn
	out   []byte
	dirty bool
}

// serve forwards what a terminal sends.
func (f *forwarder) serve(p *peer) {
	defer p.conn.Close()
	r := bufio.NewReaderSize(p.conn, 4096)
	for {
		body, err := peek(r)
		if err != nil {
			return
		}
		slot := f.slot.Add(1) % uint32(len(f.waiting))
		f.waiting[slot].Store(p)
		f.mu.Lock()
		f.queue = binary.BigEndian.AppendUint16(f.queue, uint16(slotSize+len(body)))
		f.queue = binary.BigEndian.AppendUint32(f.queue, slot)
		f.queue = append(f.queue, body...)
		f.mu.Unlock()
		select {
		case f.wake <- struct{}{}:
		default:
		}
		r.Discard(prefixSize + len(body))
	}
}

// write writes to the link whatever queued up during the write before.
func (f *forwarder) write() error {
	var spare []byte
	for range f.wake {
		runtime.Gosched() // whoever is about to queue a frame does it now
		f.mu.Lock()
		batch := f.queue
		f.queue = spare[:0]
		f.mu.Unlock()
		if _, err := f.up.Write(batch); err != nil {
			return err
		}
		spare = batch
	}
	return nil
}

// read gives the answers back, one write for each terminal and batch read.
func (f *forwarder) read() error {
	r := bufio.NewReaderSize(f.up, 64<<10)
	var dirty []*peer
	for {
		body, err := peek(r)
		if err != nil {
			return err
		}
		p := f.waiting[binary.BigEndian.Uint32(body)%uint32(len(f.waiting))].Load()
		p.out = binary.BigEndian.AppendUint16(p.out, uint16(len(body)-slotSize))
		p.out = append(p.out, body[slotSize:]...)
		p.out[len(p.out)-len(body)+slotSize+answersAt] |= 0x10 // 0210: a terminal takes no 0200
		if !p.dirty {
			p.dirty = true
			dirty = append(dirty, p)
		}
		r.Discard(prefixSize + len(body))
		if whole(r) {
			continue
		}
		for _, p := range dirty {
			p.conn.Write(p.out) // a terminal that left is noticed by its reader
			p.out, p.dirty = p.out[:0], false
		}
		dirty = dirty[:0]
	}
}

// peek waits for the next frame and returns its body, valid until discarded.
func peek(r *bufio.Reader) ([]byte, error) {
	prefix, err := r.Peek(prefixSize)
	if err != nil {
		return nil, err
	}
	frame, err := r.Peek(prefixSize + int(binary.BigEndian.Uint16(prefix)))
	if err != nil {
		return nil, err
	}
	return frame[prefixSize:], nil
}

// whole says that another frame has arrived already.
func whole(r *bufio.Reader) bool {
	if r.Buffered() < prefixSize {
		return false
	}
	prefix, _ := r.Peek(prefixSize)
	return r.Buffered() >= prefixSize+int(binary.BigEndian.Uint16(prefix))
}

// echo is the baseline's issuer: it sends back what it reads.
func echo(out io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintln(out, "listens on", ln.Addr())
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				if _, err := conn.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// child is the part of a process that the benchmark started from itself.
func child(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "echo":
		return echo(os.Stdout)
	case len(args) == 2 && args[0] == "forward":
		return forward(args[1], os.Stdout)
	}
	return errors.New("child must be echo, or forward and an address")
}
