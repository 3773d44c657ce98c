package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Fact names something that an expression may ask of a request. There is none
// for a card number: the first six digits are the most that a rule sees.
type Fact uint8

// The facts. Their names and what they mean are in table.
const (
	CardBIN Fact = iota
	CardToken
	MerchantID
	TerminalID
	texts // those above are texts
)

// Numbers, flags and words.
const (
	Amount Fact = iota + texts
	Currency
	Kind
	Entry
	PIN
	Instalments
	CodeLevel
	Hour
	Weekday
	Day
	Region
	City
	Province
	Distance
	CardType
	CardDayAmount
	CardDayCount
	CardMonthAmount
	CardMonthCount
	MerchantType
	MerchantMCC
	MerchantGrade
	MerchantAge
	MerchantCity
	MerchantProvince
	MerchantDayAmount
	MerchantDayCount
	MerchantMonthAmount
	MerchantMonthCount
	TerminalClass
	TerminalModel
	TerminalAge
	TerminalDayAmount
	TerminalDayCount
	TerminalMonthAmount
	TerminalMonthCount
	PersonDayAmount
	PersonDayCount
	PersonMonthAmount
	PersonMonthCount
	RecentCardAtMerchant // the first of what happened lately, in the order of risk.Window
	RecentCardAtMerchantDay
	RecentCardDeclines
	RecentDeclinedCards
	RecentCardsAtTerminal
	RecentAmountAtTerminal
	RecentProvincesOfCard
	RecentMerchantsOfMachine
	RecentMerchantSales
	RecentMerchantRefunds
	RecentCreditPercent
	RecentNightPercent
	RecentNearLimits
	facts
)

// The set of known facts is one word.
const _ = uint(64 - facts)

// sort is the type of an expression or a fact.
type sort uint8

const (
	number sort = iota
	flag
	word // one of a closed list, so that a misspelt one is found at load
	text
)

var sortNames = [...]string{"a number", "true or false", "a word", "a text"}

func (s sort) String() string { return sortNames[s] }

// vocabulary is what words a fact may be.
type vocabulary struct {
	parse func(string) (int64, bool)
	say   func(int64) string
	list  string
}

type meaning struct {
	name  string
	sort  sort
	words *vocabulary // of a word
	about string
}

