package reconcile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// ExceptionsMax bounds what one file may leave open: one that matches so badly is
// another issuer's, or another day's.
const ExceptionsMax = 100_000

// lookBack and lookAhead are how many days around a file's are searched for what
// its own day does not have.
const (
	lookBack  = 7
	lookAhead = 1
)

// Input is a file and what it is to be held against.
type Input struct {
	Ledger *ledger.Ledger
	Name   string // of the file
	File   io.Reader
	Layout *Layout
	Issuer txn.IssuerID
	Day    txn.Date
	// Acquirer is us: what the file has of others is not ours.
	Acquirer txn.AcquirerID
	// Currency of a file whose layout has no column for it; 0: the layout's.
	Currency txn.Currency
	// Merchant is whose file it is; zero: all merchants'.
	Merchant txn.MerchantID
	// Tolerance is by how many minor units amounts may differ and still match.
	Tolerance int64
	// Count and Total are what the issuer says the file comes to, for a file without a
	// trailer; below zero: it says nothing. Total adds debits and credits together.
	Count, Total int64
	By           string
	Now          time.Time
}

// Result is what a file came to.
type Result struct {
	Issuer     string           `json:"issuer"`
	Date       string           `json:"date"`
	Currency   string           `json:"currency,omitempty"`
	Merchant   string           `json:"merchant,omitempty"`
	File       string           `json:"file"`
	SHA256     string           `json:"sha256"`
	Lines      int64            `json:"lines"`
	Debits     int64            `json:"debits"`
	Credits    int64            `json:"credits"`
	Matched    int64            `json:"matched"`
	Tolerated  int64            `json:"tolerated"` // of the matched
	Late       int64            `json:"late"`      // matched with what another day's file left open
	NoMoney    int64            `json:"no_money"`  // lines that were declined, or reversed by the same file
	Exceptions int64            `json:"exceptions"`
	Causes     map[string]int64 `json:"causes"`
	// NotLines is what else the file has, by what it is called, and how often.
	NotLines map[string]int64 `json:"not_lines,omitempty"`
}

// fact is one of our transactions; it holds no pointers, for there are many.
type fact struct {
	id       txn.ID
	minor    int64 // signed
	theirs   int64 // likewise, by its line
	currency txn.Currency
	inTheirs txn.Currency // the line's
	seen     bool
	matched  bool
	declined bool
	stan, at uint32
	acquirer txn.AcquirerID
	merchant txn.MerchantID
	terminal txn.TerminalID
	masked   [txn.PANDigitsMax]byte
	rrn      [12]byte
	auth     [6]byte
}

// key is what both sides know a transaction by, with acquirer and issuer: STAN and
// transmission time, or the reference number, as the layout says; 0: it has none.
type key uint64

func (l *Layout) keyOf(stan, at uint32, rrn []byte) key {
	if l.byRRN {
		if len(rrn) != 12 { // ours have
			return 0
		}
		n, _ := txn.ParseDigits(rrn)
		return key(n)
	}
	return key(stan)<<32 | key(at)
}

func (l *Layout) keyName() string {
	if l.byRRN {
		return "reference number"
	}
	return "STAN and time"
}

// match is one file being held against the ledger.
type match struct {
	in       *Input
	open     map[key]Exception // of the issuer's earlier files, that this one may still settle
	given    map[txn.Date]bool // the days of which the issuer gave a file
	result   *Result
	facts    []fact
	index    map[key]int32
	left     []leftover // lines that our day does not have, by their place: leftAt
	leftAt   map[key]int
	reversed map[key]bool // what the file itself reverses
	found    []Exception
	settled  []int64 // numbers of exceptions that this file settles
	totals   map[txn.Currency]*Total
}

// leftover is a line that our day does not have: an exception, unless done says that
// it turned out to be none.
type leftover struct {
	Exception
	done bool
}

// run reads the file and finds what does not match. open are the exceptions of the
// issuer that a file may still settle, and given the days of which it gave a file.
func (in *Input) run(ctx context.Context, open map[key]Exception, given map[txn.Date]bool) (*match, error) {
	m := &match{in: in, open: open, given: given, index: map[key]int32{}, leftAt: map[key]int{}, reversed: map[key]bool{}, totals: map[txn.Currency]*Total{},
		result: &Result{Issuer: in.Issuer.String(), Date: in.Day.String(), Merchant: in.Merchant.String(), File: filepath.Base(in.Name), Causes: map[string]int64{}}}
	if in.Merchant == (txn.MerchantID{}) {
		m.result.Merchant = ""
	}
	layout := *in.Layout
	if in.Currency != 0 {
		if layout.detail.has(roleCurrency) {
			return nil, &yamlfile.Problem{File: layout.Name, What: "has a column for the currency: leave --currency out"}
		}
		layout.Currency = in.Currency
	}
	if !layout.detail.has(roleCurrency) {
		in.Currency = layout.Currency
		m.result.Currency = in.Currency.Letters()
	}
	if err := m.load(ctx); err != nil {
		return nil, err
	}
	if err := m.read(&layout); err != nil {
		return nil, err
	}
	if err := m.conclude(ctx); err != nil {
		return nil, err
	}
	if err := m.balance(); err != nil {
		return nil, err
	}
	for i := range m.found {
		m.result.Causes[m.found[i].Cause.String()]++
	}
	m.result.Exceptions = int64(len(m.found))
	return m, nil
}

