package batch

import "github.com/acqswitch/acqswitch/switch/txn"

// The states of a batch and what each step makes of them (cup-pos C4). A step
// that has no entry is refused with BatchIsNotSettling.
//
//	           settle, even  uneven     upload     end     close
//	open       closed        settling              -       closed
//	settling   closed        settling   uploading  closed  closed
//	uploading  closed        uploading  uploading  closed  closed
//	closed     closed        closed     closed     closed  -
//
// A closed batch is still compared: chip data and the end follow even totals, its
// terminal may have missed our answers, or we closed it before the terminal settled.
// Terminals without a chip reader often say no end when their totals were even, and go
// on with the next number. Batch 0, of dialects that have no number, takes
// transactions in every state, and when it is closed it begins anew.

// UploadedMax bounds the items that one batch may upload, as DE48 of CUP's end
// message does.
const UploadedMax = 9_999

// Settle drafts the answer to a terminal's totals: f says what ours are and how
// the two stand to each other. Terminals may count foreign cards among domestic
// ones, so we compare the sum of both halves; where it differs, our answer has
// all of ours in the first half.
func (b *Book) Settle(req *txn.Request, f *txn.BatchFact) txn.Reason {
	sh := b.open(&req.Key.Terminal, req.Day)
	defer sh.mu.Unlock()
	e, ok := sh.find(name{req.Key.Terminal, req.Key.Batch})
	if !ok {
		return txn.BatchIsNotCurrent
	}
	f.Step, f.State, f.Opened = txn.StepSettle, e.state, e.opened
	f.Theirs, f.Ours = req.Totals, e.totals
	told := [2]txn.Totals{e.totals, {}}
	switch {
	case e.mixed || e.first != 0 && req.Amount.Currency != 0 && e.currency != req.Amount.Currency:
		f.Result = [2]txn.Comparison{txn.NotComparable, txn.NotComparable}
	case e.agrees(req.Totals[0].Plus(req.Totals[1])):
		f.Result = [2]txn.Comparison{txn.Even, txn.Even}
	default:
		for i := range told {
			f.Result[i] = txn.Uneven
			if told[i] == req.Totals[i] {
				f.Result[i] = txn.Even
			}
		}
	}
	f.State = max(e.state, txn.BatchSettling)
	if f.Result == [2]txn.Comparison{txn.Even, txn.Even} {
		f.State = txn.BatchClosed
	}
	return txn.Approved
}

// Upload drafts the answer to items of a terminal's batch, already in f with the
// terminal's number, amount and card: each gets its verdict and our amount. The
// same items get the same verdicts however often they come.
func (b *Book) Upload(req *txn.Request, f *txn.BatchFact) txn.Reason {
	sh := b.open(&req.Key.Terminal, req.Day)
	defer sh.mu.Unlock()
	e, ok := sh.batches[name{req.Key.Terminal, req.Key.Batch}]
	switch {
	case !ok && req.Key.Batch != 0:
		return txn.BatchIsNotCurrent
	case !ok || e.state == txn.BatchOpen:
		return txn.BatchIsNotSettling
	case int(e.uploaded)+len(f.Items) > UploadedMax:
		return txn.FormatIsWrong
	}
	f.Step, f.State, f.Opened, f.Code, f.Ours = txn.StepUpload, max(e.state, txn.BatchUploading), e.opened, req.Network, e.totals
	chip := req.Network >= 203 && req.Network <= 206
	for i := range f.Items {
		e.compare(sh, &f.Items[i], chip)
	}
	return txn.Approved
}

// compare gives one item its verdict.
func (e *entry) compare(sh *shard, up *txn.BatchItem, chip bool) {
	card := short(&up.Card)
	it := e.item(sh, up.STAN, false)
	if it == nil {
		if it = e.alike(sh, up, card, chip); it == nil {
			up.Verdict = txn.ItemIsNotOurs
			return
		}
		up.STAN = it.number()
	}
	up.Ours = it.minor
	switch {
	case !it.stands():
		up.Verdict = txn.ItemWasReversed
	case it.minor != up.Minor:
		up.Verdict = txn.ItemAmountDiffers
	case it.card != card && it.card != 0 && card != 0:
		up.Verdict = txn.ItemCardDiffers
	default:
		up.Verdict = txn.ItemMatches
	}
}

// alike is the item of the same card and amount: chip data comes from some
// terminals under a number of its own. One that was uploaded already counts if
// there is no other.
func (e *entry) alike(sh *shard, up *txn.BatchItem, card uint64, chip bool) (found *item) {
	if !chip || card == 0 {
		return nil
	}
	for it := range sh.items.of(e.head) {
		if it.stands() && it.card == card && it.minor == up.Minor && (found == nil || found.stan&flagUploaded != 0) {
			found = it
		}
	}
	return found
}

// End drafts the answer to the end of an upload: the batch is closed. After an
// uneven settlement everything had to be uploaded, so f lists what of ours was
// not; after an even one only chip data is.
func (b *Book) End(req *txn.Request, f *txn.BatchFact) txn.Reason {
	sh := b.open(&req.Key.Terminal, req.Day)
	defer sh.mu.Unlock()
	e, ok := sh.batches[name{req.Key.Terminal, req.Key.Batch}]
	switch {
	case req.Key.Batch == 0 && e.state == txn.BatchOpen: // closed by an even settlement
		f.Step, f.State, f.Code, f.Announced = txn.StepEnd, txn.BatchOpen, req.Network, req.Announced
		f.Opened, f.Ours = e.opened, e.totals
		return txn.Approved
	case !ok:
		return txn.BatchIsNotCurrent
	case e.state == txn.BatchOpen:
		return txn.BatchIsNotSettling
	}
	f.Step, f.State, f.Opened, f.Code, f.Ours = txn.StepEnd, txn.BatchClosed, e.opened, req.Network, e.totals
	f.Announced, f.Received = req.Announced, e.uploaded
	if e.uneven {
		e.missing(sh, f)
	}
	return txn.Approved
}

// missing lists what stands in our totals and was not uploaded.
func (e *entry) missing(sh *shard, f *txn.BatchFact) {
	for it := range sh.items.of(e.head) {
		if !it.stands() || it.stan&flagUploaded != 0 {
			continue
		}
		side := f.Missing.Side(it.side())
		side.Count, side.Minor = side.Count+1, side.Minor+it.minor
		if len(f.Items) < txn.MissingItemsMax {
			f.Items = append(f.Items, txn.BatchItem{Verdict: txn.ItemIsNotUploaded, STAN: it.number(), Ours: it.minor})
		}
	}
}

// Unsettled calls fn with every batch opened on day or before that is not
// closed, as Each does.
func (b *Book) Unsettled(day txn.Date, fn func(*Batch)) {
	b.Each(func(x *Batch) {
		if x.Opened != 0 && x.Opened <= day && x.State != txn.BatchClosed {
			fn(x)
		}
	})
}

// Close drafts that we close a batch which its terminal never settled. It says
// false if there is nothing to close any more.
func (b *Book) Close(t txn.TerminalID, number uint32, f *txn.BatchFact) bool {
	sh := &b.shards[b.at(&t)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e, ok := sh.batches[name{t, number}]
	if !ok || e.state == txn.BatchClosed || e.opened == 0 {
		return false
	}
	f.Step, f.State, f.Opened, f.Ours = txn.StepClose, txn.BatchClosed, e.opened, e.totals
	if e.state == txn.BatchUploading && e.uneven {
		e.missing(sh, f)
	}
	return true
}
