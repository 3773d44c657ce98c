package replay

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Profile is a load that nobody recorded: who asks for what, and when.
// docs/load-testing.md explains every key.
type Profile struct {
	Dialect  string        `yaml:"dialect"`  // default cup-pos
	Sessions int           `yaml:"sessions"` // connections, each of its share of the terminals; default 16
	Patience time.Duration `yaml:"patience"` // default 20 s

	// SignOn has every terminal sign on first, and take the batch that the host
	// names. Default true.
	SignOn *bool `yaml:"sign_on"`

	// MAC has terminals send MACs, and check those of approvals, under the working
	// keys that they get for their test master keys at sign-on.
	MAC bool `yaml:"mac"`
	// PIN is in how many percent of the messages with a card there is a PIN; an
	// offline sale has none. It needs MAC.
	PIN float64 `yaml:"pin"`

	// Arrivals are an open loop: stretches of time with their rates. Requests are
	// due when they are due, whatever the host does.
	Arrivals []Stretch `yaml:"arrivals"`
	// Gaps between arrivals: random (default; a Poisson process) or even.
	Gaps string `yaml:"gaps"`
	// Closed, in place of Arrivals, is a closed loop: each terminal asks again when
	// it has thought about its answer.
	Closed *Closed `yaml:"closed"`
	// Search, in place of both, looks for the highest rate that is good enough.
	Search *Search `yaml:"search"`

	Mix       map[string]float64 `yaml:"mix"` // kinds and their weights; default sales alone
	Cards     Cards              `yaml:"cards"`
	Terminals Spread             `yaml:"terminals"`
	Amounts   Amounts            `yaml:"amounts"`
	Faults    Faults             `yaml:"faults"`
	// Right are the codes that are no errors. Default 00.
	Right []string `yaml:"right"`
}

// Stretch is a stretch of time with its rate, in requests a second: Rate all the
// time, or rising evenly to To, or by Step every so often, or along a sine from
// Rate to Peak and back within Period.
type Stretch struct {
	For    time.Duration `yaml:"for"`
	Rate   float64       `yaml:"rate"`
	To     float64       `yaml:"to"`
	Step   float64       `yaml:"step"`
	Every  time.Duration `yaml:"every"`
	Peak   float64       `yaml:"peak"`
	Period time.Duration `yaml:"period"`
}

// Closed is a closed loop of all terminals.
type Closed struct {
	For   time.Duration `yaml:"for"`
	Think time.Duration `yaml:"think"` // mean of an exponential distribution; 0: none
}

// Search tries rates for Within each: From, twice that and so on up to To, and
// then between the last good and the first bad one, to a twentieth.
type Search struct {
	P99    time.Duration `yaml:"p99"` // at most
	From   float64       `yaml:"from"`
	To     float64       `yaml:"to"`
	Within time.Duration `yaml:"within"`
}

// Spread is how often each of many is chosen: alike, or the n-th n^-zipf times as
// often as the first.
type Spread struct {
	Zipf float64 `yaml:"zipf"`
}

// Cards are test cards: Count of them, of the prefixes by weight.
type Cards struct {
	Spread   `yaml:",inline"`
	Prefixes map[string]float64 `yaml:"prefixes"` // default 999901
	Count    int                `yaml:"count"`    // default 10,000
	Entry    string             `yaml:"entry"`    // default chip
}

// Amounts are in major units, any from From to To.
type Amounts struct {
	From string `yaml:"from"` // default 1.00
	To   string `yaml:"to"`   // default 100.00

	low, high int64
}

// Faults are what terminals do to a host, in percent of the requests.
type Faults struct {
	Duplicates float64 `yaml:"duplicates"`  // sent twice, at once
	HalfFrames float64 `yaml:"half_frames"` // half of one is sent over a connection of its own, which then hangs up
	// ReverseUnanswered sends a reversal for what was not answered in time.
	ReverseUnanswered bool `yaml:"reverse_unanswered"`
}

// Limits of a profile.
const (
	profileBytesMax = 1 << 20
	sessionsMax     = 10_000
	rateMax         = 10_000_000
	loadForMax      = 7 * 24 * time.Hour
	cardsMax        = 10_000_000
)

// loadKinds are what a profile may mix. A void is of a sale that was approved.
var loadKinds = []txn.Kind{txn.KindSale, txn.KindBalance, txn.KindVerify, txn.KindPreauth, txn.KindOfflineSale, txn.KindVoid}

