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

// trails has one for each terminal that a record was learned about.
type trails struct{ rows[trail] }

// of is the trail of a terminal, empty where nothing is known.
func (ts trails) of(t txn.TerminalID) (seen trail) {
	id := terminalRow(t)
	if row := ts.lock(id, false); row != nil {
		seen = *row
	}
	ts.unlock(id)
	return seen
}

func terminalRow(t txn.TerminalID) rowID { return rowID{binary.LittleEndian.Uint64(t[:])} }

// learn takes the record of a request that places are looked at for, or that S06
// found something about.
func (ts trails) learn(rec *txn.Record) {
	var silent, far, elsewhere, back bool
	for f := range rec.Findings.All() {
		silent = silent || f.Rule == ruleT10
		far = far || f.Rule == ruleT11
		back = back || f.Rule == ruleS06
		elsewhere = elsewhere || (f.Rule == ruleT11 || f.Rule == ruleT12 || f.Rule == ruleT14) && f.Action == txn.ActionRefuse && !f.Shadow
	}
	placed := int(rec.Request) < len(matrix) && matrix[rec.Request]&place != 0
	positioned := rec.Lat != 0 || rec.Lng != 0
	if !placed && !back {
		return
	}
	id := terminalRow(rec.Key.Terminal)
	row := ts.lock(id, silent || far || back || positioned)
	defer ts.unlock(id)
	if row == nil {
		return
	}
	if back && row.backDay < rec.Day {
		row.back, row.backDay = 0, rec.Day
	}
	if back && row.backDay == rec.Day {
		row.back = next(row.back, true)
	}
	if !placed {
		return
	}
	row.silent = next(row.silent, silent)
	if far || positioned {
		row.far = next(row.far, far)
	}
	if at := uint32(rec.At.Unix()); positioned && !elsewhere && at >= row.at {
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
