package risk

import (
	"encoding/binary"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// trail is what is known of a terminal's last places, from the records of its
// requests.
type trail struct {
	silent, far uint8 // requests in a row that T10 and T11 found something about
	known       bool  // there was a position
	lat, lng    int32 // the last one
	at          uint32
	back        uint8    // requests that S06 found something about
	backDay     txn.Date // on this business day
}

func terminalRow(t txn.TerminalID) rowID { return rowID{binary.LittleEndian.Uint64(t[:])} }

// whereabouts are what a decided request tells of where its terminal is.
type whereabouts struct {
	placed                 bool // places are looked at for its kind
	silent, far, elsewhere bool // T10 or T11 found something; it was refused for where it was
	back                   bool // S06 found something about it
	positioned             bool
}

func whereaboutsOf(rec *txn.Record) (w whereabouts) {
	for f := range rec.Findings.All() {
		w.silent = w.silent || f.Rule == ruleT10
		w.far = w.far || f.Rule == ruleT11
		w.back = w.back || f.Rule == ruleS06
		w.elsewhere = w.elsewhere || (f.Rule == ruleT11 || f.Rule == ruleT12 || f.Rule == ruleT14) && f.Action == txn.ActionRefuse && !f.Shadow
	}
	w.placed = checksOf(rec.Request)&place != 0
	w.positioned = rec.Lat != 0 || rec.Lng != 0
	return w
}

// tells says that there is something to learn.
func (w *whereabouts) tells() bool { return w.placed || w.back }

// learn adds those of a record to the trail at a spot.
func (w *whereabouts) learn(at *spot[trail], rec *txn.Record) {
	row := at.row()
	if row == nil {
		if !(w.silent || w.far || w.back || w.positioned) {
			return
		}
		row = at.made()
	}
	if w.back && row.backDay < rec.Day {
		row.back, row.backDay = 0, rec.Day
	}
	if w.back && row.backDay == rec.Day {
		row.back = next(row.back, true)
	}
	if !w.placed {
		return
	}
	row.silent = next(row.silent, w.silent)
	if w.far || w.positioned {
		row.far = next(row.far, w.far)
	}
	if at := uint32(rec.At.Unix()); w.positioned && !w.elsewhere && at >= row.at {
		row.known, row.lat, row.lng, row.at = true, rec.Lat, rec.Lng, at
	}
}

// next counts what happens in a row.
func next(n uint8, again bool) uint8 {
	switch {
	case !again:
		return 0
	case n < 255:
		n++
	}
	return n
}
