package payout

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Limits of a file of answers.
const (
	AnswersSizeMax = 128 << 20
	AnswersMax     = 500_000

	reasonMax = 200 // bytes of it that are kept
)

// Status is what the bank says to a payment.
type Status uint8

// The statuses.
const (
	StatusPending Status = iota // it is at work on it
	StatusPaid
	StatusBack // it has not paid it, or the money came back
)

// Answer is what the bank says to one payment, or to all of a message or group that
// it says nothing else of.
type Answer struct {
	Line     int
	EndToEnd string
	Of       string // instead of EndToEnd: the id of our message, or of a group in it
	Status   Status
	Amount   string // in major units, as the bank has it; empty: it does not say
	Reason   string // one line
}

// ReadAnswers reads a file of answers: an ISO 20022 pain.002, or a CSV with the
// columns end_to_end and status (paid, pending, rejected, returned) and, if wanted,
// amount and reason. It returns all of them or a *yamlfile.Problem.
func ReadAnswers(name string, r io.Reader) ([]Answer, error) {
	a := answers{name: name, in: bufio.NewReader(&limited{r, AnswersSizeMax})}
	head, _ := a.in.Peek(3)
	if bytes.Equal(head, []byte("\xef\xbb\xbf")) { // a byte order mark
		a.in.Discard(3)
	}
	var err error
	if head, _ = a.in.Peek(1); len(head) == 1 && head[0] == '<' {
		err = a.readXML()
	} else {
		err = a.readCSV()
	}
	if err != nil {
		return nil, err
	}
	if len(a.all) == 0 {
		return nil, a.wrong(0, "", "it has no answer to any payment")
	}
	return a.all, nil
}

type answers struct {
	name string
	in   *bufio.Reader
	all  []Answer
}

func (a *answers) wrong(line int, field, format string, args ...any) error {
	return &yamlfile.Problem{File: a.name, Line: line, Field: field, What: fmt.Sprintf(format, args...)}
}

func (a *answers) put(x Answer) error {
	if len(a.all) >= AnswersMax {
		return a.wrong(x.Line, "", "a file has at most %d answers", AnswersMax)
	}
	x.Reason = oneLine(x.Reason)
	a.all = append(a.all, x)
	return nil
}

// oneLine keeps what a bank says short and printable.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	for len(s) > reasonMax {
		s = strings.ToValidUTF8(s[:reasonMax], "")
	}
	return s
}

var csvStatuses = map[string]Status{"paid": StatusPaid, "pending": StatusPending, "rejected": StatusBack, "returned": StatusBack}

func (a *answers) readCSV() error {
	r := csv.NewReader(a.in)
	r.ReuseRecord = true
	bad := func(err error) error {
		if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
			return a.wrong(parse.Line, "", "%v", parse.Err)
		}
		return a.wrong(0, "", "%v", err)
	}
	names, err := r.Read()
	if errors.Is(err, io.EOF) {
		return a.wrong(0, "", "it is empty")
	}
	if err != nil {
		return bad(err)
	}
	at := map[string]int{}
	for i, name := range names {
		if !slices.Contains([]string{"end_to_end", "status", "amount", "reason"}, name) {
			return a.wrong(1, "", "the column %q must be one of end_to_end, status, amount, reason", oneLine(name))
		}
		if _, twice := at[name]; twice {
			return a.wrong(1, name, "is there twice")
		}
		at[name] = i
	}
	for _, name := range [...]string{"end_to_end", "status"} {
		if _, ok := at[name]; !ok {
			return a.wrong(1, name, "there is no such column")
		}
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bad(err)
		}
		line, _ := r.FieldPos(0)
		get := func(name string) string {
			if i, ok := at[name]; ok {
				return row[i]
			}
			return ""
		}
		status, ok := csvStatuses[get("status")]
		if !ok {
			return a.wrong(line, "status", "%q must be paid, pending, rejected or returned", oneLine(get("status")))
		}
		id := get("end_to_end")
		if _, err := DayOf(id); err != nil {
			return a.wrong(line, "end_to_end", "%v", err)
		}
		reason := get("reason")
		if status == StatusBack && reason == "" {
			reason = get("status")
		}
		if err := a.put(Answer{Line: line, EndToEnd: id, Status: status, Amount: get("amount"), Reason: reason}); err != nil {
			return err
		}
	}
}

// The codes of ExternalPaymentTransactionStatus1Code that banks answer payments
// with. PART of a message or group says: some of it, see its payments.
var isoStatuses = map[string]Status{
	"ACSC": StatusPaid, "ACCC": StatusPaid, // settled; credited to the creditor
	"RJCT": StatusBack, "CANC": StatusBack,
	"RCVD": StatusPending, "PDNG": StatusPending, "ACTC": StatusPending, "ACCP": StatusPending, "ACSP": StatusPending, "ACWC": StatusPending, "ACFC": StatusPending,
	"PATC": StatusPending, "ACWP": StatusPending, "PART": StatusPending,
}

