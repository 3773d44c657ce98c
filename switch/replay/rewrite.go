package replay

import (
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// rememberedMax is how many of its last requests a terminal remembers, to name
// them again in voids, reversals and uploads.
const rememberedMax = 4096

// told is how a request of the capture was sent.
type told struct {
	stan  uint32
	later time.Duration // than in the capture
}

// memory is a map that forgets what it took first.
type memory[V any] struct {
	m     map[string]V
	order []string
}

func (m *memory[V]) put(k string, v V) {
	if m.m == nil {
		m.m = map[string]V{}
	}
	if _, known := m.m[k]; !known {
		if len(m.order) >= rememberedMax {
			delete(m.m, m.order[0])
			m.order = m.order[1:]
		}
		m.order = append(m.order, k)
	}
	m.m[k] = v
}

// rewriter puts into the requests of one terminal the numbers that it and the host use
// now, in place of those of the capture.
type rewriter struct {
	rules    *Rewrite
	terminal string // DE41 and DE42, if they are not the capture's
	merchant string

	stan  uint32
	sent  memory[told] // by number
	last  memory[told] // by trace number alone
	rrns  memory[string]
	auths memory[string]
	dates memory[string] // of DE13
	batch int64          // added to those of the capture
}

// number is what a terminal calls a request: its batch, or its date where the
// dialect has no batches, and trace number.
func number(m *iso.Message) string {
	stan := string(m.AppendDigits(nil, 11))
	if batch := batchOf(m); batch != "" {
		return batch + stan
	}
	if at := m.AppendDigits(nil, 7); len(at) == 10 {
		return string(at[:4]) + stan
	}
	return string(m.AppendDigits(nil, 13)) + stan
}

// batchOf is DE60.2 of CUP POS.
func batchOf(m *iso.Message) string {
	if v := m.AppendDigits(nil, 60); m.Codec().Framing().TPDU && len(v) >= 8 {
		return string(v[2:8])
	}
	return ""
}

// request rewrites a recorded request, where it lies. at is when it was
// recorded.
func (w *rewriter) request(m *iso.Message, at, now time.Time) {
	if w.terminal != "" {
		m.Overwrite(41, 0, fit(w.terminal, m.Len(41)))
		if w.merchant != "" {
			m.Overwrite(42, 0, fit(w.merchant, m.Len(42)))
		}
	}
	name := number(m)
	t, again := w.sent.m[name]
	if !again {
		if w.stan++; w.stan > txn.STANMax {
			w.stan = 1
		}
		t = told{w.stan, now.Sub(at)}
		w.sent.put(name, t)
	}
	if w.rules.References == "map" {
		w.references(m, at)
	}
	w.last.put(string(m.AppendDigits(nil, 11)), t)
	if w.rules.STAN == "next" && m.Has(11) {
		m.Overwrite(11, 0, six(int64(t.stan)))
	}
	if w.rules.Time == "now" {
		if v := m.AppendDigits(nil, 7); len(v) == 10 {
			m.Overwrite(7, 0, moved(string(v), at, t.later))
		}
		clock, date := m.AppendDigits(nil, 12), m.AppendDigits(nil, 13)
		switch {
		case len(clock) == 6 && len(date) == 4:
			both := moved(string(date)+string(clock), at, t.later)
			m.Overwrite(13, 0, both[:4])
			m.Overwrite(12, 0, both[4:])
		case len(date) == 4:
			m.Overwrite(13, 0, moved(string(date)+at.Format("150405"), at, t.later)[:4])
		}
	}
	w.moveBatch(m, 60, 2)
}

// references rewrites what a request says of earlier ones.
func (w *rewriter) references(m *iso.Message, at time.Time) {
	if now, ok := w.rrns.m[string(m.Value(37))]; ok {
		m.Overwrite(37, 0, []byte(now))
	}
	if now, ok := w.auths.m[string(m.Value(38))]; ok {
		m.Overwrite(38, 0, []byte(now))
	}
	cup := m.Codec().Framing().TPDU
	if v := m.AppendDigits(nil, 61); cup && len(v) >= 12 {
		if t, ok := w.sent.m[string(v[:12])]; ok {
			w.stanAt(m, 61, 6, t)
			if len(v) >= 16 && string(v[12:16]) != "0000" && w.rules.Time == "now" {
				date, ok := w.dates.m[string(v[12:16])]
				if !ok {
					date = string(moved(string(v[12:16])+at.Format("150405"), at, t.later)[:4])
				}
				m.Overwrite(61, 12, []byte(date))
			}
		}
		w.moveBatch(m, 61, 0)
	}
	if v := m.AppendDigits(nil, 90); len(v) >= 20 {
		t, ok := w.sent.m[string(v[10:14])+string(v[4:10])]
		dated := ok
		if !ok { // many leave the time out
			t, ok = w.last.m[string(v[4:10])]
		}
		if ok {
			w.stanAt(m, 90, 4, t)
			if dated && w.rules.Time == "now" {
				m.Overwrite(90, 10, moved(string(v[10:20]), at, t.later))
			}
		}
	}
	// An upload of details: a count of 2, and items of 2, trace number 6, card 20,
	// amount 12.
	if v := m.AppendDigits(nil, 48); cup && m.MTI()&^1 == 0x0320 && len(v) > 2 && (len(v)-2)%40 == 0 {
		for i := 2; i < len(v); i += 40 {
			if t, ok := w.sent.m[batchOf(m)+string(v[i+2:i+8])]; ok {
				w.stanAt(m, 48, i+2, t)
			}
		}
	}
}

func (w *rewriter) stanAt(m *iso.Message, field, at int, t told) {
	if w.rules.STAN == "next" {
		m.Overwrite(field, at, six(int64(t.stan)))
	}
}

// moveBatch moves a batch number of 6 digits.
func (w *rewriter) moveBatch(m *iso.Message, field, at int) {
	v := m.AppendDigits(nil, field)
	if w.batch == 0 || !m.Codec().Framing().TPDU || len(v) < at+6 {
		return
	}
	n := digits(v[at : at+6])
	if n == 0 {
		return
	}
	m.Overwrite(field, at, six(((n-1+w.batch)%999_999+999_999)%999_999+1))
}

// answer learns from what the host answered now, and what it had answered.
func (w *rewriter) answer(recorded, got *iso.Message) {
	if a, b := recorded.Value(37), got.Value(37); len(a) > 0 && len(a) == len(b) {
		w.rrns.put(string(a), string(b))
	}
	if a, b := recorded.Value(38), got.Value(38); len(a) > 0 && len(a) == len(b) {
		w.auths.put(string(a), string(b))
	}
	// A terminal has an original's date from its answer, in the zone of the host.
	if a, b := recorded.AppendDigits(nil, 13), got.AppendDigits(nil, 13); len(a) == 4 && len(b) == 4 {
		w.dates.put(string(a), string(b))
	}
	if got.MTI()&^1 == 0x0810 && string(got.Value(39)) == "00" {
		w.signedOn(batchOf(recorded), batchOf(got))
	}
}

// signedOn moves batches by what a sign-on said.
func (w *rewriter) signedOn(recorded, got string) {
	a, b := digits([]byte(recorded)), digits([]byte(got))
	if w.rules.Batch == "sign-on" && a > 0 && b > 0 {
		w.batch = b - a
	}
}

func digits(v []byte) (n int64) {
	for _, d := range v {
		if d-'0' > 9 {
			return 0
		}
		n = n*10 + int64(d-'0')
	}
	return n
}

func six(n int64) []byte { return fmt.Appendf(nil, "%06d", n) }

// fit makes a text as long as a fixed field.
func fit(s string, n int) []byte { return fmt.Appendf(nil, "%-*.*s", n, n, s) }

// moved is a time MMDDhhmmss, recorded around at, moved by later. It is of the year in
// which it is nearest to at; without a 29th of February there it is the day after the
// 28th. What is not a time stays as it is.
func moved(s string, at time.Time, later time.Duration) []byte {
	const halfYear = 183 * 24 * time.Hour
	told, err := time.Parse("20060102150405", "2000"+s)
	if err != nil {
		return []byte(s)
	}
	years := at.Year() - told.Year()
	t := told.AddDate(years, 0, 0)
	switch ahead := t.Sub(at); {
	case ahead > halfYear:
		t = told.AddDate(years-1, 0, 0)
	case ahead < -halfYear:
		t = told.AddDate(years+1, 0, 0)
	}
	return []byte(t.Add(later).Format("0102150405"))
}