var table = [facts]meaning{
	Amount:              {"amount", number, nil, "minor units of the currency (fen): 1000.00 yuan is 1000_00"},
	Currency:            {"currency", word, &currencies, "of the amount, ISO 4217"},
	Kind:                {"kind", word, &kinds, "what is asked for"},
	Entry:               {"entry", word, &entries, "how the card was read"},
	PIN:                 {"pin", flag, nil, "a PIN was entered"},
	Instalments:         {"instalments", number, nil, "in how many the cardholder pays; 0: at once"},
	CodeLevel:           {"qr_level", word, &levels, "of a payment by code; not known of any other"},
	Hour:                {"hour", number, nil, "0 to 23, of the switch's zone"},
	Weekday:             {"weekday", number, nil, "1 (Monday) to 7"},
	Day:                 {"day", number, nil, "business day as yyyymmdd"},
	Region:              {"region", number, nil, "GB/T 2260 code that the message reports"},
	City:                {"city", number, nil, "its city, such as 440300"},
	Province:            {"province", number, nil, "its province, such as 440000"},
	Distance:            {"distance", number, nil, "metres from the reported position to the premises"},
	CardType:            {"card.type", word, &cardTypes, "by the table of BINs"},
	CardBIN:             {"card.bin", text, nil, "first six digits"},
	CardToken:           {"card.token", text, nil, "what names the card in this switch, as acqswitch risk card-token makes it"},
	CardDayAmount:       {"card.day.amount", number, nil, "used today in this currency, without this request"},
	CardDayCount:        {"card.day.count", number, nil, "transactions today, without this one"},
	CardMonthAmount:     {"card.month.amount", number, nil, "likewise this month"},
	CardMonthCount:      {"card.month.count", number, nil, "likewise this month"},
	MerchantID:          {"merchant.id", text, nil, "DE42"},
	MerchantType:        {"merchant.type", word, &merchantTypes, "as registered"},
	MerchantMCC:         {"merchant.mcc", number, nil, "category code, as registered"},
	MerchantGrade:       {"merchant.grade", number, nil, "of risk, 1 (least) to 5"},
	MerchantAge:         {"merchant.age", number, nil, "days since it was approved"},
	MerchantCity:        {"merchant.city", number, nil, "as registered, such as 310000"},
	MerchantProvince:    {"merchant.province", number, nil, "as registered, such as 310000"},
	MerchantDayAmount:   {"merchant.day.amount", number, nil, "used today in this currency, without this request"},
	MerchantDayCount:    {"merchant.day.count", number, nil, "transactions today, without this one"},
	MerchantMonthAmount: {"merchant.month.amount", number, nil, "likewise this month"},
	MerchantMonthCount:  {"merchant.month.count", number, nil, "likewise this month"},
	TerminalID:          {"terminal.id", text, nil, "DE41"},
	TerminalClass:       {"terminal.class", word, &classes, "as registered"},
	TerminalModel:       {"terminal.model", number, nil, "as the registry numbers it"},
	TerminalAge:         {"terminal.age", number, nil, "days since it was bound"},
	TerminalDayAmount:   {"terminal.day.amount", number, nil, "used today in this currency, without this request"},
	TerminalDayCount:    {"terminal.day.count", number, nil, "transactions today, without this one"},
	TerminalMonthAmount: {"terminal.month.amount", number, nil, "likewise this month"},
	TerminalMonthCount:  {"terminal.month.count", number, nil, "likewise this month"},
	PersonDayAmount:     {"person.day.amount", number, nil, "used today at all merchants of this one's person, without this request"},
	PersonDayCount:      {"person.day.count", number, nil, "transactions today there, without this one"},
	PersonMonthAmount:   {"person.month.amount", number, nil, "likewise this month"},
	PersonMonthCount:    {"person.month.count", number, nil, "likewise this month"},

	RecentCardAtMerchant:     {"recent.card_at_merchant", number, nil, "approvals of the card at the merchant in ten minutes"},
	RecentCardAtMerchantDay:  {"recent.card_at_merchant_day", number, nil, "and on the business day"},
	RecentCardDeclines:       {"recent.card_declines", number, nil, "refusals of the card at the terminal for 05, 51 or 55 in ten minutes"},
	RecentDeclinedCards:      {"recent.declined_cards", number, nil, "other cards refused so at the terminal in ten minutes; at most 16"},
	RecentCardsAtTerminal:    {"recent.cards_at_terminal", number, nil, "other cards approved at the terminal in ten minutes; at most 16"},
	RecentAmountAtTerminal:   {"recent.amount_at_terminal", number, nil, "approvals of the same amount at the terminal in ten minutes"},
	RecentProvincesOfCard:    {"recent.provinces_of_card", number, nil, "other provinces where the card was used in two hours; at most 2"},
	RecentMerchantsOfMachine: {"recent.merchants_of_machine", number, nil, "other merchants that the machine worked for in 24 hours; at most 2"},
	RecentMerchantSales:      {"recent.merchant_sales", number, nil, "approved payments of the merchant on the business day"},
	RecentMerchantRefunds:    {"recent.merchant_refunds", number, nil, "and refunds"},
	RecentCreditPercent:      {"recent.credit_percent", number, nil, "of the merchant's amounts of the day, by credit cards"},
	RecentNightPercent:       {"recent.night_percent", number, nil, "of the merchant's payments of 24 hours, from 23:00 to 6:00"},
	RecentNearLimits:         {"recent.near_limits", number, nil, "credit payments of the merchant on the day that are near an amount of patterns.near"},
}

var byName = func() map[string]Fact {
	m := make(map[string]Fact, facts)
	for f := range table {
		m[table[f].name] = Fact(f)
	}
	return m
}()

func (f Fact) String() string { return table[f].name }

// About is what the fact means, in a few words.
func (f Fact) About() string {
	if w := table[f].words; w != nil {
		return table[f].about + ": " + w.list
	}
	return table[f].about
}

// Sort is what type the fact is of.
func (f Fact) Sort() string { return table[f].sort.String() }

// All lists the facts by name.
func All() []Fact {
	return slices.SortedFunc(maps.Values(byName), func(a, b Fact) int { return strings.Compare(a.String(), b.String()) })
}

