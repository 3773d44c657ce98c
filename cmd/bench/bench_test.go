package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestMain makes the test binary able to be the processes of the baseline.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := run(nil, os.Args[1:], os.Stdout, os.Stderr); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The canonical sale is one that the switch takes for what it is.
func TestSale(t *testing.T) {
	cup, err := dialect.ForTerminal("cup-pos")
	if err != nil {
		t.Fatal(err)
	}
	cards := map[txn.PAN]bool{}
	for n := range 1024 {
		s, err := newSale(n)
		if err != nil {
			t.Fatal(err)
		}
		s.number(123456)
		if len(s.frame) != 446 {
			t.Fatalf("the frame has %d bytes, want 446", len(s.frame))
		}
		var x dialect.Exchange
		x.Frame = s.frame[prefixSize:]
		if err := cup.Decode(&x, time.Now()); err != nil || x.Fault != nil {
			t.Fatal(err, x.Fault)
		}
		r := &x.Request
		dialect.ReadInfo(r, txn.CarrierDE59)
		if r.Kind != txn.KindSale || r.Key.STAN != 123456 || r.Key.Terminal.String() != terminalID(n) || !r.PAN.LuhnValid() || !r.Info.Position.Known || r.Info.Serial.String() != serial(n) || r.Info.Broken {
			t.Fatalf("terminal %d: read as %v of %v, %v", n, r.Kind, r.Key, r.PAN)
		}
		cards[r.PAN] = true
	}
	if len(cards) != 1024 {
		t.Errorf("1024 terminals have %d cards", len(cards))
	}
}

func TestRegistryIsComplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.yaml")
	if err := writeRegistry(path, 1024, 1000); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	snapshot, err := registry.Load(f, path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1024 {
		terminal, ok := snapshot.Terminal(txn.MakeTerminalID(terminalID(n)))
		if !ok || terminal.Merchant.String() != merchantID(n) {
			t.Fatalf("terminal %d is not registered at its merchant", n)
		}
	}
}

// Everything runs, small, against a real switch, and no answer is wrong.
func TestWhole(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "acqswitch")
	if out, err := exec.Command("go", "build", "-o", binary, "../acqswitch").CombinedOutput(); err != nil {
		t.Fatalf("build the switch: %v\n%s", err, out)
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{"-binary", binary, "-rounds", "1", "-warm", "100ms", "-duration", "300ms",
		"-terminals", "20", "-dir", t.TempDir(), "-output", "json"}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("herd", func(t *testing.T) {
		var out bytes.Buffer
		err := run(t.Context(), []string{"herd", "-binary", binary, "-sign-ons", "200", "-sessions", "10", "-sellers", "5", "-quiet", "300ms", "-dir", t.TempDir()}, &out, io.Discard)
		if err != nil || !strings.Contains(out.String(), "200 sign-ons sent within 1s over 10 sessions") || !strings.Contains(out.String(), " 0 refused") {
			t.Errorf("%v\n%s", err, &out)
		}
	})
	t.Run("quote", func(t *testing.T) {
		var out bytes.Buffer
		err := run(t.Context(), []string{"quote", "-binary", binary, "-rounds", "1", "-warm", "100ms", "-duration", "300ms", "-terminals", "20", "-dir", t.TempDir()}, &out, io.Discard)
		if err != nil || strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), "; 0 of ") || strings.Contains(out.String(), "/0.0") {
			t.Errorf("%v\n%s", err, &out)
		}
	})
	var report struct {
		Runs []result `json:"runs"`
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Runs) != 14 {
		t.Fatalf("%d runs, want seven variants and a forwarder before each", len(report.Runs))
	}
	for _, r := range report.Runs {
		if r.TPS <= 0 || r.Answers == 0 || r.Wrong != 0 || r.P50 <= 0 || r.P50 > r.P999 {
			t.Errorf("%+v", r)
		}
	}
}

// A process ends when the pipe that its parent holds does.
func TestProcessEndsWithUs(t *testing.T) {
	p, err := start("sleeper", "/bin/sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.pid, 0); err != nil {
		t.Fatalf("process %d is not there: %v", p.pid, err)
	}
	p.kill()
	if err := syscall.Kill(p.pid, 0); err == nil {
		t.Errorf("process %d is still there", p.pid)
	}
}

func TestCommandLineIsChecked(t *testing.T) {
	for _, args := range [][]string{{"-sign-ons", "0"}, {"-sessions", "0"}, {"-sign-ons", "1000", "-sessions", "1"}, {"-every", "0s"}, {"-quiet", "2m"}, {"more"}} {
		if err := runHerd(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("herd %v: accepted", args)
		}
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"-duration", "0s"}, {"-terminals", "20001"}, {"-output", "xml"}, {"-only", "("}, {"more"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v: accepted", args)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{7, 1, 3}, 3}, {[]float64{4, 8, 1, 2}, 3}} {
		r := report{results: map[string][]result{}}
		for _, v := range c.in {
			r.add(variant{name: "x"}, result{TPS: v})
		}
		if got := r.of("x", tps); got != c.want {
			t.Errorf("median of %v is %v, want %v", slices.Clone(c.in), got, c.want)
		}
	}
}