// ReadProfile reads a profile and holds it to what can be done. Its errors name
// the key.
func ReadProfile(r io.Reader) (*Profile, error) {
	text, err := io.ReadAll(io.LimitReader(r, profileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	if len(text) > profileBytesMax {
		return nil, fmt.Errorf("read profile: it is longer than %d bytes", profileBytesMax)
	}
	p := Profile{Sessions: 16, Patience: txn.PatienceDefault / 3, Cards: Cards{Count: 10_000}}
	if err := decodeStrict(text, &p); err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	p.Dialect, p.Gaps, p.Cards.Entry = cmp.Or(p.Dialect, "cup-pos"), cmp.Or(p.Gaps, "random"), cmp.Or(p.Cards.Entry, "chip")
	p.Amounts.From, p.Amounts.To = cmp.Or(p.Amounts.From, "1.00"), cmp.Or(p.Amounts.To, "100.00")
	if len(p.Mix) == 0 {
		p.Mix = map[string]float64{"sale": 1}
	}
	if len(p.Cards.Prefixes) == 0 {
		p.Cards.Prefixes = map[string]float64{"999901": 1}
	}
	if len(p.Right) == 0 {
		p.Right = []string{"00"}
	}
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	return &p, nil
}

// entry is how cards are read; it was checked.
func (c *Cards) entry() terminal.Entry {
	e, _ := terminal.ParseEntry(c.Entry)
	return e
}

// decodeStrict reads YAML; the library panics on some texts that are none.
func decodeStrict(text []byte, into any) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = errors.New("it is no YAML")
		}
	}()
	err = yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if y := yaml.Error(nil); errors.As(err, &y) && y.GetToken() != nil { // its own text has an extract of the file
		return fmt.Errorf("line %d: %s", y.GetToken().Position.Line, y.GetMessage())
	}
	return err
}

func positive(x, most float64) bool { return x > 0 && x <= most }

func (p *Profile) validate() error {
	if _, err := dialect.ForTerminal(p.Dialect); err != nil {
		return err
	}
	forms := 0
	for _, given := range [...]bool{len(p.Arrivals) > 0, p.Closed != nil, p.Search != nil} {
		if given {
			forms++
		}
	}
	switch {
	case forms != 1:
		return errors.New("one of arrivals, closed and search must say when requests are due")
	case p.Sessions < 1 || p.Sessions > sessionsMax:
		return fmt.Errorf("sessions: %d must be 1 to %d", p.Sessions, sessionsMax)
	case !(p.PIN >= 0 && p.PIN <= 100):
		return errors.New("pin is a percent, 0 to 100")
	case p.PIN > 0 && !p.MAC:
		return errors.New("pin needs mac: true, a PIN is enciphered under a working key or not sent")
	case p.MAC && p.SignOn != nil && !*p.SignOn:
		return errors.New("mac needs sign_on: working keys come with it")
	case p.Patience <= 0 || p.Patience > time.Hour:
		return fmt.Errorf("patience: %v must be up to an hour", p.Patience)
	case p.Gaps != "random" && p.Gaps != "even":
		return fmt.Errorf("gaps: %q must be random or even", p.Gaps)
	case p.Closed != nil && (!within(p.Closed.For) || p.Closed.Think < 0 || p.Closed.Think > time.Hour):
		return fmt.Errorf("closed: for must be up to %v, think up to an hour", loadForMax)
	case p.Search != nil && (!positive(p.Search.From, rateMax) || !(p.Search.To >= p.Search.From && p.Search.To <= rateMax) || !within(p.Search.Within) || p.Search.P99 <= 0):
		return fmt.Errorf("search: from and to must be rates up to %d, within and p99 times", rateMax)
	case !(p.Cards.Zipf >= 0 && p.Cards.Zipf <= 10) || !(p.Terminals.Zipf >= 0 && p.Terminals.Zipf <= 10):
		return errors.New("zipf must be 0 to 10")
	case p.Cards.Count < 1 || p.Cards.Count > cardsMax || len(p.Cards.Prefixes) == 0:
		return fmt.Errorf("cards: count must be 1 to %d, prefixes at least one", cardsMax)
	case !(p.Faults.Duplicates >= 0 && p.Faults.Duplicates <= 100) || !(p.Faults.HalfFrames >= 0 && p.Faults.HalfFrames <= 100):
		return errors.New("faults: duplicates and half_frames are percents, 0 to 100")
	}
	for i, s := range p.Arrivals {
		if !within(s.For) || !(s.Rate >= 0 && s.Rate <= rateMax) || !(s.To >= 0 && s.To <= rateMax) || !(s.Peak >= 0 && s.Peak <= rateMax) || !(math.Abs(s.Step) <= rateMax) ||
			(s.Step != 0) != (s.Every > 0) || (s.Peak > 0) != (s.Period > 0) {
			return fmt.Errorf("arrivals: stretch %d must have for, a rate up to %d, and at most one of to, step with every, peak with period", i+1, rateMax)
		}
	}
	if _, err := terminal.ParseEntry(p.Cards.Entry); err != nil {
		return fmt.Errorf("cards: %w", err)
	}
	for prefix, weight := range p.Cards.Prefixes {
		if !txn.Digits(prefix) || len(prefix) > 10 || !positive(weight, 1e9) {
			return fmt.Errorf("cards: prefix %q must be 1 to 10 digits with a weight", prefix)
		}
	}
	for name, weight := range p.Mix {
		if k, ok := txn.ParseKind(name); !ok || !slices.Contains(loadKinds, k) || !positive(weight, 1e9) {
			return fmt.Errorf("mix: %q must be one of %v with a weight", name, loadKinds)
		}
	}
	if len(p.Mix) == 1 && p.Mix["void"] > 0 {
		return errors.New("mix: must have something else than voids")
	}
	for _, row := range [...]struct {
		text string
		to   *int64
	}{{p.Amounts.From, &p.Amounts.low}, {p.Amounts.To, &p.Amounts.high}} {
		a, err := txn.ParseAmount(row.text, txn.CNY)
		if err != nil {
			return fmt.Errorf("amounts: %w", err)
		}
		*row.to = a.Minor
	}
	if p.Amounts.high < p.Amounts.low {
		return errors.New("amounts: to is less than from")
	}
	return nil
}