// tokenSize is a card's token in hexadecimal digits, the longest text.
const (
	tokenSize = 2 * len(txn.CardToken{})
	textSize  = tokenSize
)

// textSizes are the longest that texts may be.
var textSizes = [texts]int{CardBIN: 6, CardToken: tokenSize, MerchantID: len(txn.MerchantID{}), TerminalID: len(txn.TerminalID{})}

// Facts are what is known of one request. The zero value knows nothing. It is
// a value without pointers, meant to lie on its user's stack.
type Facts struct {
	known  uint64 // bit 1<<Fact
	number [facts]int64
	text   [texts][textSize]byte
	length [texts]uint8
	fault  fault // of the expression being evaluated
	apart  uint8 // where what comes of them is counted
}

// made is how many Facts there were.
var made atomic.Uint32

// NewFacts are facts whose results are counted apart from those of the Facts made
// before, so that whoever has his own disturbs nobody.
func NewFacts() *Facts { return &Facts{apart: uint8(made.Add(1) % countsApart)} }

// Reset forgets everything.
func (f *Facts) Reset() { f.known = 0 }

// Set says what a number, word or flag (1 is true) is.
func (f *Facts) Set(x Fact, n int64) {
	f.number[x] = n
	f.known |= 1 << x
}

// SetFlag says whether a flag holds.
func (f *Facts) SetFlag(x Fact, yes bool) {
	n := int64(0)
	if yes {
		n = 1
	}
	f.Set(x, n)
}

// SetText says what a text is; blanks at its end are padding.
func (f *Facts) SetText(x Fact, s []byte) {
	n := min(len(s), textSize)
	for n > 0 && s[n-1] == ' ' {
		n--
	}
	copy(f.text[x][:n], s)
	f.length[x] = uint8(n)
	f.known |= 1 << x
}

// Forget says that a fact is not known.
func (f *Facts) Forget(x Fact) { f.known &^= 1 << x }

// Known says that a fact is known.
func (f *Facts) Known(x Fact) bool { return f.known&(1<<x) != 0 }

// Say is the value of a fact as a person would write it.
func (f *Facts) Say(x Fact) string {
	m := &table[x]
	switch {
	case !f.Known(x):
		return "not known"
	case m.sort == text:
		return strconv.Quote(string(f.bytes(x)))
	case m.sort == flag:
		return strconv.FormatBool(f.number[x] != 0)
	case m.sort == word:
		return strconv.Quote(m.words.say(f.number[x]))
	}
	return strconv.FormatInt(f.number[x], 10)
}

func (f *Facts) bytes(x Fact) []byte { return f.text[x][:f.length[x]] }

var (
	kinds         = named(txn.Kind.Forwarded)
	cardTypes     = named[txn.CardType](nil)
	merchantTypes = named[txn.MerchantType](nil)
	classes       = named[txn.Mobility](nil)
	levels        = listed(map[int64]string{0: "A", 1: "B", 2: "C", 3: "D"})
	entries       = named[txn.Way](nil)
	currencies    = vocabulary{
		parse: func(s string) (int64, bool) {
			c, err := txn.ParseCurrency(s)
			return int64(c), err == nil
		},
		say:  func(n int64) string { return txn.Currency(n).Letters() },
		list: "CNY, USD, ...",
	}
)

// named is the vocabulary of an enumeration whose names end with "invalid", less
// what is not asked for.
func named[T interface {
	~uint8
	fmt.Stringer
}](asked func(T) bool) vocabulary {
	m := map[int64]string{}
	for v := T(0); v.String() != "invalid"; v++ {
		if asked == nil || asked(v) {
			m[int64(v)] = v.String()
		}
	}
	return listed(m)
}

func listed(m map[int64]string) vocabulary {
	var ns []int64
	values := map[string]int64{}
	for n, s := range m {
		ns = append(ns, n)
		values[s] = n
	}
	slices.Sort(ns)
	var names []string
	for _, n := range ns {
		names = append(names, m[n])
	}
	return vocabulary{
		parse: func(s string) (int64, bool) { n, ok := values[s]; return n, ok },
		say: func(n int64) string {
			if s, ok := m[n]; ok {
				return s
			}
			return "other"
		},
		list: strings.Join(names, ", "),
	}
}
