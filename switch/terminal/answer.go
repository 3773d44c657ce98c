package terminal

import (
	"bytes"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
)

// Answer is what the switch said.
type Answer struct {
	MTI      string        `json:"mti"`
	Code     string        `json:"code"` // DE39
	RRN      string        `json:"rrn,omitempty"`
	AuthCode string        `json:"auth_code,omitempty"`
	Acquirer string        `json:"acquirer,omitempty"` // DE32
	STAN     string        `json:"stan,omitempty"`
	Time     string        `json:"time,omitempty"`    // DE12 hhmmss
	Date     string        `json:"date,omitempty"`    // DE13 MMDD
	Balance  string        `json:"balance,omitempty"` // DE54
	Latency  time.Duration `json:"-"`

	// First is the answer that told the terminal to sign on, where it did and
	// asked again; this is then the second one. Nil: it asked once.
	First *Answer `json:"first,omitempty"`

	Size int `json:"-"` // of its frame

	body    []byte
	dialect *dialect.Terminal
}

// Approved says that the answer is yes.
func (a *Answer) Approved() bool { return a.Code == "00" }

// Describe is the answer field by field. Unless unmask is given, card data is
// masked.
func (a *Answer) Describe(unmask bool) (iso.Breakdown, error) {
	var m iso.Message
	if err := a.dialect.Codec().Parse(&m, a.body); err != nil {
		return iso.Breakdown{}, fmt.Errorf("describe answer: %w", err)
	}
	return iso.Describe(&m, unmask), nil
}

// raw is the value of a field as it stands in the answer.
func (a *Answer) raw(n int) []byte {
	var m iso.Message
	a.dialect.Codec().Parse(&m, a.body) // it was parsed before
	return m.Value(n)
}

// Batch is DE60.2, the switch's batch in its answer to a sign-on; 0 where there
// is none.
func (a *Answer) Batch() uint32 {
	var m iso.Message
	a.dialect.Codec().Parse(&m, a.body)
	if v := string(m.AppendDigits(nil, 60)); IsCUP(a.dialect) && len(v) >= 8 {
		return uint32(decimal(v[2:8]))
	}
	return 0
}

// WrongAnswerError says that what came back does not answer what was asked. A
// terminal treats it as no answer: it hangs up and owes a reversal.
type WrongAnswerError struct {
	Field int // 0 is the MTI, 1 the address before it
	Why   string
}

func (e *WrongAnswerError) Error() string {
	switch e.Field {
	case 0:
		return "wrong answer: message type " + e.Why
	case 1:
		return "wrong answer: TPDU " + e.Why
	}
	return fmt.Sprintf("wrong answer: field %d %s", e.Field, e.Why)
}

// ReadAnswer takes body as the answer to the request frame (prefix excluded) of
// a terminal without keys. Its error is a *WrongAnswerError or the codec's.
func ReadAnswer(d *dialect.Terminal, request, body []byte) (Answer, error) {
	return readAnswer(d, nil, request, body)
}

func readAnswer(d *dialect.Terminal, k *Keys, request, body []byte) (Answer, error) {
	var asked, got iso.Message
	if err := d.Codec().Parse(&got, body); err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	// A request of ours may be malformed on purpose: then what was parsed
	// before the fault is what the answer must repeat.
	d.Codec().Parse(&asked, request)
	if err := checkAnswer(&asked, &got); err != nil {
		return Answer{}, err
	}
	if err := k.Verify(&asked, &got); err != nil {
		return Answer{}, err
	}
	text := func(n int) string { return string(bytes.TrimRight(got.AppendText(nil, n), " ")) }
	code := text(39)
	if code == "" { // the answer to totals is in DE48
		code = "00"
	}
	return Answer{
		MTI: fmt.Sprintf("%04x", got.MTI()), Code: code, Acquirer: text(32), RRN: text(37), AuthCode: text(38), STAN: text(11),
		Time: text(12), Date: text(13), Balance: text(54), body: body, dialect: d, Size: d.PrefixSize() + len(body),
	}, nil
}

// checkAnswer holds an answer to the rule of CUP terminals: message type,
// processing code, amount, trace number and terminal must be those asked for.
// The amount may differ in a partial approval (10), and the merchant need only
// agree in an approval. A field that an answer leaves out does not disagree,
// but trace number, terminal and code must be there; the code may be missing
// where totals are answered.
func checkAnswer(asked, got *iso.Message) error {
	if got.MTI() != asked.MTI()&^1+0x10 {
		return &WrongAnswerError{0, fmt.Sprintf("%04x answers no %04x", got.MTI(), asked.MTI())}
	}
	if a, g := asked.TPDU(), got.TPDU(); a != nil && (!bytes.Equal(a[1:3], g[3:5]) || !bytes.Equal(a[3:5], g[1:3])) {
		return &WrongAnswerError{1, "is not the request's with its addresses swapped"}
	}
	code := string(got.Value(39))
	if len(code) != 2 && !(got.MTI() == 0x0510 && got.Has(48)) {
		return &WrongAnswerError{39, "is missing"}
	}
	for _, rule := range [...]struct {
		field     int
		mandatory bool
		applies   bool
	}{
		{3, false, true},
		{4, false, code != "10"},
		{11, true, true},
		{41, true, true},
		{42, false, code == "00"},
	} {
		if !rule.applies || !asked.Has(rule.field) {
			continue
		}
		if !got.Has(rule.field) {
			if rule.mandatory {
				return &WrongAnswerError{rule.field, "is missing"}
			}
			continue
		}
		if !bytes.Equal(asked.Value(rule.field), got.Value(rule.field)) {
			return &WrongAnswerError{rule.field, "is not the request's"}
		}
	}
	return nil
}
