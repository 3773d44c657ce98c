package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// want is what a fixture is as a request: its facts in one line, its fault, or
// why nobody is answered.
type want struct {
	id    string
	facts string
	fault string // part of Exchange.Fault
	err   string // part of Decode's error
}

// response is the error of every fixture that is an answer.
const response = "message is a response"

// wants name every fixture of the terminal dialects.
var wants = []want{
	{id: "cup-01", facts: "sign-on 10000001 999290054110001 batch 1 stan 1"},
	{id: "cup-02", err: response},
	{id: "cup-03", facts: "sale 10000001 999290054110001 batch 1 stan 2 123.45 156 622202*********0128 exp 3012 entry 051 track chip PIN at 31230400,121473700"},
	{id: "cup-04", err: response},
	{id: "cup-05", facts: "void 10000001 999290054110001 batch 1 stan 3 123.45 156 622202*********0128 exp 3012 entry 051 track PIN of 1/2 RRN 112109310002 auth A1B2C3"},
	{id: "cup-06", facts: "refund 10000001 999290054110001 batch 2 stan 4 100.00 156 622202*********0128 exp 3012 entry 022 track of 1/2 on 1121 RRN 112109310002 auth A1B2C3"},
	{id: "cup-07", facts: "preauth 10000001 999290054110001 batch 1 stan 5 1000.00 156 622202*********0128 exp 3012 entry 051 track chip PIN at 31230400,121473700"},
	{id: "cup-08", facts: "preauth-void 10000001 999290054110001 batch 1 stan 6 1000.00 156 622202*********0128 exp 3012 entry 051 track PIN of 1/5 on 1121 auth B1B2B3"},
	{id: "cup-09", facts: "completion 10000001 999290054110001 batch 1 stan 7 950.00 156 622202*********0128 exp 3012 entry 051 track PIN of 1/5 on 1121 auth B1B2B3"},
	{id: "cup-10", facts: "completion-void 10000001 999290054110001 batch 1 stan 8 950.00 156 622202*********0128 exp 3012 entry 051 track PIN of 1/7 on 1121 RRN 112109350007 auth B1B2B3"},
	{id: "cup-11", facts: "completion-advice 10000001 999290054110001 batch 1 stan 9 950.00 156 622202*********0128 exp 3012 entry 012 on 1121 auth B1B2B3"},
	{id: "cup-12", facts: "balance 10000001 999290054110001 batch 1 stan 10 0.00 156 622202*********0128 exp 3012 entry 051 track PIN"},
	{id: "cup-13", err: response},
	{id: "cup-14", facts: "reversal 10000001 999290054110001 batch 1 stan 2 123.45 156 622202*********0128 exp 3012 entry 051 chip of 1/2 because 98"},
	{id: "cup-15", err: response},
	{id: "cup-16", facts: "settlement 10000001 999290054110001 batch 1 stan 11 0.00 156 totals 00000010734500200000001234500100000000000000000000000000000000"},
	{id: "cup-17", err: response},
	{id: "cup-18", err: response},
	{id: "cup-19", facts: "upload 10000001 999290054110001 batch 1 stan 12 item unknown 2 12345 622202*********0128 item unknown 3 12345 622202*********0128 item unknown 7 95000 622202*********0128"},
	{id: "cup-20", err: response},
	{id: "cup-21", facts: "upload 10000001 999290054110001 batch 1 stan 13 totals 0003"},
	{id: "cup-22", facts: "upload 10000001 999290054110001 batch 1 stan 13 totals 0000"},
	{id: "cup-23", facts: "echo 10000001 999290054110001 batch 1 stan 0"},
	{id: "cup-24", err: response},
	{id: "cup-25", facts: "download 10000001 999290054110001 batch 1 stan 0"},
	{id: "cup-26", err: response},
	{id: "cup-27", facts: "download 10000001 999290054110001 batch 1 stan 0"},
	{id: "cup-28", facts: "download 10000001 999290054110001 batch 1 stan 0"},
	{id: "cup-29", facts: "download 10000001 999290054110001 batch 1 stan 0"},
	{id: "cup-30", facts: "download 10000001 999290054110001 batch 1 stan 0"},
	{id: "cup-31", facts: "download 10000001 999290054110001 batch 1 stan 0"},
	{id: "cup-32", facts: "status 10000001 999290054110001 batch 1 stan 0"},
	{id: "cup-33", facts: "sign-off 10000001 999290054110001 batch 1 stan 14"},
	{id: "cup-34", err: response},
	{id: "cup-35", facts: "script-result 10000001 999290054110001 batch 1 stan 15 123.45 156 622202*********0128 entry 051 chip of 1/2 on 1121"},

	{id: "iso8583-parser-01", facts: "unknown 10016919 84329004582000B batch 1 stan 0"},
	{id: "iso8583-parser-02", err: response},
	{id: "iso8583-parser-03", facts: "sign-on 10016919 84329004582000B batch 726 stan 78"},
	{id: "iso8583-parser-04", err: response},
	{id: "iso8583-parser-05", facts: "sale 10016919 84329004582000B batch 727 stan 79 11.11 156 622424******0069 exp 2903 entry 071 chip PIN"},
	{id: "iso8583-parser-06", err: response},
	{id: "iso8583-parser-07", facts: "unknown 10016919 84329004582000B batch 727 stan 79 1111 000 622424******0069 chip RRN X00004002761"},
	{id: "iso8583-parser-08", err: response},

	{id: "Java8583-01", facts: "sign-on 50080001 309310083985008 batch 172 stan 172"},
	{id: "Java8583-02", err: response},
	{id: "Java8583-03", facts: "unknown axtest3- 306581054990003 batch 160529 stan 681186 5.00 156 123456******3456 entry 021 of 160529/681186 because 98"},

	{id: "iso8583-01", fault: "field 55 at byte 185"},
	{id: "iso8583-02", facts: "unknown  0800411 batch 0 stan 11392 0.00 360"},
	{id: "iso8583-03", err: response},
	{id: "iso8583-04", fault: "field 41 is missing"},
	{id: "iso8583-05", fault: "field 2 must be a card number"},
	{id: "iso8583-06", fault: "field 2 must be a card number"},
	{id: "iso8583-07", fault: "field 2 must be a card number"},
	{id: "iso8583-08", fault: "field 41 is missing"},
	{id: "iso8583-09", err: response},
	{id: "iso8583-10", fault: "field 41 is missing"},
	{id: "iso8583-11", err: response},
	{id: "iso8583-12", fault: "field 70 is missing"},
	{id: "iso8583-13", fault: "field 28 at byte 66"},
	{id: "iso8583-19", fault: "field 41 is missing"},
	{id: "iso8583-20", err: response},
	{id: "iso8583-21", fault: "field 35 must be digits and separators"},
	{id: "iso8583-22", fault: "field 35 must be digits and separators"},
	{id: "iso8583-23", facts: "unknown   batch 0 stan 0 100 000 424242******4242"},

	{id: "iso8583tool-01", facts: "preauth TERMID01 MERCHANT0000001 batch 0 stan 123456 5000 392 411111******1111 chip"},
	{id: "iso8583tool-02", facts: "preauth TERMID01 MERCHANT0000001 batch 0 stan 123456 5000 392 411111******1111 exp 2912 entry 051 track chip"},
	{id: "iso8583tool-03", err: response},
	{id: "iso8583tool-04", facts: "sale TERMID02 MERCHANT0000002 batch 0 stan 223344 123.45 840 411111******1111 exp 2912 entry 071 track chip"},
	{id: "iso8583tool-05", err: response},
	{id: "iso8583tool-06", facts: "reversal TERMID02 MERCHANT0000002 batch 0 stan 223355 123.45 840 411111******1111 exp 2912 entry 071 track chip of 0/223344 on 0604"},
	{id: "iso8583tool-07", err: response},
	{id: "iso8583tool-08", facts: "echo TERMNET1  batch 0 stan 654321"},
	{id: "iso8583tool-09", err: response},
	{id: "iso8583tool-10", facts: "echo TERMID01  batch 0 stan 123456"},
}