// load reads our side of the day.
func (m *match) load(ctx context.Context) error {
	in := m.in
	return in.Ledger.Standing(ctx, in.Day, in.Issuer, func(g *ledger.Leg) error {
		if in.Currency != 0 && g.Amount.Currency != in.Currency || in.Merchant != (txn.MerchantID{}) && g.Merchant != in.Merchant {
			return nil
		}
		at, ok := legTimeOf(g.Leg.Time[:], legTime)
		if !ok {
			return fmt.Errorf("transaction %s has no transmission time", g.ID)
		}
		k := in.Layout.keyOf(g.Leg.STAN, at, g.RRN[:])
		if k == 0 {
			return fmt.Errorf("transaction %s has no reference number", g.ID)
		}
		if _, twice := m.index[k]; twice {
			return fmt.Errorf("transaction %s has the %s of another one of issuer %s", g.ID, in.Layout.keyName(), in.Issuer)
		}
		m.index[k] = int32(len(m.facts))
		m.facts = append(m.facts, fact{id: g.ID, minor: int64(g.Kind.Totals()) * g.Amount.Minor, currency: g.Amount.Currency, stan: g.Leg.STAN, at: at, acquirer: g.Acquirer,
			merchant: g.Merchant, terminal: g.Terminal, masked: g.Masked, rrn: g.RRN, auth: g.AuthCode})
		m.total(g.Amount.Currency).Ours.add(m.facts[len(m.facts)-1].minor, 1)
		return nil
	})
}

// dated is a file's name that has its day in it.
var dated = regexp.MustCompile(`^IN[DN](\d{6})`)

