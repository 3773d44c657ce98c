package acquirer_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// belief is what a terminal thinks of a transaction.
type belief uint8

const (
	refused  belief = iota // told no
	stands                 // told yes
	reversed               // told that its reversal is done
	unsure                 // it cannot know: see where this is set
)

var beliefNames = [...]string{"refused", "approved", "reversed", "unsure"}

func (b belief) String() string { return beliefNames[b] }

// deal is one request that moves money and what became of it.
type deal struct {
	req    txn.Request
	answer *txn.Answer // the one that was believed; nil: none came
	at     time.Time   // when it was asked first
	belief belief
	built  int   // what was done about it
	left   int64 // of its amount, after a reversal in part; 0: all
	of     *deal
}

// minor is the amount that stands.
func (d *deal) minor() int64 { return cmp.Or(d.left, d.req.Amount.Minor) }

// pos is one terminal: it sends one request after another, mostly, repeats and
// reverses what is not answered, tells until it is answered what has happened,
// and settles its batch.
type pos struct {
	w   *world
	id  string
	pan txn.PAN
	rng *rand.Rand

	mu          sync.Mutex // races share what follows
	stan, batch uint32
	deals       []*deal
}

var simPANs = [...]string{"6222021234567890128", "6225880123456783", "6217000010001234565", "6228480402564890018"}

func newPOS(w *world, id string, n int) *pos {
	digits := simPANs[n%len(simPANs)]
	for c := byte('0'); c <= '9'; c++ {
		pan, err := txn.ParsePAN(digits[:len(digits)-1] + string(c))
		if err == nil && pan.LuhnValid() {
			return &pos{w: w, id: id, pan: pan, stan: uint32(n * 7), batch: 1}
		}
	}
	panic("no check digit")
}

// live is a day of the terminal.
func (x *pos) live(day int) {
	for n := 0; time.Now().Before(x.w.ending) && !x.w.t.Failed(); n++ {
		x.rng = x.w.roll("terminal", x.id, day, n)
		x.step()
		time.Sleep(time.Duration(x.rng.ExpFloat64() * float64(80*time.Second)))
	}
}

// step is one thing that a cashier does.
func (x *pos) step() {
	rng := x.rng
	switch n := rng.IntN(100); {
	case n < 30:
		x.do(txn.KindSale, x.price(), nil)
	case n < 36:
		x.do(txn.KindPreauth, x.price(), nil)
	case n < 39:
		x.do(txn.KindInstalment, x.price(), nil)
	case n < 43:
		x.do(txn.KindOfflineSale, x.price(), nil)
	case n < 45:
		x.do([]txn.Kind{txn.KindBalance, txn.KindVerify}[rng.IntN(2)], 0, nil)
	case n < 70:
		if k, of := x.choose(); of != nil {
			x.do(k, x.amount(k, of), of)
		}
	case n < 80:
		x.race()
	case n < 84:
		x.undo()
	case n < 87:
		x.undoPart()
	case n < 90:
		x.undoFirst()
	case n < 95:
		x.again()
	default:
		x.settle()
	}
}

func (x *pos) price() int64 { return 100 + int64(x.rng.IntN(6_000)) }

// choose is a kind and an earlier transaction that it may be about, or not
// quite.
func (x *pos) choose() (txn.Kind, *deal) {
	kinds := [...]txn.Kind{txn.KindVoid, txn.KindVoid, txn.KindRefund, txn.KindRefund, txn.KindTip, txn.KindAdjustment, txn.KindIncrement,
		txn.KindPreauthVoid, txn.KindCompletion, txn.KindCompletionAdvice, txn.KindCompletionVoid, txn.KindInstalmentVoid}
	k := kinds[x.rng.IntN(len(kinds))]
	return k, x.original(k)
}

