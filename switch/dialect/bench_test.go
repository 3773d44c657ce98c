package dialect

import (
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// saleExchange is the constructed CUP sale, decoded and approved with
// everything an issuer may say: the largest usual exchange.
func saleExchange(tb testing.TB) (*Terminal, *Exchange) {
	tb.Helper()
	d := terminal(tb, "cup-pos")
	x := &Exchange{Frame: fixtureFrame(tb, "cup-03")}
	if err := d.Decode(x, time.Now()); err != nil {
		tb.Fatal(err)
	}
	decide(x, txn.Approved)
	return d, x
}

// TestAllocations holds the hot path to its budget: one sale is read from the
// terminal, written to the issuer, read from the issuer and answered without
// an allocation.
func TestAllocations(t *testing.T) {
	now := time.Now()
	d, x := saleExchange(t)
	link := issuerLink(t, "iso87")
	leg := testLeg
	reply := approvedReply(t, link)
	x.Request.Acceptor = &txn.Merchant{MCC: 5411, Country: 156}
	request := make([]byte, 0, 1024)
	var head txn.ReplyHead
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"decode", func() error { return d.Decode(x, now) }},
		{"append request", func() (err error) {
			request, err = link.AppendRequest(request[:0], &x.Request, &leg, testRRN)
			return err
		}},
		{"read reply", func() error { return link.ReadReply(reply, &head, &x.Answer.Reply) }},
		{"append answer", func() (err error) {
			x.Out, err = d.AppendAnswer(x.Out[:0], x, nil)
			return err
		}},
	} {
		if step.name == "append answer" {
			decide(x, txn.Approved) // Decode reset it
		}
		var err error
		if n := testing.AllocsPerRun(200, func() { err = step.do() }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", step.name, n)
		}
		if err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
}

func BenchmarkDecodeSale(b *testing.B) {
	d, x := saleExchange(b)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(x, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendAnswer(b *testing.B) {
	d, x := saleExchange(b)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if x.Out, err = d.AppendAnswer(x.Out[:0], x, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	_, x := saleExchange(b)
	link, leg := issuerLink(b, "iso87"), testLeg
	out := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = link.AppendRequest(out[:0], &x.Request, &leg, testRRN); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadReply(b *testing.B) {
	link := issuerLink(b, "iso87")
	frame := approvedReply(b, link)
	var head txn.ReplyHead
	var reply txn.Reply
	b.ReportAllocs()
	for b.Loop() {
		if err := link.ReadReply(frame, &head, &reply); err != nil {
			b.Fatal(err)
		}
	}
}