// read reads the whole file.
func (m *match) read(layout *Layout) error {
	in := m.in
	if d := dated.FindStringSubmatch(filepath.Base(in.Name)); d != nil {
		if at, err := time.Parse("060102", d[1]); err != nil || txn.MakeDate(at) != in.Day {
			return &yamlfile.Problem{File: in.Name, What: fmt.Sprintf("by its name it is of another day than %s", in.Day)}
		}
	}
	hash := sha256.New()
	r := NewReader(in.Name, io.TeeReader(in.File, hash), layout)
	near := false
	beside := map[uint32]bool{}
	for d := in.Day.Before(); d <= in.Day.After(); d = d.After() {
		beside[uint32(d)%10000] = true
	}
	var line Line
	for {
		err := r.Next(&line)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		near = near || !layout.detail.has(roleTime) || beside[line.Time/1_000_000]
		if err := m.line(&line); err != nil {
			return err
		}
	}
	wrong := func(field, format string, args ...any) error {
		return &yamlfile.Problem{File: in.Name, Field: field, What: fmt.Sprintf(format, args...)}
	}
	switch s := &r.Sums; {
	case r.Day != 0 && r.Day != in.Day:
		return wrong("date", "the file is of %s, not of %s", r.Day, in.Day)
	case s.Count > 0 && !near:
		return wrong("", "none of its lines is of %s or a day beside it: is it another day's file?", in.Day)
	case in.Count >= 0 && in.Count != s.Count:
		return wrong("", "it has %d lines where %d should be: it is cut off, or another file", s.Count, in.Count)
	case in.Total >= 0 && in.Total != s.Debits+s.Credits:
		return wrong("", "its amounts come to %d where %d should be: it is cut off, or another file", s.Debits+s.Credits, in.Total)
	default:
		m.result.Lines, m.result.Debits, m.result.Credits = s.Count, s.Debits, s.Credits
	}
	m.result.NotLines = r.NotLines
	m.result.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// line takes the next line.
func (m *match) line(l *Line) error {
	k := m.in.Layout.keyOf(l.STAN, l.Time, l.RRN)
	i, ours := m.index[k]
	if l.Reversal && m.in.Layout.byRRN && !ours {
		// Clearing reverses what it cleared: of another day's file, or what cannot be
		// told, the money goes back in this one.
		if _, left := m.leftAt[k]; !left {
			l.Reversal, l.Credit = false, !l.Credit
		}
	}
	if l.Reversal {
		if l.OriginalSTAN != 0 {
			k = m.in.Layout.keyOf(l.OriginalSTAN, l.OriginalTime, l.RRN)
		}
		m.result.NoMoney++
		if len(m.reversed) >= ExceptionsMax*10 {
			return m.tooMany()
		}
		m.reversed[k] = !l.Declined || m.reversed[k]
		return nil
	}
	if ours && l.Acquirer != 0 && l.Acquirer != m.facts[i].acquirer {
		ours = false
	}
	if l.Declined {
		m.result.NoMoney++
		if ours {
			m.facts[i].declined = true
		}
		return nil
	}
	theirs := signed(l)
	m.total(l.Amount.Currency).Theirs.add(theirs, 1)
	if !ours {
		e := m.of(l, nil, WeDoNotHaveIt)
		if l.Acquirer != 0 && m.in.Acquirer != 0 && l.Acquirer != m.in.Acquirer {
			e.Cause = ItIsAnotherAcquirers
		}
		if k == 0 { // nothing to look it up by, and no two of these are the same
			m.unlike(Side{}, e.Theirs, 1)
			return m.put(e)
		}
		if _, twice := m.leftAt[k]; twice {
			e.Cause = ItIsTwiceInTheFile
			m.unlike(Side{}, e.Theirs, 1)
			return m.put(e)
		}
		if len(m.left) >= ExceptionsMax {
			return m.tooMany()
		}
		m.leftAt[k] = len(m.left)
		m.left = append(m.left, leftover{Exception: e})
		return nil
	}
	f := &m.facts[i]
	if f.seen {
		e := m.of(l, f, ItIsTwiceInTheFile)
		e.Ours = Side{} // the other line has it
		m.unlike(Side{}, e.Theirs, 1)
		return m.put(e)
	}
	f.seen, f.theirs, f.inTheirs = true, theirs, l.Amount.Currency
	cause, differs, tolerated := m.compare(l, f)
	if differs {
		e := m.of(l, f, cause)
		m.unlike(e.Ours, e.Theirs, 1)
		return m.put(e)
	}
	f.matched = true
	m.total(f.currency).Tolerated += theirs - f.minor
	if m.result.Matched++; tolerated {
		m.result.Tolerated++
	}
	return nil
}

// compare names the first thing in which a line and our transaction differ.
func (m *match) compare(l *Line, f *fact) (cause Cause, differs, tolerated bool) {
	theirs := signed(l)
	off := theirs - f.minor
	switch {
	case l.Amount.Currency != f.currency:
		return CurrencyDiffers, true, false
	case theirs < 0 != (f.minor < 0) && theirs != 0:
		return DirectionDiffers, true, false
	case off > m.in.Tolerance, off < -m.in.Tolerance:
		return AmountDiffers, true, false
	case !sameCard(l.Card, f.masked[:]):
		return CardDiffers, true, false
	case !same(l.Merchant, f.merchant[:]):
		return MerchantDiffers, true, false
	case !same(l.Terminal, f.terminal[:]):
		return TerminalDiffers, true, false
	case !same(l.RRN, f.rrn[:]):
		return RRNDiffers, true, false
	case !same(l.AuthCode, f.auth[:]):
		return AuthCodeDiffers, true, false
	}
	return 0, false, off != 0
}

// signed is a line's amount, below zero where the cardholder gets back.
func signed(l *Line) int64 {
	if l.Credit {
		return -l.Amount.Minor
	}
	return l.Amount.Minor
}

// same compares what both sides say; who says nothing does not contradict.
func same(theirs, ours []byte) bool {
	ours = bytes.TrimRight(ours, " \x00")
	return len(theirs) == 0 || len(ours) == 0 || bytes.Equal(theirs, ours)
}

// sameCard compares the digits that a masked number shows.
func sameCard(theirs, ours []byte) bool {
	ours = bytes.TrimRight(ours, "\x00")
	if len(theirs) < 10 || len(ours) < 10 {
		return true
	}
	return bytes.Equal(theirs[:6], ours[:6]) && bytes.Equal(theirs[len(theirs)-4:], ours[len(ours)-4:])
}

// of makes an exception of a line, of our transaction, or of both.
func (m *match) of(l *Line, f *fact, cause Cause) Exception {
	e := Exception{Issuer: m.result.Issuer, Day: m.in.Day, Cause: cause}
	if f != nil {
		e.ID, e.STAN, e.Time = f.id, f.stan, f.at
		e.Merchant, e.Terminal, e.RRN, e.Card = f.merchant.String(), f.terminal.String(), txn.Text(f.rrn[:]), txn.Text(f.masked[:])
		e.Ours = Side{Minor: f.minor, Currency: f.currency}
	}
	if l == nil {
		return e
	}
	e.Line, e.STAN, e.Time, e.Columns = l.Number, l.STAN, l.Time, l.Columns()
	e.Theirs = Side{Minor: signed(l), Currency: l.Amount.Currency}
	if f == nil {
		e.Merchant, e.Terminal, e.RRN, e.Card = masked(l.Merchant, false), masked(l.Terminal, false), maskedAs(l.RRN, roleRRN), masked(l.Card, true)
	}
	return e
}

func (m *match) put(e Exception) error {
	if len(m.found) >= ExceptionsMax {
		return m.tooMany()
	}
	m.found = append(m.found, e)
	return nil
}

func (m *match) tooMany() error {
	return &yamlfile.Problem{File: m.in.Name, What: fmt.Sprintf("more than %d of its lines do not match: is it issuer %s's file of %s?", ExceptionsMax, m.in.Issuer, m.in.Day)}
}
