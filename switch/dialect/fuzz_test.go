package dialect

import (
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// FuzzDecode gives any bytes to every terminal dialect. Nothing panics; what
// decodes can be answered whatever is decided, and the answer answers it; what
// is to be forwarded can be forwarded.
func FuzzDecode(f *testing.F) {
	for _, x := range fixtures(f) {
		d, frame := x.read(f)
		f.Add(d.id-1, frame)
	}
	f.Add(idCUPPOS-1, called(build(f, terminals[idCUPPOS].codec, 0x0200, cupSale), []byte("\x02\x11\x23\x45\x67\x8f\xff\xff")))
	for _, row := range isoDay {
		f.Add(idISO87Binary-1, build(f, terminals[idISO87Binary].Codec(), row.mti, row.f))
	}
	owner := &txn.Merchant{MCC: 5411, Country: 156}
	all := iso87Links(f)
	all[NameCUPS] = issuerLink(f, NameCUPS)
	f.Fuzz(func(t *testing.T, id uint8, frame []byte) {
		d := terminals[1+int(id)%(len(terminals)-1)]
		x := &Exchange{Frame: frame}
		if err := d.Decode(x, time.Now()); err != nil {
			return
		}
		if (x.Fault != nil) != (x.Answer.Reason == txn.FormatIsWrong) {
			t.Fatalf("fault %v with reason %q", x.Fault, x.Answer.Reason)
		}
		if card := string(x.Request.PAN.Append(nil)); x.Fault != nil && card != "" && strings.Contains(x.Fault.Error(), card) {
			t.Fatal("the fault quotes the card")
		}
		if r := &x.Request; x.Fault == nil && d.id != idCUPPOS {
			if told := len(r.Additional) > 0 || len(r.Items) == 1; told != r.Kind.Batch() || strings.Trim(string(r.Additional), "0123456789") != "" {
				t.Errorf("a %s says %q of its batch", r.Kind, r.Additional)
			}
			if r.Replacement.Minor != 0 && (r.Kind != txn.KindReversal || r.Replacement.Minor >= r.Amount.Minor) {
				t.Errorf("a %s of %d leaves %d", r.Kind, r.Amount.Minor, r.Replacement.Minor)
			}
		}
		for _, reason := range []txn.Reason{txn.Approved, txn.FormatIsWrong, txn.IssuerDidNotAnswer} {
			decide(x, reason)
			checkAnswer(t, x, answered(t, d, x))
		}
		if x.Fault != nil || !x.Request.Kind.Forwarded() {
			return
		}
		x.Request.Acceptor = owner
		for name, link := range all {
			m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &x.Request, &testLeg, testRRN) })
			want := x.Request.Kind
			if name == NameCUPS && want == txn.KindTip {
				want = txn.KindAdjustment
			}
			if link.Kind(m) != want || text(m, 41) != string(x.Request.Key.Terminal[:]) || text(m, 2) != string(x.Request.PAN.Append(nil)) {
				t.Errorf("%s: what is forwarded is not what was asked", name)
			}
		}
	})
}

// FuzzReadReply gives any bytes to every link. Nothing panics; what is read
// stays within the bounds of a record and can be told to any terminal.
func FuzzReadReply(f *testing.F) {
	all := iso87Links(f)
	for name, link := range all {
		f.Add(name == "iso87-binary", approvedReply(f, link))
	}
	told := replyTeller(f)
	f.Fuzz(func(t *testing.T, binary bool, frame []byte) {
		link := all["iso87"]
		if binary {
			link = all["iso87-binary"]
		}
		told(t, link, frame)
	})
}

// FuzzReadCUPS is FuzzReadReply of UnionPay's network, whose frames have a header.
func FuzzReadCUPS(f *testing.F) {
	link := issuerLink(f, NameCUPS)
	answer := approvedReply(f, link)
	f.Add(answer)
	f.Add(reject(answer, "30004"))
	f.Add(append(reject(answer, "30004")[:46], answer...))
	told := replyTeller(f)
	f.Fuzz(func(t *testing.T, frame []byte) { told(t, link, frame) })
}

// replyTeller reads a frame of a link and, where it can, tells terminals of it.
func replyTeller(f *testing.F) func(t *testing.T, link *Issuer, frame []byte) {
	type asking struct {
		d *Terminal
		x *Exchange
	}
	askings := []asking{
		{terminals[idCUPPOS], &Exchange{Frame: build(f, terminals[idCUPPOS].Codec(), 0x0200, cupSale)}},
		{terminals[idISO87], &Exchange{Frame: build(f, terminals[idISO87].Codec(), 0x0200, isoSale)}},
	}
	return func(t *testing.T, link *Issuer, frame []byte) {
		var head txn.ReplyHead
		var reply txn.Reply
		if err := link.ReadReply(frame, &head, &reply); err != nil {
			return
		}
		rec := txn.Record{Balance: reply.Balance, Chip: reply.Chip, IssuerData: reply.IssuerData}
		if size := len(rec.Append(nil)); size > txn.RecordSizeMax {
			t.Fatalf("the record of this reply has %d bytes", size)
		}
		for _, a := range askings {
			if err := a.d.Decode(a.x, time.Now()); err != nil {
				t.Fatal(err)
			}
			for _, reason := range []txn.Reason{txn.Approved, txn.IssuerDeclined} {
				decide(a.x, reason)
				a.x.Answer.Reply = reply
				a.x.Answer.Code = Code(a.d.id, reason, reply.Code)
				checkAnswer(t, a.x, answered(t, a.d, a.x))
			}
		}
	}
}