// facts spells what the decoder found in a request; what it did not find is
// left out.
func facts(r *txn.Request) string {
	s := r.Kind.String()
	if r.MTI&1 == 1 { // the repeat form
		s += " again"
	}
	s += fmt.Sprintf(" %s %s batch %d stan %d", r.Key.Terminal, r.Merchant, r.Key.Batch, r.Key.STAN)
	if r.Amount != (txn.Amount{}) {
		s += " " + r.Amount.String()
	}
	if !r.PAN.IsZero() {
		s += " " + r.PAN.Masked()
	}
	if r.Expiry != [4]byte{} {
		s += " exp " + string(r.Expiry[:])
	}
	if r.PINCapability != 0 {
		s += fmt.Sprintf(" entry %02d%c", r.Entry, r.PINCapability)
	}
	for _, secret := range []struct {
		name  string
		value txn.Secret
	}{{"track", r.Track2}, {"chip", r.Chip}, {"PIN", r.PINBlock}} {
		if len(secret.value) > 0 {
			s += " " + secret.name
		}
	}
	if r.Original.STAN != 0 {
		s += fmt.Sprintf(" of %d/%d", r.Original.Batch, r.Original.STAN)
	}
	for _, said := range []struct{ word, value string }{{"on", string(r.Original.Date[:])}, {"RRN", string(r.Original.RRN[:])}, {"auth", string(r.Original.AuthCode[:])}} {
		if v := strings.Trim(said.value, " \x00"); v != "" {
			s += " " + said.word + " " + v
		}
	}
	if r.Instalments > 0 {
		s += fmt.Sprintf(" in %d", r.Instalments)
	}
	if r.Replacement != (txn.Amount{}) {
		s += " leaving " + r.Replacement.String()
	}
	if len(r.Additional) > 0 {
		s += fmt.Sprintf(" totals %s", r.Additional)
	}
	for i := range r.Items {
		it := &r.Items[i]
		s += fmt.Sprintf(" item %s %d %d %s", it.Kind, it.STAN, it.Minor, it.PAN.Masked())
	}
	if reason := strings.Trim(string(r.ReversalReason[:]), " \x00"); reason != "" {
		s += " because " + reason
	}
	var read txn.Request
	read.Carriers = r.Carriers
	if ReadInfo(&read, txn.CarrierDE59); read.Info.Position.Known {
		s += fmt.Sprintf(" at %d,%d", read.Info.Position.Lat, read.Info.Position.Lng)
	}
	return s
}

