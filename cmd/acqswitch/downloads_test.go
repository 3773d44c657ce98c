package main

import (
	"encoding/hex"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/testdata"
)

// TestDownloads takes parameters from a served file, sees who lacks what in the
// log beside the running switch, and what a new file changes.
func TestDownloads(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	ask := func(network string) []byte {
		return message(t, "0034"+"6000030000"+"603100310000"+"0800"+"0000000000C00010"+"3130303030303031"+"393939323930303534313130303031"+"001100000001"+network+"0")
	}
	checkAnswer(t, s.tell(ask("360")), 0x0810, "40")
	s.cli("downloads", "status").check(t, exitUsage, "", "downloads is empty: terminals download nothing")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}

	sample, err := testdata.Files.ReadFile("downloads.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.dir, "downloads.yaml", string(sample))
	write(t, s.dir, "bad.yaml", strings.Replace(string(sample), "timeout: 60", "timeout: 600", 1))
	s.cli("downloads", "check", "downloads.yaml").check(t, exitOK, "ok\n", "")
	s.cli("downloads", "check", "bad.yaml").check(t, exitUsage, "", `parameters.default.timeout: "600" must be 2 digits`)
	write(t, s.dir, "acqswitch.yaml", read(t, s.dir+"/acqswitch.yaml")+"downloads: downloads.yaml\n")
	const everything = "capks aids parameters black_list contactless no_pin_new no_pin_black"
	s.cli("downloads", "status").check(t, exitRefused, "10000001  999290054110001  "+everything, "") // nobody has anything yet
	s.start()
	checkAnswer(t, s.tell(ask("360")), 0x0810, "00")
	checkAnswer(t, s.tell(ask("361")), 0x0810, "00")
	s.cli("downloads", "status").check(t, exitRefused, "10000001  999290054110001  "+strings.Replace(everything, "parameters ", "", 1)+"  -", "")

	hup := func(logged string) {
		t.Helper()
		if err := s.server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.until(logged, func() bool { return strings.Contains(read(t, s.server.log), logged) })
	}
	write(t, s.dir, "downloads.yaml", read(t, s.dir+"/bad.yaml"))
	hup("downloads not reloaded")
	checkAnswer(t, s.tell(ask("360")), 0x0810, "00")
	write(t, s.dir, "downloads.yaml", "version: 1\nstatus: now\n")
	hup("downloads reloaded")
	checkAnswer(t, s.tell(ask("360")), 0x0810, "25")
	if header := checkAnswer(t, s.tell(ask("361")), 0x0810, "00").Header(); header[2]&0x0F != 2 {
		t.Errorf("header %X asks for %x, want 2", header, header[2]&0x0F)
	}
	upload := message(t, "0039"+"6000030000"+"603100310000"+"0820"+"0000000000C00014"+"3130303030303031"+"393939323930303534313130303031"+"0011000000013620"+"0003303131")
	checkAnswer(t, s.tell(upload), 0x0830, "00")
	s.cli("downloads", "status", "--all").check(t, exitOK, "10000001  999290054110001  -      011", "")
	s.cli("downloads", "status", "--output", "json", "--all").check(t, exitOK, `"status": "011"`, "")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

func message(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
