package fleet

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// binNobody begins the cards that no issuer has.
const binNobody = "999909"

// The classes of cards: the two digits behind their prefix.
const (
	cardGood   = "00" // approved
	cardLost   = "80" // the request never arrives
	cardSilent = "81" // booked and not answered
	cardLate   = "82" // booked and answered too late
	cardAmount = "83" // answered with another amount
	cardSTAN   = "84" // answered with another trace number
	cardTwice  = "85" // answered twice
	cardSlow   = "86" // answered after a terminal that gives up, in time for one that does not
)

// giveUp is how long an impatient terminal waits: well short of cardSlow.
const giveUp = 250 * time.Millisecond

// How much a terminal does. The scenarios that fit fewer terminals are played
// by all of them.
const (
	scenariosEach = 6
	chatterMin    = 14
	chatterMax    = 26
)

// Plan is the sample day of a registry: what each of its terminals sends, and
// what the switch should answer when its issuers follow the scripts of
// SampleIssuers and time out after about a second. Each expectation holds
// whatever the other terminals do meanwhile: cards belong to one terminal, and
// limits that a terminal runs into are its own or it stays far from shared
// ones, and what one terminal does after another says so. The switch must have the
// policy SamplePolicy and watch SampleWatched. One seed gives one day. The terminals of DemoMerchant have none.
func Plan(reg *registry.Snapshot, seed uint64) (*Day, error) {
	p := &planner{reg: reg, rng: rand.New(rand.NewPCG(seed, 8583)), used: map[string]int{}}
	var cup, iso87 *txn.Merchant // whom strangers claim to be
	demo := txn.MakeMerchantID(DemoMerchant)
	for t := range reg.Terminals() {
		if t.Merchant == demo {
			continue
		}
		m, _ := reg.Merchant(t.Merchant)
		pr := p.begin(t.ID, m, t)
		if m.Status == txn.StatusActive && terminal.IsCUP(pr.dialect) {
			cup = cmp.Or(cup, m)
		} else if m.Status == txn.StatusActive {
			iso87 = cmp.Or(iso87, m)
		}
		p.day(pr)
		if err := p.end(pr); err != nil {
			return nil, err
		}
	}
	for _, stranger := range [...]struct {
		tid     string
		claimed *txn.Merchant
	}{{"99999999", cup}, {"STRANGER", iso87}} {
		if stranger.claimed == nil {
			continue
		}
		pr := p.begin(txn.MakeTerminalID(stranger.tid), stranger.claimed, nil)
		pr.refusedEverywhere(txn.TerminalIsUnknown)
		if err := p.end(pr); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(p.scripts, func(a, b Script) int { return cmp.Compare(a.Terminal, b.Terminal) })
	return &Day{Scripts: p.scripts}, nil
}

// planner writes the scripts.
type planner struct {
	reg     *registry.Snapshot
	rng     *rand.Rand
	used    map[string]int // how often each scenario is played
	scripts []Script
}

// program is the script of one terminal being written.
type program struct {
	reg      *registry.Snapshot
	rng      *rand.Rand
	dialect  *dialect.Terminal
	profile  terminal.Profile
	terminal *txn.Terminal // nil: a stranger
	merchant *txn.Merchant
	ages     bool   // versions of its software may be too old
	number   uint64 // of the terminal, for its cards
	cards    uint64
	stan     uint32
	session  int
	scenario string
	at       time.Time
	messages []terminal.Message // by step
	script   Script
	err      error // sticks
}

// begin starts a terminal's script: Chinese terminals speak CUP POS, those
// abroad and those that may stand anywhere in China ISO 8583:1987.
func (p *planner) begin(tid txn.TerminalID, m *txn.Merchant, t *txn.Terminal) *program {
	name := "cup-pos"
	if m.Country != 156 || m.Policy == txn.RegionAllow {
		name = "iso87"
	}
	d, err := dialect.ForTerminal(name)
	pr := &program{
		reg: p.reg, rng: p.rng, dialect: d, terminal: t, merchant: m, number: uint64(len(p.scripts)), err: err,
		profile: terminal.Profile{Terminal: tid, Merchant: m.ID, Currency: m.Currency, Country: m.Country, Batch: 1},
		script:  Script{Terminal: tid.String()},
		at:      time.Date(2026, 11, 22, 8, 0, p.rng.IntN(3600), 0, time.UTC),
	}
	if t != nil {
		pr.profile.Serial = t.Serial.String()
		pr.profile.Position = pr.usualPlace()
		pr.ages = p.reg.Software(t, [8]byte{'0'}, txn.MakeDate(pr.at)) == txn.SoftwareTooOld
	}
	if pr.keyed() {
		pr.profile.KeySet = SampleKeySet(tid.String())
	}
	return pr
}

func (p *planner) end(pr *program) error {
	if pr.err != nil {
		return fmt.Errorf("plan the day of terminal %s: %w", pr.script.Terminal, pr.err)
	}
	p.scripts = append(p.scripts, pr.script)
	return nil
}

// day writes the day of a registered terminal, by what the registry lets it do.
func (p *planner) day(pr *program) {
	t, m := pr.terminal, pr.merchant
	play := special[m.ID.String()]
	switch {
	case play != nil:
		pr.scenario = "special" // what comes later depends on what was before
		play(pr)
		pr.scenario = ""
	case m.Status != txn.StatusActive:
		pr.refusedEverywhere(txn.MerchantIsNotActive)
	case t.Status != txn.StatusActive:
		pr.refusedEverywhere(txn.TerminalIsNotActive)
	case m.Policy == txn.RegionRefuse && !m.Region.City().Contains(t.Region):
		pr.moved()
	case !m.Allows(txn.KindSale):
		pr.balancesOnly()
	case tight(t.Limits) || tight(m.Limits) || tight(m.Card):
		pr.limited()
	default:
		p.ordinary(pr)
	}
}

// tight says that a day limit is so low that ordinary sales would run into it.
func tight(l txn.Limits) bool {
	return l.DayAmount > 0 && l.DayAmount <= 1_000_00 || l.DayCount > 0 && l.DayCount <= 100 || l.Transaction > 0 && l.Transaction <= 100_00
}

// ordinary is a day of customers, with odd things between them.
func (p *planner) ordinary(pr *program) {
	plays := p.choose(pr)
	for range chatterMin + p.rng.IntN(chatterMax-chatterMin+1) {
		plays = append(plays, scenario{play: (*program).customer})
	}
	p.rng.Shuffle(len(plays), func(i, j int) { plays[i], plays[j] = plays[j], plays[i] })
	pr.network(txn.KindSignOn, txn.Approved)
	for i, s := range plays {
		pr.scenario = ""
		if s.name != "" {
			pr.scenario = fmt.Sprintf("%s, %d", s.name, i)
		}
		s.play(pr)
		if p.rng.IntN(8) == 0 {
			pr.session++
		}
	}
	pr.scenario = ""
	pr.settle()
	if p.rng.IntN(2) == 0 {
		pr.network(txn.KindSignOff, txn.Approved)
	}
}

// choose takes the scenarios that fit the terminal and were played least.
func (p *planner) choose(pr *program) []scenario {
	var fit []scenario
	for _, s := range scenarios {
		if s.fits == nil || s.fits(pr) {
			fit = append(fit, s)
		}
	}
	slices.SortStableFunc(fit, func(a, b scenario) int { return cmp.Compare(p.used[a.name], p.used[b.name]) })
	fit = fit[:min(scenariosEach, len(fit))]
	for _, s := range fit {
		p.used[s.name]++
	}
	return fit
}

// want is what a message should be answered.
type want struct {
	reason txn.Reason
	issuer string // DE39 of the issuer's refusal
	sameAs int    // 1 + the step; 0 is none
	giveUp bool   // hang up before the answer
	frame  []byte // sent instead of the encoded message
	about  int    // 1 + the step it is about; 0 is none
}

// send appends a step and returns its number.
func (pr *program) send(m terminal.Message, w want) int {
	step := Step{Dialect: pr.dialect, Frame: w.frame, Session: pr.session}
	n := len(pr.script.Steps)
	if w.frame == nil && pr.err == nil {
		step.Frame, pr.err = m.Append(nil, pr.dialect, &pr.profile)
	}
	if pr.err != nil {
		return n
	}
	step.Step = n
	number := step.describe()
	step.Terminal, step.event.Terminal = pr.script.Terminal, pr.script.Terminal
	step.Scenario = pr.scenario
	if w.reason == txn.FormatIsWrong {
		step.Kind = m.Kind.String()
	}
	step.Reason = w.reason.String()
	if w.giveUp {
		step.GiveUp, step.Reason = giveUp, "the terminal gives up"
	} else {
		var issuer [2]byte
		copy(issuer[:], w.issuer)
		code := dialect.Code(number, w.reason, issuer)
		step.Code = string(code[:])
	}
	if w.sameAs > 0 {
		before := w.sameAs - 1
		step.SameAs = &before
	}
	if w.about > 0 {
		of := w.about - 1
		step.Original = &of
	}
	pr.script.Steps = append(pr.script.Steps, step)
	pr.messages = append(pr.messages, m)
	pr.at = pr.at.Add(time.Duration(5+pr.rng.IntN(600)) * time.Second)
	return n
}

// keyed says that the terminal signs on for keys and makes MACs.
func (pr *program) keyed() bool {
	t := pr.terminal
	return t != nil && t.Keys == txn.KeysMasterSession && t.MAC != txn.MACNone && terminal.IsCUP(pr.dialect)
}

// withPIN gives a message of a terminal with keys the place of a PIN, which is
// enciphered when it is played: the working keys are of that day.
func (pr *program) withPIN(m terminal.Message) terminal.Message {
	m.PINBlock = make([]byte, 8)
	if pr.profile.KeySet == keys.KeySetSM4 {
		m.PINBlock = make([]byte, 16)
	}
	return m
}

// next is a new message with the next trace number.
func (pr *program) next(k txn.Kind) terminal.Message {
	m := terminal.Message{Kind: k, At: pr.at, MAC: pr.keyed()}
	if k != txn.KindEcho || !terminal.IsCUP(pr.dialect) {
		pr.stan = terminal.STANAfter(pr.stan)
		m.STAN = pr.stan
	}
	return m
}

// about is a new message about the one in step n, with room for what that was
// answered: the player fills it in.
func (pr *program) about(k txn.Kind, n int, minor int64) terminal.Message {
	m := pr.next(k)
	if pr.err != nil {
		return m
	}
	of := &pr.messages[n]
	m.Card, m.Amount = of.Card, txn.Amount{Minor: minor, Currency: of.Amount.Currency}
	// When it was sent is left out: the day is played on another date.
	m.Original = terminal.Original{Kind: of.Kind, STAN: of.STAN, Batch: pr.profile.Batch}
	if k.NamesOriginal() && terminal.IsCUP(pr.dialect) {
		m.Original.RRN = "000000000000"
	}
	if of.Kind == txn.KindPreauth || k == txn.KindCompletionVoid {
		m.Original.AuthCode = "000000"
	}
	return m
}

// follow sends a message about the one in step n.
func (pr *program) follow(k txn.Kind, n int, minor int64, w want) int {
	w.about = n + 1
	return pr.send(pr.about(k, n, minor), w)
}

// sale is a new sale of an ordinary amount on a card of a class.
func (pr *program) sale(class string) terminal.Message {
	m := pr.next(txn.KindSale)
	m.Card = pr.card(class)
	m.Amount = pr.amount()
	return m
}

// card is a new card of this terminal's, at either issuer.
func (pr *program) card(class string) terminal.Card {
	bin := [...]string{binEast, binWest}[pr.rng.IntN(2)]
	return pr.cardOf(bin + class)
}

func (pr *program) cardOf(prefix string) terminal.Card {
	pan, err := terminal.TestPAN(prefix, pr.number*1000+pr.cards)
	if err != nil && pr.err == nil {
		pr.err = err
	}
	pr.cards++
	entry := [...]terminal.Entry{terminal.Chip, terminal.Chip, terminal.Contactless, terminal.Contactless, terminal.Stripe, terminal.Manual}[pr.rng.IntN(6)]
	if entry == terminal.Manual && (pr.merchant == nil || !pr.merchant.Entries.Has(txn.EntryManual)) {
		entry = terminal.Chip
	}
	if entry == terminal.Stripe && pr.merchant != nil && pr.chipsOnly() {
		entry = terminal.Chip
	}
	return terminal.Card{PAN: pan, Expiry: "4912", Entry: entry}
}

// amount is that of an everyday purchase: mostly small, far below any limit
// that is not tight.
func (pr *program) amount() txn.Amount {
	minor := int64(500 + pr.rng.ExpFloat64()*4000)
	return txn.Amount{Minor: min(minor, 30_000), Currency: pr.merchant.Currency}
}

// usualPlace is a position where the terminal may be, unknown where nothing is
// known of its premises.
func (pr *program) usualPlace() txn.Position {
	t := pr.terminal
	jitter := func(at int32) int32 { return at + int32(pr.rng.IntN(200)) - 100 } // some 10 m
	switch {
	case t.Mobility == txn.Mobile:
		a := t.Areas[0]
		return txn.Position{Lat: jitter(a.Lat), Lng: jitter(a.Lng), Known: true}
	case t.Lat == 0 && t.Lng == 0 || !t.RequirePosition && pr.rng.IntN(3) == 0:
		return txn.Position{}
	}
	return txn.Position{Lat: jitter(t.Lat), Lng: jitter(t.Lng), Known: true}
}

// repeat sends step n again, byte for byte or as the dialect's repeat.
func (pr *program) repeat(n int, asRepeat bool, w want) int {
	if pr.err != nil {
		return n
	}
	m := pr.messages[n]
	if m.Repeat = asRepeat; !asRepeat {
		w.frame = pr.script.Steps[n].Frame
	}
	return pr.send(m, w)
}

// reverse sends the reversal of the sale in step n.
func (pr *program) reverse(n int, reason string, w want) int {
	if pr.err != nil {
		return n
	}
	m := pr.messages[n]
	return pr.reverseMessage(m, reason, w)
}

// reverseMessage sends the reversal of a sale, sent or not.
func (pr *program) reverseMessage(m terminal.Message, reason string, w want) int {
	sale, err := m.Append(nil, pr.dialect, &pr.profile)
	if err == nil {
		w.frame, err = terminal.ReversalOf(nil, pr.dialect, sale[pr.dialect.PrefixSize():], reason)
	}
	if err != nil && pr.err == nil {
		pr.err = err
	}
	m.Kind = txn.KindReversal
	return pr.send(m, w)
}

// settle settles the batch: the totals, which the player fills in, and the end.
func (pr *program) settle() {
	pr.send(pr.settlement(txn.KindSettlement), want{})
	if terminal.IsCUP(pr.dialect) {
		pr.send(pr.settlement(txn.KindUpload), want{})
	}
}

func (pr *program) settlement(k txn.Kind) terminal.Message {
	m := pr.next(k)
	m.Network, m.Detail = 201, strings.Repeat("0", 62)
	if k == txn.KindUpload {
		m.Network, m.Detail = 207, "0000"
	}
	return m
}

// network sends a sign-on, sign-off or echo.
func (pr *program) network(k txn.Kind, r txn.Reason) int { return pr.send(pr.next(k), want{reason: r}) }

// damage is the frame of a CUP POS sale whose last field, DE60, is no number.
func (pr *program) damage(m terminal.Message) []byte {
	m.MAC = false // it would be the last
	frame, err := m.Append(nil, pr.dialect, &pr.profile)
	if err != nil {
		pr.err = err
		return nil
	}
	frame[len(frame)-2] = 0xAA
	return frame
}
