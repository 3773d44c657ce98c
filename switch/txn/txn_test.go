package txn

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRecordRoundTrip(t *testing.T) {
	r := Record{Kind: RecordOutcome, At: time.UnixMicro(1763800000123456).UTC(), ID: 7, Key: Key{48802900, MakeTerminalID("10000001"), 1, 42, ClassFinancial},
		Fingerprint: 9, Request: KindSale, Amount: Amount{12345, CNY}, Day: 20261122, Merchant: MakeMerchantID("999290054110001"), MCC: 5411, Region: 310115,
		Leg: Leg{Issuer: MakeIssuerID("icbc"), STAN: 77}, Outcome: OutcomeApproved, RRN: [12]byte{'1'}, OriginalKey: Key{STAN: 3}, Attempts: 2,
		Balance: []byte("b"), Chip: []byte{1, 2, 3}, IssuerData: []byte{}, Held: Credit,
		Serial: []byte("00002304SN0000000001"), Lat: 31_230400, Lng: -121_473700, Data: []byte("d"),
		CardType: CardCredit, PIN: true, Method: MakeMethod(WayCode, true), Identity: Identity{9, 8}, Findings: Findings{Policy: 4}, Took: [StageRecorded]uint32{5, 6, 7, 8, 1 << 30}}
	r.Findings.Add(Finding{Rule: MakeRule('T', 11), Action: ActionAlert, Seen: 700, Bound: 500})
	r.Findings.Add(Finding{Rule: RuleCustom + 3, Action: ActionRefuse, Shadow: true, Seen: -1})
	b := r.Append(nil)
	if len(b) > RecordSizeMax {
		t.Fatalf("record is %d bytes", len(b))
	}
	var got Record
	if err := got.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, got) {
		t.Fatalf("\nwrote %+v\nread  %+v", r, got)
	}
	for i := range b {
		if err := got.Unmarshal(b[:i]); err == nil {
			t.Fatalf("a record cut at %d of %d was read", i, len(b))
		}
	}
	if err := got.Unmarshal(append(b, 0)); err != ErrRecordLong {
		t.Fatalf("trailing byte: %v", err)
	}
	if err := got.Unmarshal((&Record{Serial: []byte{}}).Append(nil)); err != nil || got.Findings != (Findings{}) || got.Took[0] != 0 || got.Serial == nil {
		t.Fatalf("of the record before remains %+v, %v", got, err)
	}
}

// Only a reversal in part needs version 5.
func TestRecordOfAReversalInPart(t *testing.T) {
	r := Record{Kind: RecordReversalDue, Amount: Amount{1000, CNY}, Gone: 100, Stays: 300, At: time.UnixMicro(1).UTC()}
	b := r.Append(nil)
	var got Record
	if err := got.Unmarshal(b); err != nil || got.Gone != 100 || got.Stays != 300 || b[0] != 5 {
		t.Errorf("version %d: %+v, %v", b[0], got, err)
	}
	if hold := got.Hold(); got.Undoes() != 600 || hold.Minor != 600 || !hold.Part {
		t.Errorf("it takes %d back, %+v of the limits", got.Undoes(), hold)
	}
	for i := range b {
		if err := got.Unmarshal(b[:i]); err == nil {
			t.Fatalf("a record cut at %d of %d was read", i, len(b))
		}
	}
	r.Gone, r.Stays = 0, 0
	if whole := r.Append(nil); whole[0] != 4 || len(whole) != len(b)-16 {
		t.Errorf("a whole reversal is of version %d and has %d bytes", whole[0], len(whole))
	}
}

// What is told until it is taken note of needs version 6.
func TestRecordOfAnAdvice(t *testing.T) {
	r := Record{Kind: RecordOutcome, Request: KindRefund, Told: []byte("told"), At: time.UnixMicro(1).UTC()}
	b := r.Append(nil)
	var got Record
	if err := got.Unmarshal(b); err != nil || string(got.Told) != "told" || b[0] != 6 {
		t.Errorf("version %d: %+v, %v", b[0], got, err)
	}
	for i := range b {
		if err := got.Unmarshal(b[:i]); err == nil {
			t.Fatalf("a record cut at %d of %d was read", i, len(b))
		}
	}
	if err := got.Unmarshal(append(b, 0)); !errors.Is(err, ErrRecordLong) {
		t.Errorf("a record with a byte more: %v", err)
	}
	r.Told = nil
	if err := got.Unmarshal(r.Append(nil)); err != nil || got.Told != nil {
		t.Errorf("nothing told: %q, %v", got.Told, err)
	}
}