// The parts of pain.002 that say what became of payments; of the elements that
// need not be there the others are passed over.
type (
	transactionXML struct {
		EndToEnd string    `xml:"OrgnlEndToEndId"`
		Status   string    `xml:"TxSts"`
		Reason   reasonXML `xml:"StsRsnInf"`
		Amount   string    `xml:"OrgnlTxRef>Amt>InstdAmt"`
	}
	reasonXML struct {
		Code        string   `xml:"Rsn>Cd"`
		Proprietary string   `xml:"Rsn>Prtry"`
		More        []string `xml:"AddtlInf"`
	}
)

func (r *reasonXML) text() string {
	return strings.Join(append([]string{r.Code + r.Proprietary}, r.More...), " ")
}

const reportSpace = "urn:iso:std:iso:20022:tech:xsd:pain.002.001."

// whole is what a message or a group says of all its payments.
type whole struct {
	id, status string
	reason     reasonXML
	line       int
}

// readXML reads a pain.002 of any version, one payment at a time.
func (a *answers) readXML() error {
	d := xml.NewDecoder(a.in)
	d.Entity = map[string]string{}
	line := func() int { n, _ := d.InputPos(); return n }
	var message, group whole
	depth := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			if depth == 0 && message.id != "" {
				return nil
			}
			return a.wrong(0, "OrgnlMsgId", "it does not say which message it answers")
		}
		if err != nil {
			return a.wrong(line(), "", "%v", err)
		}
		if end, ok := token.(xml.EndElement); ok {
			depth--
			switch end.Name.Local {
			case "OrgnlGrpInfAndSts":
				err = a.whole(&message, "GrpSts")
			case "OrgnlPmtInfAndSts":
				err = a.whole(&group, "PmtInfSts")
				group = whole{}
			}
			if err != nil {
				return err
			}
			continue
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if depth == 0 && (start.Name.Local != "Document" || !strings.HasPrefix(start.Name.Space, reportSpace)) {
			return a.wrong(line(), start.Name.Local, "it must be the Document of a pain.002: its namespace begins with %s", reportSpace)
		}
		at, into := line(), any(nil)
		var tx transactionXML
		switch start.Name.Local {
		case "Document", "CstmrPmtStsRpt", "OrgnlGrpInfAndSts":
		case "OrgnlPmtInfAndSts":
			group.line = at
		case "OrgnlMsgId":
			into, message.line = &message.id, at
		case "GrpSts":
			into = &message.status
		case "OrgnlPmtInfId":
			into = &group.id
		case "PmtInfSts":
			into = &group.status
		case "StsRsnInf":
			if into = any(&message.reason); group.line > 0 {
				into = &group.reason
			}
		case "TxInfAndSts":
			into = &tx
		default:
			if err := d.Skip(); err != nil {
				return a.wrong(line(), start.Name.Local, "%v", err)
			}
			continue
		}
		if into == nil {
			depth++
			continue
		}
		if err := d.DecodeElement(into, &start); err != nil {
			return a.wrong(line(), start.Name.Local, "%v", err)
		}
		if into != &tx {
			continue
		}
		if err := a.transaction(&tx, at); err != nil {
			return err
		}
	}
}

func (a *answers) transaction(tx *transactionXML, at int) error {
	status, ok := isoStatuses[tx.Status]
	if tx.Status == "" {
		return nil // a whole says it
	}
	if !ok || tx.Status == "PART" {
		return a.wrong(at, "TxSts", "%q is no status of a payment", oneLine(tx.Status))
	}
	if _, err := DayOf(tx.EndToEnd); err != nil {
		return a.wrong(at, "OrgnlEndToEndId", "%v", err)
	}
	return a.put(Answer{Line: at, EndToEnd: tx.EndToEnd, Status: status, Amount: strings.TrimSpace(tx.Amount), Reason: tx.Reason.text()})
}

// whole notes what is said of a whole message or group.
func (a *answers) whole(w *whole, field string) error {
	status, ok := isoStatuses[w.status]
	switch {
	case w.status == "":
		return nil
	case !ok:
		return a.wrong(w.line, field, "%q is no status of payments", oneLine(w.status))
	case w.id == "":
		return a.wrong(w.line, field, "it does not say of which payments")
	case status == StatusPending:
		return nil
	}
	return a.put(Answer{Line: w.line, Of: w.id, Status: status, Reason: w.reason.text()})
}

// limited fails when more is read than allowed.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= n; l.left < 0 {
		return 0, fmt.Errorf("it is larger than %d bytes", AnswersSizeMax)
	}
	return n, err
}