func within(d time.Duration) bool { return d > 0 && d <= loadForMax }

// rate is how many requests a second are due at a moment of an open loop; it is
// over when the second result is false.
func (p *Profile) rate(at time.Duration) (float64, bool) {
	for i := range p.Arrivals {
		s := &p.Arrivals[i]
		if at >= s.For {
			at -= s.For
			continue
		}
		switch {
		case s.To > 0:
			return s.Rate + (s.To-s.Rate)*float64(at)/float64(s.For), true
		case s.Every > 0:
			return max(0, s.Rate+s.Step*float64(at/s.Every)), true
		case s.Period > 0:
			return s.Rate + (s.Peak-s.Rate)*(1-math.Cos(2*math.Pi*float64(at)/float64(s.Period)))/2, true
		}
		return s.Rate, true
	}
	return 0, false
}

// lasts is how long requests are due.
func (p *Profile) lasts() (all time.Duration) {
	if p.Closed != nil {
		return p.Closed.For
	}
	for _, s := range p.Arrivals {
		all += s.For
	}
	return all
}

// pace says it in words.
func (p *Profile) pace() string {
	switch {
	case p.Closed != nil:
		return fmt.Sprintf("closed loop for %v, thinking %v", p.Closed.For, p.Closed.Think)
	case p.Search != nil:
		return fmt.Sprintf("search for the highest rate with p99 up to %v and no error", p.Search.P99)
	}
	return fmt.Sprintf("open loop for %v, %s gaps", p.lasts(), p.Gaps)
}

// chooser chooses one of n, by weights.
type chooser struct{ sums []float64 }

func choose(weights []float64) chooser {
	c := chooser{make([]float64, len(weights))}
	sum := 0.0
	for i, w := range weights {
		sum += w
		c.sums[i] = sum
	}
	return c
}

// zipf chooses one of n as Spread says.
func (s Spread) over(n int) chooser {
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = math.Pow(float64(i+1), -s.Zipf)
	}
	return choose(weights)
}

// at is the choice of a number u from 0 to 1.
func (c chooser) at(u float64) int {
	i, _ := slices.BinarySearch(c.sums, u*c.sums[len(c.sums)-1])
	return min(i, len(c.sums)-1)
}