// A program that is too old or too new for a record says so, whatever else is in it.
func TestRecordsOfOtherVersions(t *testing.T) {
	for _, version := range []byte{0, recordOldest - 1, recordNewest + 1, 255} {
		err := new(Record).Unmarshal([]byte{version})
		if want := fmt.Sprintf("record is of version %d, this program reads 4 to 6: ", version); !errors.Is(err, ErrRecordVersion) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestPANNeverPrintsClear(t *testing.T) {
	p, err := ParsePAN("6222021234567890128")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := p.MarshalText()
	for _, s := range []string{fmt.Sprint(p), fmt.Sprintf("%v %+v %#v %s", p, &p, p, p), p.LogValue().String(), string(text), fmt.Sprintf("%+v", struct{ P PAN }{p})} {
		if strings.Contains(s, "1234567") {
			t.Errorf("clear digits in %q", s)
		}
	}
	if p.Masked() != "622202*********0128" || !p.LuhnValid() {
		t.Errorf("masked %s, luhn %v", p.Masked(), p.LuhnValid())
	}
	for _, bad := range []string{"", "62220212345", "62220212345678901280", "62220212345678901x8"} {
		if _, err := ParsePAN(bad); err != ErrPANInvalid {
			t.Errorf("ParsePAN(%q): %v", bad, err)
		}
	}
}

func TestAmount(t *testing.T) {
	for _, c := range []struct {
		a    Amount
		want string
	}{{Amount{12345, CNY}, "123.45 156"}, {Amount{-5, CNY}, "-0.05 156"}, {Amount{500, 392}, "500 392"}, {Amount{1500, 414}, "1.500 414"}, {Amount{7, 999}, "7 999"}} {
		if got := c.a.String(); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.a.Minor, c.a.Currency, got, c.want)
		}
	}
}

