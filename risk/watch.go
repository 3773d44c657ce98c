package risk

import "github.com/acqswitch/acqswitch/switch/txn"

// WatchList says how closely merchants and terminals are watched (R11). Whoever
// gave it to an Engine changes it no more.
type WatchList struct {
	Merchants map[txn.MerchantID]txn.Level
	Terminals map[txn.TerminalID]txn.Level
}

// Watch puts a list in force for every request assessed from now on.
func (e *Engine) Watch(w WatchList) { e.watch.Store(&w) }

// Watched is the list in force. Nothing in it may be changed.
func (e *Engine) Watched() WatchList {
	if w := e.watch.Load(); w != nil {
		return *w
	}
	return WatchList{}
}

// watched holds a payment against the watch list: the higher level of its
// merchant and its terminal decides.
func (j *judgement) watched(w *WatchList, req *txn.Request) bool {
	if w == nil || !j.asked(ruleR11) {
		return false
	}
	level := max(w.Merchants[req.Merchant], w.Terminals[req.Key.Terminal])
	action := txn.ActionAlert
	switch level {
	case txn.Unwatched, txn.Suspicious:
		return false
	case txn.Warning:
		action = txn.ActionHold
	case txn.HighRisk:
		action = txn.ActionRefuse
	}
	return j.counts(ruleR11, action, int64(level), int64(txn.Attention), txn.PartyIsHighRisk)
}
