package risk

import (
	"encoding/hex"
	"sync"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// factsPool keeps the facts of requests, which are called upon through function
// values and would otherwise be made anew for each.
var factsPool = sync.Pool{New: func() any { return rules.NewFacts() }}

// ownRules lets the risk officer's rules see a request that broke none of the
// built-in ones which need no counter, and says whether one refuses it.
func (j *judgement) ownRules(e *Engine, req *txn.Request) bool {
	if j.own.Len() == 0 && j.sink == nil || !req.Kind.Forwarded() {
		return false
	}
	f := factsPool.Get().(*rules.Facts)
	j.know(e, f, req)
	reason := j.own.Judge(f, req.Day, req.Kind.Told(), &j.v.Findings, j.sink.facts(j.own, f))
	factsPool.Put(f)
	if reason == txn.Approved {
		return false
	}
	j.v.Reason = reason
	return true
}

// asks says that a rule needs one of some facts, or somebody wants to see them.
func (j *judgement) asks(xs ...rules.Fact) bool { return j.sink != nil || j.own.Asks(xs...) }

// know says in f what the rules ask of a request.
func (j *judgement) know(e *Engine, f *rules.Facts, req *txn.Request) {
	f.Reset()
	t, m := req.Terminal, req.Acceptor
	f.Set(rules.Amount, req.Amount.Minor)
	f.Set(rules.Currency, int64(req.Amount.Currency))
	f.Set(rules.Kind, int64(req.Kind))
	f.Set(rules.Entry, int64(req.Entry.Way()))
	f.SetFlag(rules.PIN, len(req.PINBlock) > 0)
	f.Set(rules.Instalments, int64(req.Instalments))
	f.Set(rules.Day, int64(req.Day))
	f.Set(rules.CardType, int64(req.CardType))
	f.SetText(rules.MerchantID, m.ID[:])
	f.Set(rules.MerchantType, int64(m.Type))
	f.Set(rules.MerchantMCC, int64(m.MCC))
	f.SetText(rules.TerminalID, t.ID[:])
	f.Set(rules.TerminalClass, int64(t.Mobility))
	if req.Entry.Way() == txn.WayCode {
		f.Set(rules.CodeLevel, int64(j.codeLevel(req)))
	}
	if m.Grade != 0 {
		f.Set(rules.MerchantGrade, int64(m.Grade))
	}
	if m.Region != 0 {
		f.Set(rules.MerchantCity, int64(m.Region.City()))
		f.Set(rules.MerchantProvince, int64(m.Region.Province()))
	}
	if t.Model != 0 {
		f.Set(rules.TerminalModel, int64(t.Model))
	}
	if req.Region != 0 {
		f.Set(rules.Region, int64(req.Region))
		f.Set(rules.City, int64(req.Region.City()))
		f.Set(rules.Province, int64(req.Region.Province()))
	}
	if !req.PAN.IsZero() {
		var digits [txn.PANDigitsMax]byte
		f.SetText(rules.CardBIN, req.PAN.AppendMasked(digits[:0])[:6])
	}
	// What takes longer is found out only where somebody asks.
	if j.asks(rules.CardToken) && req.CardToken != noCard {
		var digits [2 * len(req.CardToken)]byte
		hex.Encode(digits[:], req.CardToken[:])
		f.SetText(rules.CardToken, digits[:])
	}
	if j.asks(rules.Hour, rules.Weekday) {
		at := req.Received.In(e.zone)
		f.Set(rules.Hour, int64(at.Hour()))
		f.Set(rules.Weekday, int64(at.Weekday()+6)%7+1)
	}
	if p := req.Info.Position; p.Known && (t.Lat != 0 || t.Lng != 0) && j.asks(rules.Distance) {
		f.Set(rules.Distance, metres(p, t.Lat, t.Lng))
	}
	if m.Since != 0 && j.asks(rules.MerchantAge) {
		f.Set(rules.MerchantAge, int64(req.Day.Since(m.Since)))
	}
	if t.Since != 0 && j.asks(rules.TerminalAge) {
		f.Set(rules.TerminalAge, int64(req.Day.Since(t.Since)))
	}
	for w := range Window(Windows) {
		if j.counted&(1<<w) != 0 {
			f.Set(rules.RecentCardAtMerchant+rules.Fact(w), j.lately.n[w])
		}
	}
	j.knowUse(e, f, req)
	for _, x := range e.unknown {
		f.Forget(x)
	}
}

// counted are the facts about the use of each party that partiesOf lists.
var counted = [scopes]struct{ dayAmount, dayCount, monthAmount, monthCount rules.Fact }{
	{rules.TerminalDayAmount, rules.TerminalDayCount, rules.TerminalMonthAmount, rules.TerminalMonthCount},
	{rules.MerchantDayAmount, rules.MerchantDayCount, rules.MerchantMonthAmount, rules.MerchantMonthCount},
	{rules.CardDayAmount, rules.CardDayCount, rules.CardMonthAmount, rules.CardMonthCount},
	{rules.PersonDayAmount, rules.PersonDayCount, rules.PersonMonthAmount, rules.PersonMonthCount},
}

// knowUse says what each party used. A month that is not counted whole, or whose
// cards are not counted, is not known.
func (j *judgement) knowUse(e *Engine, f *rules.Facts, req *txn.Request) {
	day, month := j.useAsked[0], j.useAsked[1]
	if j.sink != nil {
		day, month = everybody, everybody
	}
	d, m := e.days.kept(req.Day), e.months.kept(monthOf(req.Day))
	if m == nil || !m.whole.Load() {
		month = 0
	}
	h := HoldOf(req)
	ks := keysOf(&h)
	var uses [scopes]need
	for i := range uses {
		uses[i].scope = scopeOf(i)
	}
	var ms meters
	ms.lock(d, m, &ks, day, month, uses[:])
	ms.unlock()
	for i, c := range counted {
		if ks[i].nobody() {
			continue
		}
		if day&(1<<i) != 0 {
			f.Set(c.dayAmount, uses[i].day.Minor)
			f.Set(c.dayCount, uses[i].day.Count)
		}
		if month&(1<<i) != 0 && m.counts[i] {
			f.Set(c.monthAmount, uses[i].month.Minor)
			f.Set(c.monthCount, uses[i].month.Count)
		}
	}
}

// usesAsked are the parties of whose day and of whose month own rules ask.
func (b *rulebook) usesAsked() (of [2]scopeSet) {
	for i, c := range counted {
		if b.own.Asks(c.dayAmount, c.dayCount) {
			of[0] |= 1 << i
		}
		if b.own.Asks(c.monthAmount, c.monthCount) {
			of[1] |= 1 << i
		}
	}
	return of
}

// codeLevel is by how much the payer of a request by code is identified.
func (j *judgement) codeLevel(req *txn.Request) CodeLevel {
	if req.Info.Device == deviceStaticCode {
		return CodeD
	}
	return j.planOf(req).CodeLevel
}
