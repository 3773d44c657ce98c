package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestF83SecondSignal stops a switch whose issuer is silent. A signal right behind the
// first is the same one; a later one ends the process at once, and the next start undoes
// what was in flight.
func TestF83SecondSignal(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: [{kind: sale, times: 1, drop: true}]")
	s.server.stop(syscall.SIGTERM)
	patient := strings.NewReplacer("answer_within: 5s", "answer_within: 50s", "drain_within: 10s", "drain_within: 60s", "timeout: 3s", "timeout: 40s")
	write(t, s.dir, "acqswitch.yaml", patient.Replace(read(t, s.dir+"/acqswitch.yaml")))
	s.start()
	conn := dial(t, s.cup)
	if _, err := conn.Write(frame(t, "cup-03")); err != nil {
		t.Fatal(err)
	}
	s.until("the sale is in flight", func() bool {
		_, figures := s.get("/metrics")
		return strings.Contains(figures, "acq_txn_inflight 1")
	})
	tell := func() {
		if err := s.server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	tell()
	time.Sleep(oneSignal / 4) // two at once are one to the kernel
	tell()
	select {
	case <-s.server.ended:
		t.Fatal("a signal right behind the first ended the process")
	case <-time.After(3 * oneSignal):
	}
	if code := s.server.stop(syscall.SIGTERM); code != -1 {
		t.Errorf("exit %d after a later signal, want none", code)
	}
	s.start()
	s.until("the sale is undone", func() bool { r := s.verify(); return r.OpenRequests+r.OpenReversals == 0 })
}

// A stop that hangs ends the process, also where nobody reads its log, and says what it
// waited for.
func TestF83StopThatHangs(t *testing.T) {
	for _, c := range []struct {
		name string
		logs io.Writer
		more time.Duration
	}{{"log is read", new(bytes.Buffer), 0}, {"log is not read", hungWriter{}, lastWords}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &app{cfg: new(config), stages: newStages()}
				a.cfg.Log.Level, a.cfg.Log.Format = "info", "json"
				hang := make(chan struct{})
				a.stages.start(t.Context(), "ledger", func(context.Context) error { <-hang; return nil })
				ended, at := make(chan int), time.Now()
				a.endLate(stopMax, c.logs, func(code int) { ended <- code })
				stopped := make(chan error)
				go func() { stopped <- a.stages.stop(0) }()
				if code, took := <-ended, time.Since(at); code != exitFailed || took != stopMax+c.more {
					t.Errorf("exit %d after %v", code, took)
				}
				close(hang)
				<-stopped
				time.Sleep(2 * time.Hour) // until who hangs has ended
				if b, is := c.logs.(*bytes.Buffer); is {
					var line struct{ Level, Waits_for, Goroutines string }
					if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Level != "ERROR" || line.Waits_for != "ledger" || !strings.Contains(line.Goroutines, "TestF83") {
						t.Errorf("it said %s: %v", b, err)
					}
				}
			})
		})
	}
}

// The time of a stop counts when a stage has failed, too: nobody has asked for that stop.
func TestF83StopAfterAFailure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	a, counts := appIn(t, dir), 0
	a.stops = func() { counts++ }
	failed := errors.New("failed")
	if err := a.run(t.Context(), func() { a.stages.fail(failed) }); !errors.Is(err, failed) || counts != 1 {
		t.Errorf("%v, the stop's time began %d times", err, counts)
	}
}

// hungWriter is a log that hangs.
type hungWriter struct{}

func (hungWriter) Write([]byte) (int, error) {
	time.Sleep(time.Hour)
	return 0, nil
}

// TestF83CommandInFlight stops what serves commands: one that is being done is answered
// first, one that hangs is left behind.
func TestF83CommandInFlight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		takes, stops time.Duration // the command, and the stop at most
		answered     bool
	}{{"ends", 300 * time.Millisecond, controlStopMax, true}, {"hangs", 20 * time.Second, controlStopMax + 10*time.Second, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			begun, done := make(chan struct{}), false
			over := make(chan struct{})
			defer close(over)
			served := make(chan error, 1)
			go func() {
				served <- serveHTTP(ctx, l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					close(begun)
					select {
					case <-time.After(c.takes):
						done = true
					case <-over:
					}
				}), controlStopMax, slog.New(slog.DiscardHandler))
			}()
			asked := make(chan error, 1)
			go func() {
				r, err := http.Get("http://" + l.Addr().String())
				if err == nil {
					r.Body.Close()
				}
				asked <- err
			}()
			<-begun
			at := time.Now()
			cancel()
			if err := <-served; err != nil || time.Since(at) > c.stops {
				t.Errorf("served until %v after the stop: %v", time.Since(at), err)
			}
			if c.answered && !done {
				t.Error("it stopped before the command was done")
			}
			if err := <-asked; (err == nil) != c.answered {
				t.Errorf("who asked is told %v", err)
			}
		})
	}
}