func (x *pos) original(k txn.Kind) *deal {
	x.mu.Lock()
	defer x.mu.Unlock()
	var fit []*deal
	for _, d := range x.deals {
		if d.answer == nil || d.belief != stands && x.rng.IntN(10) > 0 {
			continue
		}
		ok := false
		switch d.req.Kind {
		case txn.KindSale:
			ok = k == txn.KindVoid || k == txn.KindRefund || k == txn.KindTip || k == txn.KindAdjustment
		case txn.KindOfflineSale:
			ok = k == txn.KindRefund || k == txn.KindTip
		case txn.KindInstalment:
			ok = k == txn.KindInstalmentVoid
		case txn.KindPreauth:
			ok = k == txn.KindIncrement || k == txn.KindPreauthVoid || k == txn.KindCompletion || k == txn.KindCompletionAdvice
		case txn.KindCompletion, txn.KindCompletionAdvice:
			ok = k == txn.KindCompletionVoid || k == txn.KindRefund
		}
		if ok && (d.req.Key.Batch == x.batch || k == txn.KindRefund || d.req.Kind == txn.KindPreauth) {
			fit = append(fit, d)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	if x.rng.IntN(3) == 0 {
		return fit[x.rng.IntN(len(fit))]
	}
	return fit[len(fit)-1]
}

// amount is what a request of this kind about of asks for.
func (x *pos) amount(k txn.Kind, of *deal) int64 {
	x.mu.Lock()
	minor := of.minor()
	x.mu.Unlock()
	switch k {
	case txn.KindRefund:
		return 1 + minor*int64(1+x.rng.IntN(4))/4
	case txn.KindTip, txn.KindAdjustment:
		return 1 + minor*int64(x.rng.IntN(18))/100
	case txn.KindIncrement:
		return x.price()
	case txn.KindCompletion, txn.KindCompletionAdvice:
		return 1 + minor*int64(50+x.rng.IntN(70))/100
	}
	return minor
}

// request is a new request, under the next number.
func (x *pos) request(k txn.Kind, minor int64, of *deal) txn.Request {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stan = x.stan%txn.STANMax + 1
	r := txn.Request{Dialect: 1, Kind: k, MTI: 0x0200, Key: txn.Key{Terminal: txn.MakeTerminalID(x.id), Batch: x.batch, STAN: x.stan, Class: txn.ClassFinancial},
		Merchant: txn.MakeMerchantID("999290054110001"), ProcessingCode: [6]byte([]byte("000000")), Condition: [2]byte{'0', '0'},
		Amount: txn.Amount{Minor: minor, Currency: txn.CNY}, PAN: x.pan}
	switch {
	case k == txn.KindPreauth, k == txn.KindPreauthVoid, k == txn.KindIncrement:
		r.MTI = 0x0100
	case k.Remedy() == txn.Repeat:
		r.MTI, r.Key.Class = 0x0220, txn.ClassAdvice
	}
	if of == nil {
		return r
	}
	rng := x.w.roll("request", x.id, x.stan)
	day := of.answer.Date
	switch named := rng.IntN(3); {
	case k == txn.KindRefund && named > 0, of.req.Key.Batch != x.batch && of.req.Kind != txn.KindPreauth:
		r.Original = txn.Reference{RRN: of.answer.RRN, Date: day}
	case of.req.Kind == txn.KindPreauth && named > 0 || of.req.Key.Batch != x.batch:
		r.Original = txn.Reference{AuthCode: of.answer.Reply.AuthCode, Date: day}
	default:
		r.Original = txn.Reference{STAN: of.req.Key.STAN, Batch: of.req.Key.Batch}
	}
	if (k == txn.KindTip || k == txn.KindAdjustment || k == txn.KindVoid) && rng.IntN(2) == 0 {
		r.PAN = txn.PAN{} // such messages need not carry the card
	}
	return r
}

// exchange sends req once and waits for the answer, nil when none comes. What
// the network does with it depends on what is sent and how often it was.
func (x *pos) exchange(req txn.Request, try int) *txn.Answer {
	w := x.w
	w.requests.Add(1)
	rng := w.roll("network", req.Key, try)
	lost, late, twice := w.some(rng, 30, "request lost"), w.some(rng, 25, "request late"), w.some(rng, 40, "request twice")
	gone := w.some(rng, 40, "answer lost")
	noticed := rng.IntN(2) == 0
	delay := time.Duration(1+rng.IntN(50)) * time.Millisecond
	if late {
		delay = time.Duration(1+rng.IntN(100)) * time.Second
	}
	again := time.Duration(rng.IntN(25)) * time.Second / time.Duration(1+rng.IntN(100))

	answers := make(chan *txn.Answer, 2)
	limit := time.Now().Add(patience)
	copies := 0
	send := func(after time.Duration) {
		copies++
		go func() {
			time.Sleep(after)
			p := w.process()
			if p == nil {
				return // nobody listens
			}
			req, ans := req, &txn.Answer{}
			req.Received = time.Now()
			p.s.Authorize(&req, ans)
			select {
			case <-p.dead:
				return // killed before the answer left
			default:
			}
			if ans.Silent {
				return
			}
			w.durable(p, &req, ans)
			if gone || time.Now().After(limit) { // the terminal has hung up
				if noticed {
					p.s.Undelivered(&req, ans)
				}
				return
			}
			answers <- ans
		}()
	}
	if !lost {
		send(delay)
	}
	if twice {
		send(delay + again)
	}
	timer := time.NewTimer(time.Until(limit))
	defer timer.Stop()
	select {
	case ans := <-answers:
		return ans
	case <-timer.C:
		return nil
	}
}

// durable fails the test if an approval leaves before its record is durable.
func (w *world) durable(p *process, req *txn.Request, ans *txn.Answer) {
	if ans.Reason != txn.Approved || ans.Replayed || !req.Kind.Forwarded() && req.Kind != txn.KindReversal {
		return
	}
	if !p.recorded(func(rec *txn.Record) bool {
		return rec.ID == ans.ID && (rec.Kind == txn.RecordOutcome || rec.Kind == txn.RecordReversalDue)
	}) {
		w.t.Errorf("a %s is told yes before that is durable", req.Kind)
	}
}

// insist sends req until it is answered.
func (x *pos) insist(req txn.Request) *txn.Answer {
	for try := 10; ; try++ {
		if ans := x.exchange(req, try); ans != nil {
			return ans
		}
		if try > 500 {
			x.w.t.Errorf("a %s is not answered in 500 tries", req.Kind)
			return &txn.Answer{Reason: txn.SwitchFailed}
		}
		time.Sleep(time.Second)
	}
}

// do is one transaction from its request to where the terminal knows, or gives
// up, what became of it.
func (x *pos) do(k txn.Kind, minor int64, of *deal) *deal {
	req := x.request(k, minor, of)
	d := &deal{req: req, of: of, at: time.Now()}
	ans := x.exchange(req, 0)
	for try := 1; ans == nil && try <= x.w.roll("patience", req.Key).IntN(3); try++ {
		ans = x.exchange(req, try)
	}
	switch {
	case k.Remedy() == txn.Repeat:
		// It is said again until it is taken, or refused for good.
		for tries := 0; ans == nil || forNow(ans.Reason); tries++ {
			if tries == 500 {
				x.w.t.Errorf("a %s is told %q and nothing else", k, ans.Reason)
				break
			}
			time.Sleep(5 * time.Second)
			ans = x.insist(req)
		}
	case ans == nil && k.Remedy() == txn.Reverse:
		x.reverse(d)
	}
	x.learn(d, ans)
	return d
}

// forNow says that a refusal is not remembered.
func forNow(r txn.Reason) bool {
	return r == txn.IssuerIsUnavailable || r == txn.IssuerIsBusy || r == txn.OriginalIsBusy || r == txn.RecordsAreUnavailable
}

// learn notes what a terminal makes of an answer.
func (x *pos) learn(d *deal, ans *txn.Answer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ans != nil {
		d.answer = ans
		if ans.Reason == txn.Approved {
			d.belief = stands
			if d.of != nil {
				d.of.built++
			}
		}
		if ans.Reason == txn.DuplicateWithOtherContent {
			x.w.t.Errorf("the %s %06d of terminal %s is taken for another request", d.req.Kind, d.req.Key.STAN, x.id)
		}
	}
	if d.req.Kind.MovesMoney() {
		x.deals = append(x.deals, d)
	}
	if ans != nil && ans.Reason == txn.BatchIsNotCurrent {
		x.batch++ // we were closed behind its back: it signs on with the next
		x.signOn()
	}
}

// signOn moves the terminal to its batch. mu is held.
func (x *pos) signOn() {
	p := x.w.process()
	if p == nil {
		return
	}
	req := txn.Request{Dialect: 1, Kind: txn.KindSignOn, MTI: 0x0800, Received: time.Now(), Merchant: txn.MakeMerchantID("999290054110001"),
		Key: txn.Key{Terminal: txn.MakeTerminalID(x.id), Batch: x.batch, STAN: x.stan, Class: txn.ClassNetwork}}
	var ans txn.Answer
	p.s.Authorize(&req, &ans)
	if ans.Reason == txn.Approved && ans.Batch != 0 {
		x.batch = ans.Batch
	}
}

// reversalOf is the reversal of a request. It has the number of what it undoes.
func reversalOf(req *txn.Request) txn.Request {
	r := *req
	r.Kind, r.MTI, r.Key.Class, r.PAN = txn.KindReversal, 0x0400, txn.ClassReversal, txn.PAN{}
	r.Original = txn.Reference{STAN: req.Key.STAN, Batch: req.Key.Batch}
	return r
}

// reverse undoes d: the terminal forgets its reversal with any answer.
func (x *pos) reverse(d *deal) {
	ans := x.insist(reversalOf(&d.req))
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case d.belief == unsure: // it asks again, and is told the same
	case ans.Reason == txn.OriginalIsOfAnotherDay:
		d.belief = unsure // the specification refuses it, and the terminal forgets it
	case ans.Reason != txn.Approved:
		// It is gone from the terminal, whatever the answer.
		x.w.t.Errorf("the reversal of %s %06d of terminal %s was told %q", d.req.Kind, d.req.Key.STAN, x.id, ans.Reason)
	case d.built > 0:
		d.belief = unsure // what something was built on is not undone, and the terminal is told yes
	default:
		d.belief = reversed
		if d.of != nil && d.answer != nil {
			d.of.built--
		}
	}
}

// undo reverses an approved transaction: it failed at the terminal afterwards.
func (x *pos) undo() {
	x.mu.Lock()
	var d *deal
	for _, it := range slices.Backward(x.deals) {
		if it.belief == stands && it.req.Kind.Remedy() == txn.Reverse && it.req.Key.Batch == x.batch {
			d = it
			break
		}
	}
	x.mu.Unlock()
	if d != nil {
		x.reverse(d)
	}
}

// undoPart reverses a part of an approved transaction, under a number of its own:
// of a sale that was made just now, perhaps, and perhaps of one of which another
// part was reversed before.
func (x *pos) undoPart() {
	x.mu.Lock()
	var d *deal
	for _, it := range slices.Backward(x.deals) {
		if it.belief == stands && it.req.Kind.Divisible() && it.req.Key.Batch == x.batch && it.minor() > 1 {
			d = it
			break
		}
	}
	x.mu.Unlock()
	if d == nil {
		return
	}
	req := x.request(txn.KindReversal, d.req.Amount.Minor, nil)
	req.MTI, req.Key.Class, req.PAN = 0x0400, txn.ClassReversal, txn.PAN{}
	req.Original = txn.Reference{STAN: d.req.Key.STAN, Batch: d.req.Key.Batch}
	req.Replacement = txn.Amount{Minor: 1 + int64(x.rng.IntN(int(d.minor()-1))), Currency: txn.CNY}
	switch ans := x.insist(req); ans.Reason {
	case txn.Approved:
		x.mu.Lock()
		d.left = req.Replacement.Minor
		x.mu.Unlock()
	case txn.OriginalDoesNotStand, txn.OriginalIsOfAnotherDay: // something was built on it, or the day is over
	default:
		x.w.t.Errorf("the reversal of all but %d of %s %06d of terminal %s was told %q", req.Replacement.Minor, d.req.Kind, d.req.Key.STAN, x.id, ans.Reason)
	}
}

// undoFirst sends a reversal while its request is on its way, or before it.
func (x *pos) undoFirst() {
	req := x.request(txn.KindSale, x.price(), nil)
	d := &deal{req: req, at: time.Now()}
	before := time.Duration(x.rng.IntN(3000)-1500) * time.Millisecond
	var both sync.WaitGroup
	both.Go(func() {
		time.Sleep(max(0, before))
		x.exchange(req, 0)
	})
	time.Sleep(max(0, -before))
	x.reverse(d)
	both.Wait()
	x.learn(d, nil)
}

// race does two things about one transaction at the same time.
func (x *pos) race() {
	type pair struct{ a, b txn.Kind }
	pairs := [...]pair{{txn.KindVoid, txn.KindReversal}, {txn.KindVoid, txn.KindRefund}, {txn.KindRefund, txn.KindRefund}, {txn.KindTip, txn.KindRefund},
		{txn.KindVoid, txn.KindVoid}, {txn.KindTip, txn.KindVoid}, {txn.KindCompletion, txn.KindPreauthVoid}, {txn.KindIncrement, txn.KindCompletion},
		{txn.KindCompletionVoid, txn.KindRefund}, {txn.KindPreauthVoid, txn.KindReversal}}
	pr := pairs[x.rng.IntN(len(pairs))]
	of := x.original(pr.a)
	if of == nil {
		of = x.do(txn.KindSale, x.price(), nil)
		if pr.a != txn.KindVoid && pr.a != txn.KindRefund && pr.a != txn.KindTip || of.belief != stands {
			return
		}
	}
	amounts := [2]int64{x.amount(pr.a, of), of.minor()}
	if pr.b != txn.KindReversal {
		amounts[1] = x.amount(pr.b, of)
	}
	gap := time.Duration(x.rng.IntN(1500)) * time.Millisecond
	first := x.rng.IntN(2)
	var both sync.WaitGroup
	var deed *deal
	both.Go(func() {
		time.Sleep(gap * time.Duration(first))
		deed = x.do(pr.a, amounts[0], of)
	})
	both.Go(func() {
		time.Sleep(gap * time.Duration(1-first))
		if pr.b == txn.KindReversal {
			x.reverse(of)
		} else {
			x.do(pr.b, amounts[1], of)
		}
	})
	both.Wait()
	// The deed came first, perhaps, and stood when the reversal came; what the
	// terminal reversed for want of an answer may have, too.
	if x.mu.Lock(); pr.b == txn.KindReversal && (deed.belief == stands || deed.answer == nil || deed.answer.Reason == txn.AnswerWasNotDelivered) && of.belief == reversed {
		of.belief = unsure
	}
	x.mu.Unlock()
}

// again repeats an earlier request of the day: it is told the same.
func (x *pos) again() {
	x.mu.Lock()
	var d *deal
	if n := len(x.deals); n > 0 {
		d = x.deals[n-1-x.rng.IntN(min(n, 5))]
	}
	x.mu.Unlock()
	if d == nil || d.answer == nil || d.belief != stands && d.answer.Reason != txn.IssuerDeclined {
		return
	}
	if simDay.Of(time.Now().Add(5*time.Minute)) != simDay.Of(d.at) { // yesterday's number may be today's again
		return
	}
	ans := x.insist(d.req)
	if w := d.answer; ans.Reason != w.Reason || ans.RRN != w.RRN || ans.Code != w.Code || ans.Reply.AuthCode != w.Reply.AuthCode {
		x.w.t.Errorf("the %s %06d of terminal %s was told %q %s, and then %q %s", d.req.Kind, d.req.Key.STAN, x.id, w.Reason, w.RRN, ans.Reason, ans.RRN)
	}
}

// settle settles the batch.
func (x *pos) settle() {
	x.mu.Lock()
	batch := x.batch
	sure := true
	var totals txn.Totals
	var items []*deal
	for _, d := range x.deals {
		e := d.req.Kind.Totals()
		if d.req.Key.Batch != batch || e == txn.NoEffect {
			continue
		}
		sure = sure && d.belief != unsure
		if d.belief == stands {
			side := totals.Side(e)
			side.Count, side.Minor = side.Count+1, side.Minor+d.minor()
			items = append(items, d)
		}
	}
	x.mu.Unlock()
	upload := func(network uint16) txn.Request {
		r := x.request(txn.KindUpload, 0, nil)
		r.MTI, r.Key.Class, r.PAN, r.Network = 0x0320, txn.ClassUpload, txn.PAN{}, network
		return r
	}
	req := x.request(txn.KindSettlement, 0, nil)
	req.MTI, req.Key.Class, req.PAN, req.Network, req.Totals[0] = 0x0500, txn.ClassUpload, txn.PAN{}, 201, totals
	ans := x.insist(req)
	if ans.Reason != txn.Approved {
		x.mu.Lock()
		x.batch++
		x.signOn()
		x.mu.Unlock()
		return
	}
	code := uint16(207)
	if ans.Result != [2]txn.Comparison{txn.Even, txn.Even} {
		code = 202
		if sure {
			x.w.t.Errorf("terminal %s settles batch %d with %+v and is told %v: %+v\n\t%s", x.id, batch, totals, ans.Result, ans.Totals[0], x.differences(batch))
		}
		for chunk := range slices.Chunk(items, txn.UploadItemsMax) {
			up := upload(201)
			for _, d := range chunk {
				up.Items = append(up.Items, txn.Item{STAN: d.req.Key.STAN, Minor: d.minor(), PAN: x.pan})
			}
			x.insist(up)
		}
	}
	last := upload(code)
	last.Announced = uint32(len(items))
	if ans := x.insist(last); ans.Reason != txn.Approved {
		x.w.t.Errorf("the end of batch %d of terminal %s is told %q", batch, x.id, ans.Reason)
	}
	x.mu.Lock()
	x.batch++
	x.mu.Unlock()
}
