package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
)

// serialKeyComponents make up the specification's serial key,
// 0123456789ABCDEFFEDCBA9876543210, with an SM4 key of zeros.
const serialKeyComponents = "0123456789ABCDEFFEDCBA9876543210 2677F46B\n" + "00000000000000000000000000000000 9F1F7BFF\n"

// with is a CUP frame with another value of a text field; "" takes it out.
func with(t *testing.T, frame []byte, field int, value string) []byte {
	t.Helper()
	m := new(iso.Message)
	if err := cupCodec.Parse(m, frame[2:]); err != nil {
		t.Fatal(err)
	}
	e := cupCodec.Begin(nil, m.TPDU(), m.Header(), m.MTI())
	for n := range m.Fields() {
		switch {
		case n != field:
			e.Copy(n, m)
		case value != "":
			e.Text(n, []byte(value))
		}
	}
	f, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSerialIsChecked follows what a terminal says of its machine through a
// switch: the rows T03, T04, T05 and S01 of the specification.
func TestSerialIsChecked(t *testing.T) {
	t.Parallel()
	const tusn = "00002304SN0000000001"
	s := newStack(t, "{}")
	restart := func(change func()) {
		t.Helper()
		if code := s.server.stop(syscall.SIGTERM); code != exitOK {
			t.Fatalf("the switch ended with %d", code)
		}
		change()
		s.start()
	}
	register := func(check string) func() {
		return func() {
			t.Helper()
			write(t, s.dir, "checked.yaml", strings.Replace(registryText, "serial: SN1", "serial: "+tusn+", serial_check: "+check, 1))
			s.cli("registry", "import", "--config", "acqswitch.yaml", "checked.yaml").check(t, exitOK, "", "")
		}
	}
	sale, balance := frame(t, "cup-03"), frame(t, "cup-12")
	m := new(iso.Message)
	if err := cupCodec.Parse(m, sale[2:]); err != nil {
		t.Fatal(err)
	}
	said := string(m.AppendText(nil, 59))
	stan := uint32(100)
	tell := func(what, info, code string) {
		t.Helper()
		stan++
		t.Log(what)
		checkAnswer(t, s.tell(renumbered(t, with(t, sale, 59, info), stan)), 0x0210, code)
	}
	right := strings.Replace(said, "1A2B3C4D", "1A773210", 1)

	restart(register("compare"))
	checkAnswer(t, s.tell(frame(t, "cup-01")), 0x0810, "58")                                            // S01: of another machine
	checkAnswer(t, s.tell(with(t, frame(t, "cup-01"), 62, "Sequence No163100"+tusn[8:])), 0x0810, "00") // its own number
	checkAnswer(t, s.tell(with(t, frame(t, "cup-01"), 62, "Sequence No243100"+tusn)), 0x0810, "00")
	tell("the serial is its own, and no key is loaded", said, "00")
	tell("T03: another serial", strings.Replace(said, "SN0000000001", "SN0000000002", 1), "58")
	tell("T05: the factor is not the card's", strings.Replace(said, "03006890128", "03006890129", 1), "58")
	tell("T04: none is asked for", "", "00")

	s.cli("keys", "load-serial", "10000001", "--kind", "tdes", "--config", "acqswitch.yaml").check(t, exitUsage, "", "--kind")
	acqswitch(t, s.dir, nil, serialKeyComponents, "keys", "load-serial", "10000001", "--config", "acqswitch.yaml").check(t, exitOK, "terminal 10000001 has a serial key of kind SM4 with check value 2677F46B", "")
	s.cli("keys", "list", "--config", "acqswitch.yaml").check(t, exitOK, "terminal 10000001", "")
	tell("T05: the ciphertext is wrong", said, "58")
	tell("the ciphertext is right", right, "00")
	tell("T05: a ciphertext of another factor", strings.NewReplacer("03006890128", "03006000125", "1A2B3C4D", "5CB9B2A9").Replace(said), "58")

	restart(register("require"))
	tell("its serial, as required", right, "00")
	tell("T04: none", "", "58")
	tell("T04: broken", right[:len(right)-1], "58")
	tell("T04: no ciphertext", "A2025"+"02020"+tusn, "58")
	checkAnswer(t, s.tell(balance), 0x0210, "00") // which need not say it

	dump := s.cli("journal", "dump", "--config", "acqswitch.yaml", "-o", "json")
	dump.check(t, exitOK, `"serial":"`+tusn+`"`, "")
	dump.check(t, exitOK, `"reason":"serial is not the terminal's"`, "")
	dump.check(t, exitOK, `"lat":31230400`, "")
	if strings.Contains(dump.out, "1A773210") {
		t.Error("the ciphertext is in the journal")
	}
	if r := s.verify(); r.OpenReversals != 0 || len(r.Breaks) != 0 {
		t.Errorf("%+v", r)
	}
	if code, body := s.get("/metrics"); code != 200 || !strings.Contains(body, "acq_txn_broken_info_total 1") {
		t.Errorf("metrics: %d, want 1 broken", code)
	}
}