// What nobody is paid in is no currency: metals, units of accounts, tests, and XXX.
func TestParseCurrency(t *testing.T) {
	for s, want := range map[string]Currency{"CNY": 156, "XOF": 952, "XAF": 950, "XPF": 953, "XCD": 951, "XXX": 0, "XTS": 0, "XAU": 0, "XDR": 0, "XBA": 0, "XSU": 0, "XUA": 0, "cny": 0, "156": 0, "": 0} {
		got, err := ParseCurrency(s)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	if _, ok := Currency(999).Exponent(); ok {
		t.Error("no currency has minor units")
	}
}

func TestF75BusinessDay(t *testing.T) {
	zone := time.FixedZone("CST", 8*3600)
	b := BusinessDay{zone, 23 * time.Hour}
	for s, want := range map[string]Date{"2026-11-22T22:59:59.999": 20261122, "2026-11-22T23:00:00": 20261123, "2026-12-31T23:30:00": 20270101, "2026-11-22T00:00:00": 20261122} {
		at, err := time.ParseInLocation("2006-01-02T15:04:05", s, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Of(at); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
		if start := b.Start(want); b.Of(start) != want || b.Of(start.Add(-1)) != want.Before() {
			t.Errorf("%s starts at %s", want, start)
		}
	}
}

// The day changes by the clock also when clocks are put, where they are put at
// midnight (Santiago, Havana), and where they skip the cut-over.
func TestF75ClocksArePut(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "America/Santiago", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, cutOver := range []string{"00:00", "00:30", "02:30", "12:00", "23:00", "23:30"} {
			clock, err := time.Parse("15:04", cutOver)
			if err != nil {
				t.Fatal(err)
			}
			b := BusinessDay{zone, time.Duration(clock.Hour()*60+clock.Minute()) * time.Minute}
			_, put := time.Date(2026, 1, 1, 12, 0, 0, 0, zone).ZoneBounds()
			for !put.IsZero() && put.Year() < 2028 {
				var last Date
				for at := put.Add(-48 * time.Hour); at.Before(put.Add(48 * time.Hour)); at = at.Add(10 * time.Minute) {
					day := b.Of(at)
					if at.Before(b.Start(day)) || !at.Before(b.Start(day.After())) {
						t.Fatalf("%s, %s: %s is of %s, which is from %s to %s", name, cutOver, at, day, b.Start(day), b.Start(day.After()))
					}
					if day != last && last != 0 && (day != last.After() || at.Format("15:04") != cutOver && !at.Equal(put)) {
						t.Fatalf("%s, %s: at %s %s is followed by %s", name, cutOver, at, last, day)
					}
					last = day
				}
				_, put = put.ZoneBounds()
			}
		}
	}
}

func TestRegionContains(t *testing.T) {
	for _, c := range []struct {
		r, s Region
		want bool
	}{{310000, 310115, true}, {310100, 310230, true}, {440300, 440305, true}, {440300, 440106, false}, {440000, 440106, true}, {440305, 440306, false}} {
		if got := c.r.Contains(c.s); got != c.want {
			t.Errorf("%d contains %d: %v", c.r, c.s, got)
		}
	}
}

func TestMethods(t *testing.T) {
	for _, row := range []struct {
		entry EntryMode
		pin   bool
		want  string
	}{{5, true, "chip+pin"}, {95, false, "chip-pin"}, {7, false, "contactless-pin"}, {98, true, "contactless+pin"}, {2, true, "stripe+pin"},
		{80, false, "stripe-pin"}, {90, false, "stripe-pin"}, {91, false, "contactless-pin"}, {3, false, "code-pin"}, {1, false, "manual-pin"}, {0, false, "other-pin"}, {92, true, "other+pin"}} {
		m := MakeMethod(row.entry.Way(), row.pin)
		if m.String() != row.want {
			t.Errorf("entry %02d is %s, want %s", row.entry, m, row.want)
		}
		if ms, ok := ParseMethods(m.String()); !ok || ms != 1<<m {
			t.Errorf("%s is read as %b", m, ms)
		}
	}
	if ms, ok := ParseMethods("chip"); !ok || !ms.Has(MakeMethod(WayChip, true)) || !ms.Has(MakeMethod(WayChip, false)) || ms.Has(MakeMethod(WayCode, true)) {
		t.Errorf("chip is read as %b", ms)
	}
	if _, ok := ParseMethods("swipe"); ok {
		t.Error("swipe is a method")
	}
}

func TestDecimal(t *testing.T) {
	for _, c := range []struct {
		minor  int64
		places int
		want   string
	}{{0, 0, "0"}, {-7, 0, "-7"}, {0, 2, "0.00"}, {5, 2, "0.05"}, {-5, 2, "-0.05"}, {-12345, 3, "-12.345"}, {100, 2, "1.00"}, {1, 4, "0.0001"}, {-1 << 63, 2, "-92233720368547758.08"}} {
		if got := Decimal(c.minor, c.places); got != c.want {
			t.Errorf("%d with %d places: %s, want %s", c.minor, c.places, got, c.want)
		}
	}
}

// Terminals that are numbered one after another fall evenly on parts of a table.
func TestSpreadIsEven(t *testing.T) {
	for _, parts := range []uint64{64, 1 << 12} {
		for _, form := range []string{"%08d", "A%x"} {
			const each = 64
			counts := make([]int, parts)
			for n := range int(parts * each) {
				id := MakeTerminalID(fmt.Sprintf(form, 10_000_001+n))
				counts[id.Spread()%parts]++
			}
			if most := slices.Max(counts); most > 2*each {
				t.Errorf("%s: of %d parts one has %d, %d on average", form, parts, most, each)
			}
		}
	}
}

func TestDaysSince(t *testing.T) {
	for _, c := range []struct {
		earlier, later Date
		want           int
	}{{20261122, 20261122, 0}, {20261130, 20261201, 1}, {20271231, 20280101, 1}, {20280228, 20280301, 2}, {20261122, 20261121, -1}} {
		if got := c.later.Since(c.earlier); got != c.want {
			t.Errorf("%s to %s: %d", c.earlier, c.later, got)
		}
	}
}
