package txn

import (
	"bytes"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/moov-io/iso4217"
)

// Currency is an ISO 4217 numeric code, such as 156 (CNY). Zero is no currency.
type Currency uint16

// CNY is the renminbi, the currency of the first market.
const CNY Currency = 156

// noMoney are codes of ISO 4217 that nobody is paid in: bonds' and funds' units,
// metals, special drawing rights, tests, and XXX, which says that there is no currency.
var noMoney = [...]Currency{955, 956, 957, 958, 959, 960, 961, 962, 963, 964, 965, 994, 999}

// exponents holds the number of minor digits by numeric code, -1 of what is not
// known; letters their three letters, or the number again.
var exponents, letters = func() (places [1000]int8, letters [1000]string) {
	for i := range places {
		places[i], letters[i] = -1, fmt.Sprintf("%03d", i)
		if c, ok := iso4217.Lookup(letters[i]); ok {
			places[i], letters[i] = int8(c.DecimalPlaces), c.Code
		}
	}
	for _, c := range noMoney {
		places[c] = -1
	}
	return places, letters
}()

// Exponent is the number of decimal digits of the currency's minor unit, and
// whether it is a currency of ISO 4217 that is paid in.
func (c Currency) Exponent() (int, bool) {
	if int(c) >= len(exponents) || exponents[c] < 0 {
		return 0, false
	}
	return int(exponents[c]), true
}

// String is the three-digit numeric code.
func (c Currency) String() string { return fmt.Sprintf("%03d", uint16(c)) }

// Letters is the three-letter code, or the numeric one of what ISO 4217 does
// not know.
func (c Currency) Letters() string {
	if int(c) < len(letters) {
		return letters[c]
	}
	return c.String()
}

// ParseCurrency reads three capital letters of ISO 4217, as CNY.
func ParseCurrency(s string) (Currency, error) {
	c, ok := iso4217.Lookup(s)
	n, err := strconv.ParseUint(c.NumericCode, 10, 16)
	if _, paid := Currency(n).Exponent(); !ok || err != nil || c.Code != s || !paid {
		return 0, fmt.Errorf("%q is no ISO 4217 currency that is paid in: give three capital letters, such as CNY", s)
	}
	return Currency(n), nil
}

// Amount is money: a number of minor units of one currency (fen, cents).
// There is no float in this house.
type Amount struct {
	Minor    int64
	Currency Currency
}

// ParseAmount reads a decimal number of major units, such as "12.5" or "1000",
// exactly. More decimals than the currency has, a sign, or more than AmountMax
// are errors.
func ParseAmount(s string, c Currency) (Amount, error) {
	exp, ok := c.Exponent()
	if !ok {
		return Amount{}, fmt.Errorf("currency %s is not in ISO 4217", c)
	}
	whole, frac, point := strings.Cut(s, ".")
	if whole == "" || point && frac == "" || len(frac) > exp {
		return Amount{}, fmt.Errorf("amount %q must be a number with at most %d decimals", s, exp)
	}
	if strings.Trim(whole+frac, "0123456789") != "" {
		return Amount{}, fmt.Errorf("amount %q must have digits and at most one point: no sign, no other character", s)
	}
	minor, err := strconv.ParseUint(whole+frac+strings.Repeat("0", exp-len(frac)), 10, 63)
	if err != nil || minor > AmountMax {
		return Amount{}, fmt.Errorf("amount %q must be of at most 12 digits in minor units", s)
	}
	return Amount{int64(minor), c}, nil
}

// PPMMax is the whole of an amount, in millionths.
const PPMMax = 1_000_000

// Share is ppm millionths of minor, of which neither is below zero, rounded half up.
func Share(minor, ppm int64) int64 { return share(minor, ppm, PPMMax/2) }

// ShareDown is Share rounded down.
func ShareDown(minor, ppm int64) int64 { return share(minor, ppm, 0) }

// share takes the product in 128 bits, since sums may have more digits than one
// amount; the quotient fits 64, since ppm is at most PPMMax.
func share(minor, ppm int64, more uint64) int64 {
	hi, lo := bits.Mul64(uint64(minor), uint64(ppm))
	lo, carry := bits.Add64(lo, more, 0)
	q, _ := bits.Div64(hi+carry, lo, PPMMax)
	return int64(q)
}

// String is Major with the currency's number, such as "123.45 156".
func (a Amount) String() string { return a.Major() + " " + a.Currency.String() }

// InLetters is Major with the currency's letters, such as "123.45 CNY".
func (a Amount) InLetters() string { return a.Major() + " " + a.Currency.Letters() }

// Major is the amount in major units with the currency's own number of decimals,
// such as "123.45". Minor units of an unknown currency are printed as they are.
func (a Amount) Major() string {
	places, _ := a.Currency.Exponent()
	return Decimal(a.Minor, places)
}

// Decimal is minor units with a point before the last places, of which there are
// at most 8.
func Decimal(minor int64, places int) string {
	if places == 0 {
		return strconv.FormatInt(minor, 10)
	}
	var room [32]byte
	b := room[:0]
	n := uint64(minor)
	if minor < 0 {
		b, n = append(b, '-'), -n
	}
	b = strconv.AppendUint(b, n, 10)
	digits := bytes.TrimPrefix(b, []byte("-"))
	if missing := places + 1 - len(digits); missing > 0 {
		at := len(b) - len(digits)
		b = append(append(b[:at:at], "00000000"[:missing]...), digits...)
	}
	return string(b[:len(b)-places]) + "." + string(b[len(b)-places:])
}
