package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tapped has sessions ask and be answered, all at the same time, each terminal n
// times.
func tapped(t *testing.T, r *Recorder, terminals, n int) {
	d := Dialects()[0]
	var asking sync.WaitGroup
	for i := range terminals {
		asking.Go(func() {
			tap := r.Open(netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:4000", i+1)), netip.MustParseAddrPort("10.0.0.200:8583"), d.Name)
			for stan := range n {
				tid := fmt.Sprintf("%08d", i)
				tap.Asked(tid, message(t, d, 0x0200, stan)[2:], time.Now())
				tap.Answered(tid, message(t, d, 0x0210, stan)[2:], time.Now())
			}
			tap.Close()
		})
	}
	asking.Wait()
}

// What is recorded can be read as a capture, without a card number, each session
// ended; and the context's end waits for what is queued.
func TestRecorder(t *testing.T) {
	var file bytes.Buffer
	r, err := NewRecorder(&file, testCleaner(t, 8), RecorderConfig{Percent: 100, SizeMax: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	tapped(t, r, 5, 20)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	index, err := ReadIndex(bytes.NewReader(file.Bytes()))
	if err != nil || index.Requests != 100 || index.Answers != 100 || index.Sessions != 5 {
		t.Errorf("%+v, %v", index, err)
	}
	if written, dropped := r.Figures(); written != 200 || dropped != 0 {
		t.Errorf("%d written, %d dropped", written, dropped)
	}
	d := Dialects()[0]
	if clear := message(t, d, 0x0200, 1); bytes.Contains(file.Bytes(), clear[2+5+6+2+8:][:9]) {
		t.Error("a card number is in the file")
	}
}

// A share of the terminals is recorded, the same ones each time.
func TestRecorderSamples(t *testing.T) {
	r, err := NewRecorder(io.Discard, testCleaner(t, 8), RecorderConfig{Percent: 25, SizeMax: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range 10_000 {
		tid := fmt.Sprintf("%08d", i)
		if r.wants(tid) {
			n++
		}
		if r.wants(tid) != r.wants(tid) {
			t.Fatal("now it is, now it is not")
		}
	}
	if n < 2200 || n > 2800 {
		t.Errorf("%d of 10000 terminals are recorded, want about 2500", n)
	}
	for _, bad := range []RecorderConfig{{-1, 1}, {101, 1}, {1, 0}} {
		if _, err := NewRecorder(io.Discard, testCleaner(t, 8), bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

type stuck struct{ until chan struct{} }

func (s stuck) Write(b []byte) (int, error) { <-s.until; return 0, errors.New("the disk is gone") }

// A disk that hangs, and then fails, blocks nobody: messages are dropped and
// counted.
func TestRecorderNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := stuck{make(chan struct{})}
		r, err := NewRecorder(disk, testCleaner(t, 8), RecorderConfig{Percent: 100, SizeMax: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(2 * flushEvery) // it hangs in a flush
		tapped(t, r, 4, recorderQueue)
		if written, dropped := r.Figures(); written != 0 || dropped != 8*recorderQueue-recorderQueue {
			t.Errorf("%d written, %d dropped", written, dropped)
		}
		close(disk.until)
		synctest.Wait()
		tapped(t, r, 1, 10)
		cancel()
		if err := <-ended; err == nil {
			t.Error("a disk that is gone is no error")
		}
		if _, dropped := r.Figures(); dropped < 8*recorderQueue-recorderQueue+20 {
			t.Errorf("%d dropped", dropped)
		}
	})
}

// At its size the file is finished as it is, and what comes then is dropped.
func TestRecorderIsFull(t *testing.T) {
	var file bytes.Buffer
	r, err := NewRecorder(&file, testCleaner(t, 8), RecorderConfig{Percent: 100, SizeMax: 4096})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	tapped(t, r, 2, 100)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	index, err := ReadIndex(bytes.NewReader(file.Bytes()))
	written, dropped := r.Figures()
	if err != nil || index.Requests == 0 || file.Len() > 8192 || written+dropped != 400 || dropped == 0 {
		t.Errorf("%+v, %v: %d bytes, %d written, %d dropped", index, err, file.Len(), written, dropped)
	}
}