// TestF32Fixtures decodes every message that somebody else wrote in our dialects,
// and answers it.
func TestF32Fixtures(t *testing.T) {
	all := fixtures(t)
	if len(wants) != len(all) {
		t.Errorf("%d fixtures are expected, %d are there", len(wants), len(all))
	}
	for _, w := range wants {
		t.Run(w.id, func(t *testing.T) {
			f, ok := all[w.id]
			if !ok {
				t.Fatal("the fixture is not there")
			}
			d, frame := f.read(t)
			x := &Exchange{Frame: frame}
			received := time.Now()
			err := d.Decode(x, received)
			if w.err != "" {
				if err == nil || !strings.Contains(err.Error(), w.err) {
					t.Fatalf("got %v, want an error with %q", err, w.err)
				}
				if w.err == response && !errors.Is(err, ErrResponse) {
					t.Errorf("%v is no ErrResponse", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkFault(t, x, w.fault)
			if got := facts(&x.Request); w.fault == "" && got != w.facts {
				t.Errorf("\n got %s\nwant %s", got, w.facts)
			}
			if x.Request.Received != received || x.Request.Trace[txn.StageDecoded] == 0 {
				t.Errorf("received at %v, decoded after %v", x.Request.Received, x.Request.Trace[txn.StageDecoded])
			}
			for _, reason := range []txn.Reason{txn.Approved, txn.FormatIsWrong, txn.KindIsNotOffered, txn.IssuerDidNotAnswer} {
				decide(x, reason)
				checkAnswer(t, x, answered(t, d, x))
			}
		})
	}
}

// checkFault holds the exchange's fault to the part of it that is wanted.
func checkFault(t *testing.T, x *Exchange, want string) {
	t.Helper()
	switch {
	case want == "" && x.Fault != nil:
		t.Errorf("fault %q, want none", x.Fault)
	case want == "" && x.Answer.Reason != txn.Approved:
		t.Errorf("reason %q without a fault", x.Answer.Reason)
	case want != "" && (x.Fault == nil || !strings.Contains(x.Fault.Error(), want)):
		t.Errorf("fault %v, want one with %q", x.Fault, want)
	case want != "" && x.Answer.Reason != txn.FormatIsWrong:
		t.Errorf("fault %q with reason %q", x.Fault, x.Answer.Reason)
	}
}

// checkAnswer holds an answer to what every dialect promises: the request's
// MTI + 10 and its identifying fields unchanged, addresses swapped, our code,
// and an authorization code in approvals only.
func checkAnswer(t *testing.T, x *Exchange, got *iso.Message) {
	t.Helper()
	asked, ans := &x.message, &x.Answer
	if got.MTI() != asked.MTI()&^1+0x10 {
		t.Errorf("%04x answers %04x", got.MTI(), asked.MTI())
	}
	if a := asked.TPDU(); a != nil {
		if want := string([]byte{a[0], a[3], a[4], a[1], a[2]}); string(got.TPDU()) != want {
			t.Errorf("TPDU: got %X, want %X", got.TPDU(), want)
		}
		want := bytes.Clone(asked.Header())
		want[2] = want[2]&0xF0 | ans.Asks // what the terminal is asked to do is ours to say
		if !bytes.Equal(got.Header(), want) {
			t.Errorf("header: got %X, want %X", got.Header(), want)
		}
	}
	for _, n := range []int{2, 3, 4, 11, 41, 42} {
		want := text(asked, n)
		if x.Request.Dialect == idCUPPOS && len(whole([]byte(want))) < len(want) {
			want = "" // half a character is not said again
		}
		if asked.Has(n) && text(got, n) != want {
			t.Errorf("field %d is not the request's", n)
		}
	}
	if x.Request.Dialect != idCUPPOS { // a CUP terminal takes its clock from the answer
		for _, n := range []int{7, 12, 13, 37} {
			if asked.Has(n) && text(got, n) != text(asked, n) {
				t.Errorf("field %d is not the request's", n)
			}
		}
	}
	if text(got, 39) != string(ans.Code[:]) {
		t.Errorf("field 39: got %q, want %q", text(got, 39), ans.Code)
	}
	if got.Has(38) && ans.Reason != txn.Approved {
		t.Errorf("field 38 in an answer with reason %q", ans.Reason)
	}
	for _, n := range []int{22, 26, 35, 36, 52, 59, 61, 62} {
		if got.Has(n) {
			t.Errorf("field %d is in the answer", n)
		}
	}
}

// TestCUPPresence holds the answers to the response columns of the CUP
// presence matrix: fields that must be there (M) and those that may (C).
func TestCUPPresence(t *testing.T) {
	for _, c := range []struct {
		fixture   string
		must, may []int
	}{
		// The keys (62) and the MAC (64) of a terminal with keys are missing: no
		// profile has keys yet.
		{"cup-01", []int{11, 12, 13, 32, 37, 39, 41, 42, 60}, nil},
		{"cup-33", []int{11, 12, 13, 32, 37, 39, 41, 42, 60}, nil},
		{"cup-23", []int{12, 13, 32, 39, 41, 42, 60}, nil},
		{"cup-03", []int{2, 3, 4, 11, 12, 13, 15, 25, 32, 37, 39, 41, 42, 44, 49, 60, 63}, []int{14, 23, 38, 53, 54, 55}},
		{"cup-12", []int{2, 3, 11, 12, 13, 25, 32, 37, 39, 41, 42, 44, 49, 60, 63}, []int{14, 15, 23, 53, 54, 55}},
		{"cup-14", []int{2, 3, 4, 11, 12, 13, 15, 25, 32, 37, 39, 41, 42, 49, 60}, []int{14, 53, 55}},
	} {
		for _, reason := range []txn.Reason{txn.Approved, txn.IssuerDeclined} {
			if reason != txn.Approved && len(c.may) == 0 {
				continue // network management
			}
			x := decoded(t, terminal(t, "cup-pos"), fixtureFrame(t, c.fixture))
			t.Run(x.Request.Kind.String()+", "+reason.String(), func(t *testing.T) {
				decide(x, reason)
				x.Request.Day = 20261122
				checkPresence(t, answered(t, terminal(t, "cup-pos"), x), c.must, c.may)
			})
		}
	}
}

func checkPresence(t *testing.T, got *iso.Message, must, may []int) {
	t.Helper()
	allowed := map[int]bool{}
	for _, n := range must {
		allowed[n] = true
		if !got.Has(n) {
			t.Errorf("field %d is missing", n)
		}
	}
	for _, n := range may {
		allowed[n] = true
	}
	for n := range got.Fields() {
		if !allowed[n] {
			t.Errorf("field %d has no place in this answer", n)
		}
	}
}

// TestCUPSaleAnswer holds every value of an approved sale's answer.
func TestCUPSaleAnswer(t *testing.T) {
	d := terminal(t, "cup-pos")
	x := decoded(t, d, fixtureFrame(t, "cup-03"))
	decide(x, txn.Approved)
	check := func(want fields) {
		t.Helper()
		got := answered(t, d, x)
		for n, v := range want {
			if s := text(got, n); s != v {
				t.Errorf("field %d: got %q, want %q", n, s, v)
			}
		}
	}
	check(fields{
		2: testPAN, 3: "000000", 4: "000000012345", 11: "000002", 12: "093105", 13: "1121", 14: "3012", 15: "1122", 23: "001",
		25: "00", 32: "48802900", 37: string(testRRN[:]), 38: "A1B2C3", 39: "00", 41: "10000001", 42: "999290054110001",
		44: "           48802900   ", 49: "156", 53: "2600000000000000", 54: "1002156C000000500000", 55: "\x91\x0200", 60: "2200000100060", 63: "CUP",
	})
	x.Answer.Reply.IssuerData = append(x.Answer.Reply.IssuerData, "01020000   48802900   "...)
	check(fields{44: "01020000   48802900   "})

	// An issuer's chip data may be more than a CUP terminal's field holds. The
	// terminal is told of its approval all the same.
	x.Answer.Reply.Chip = make([]byte, cupChipMax)
	check(fields{39: "00", 55: string(make([]byte, cupChipMax))})
	x.Answer.Reply.Chip = make([]byte, txn.ResponseDataMax)
	check(fields{39: "00", 55: ""})
}
