package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A switch that records plays a terminal's day; what it recorded has no card and,
// replayed against another switch, is answered as it was.
func TestRecorder(t *testing.T) {
	t.Parallel()
	s := newSampleStack(t)
	s.server.stop(syscall.SIGTERM)
	config := read(t, s.dir+"/acqswitch.yaml")
	write(t, s.dir, "acqswitch.yaml", config+"recorder: {file: traffic.acq, key: pseudonyms.key}\n")
	s.start()
	day, err := filepath.Abs("../../testdata/script/day.txt")
	if err != nil {
		t.Fatal(err)
	}
	s.cli("script", "run", day, "--to", s.cup).check(t, exitOK, "1 passed", "")
	if _, body := s.get("/metrics"); !strings.Contains(body, "acq_recorder_dropped_messages_total 0") {
		t.Error("drops are not counted")
	}
	s.server.stop(syscall.SIGTERM)
	files, err := filepath.Glob(filepath.Join(s.dir, "traffic-2*.acq"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if text := read(t, files[0]); strings.Contains(text, "\x99\x99\x01\x00\x00\x09\x00\x12") {
		t.Error("a card number is in the recording")
	}
	other := newSampleStack(t)
	other.cli("replay", files[0], "--to", other.cup, "--speed", "max").check(t, exitOK, "Every answer is as recorded.", "")
}
