package iso

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// networkFrames are the captured messages of the network in frames of ours, by id.
func networkFrames(t testing.TB) map[string][]byte {
	t.Helper()
	header := MakeCUPSHeader("00010000", "48802900")
	all := map[string][]byte{}
	for _, f := range fixtures(t) {
		if !f.network() {
			continue
		}
		c, raw := f.codec(t)
		var m Message
		if err := c.Parse(&m, raw); err != nil {
			t.Fatal(err)
		}
		e := testCUPS.Begin(nil, nil, header[:], m.MTI())
		e.Widen()
		for n := range m.Fields() {
			e.Copy(n, &m)
		}
		frame, err := e.Finish()
		if err != nil {
			t.Fatal(f.ID, err)
		}
		all[f.ID] = frame
	}
	return all
}

// TestCUPSFrames: a frame is a length of four digits, a header that says the
// frame's size again, and the message as it was captured.
func TestCUPSFrames(t *testing.T) {
	for id, frame := range networkFrames(t) {
		n, err := testCUPS.ReadLength(frame[:4])
		if err != nil || n != len(frame)-4 {
			t.Fatalf("%s: length %d, %v, want %d", id, n, err, len(frame)-4)
		}
		body := frame[4:]
		want := "\x2E\x02" + string(frame[:4]) + "00010000   48802900   000\x0000000000\x0000000"
		if got := string(body[:46]); got != want {
			t.Errorf("%s: header %q, want %q", id, got, want)
		}
		var m Message
		if err := testCUPS.Parse(&m, body); err != nil {
			t.Fatal(id, err)
		}
		again, err := testCUPS.Append(nil, &m)
		if err != nil || !bytes.Equal(again, frame) {
			t.Errorf("%s: written back as %X, %v", id, again, err)
		}
		if found, err := Inspect(frame, Known()); err != nil || found.Codec().Name() != "cups" || len(found.Header()) != 46 {
			t.Errorf("%s: inspected as %v, %v", id, found, err)
		}
	}
}

// TestCUPSTraps: a frame whose measures disagree is refused, and says which.
func TestCUPSTraps(t *testing.T) {
	frame := networkFrames(t)["alatka-messages-19"][4:]
	for _, c := range []struct {
		name   string
		break_ func(b []byte) []byte
		want   string
	}{
		{"whole", func(b []byte) []byte { return b }, ""},
		{"header says 41 bytes", func(b []byte) []byte { b[0] = 41; return b }, "header says that it has 41 bytes, it must have 46"},
		{"frame longer than it says", func(b []byte) []byte { return append(b, ' ') }, "the size of the frame"},
		{"frame shorter than it says", func(b []byte) []byte { return b[:len(b)-1] }, "the size of the frame"},
		{"size is no number", func(b []byte) []byte { b[3] = 'x'; return b }, "the size of the frame"},
		{"header cut short", func(b []byte) []byte { return b[:45] }, "46 bytes"},
		{"nothing", func([]byte) []byte { return nil }, "46 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			err := testCUPS.Parse(&m, c.break_(bytes.Clone(frame)))
			var bad *FieldError
			if (err == nil) != (c.want == "") || err != nil && (!errors.As(err, &bad) || bad.Field != FieldFrame || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestCUPSHeader: who sends and who is sent to, and what the network refuses.
func TestCUPSHeader(t *testing.T) {
	h := MakeCUPSHeader("00010000", "48802900")
	if code := CUPSReject(h[:]); code != "" {
		t.Errorf("a header of ours rejects: %q", code)
	}
	back := CUPSAnswer(h[:])
	if want := MakeCUPSHeader("48802900", "00010000"); back != want {
		t.Errorf("answered with %q, want %q", back, want)
	}
	for code, want := range map[string]string{"00000": "", "     ": "", "\x00\x00\x00\x00\x00": "", "30004": "30004"} {
		copy(h[41:], code)
		if got := CUPSReject(h[:]); got != want {
			t.Errorf("code %q: got %q, want %q", code, got, want)
		}
	}
}

// TestWiden: the bitmap is wide without a field that needs it, and reads the same.
func TestWiden(t *testing.T) {
	e := testNetwork.Begin(nil, nil, nil, 0x0820)
	e.Widen()
	e.Digits(11, []byte("000001"))
	b, err := e.Finish()
	if want := "0820\x80\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00000001"; err != nil || string(b) != want {
		t.Fatalf("got %q, %v, want %q", b, err, want)
	}
	var m Message
	if err := testNetwork.Parse(&m, b); err != nil || !m.Has(11) {
		t.Error(err)
	}
}

// TestCUPSMasks: what only the network's dialect holds is not shown.
func TestCUPSMasks(t *testing.T) {
	e := testNetwork.Begin(nil, nil, nil, 0x0800)
	e.Text(48, []byte("NK0123456789ABCDEF"))
	e.Text(61, []byte("01110101199001011234"))
	e.Text(63, []byte("SM0160123456789ABCDEF"))
	e.Bytes(96, []byte("01234567"))
	b, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := testNetwork.Parse(&m, b); err != nil {
		t.Fatal(err)
	}
	for _, f := range Describe(&m, false).Fields {
		if f.Value != hidden || !f.Masked {
			t.Errorf("field %d is shown as %q", f.Number, f.Value)
		}
	}
}

// TestNewKeyIsMasked: on other links a new key is known by its mark.
func TestNewKeyIsMasked(t *testing.T) {
	c := MustCompile(ISO87(SpelledHex), Framing{Prefix: PrefixNone, SizeMax: 2000})
	for value, shown := range map[string]string{"NKB31C3B99B94E0543B5C13084D47580B7CF9C35EA": hidden, "XY1": "XY1"} {
		e := c.Begin(nil, nil, nil, 0x0800)
		e.Text(48, []byte(value))
		b, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		var m Message
		if err := c.Parse(&m, b); err != nil {
			t.Fatal(err)
		}
		if got := Describe(&m, false).Fields[0].Value; got != shown {
			t.Errorf("%.2s is shown as %q", value, got)
		}
	}
}
