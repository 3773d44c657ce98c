package dialect

import (
	"fmt"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// info spells what was read of a machine; what was not is left out.
func info(i *txn.TerminalInfo) string {
	var s []string
	add := func(has bool, format string, args ...any) {
		if has {
			s = append(s, fmt.Sprintf(format, args...))
		}
	}
	add(i.Broken, "broken")
	add(i.Device != 0, "type %02d", i.Device)
	add(i.Serial != txn.Serial{}, "serial %s", i.Serial)
	add(len(i.FactorBytes()) > 0, "factor %s", i.FactorBytes())
	add(i.Cipher != [8]byte{}, "cipher %s", i.Cipher[:])
	add(i.App != [8]byte{}, "app %s", strings.TrimRight(string(i.App[:]), "\x00"))
	add(i.Position.Known, "at %d,%d", i.Position.Lat, i.Position.Lng)
	add(i.Cell != txn.Cell{}, "cell %+v", i.Cell)
	return strings.Join(s, ", ")
}

const (
	// A real terminal's A2 and A5.
	realLists = "A2067" + "0100204" + "02018000002041170270297" + "03006141319" + "04008558740F9" + "05008320001  " +
		"A5040" + "01010+113.84363" + "02010+22.616641" + "05005GCJ02"
	realMachine = "type 04, serial 000002041170270297, factor 141319, cipher 558740F9, app 320001"
	// A real terminal's DE59 with lengths of two digits.
	realBD = "122089860617080002583993" + "1311HFT17080301" + "141420190830093435" + "150200" + "1722BD30.621555,114.361954" +
		"A260" + "010202" + "02160000290210015708" + "0306000113" + "040804247292" + "0508H7062801"
	// A real terminal's DE46.
	realPI = "PI064" + "040202" + "051400002402106870000001" + "0606000069" + "0708D3903F39" + "0808V0.0.3.0"
)

func a2(elements string) string { return fmt.Sprintf("A2%03d%s", len(elements), elements) }
func a5(elements string) string { return fmt.Sprintf("A5%03d%s", len(elements), elements) }
func tlv3(tag, v string) string { return fmt.Sprintf("%s%03d%s", tag, len(v), v) }

// TestReadInfo reads each carrier, and then with one thing wrong at a time.
func TestReadInfo(t *testing.T) {
	const stations = "CUPCDMA      " + "000001382400000000160000001234" + "000001382400000000160000001235" + "13824     16        1236      "
	long := strings.Repeat("9", 51)
	for _, c := range []struct {
		name    string
		carrier txn.Carrier
		field   string
		want    string
	}{
		{"DE59, a real one", txn.CarrierDE59, realLists, realMachine + ", at 22616641,113843630"},
		{"DE59 of the specification", txn.CarrierDE59, "A206901002040202000002304SN000000000103006890128040081A2B3C4D05008310001  A508501010+121.4737002010+31.23040003003460040020005005GCJ02060046243070081234567808003-71",
			"type 04, serial 00002304SN0000000001, factor 890128, cipher 1A2B3C4D, app 310001, at 31230400,121473700, cell {Country:460 Operator:0 Area:6243 Cell:12345678 System:0 Network:0 Base:0 Signal:-71}"},
		{"DE59 with a CDMA cell", txn.CarrierDE59, a5(tlv3("15", "13824") + tlv3("16", "16") + tlv3("17", "1234") + tlv3("18", "70")), "cell {Country:0 Operator:0 Area:0 Cell:0 System:13824 Network:16 Base:1234 Signal:70}"},
		{"DE59 that is not there", txn.CarrierDE59, "", ""},
		{"DE59 with other lists", txn.CarrierDE59, tlv3("A1", "0123456789abcdef") + a2(tlv3("02", "SN1")) + tlv3("A3", "6222021234567890128"), "serial SN1"},
		{"the longest serial", txn.CarrierDE59, a2(tlv3("02", long[:50])), "serial " + long[:50]},
		{"serial padded with blanks", txn.CarrierDE59, a2(tlv3("02", "SN1   ")), "serial SN1"},
		{"receiver without a fix", txn.CarrierDE59, a5(tlv3("01", "+0.000000") + tlv3("02", "+0.000000") + tlv3("03", "460") + tlv3("06", "6243")), "cell {Country:460 Operator:0 Area:6243 Cell:0 System:0 Network:0 Base:0 Signal:0}"},
		{"on the equator", txn.CarrierDE59, a5(tlv3("01", "+9.450000") + tlv3("02", "0.0")), "at 0,9450000"},
		{"an element nobody knows", txn.CarrierDE59, a2(tlv3("ZZ", "?") + tlv3("02", "SN1") + tlv3("09", "x") + tlv3("09", "x")), "broken"},
		{"an element nobody knows, once", txn.CarrierDE59, a2(tlv3("ZZ", "?") + tlv3("02", "SN1") + tlv3("09", "x")), "serial SN1"},
		{"elements that are empty", txn.CarrierDE59, a2(tlv3("02", "") + tlv3("03", "") + tlv3("04", "") + tlv3("05", "")), ""},

		{"serial too long", txn.CarrierDE59, a2(tlv3("01", "04") + tlv3("02", long)), "broken"},
		{"serial with a line break", txn.CarrierDE59, a2(tlv3("02", "SN\n1")), "broken"},
		{"serial with half a character", txn.CarrierDE59, a2(tlv3("02", "SN\xD2")), "broken"},
		{"serial with a zero byte", txn.CarrierDE59, a2(tlv3("02", "SN\x00")), "broken"},
		{"serial twice", txn.CarrierDE59, a2(tlv3("02", "SN1") + tlv3("02", "SN2")), "broken"},
		{"machine twice", txn.CarrierDE59, a2(tlv3("02", "SN1")) + a2(tlv3("02", "SN2")) + position3, "broken, at 31230400,121473700"},
		{"place twice", txn.CarrierDE59, position3 + a2(tlv3("02", "SN1")) + position3, "broken, serial SN1"},
		{"type of three digits", txn.CarrierDE59, a2(tlv3("01", "004")), "broken"},
		{"type of letters", txn.CarrierDE59, a2(tlv3("01", "AB")), "broken"},
		{"factor too long", txn.CarrierDE59, a2(tlv3("03", "12345678901")), "broken"},
		{"cipher of seven", txn.CarrierDE59, a2(tlv3("04", "1A2B3C4")), "broken"},
		{"cipher of nine", txn.CarrierDE59, a2(tlv3("04", "1A2B3C4D5")), "broken"},
		{"version too long", txn.CarrierDE59, a2(tlv3("05", "123456789")), "broken"},
		{"list cut in a value", txn.CarrierDE59, realLists[:40], "broken"},
		{"second list cut", txn.CarrierDE59, realLists[:len(realLists)-1], "broken, " + realMachine},
		{"list cut in a length", txn.CarrierDE59, "A20", "broken"},
		{"rest behind the lists", txn.CarrierDE59, realLists + "A", "broken, " + realMachine + ", at 22616641,113843630"},
		{"nested list longer than its own", txn.CarrierDE59, "A2010" + "02006SN123" + "A5000", "broken"},
		{"nested list that is no list", txn.CarrierDE59, "A2003abc" + position3, "broken, at 31230400,121473700"},
		{"length that is no number", txn.CarrierDE59, "A2-01x", "broken"},
		{"length in hexadecimal", txn.CarrierDE59, "A200A02005SN123", "broken"},
		{"longitude too long", txn.CarrierDE59, a5(tlv3("01", "+121.473701") + tlv3("02", "+31.23040")), "broken"},
		{"latitude twice", txn.CarrierDE59, a5(tlv3("02", "+31.23040") + tlv3("02", "+31.23040")), "broken"},
		{"coordinates of another system", txn.CarrierDE59, a5(tlv3("01", "+121.47370") + tlv3("02", "+31.23040") + tlv3("05", "WGS84") + tlv3("03", "460")), "cell {Country:460 Operator:0 Area:0 Cell:0 System:0 Network:0 Base:0 Signal:0}"},
		{"numbers of a cell that are none", txn.CarrierDE59, a5(tlv3("03", "4six") + tlv3("06", "99999999999999999999") + tlv3("07", "") + tlv3("08", "--1") + tlv3("04", "70000")), ""},

		{"DE57", txn.CarrierDE57, a2(tlv3("03", "3100") + tlv3("04", "02") + tlv3("05", "SN1") + tlv3("06", "123456") + tlv3("07", "1A2B3C4D") + tlv3("08", "1")), "type 02, serial SN1, factor 123456, cipher 1A2B3C4D, app 1"},
		{"DE57, serial too long", txn.CarrierDE57, a2(tlv3("05", long)), "broken"},

		{"DE46, a real one", txn.CarrierDE46, realPI, "type 02, serial 00002402106870000001, factor 000069, cipher D3903F39, app V0.0.3.0"},
		{"DE46 with a place", txn.CarrierDE46, "PI034" + "010A+121.47370" + "0209+31.23040" + "0503SN1", "serial SN1, at 31230400,121473700"},
		{"DE46 not there", txn.CarrierDE46, "", ""},
		{"DE46 of another use", txn.CarrierDE46, "TL040402", "broken"},
		{"DE46 shorter than it says", txn.CarrierDE46, realPI[:len(realPI)-1], "broken"},
		{"DE46 longer than it says", txn.CarrierDE46, realPI + "0", "broken"},
		{"DE46 cut in its length", txn.CarrierDE46, "PI0", "broken"},
		{"DE46 with a list that is none", txn.CarrierDE46, "PI0030402", "broken"},

		{"DE59 with lengths of two digits, a real one", txn.CarrierDE59BD, realBD, "type 02, serial 0000290210015708, factor 000113, cipher 04247292, app H7062801, at 30621555,114361954"},
		{"place in front of all", txn.CarrierDE59BD, "BD31.230400,121.473700" + "A209" + "0205SN123", "serial SN123, at 31230400,121473700"},
		{"base station", txn.CarrierDE59BD, "1110" + "0624312345" + "A207" + "0203SN1", "serial SN1, cell {Country:0 Operator:0 Area:6243 Cell:12345 System:0 Network:0 Base:0 Signal:0}"},
		{"base station of CDMA", txn.CarrierDE59BD, "1110" + "0000001234", "cell {Country:0 Operator:0 Area:0 Cell:0 System:0 Network:0 Base:1234 Signal:0}"},
		{"two digits, cut", txn.CarrierDE59BD, realBD[:len(realBD)-1], "broken, at 30621555,114361954"},
		{"two digits, place that is none", txn.CarrierDE59BD, "1704BD31", ""},

		{"DE63, CDMA stations", txn.CarrierDE63, stations, "cell {Country:0 Operator:0 Area:0 Cell:0 System:13824 Network:16 Base:1234 Signal:0}"},
		{"DE63, GPRS station", txn.CarrierDE63, "CUPGPRS      0460000018632A7F-071", "cell {Country:460 Operator:0 Area:6243 Cell:10879 System:0 Network:0 Base:0 Signal:-71}"},
		{"DE63, place", txn.CarrierDE63, "CUPLngLat    121.473700          31.230400           ", "at 31230400,121473700"},
		{"DE63 without stations", txn.CarrierDE63, "CUP", ""},
		{"DE63, a station cut", txn.CarrierDE63, stations[:13+29], "broken"},
		{"DE63, no station", txn.CarrierDE63, stations[:13], "broken"},
		{"DE63, four stations", txn.CarrierDE63, stations + stations[13:13+30], "broken"},
		{"DE63, of another kind", txn.CarrierDE63, "CUPLORA      0000013824", "broken"},
		{"DE63, cut in its kind", txn.CarrierDE63, "CUPCDMA", "broken"},

		{"nowhere", txn.CarrierNone, realLists, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := txn.Secret(c.field)
			req := txn.Request{Kind: txn.KindSale}
			switch c.carrier {
			case txn.CarrierDE57:
				req.Carriers.DE57 = v
			case txn.CarrierDE46:
				req.Carriers.DE46 = v
			case txn.CarrierDE63:
				req.Carriers.DE63 = v
			default:
				req.Carriers.DE59 = v
			}
			ReadInfo(&req, c.carrier)
			if got := info(&req.Info); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			clear(v) // it does not alias the frame
			if got := info(&req.Info); got != c.want {
				t.Errorf("after the frame is gone: %s", got)
			}
		})
	}
}

var position3 = a5(tlv3("01", "+121.47370") + tlv3("02", "+31.230400"))

// The rows of cup-pos A5 DE62(2): the serial at sign-on.
func TestReadInfoAtSignOn(t *testing.T) {
	for _, c := range []struct{ name, custom, want string }{
		{"the specification's", "Sequence No123100SN000001", "serial SN000001"},
		{"none", "", ""},
		{"another use of the field", "9F0605A0000003339F220102", ""},
		{"shorter than it says", "Sequence No123100SN00000", "broken"},
		{"longer than it says", "Sequence No123100SN0000011", "broken"},
		{"licence only", "Sequence No043100", "broken"},
		{"length that is no number", "Sequence NoXX3100SN000001", "broken"},
		{"nothing behind it", "Sequence No", "broken"},
		{"longer than a serial", "Sequence No553100" + strings.Repeat("9", 51), "broken"},
		{"a line break in it", "Sequence No083100SN\n1", "broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, carrier := range []txn.Carrier{txn.CarrierDE59, txn.CarrierDE46} {
				req := txn.Request{Kind: txn.KindSignOn, Custom: txn.Secret(c.custom)}
				ReadInfo(&req, carrier)
				if got := info(&req.Info); got != c.want {
					t.Errorf("%v: got %q, want %q", carrier, got, c.want)
				}
			}
			req := txn.Request{Kind: txn.KindSale, Custom: txn.Secret(c.custom)}
			if ReadInfo(&req, txn.CarrierDE59); info(&req.Info) != "" {
				t.Errorf("of a sale: %s", info(&req.Info))
			}
		})
	}
	// A terminal may say it in both; what the sign-on's own field says counts.
	req := txn.Request{Kind: txn.KindSignOn, Custom: txn.Secret("Sequence No123100SN000001"), Carriers: txn.Carriers{DE46: txn.Secret(realPI)}}
	if ReadInfo(&req, txn.CarrierDE46); req.Info.Serial.String() != "SN000001" {
		t.Error(info(&req.Info))
	}
}

// The captured messages read in the dialect they are written in.
func TestReadInfoOfFixtures(t *testing.T) {
	for _, c := range []struct {
		id      string
		carrier txn.Carrier
		want    string
	}{
		{"iso8583-parser-03", txn.CarrierDE46, "type 02, serial 00002402106870000001, app V0.0.3.0"},
		{"iso8583-parser-05", txn.CarrierDE46, "type 02, serial 00002402106870000001, factor 000069, cipher D3903F39, app V0.0.3.0"},
		{"cup-01", txn.CarrierDE59, "serial SN000001"},
		{"cup-07", txn.CarrierDE59, "type 04, serial 00002304SN0000000001, factor 890128, cipher 1A2B3C4D, app 310001, at 31230400,121473700, cell {Country:460 Operator:0 Area:6243 Cell:12345678 System:0 Network:0 Base:0 Signal:-71}"},
		{"cup-14", txn.CarrierDE59, ""},
	} {
		d, frame := fixtures(t)[c.id].read(t)
		x := decoded(t, d, frame)
		ReadInfo(&x.Request, c.carrier)
		if got := info(&x.Request.Info); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.id, got, c.want)
		}
	}
}

// FuzzReadInfo gives any bytes to every carrier. What is read is printable and
// in range, whatever stands around it.
func FuzzReadInfo(f *testing.F) {
	for _, s := range []string{realLists, realBD, realPI, "BD31.2,121.4A200", "CUPCDMA      000001382400000000160000001234", "CUPLngLat    121.473700          31.230400           ", "Sequence No123100SN000001"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		for carrier := txn.Carrier(0); carrier <= txn.CarrierNone+1; carrier++ {
			req := txn.Request{Kind: txn.KindSignOn, Custom: v, Carriers: txn.Carriers{DE46: v, DE57: v, DE59: v, DE63: v}}
			ReadInfo(&req, carrier)
			i := &req.Info
			for _, text := range [][]byte{i.Serial[:], i.Factor[:], i.App[:]} {
				n := len(strings.TrimRight(string(text), "\x00"))
				for k, c := range text {
					if k < n && (c < ' ' || c > '~') {
						t.Fatalf("%v: %q", carrier, text)
					}
				}
			}
			if i.Device > 99 || i.Position.Lat > 90_000000 || i.Position.Lat < -90_000000 || i.Position.Lng > 180_000000 || i.Position.Lng < -180_000000 || !i.Position.Known && i.Position != (txn.Position{}) {
				t.Fatalf("%v: %+v", carrier, *i)
			}
		}
	})
}

func TestReadInfoDoesNotAllocate(t *testing.T) {
	_, x := saleExchange(t)
	req := &x.Request
	if n := testing.AllocsPerRun(100, func() {
		req.Info = txn.TerminalInfo{}
		ReadInfo(req, txn.CarrierDE59)
	}); n != 0 || !req.Info.Position.Known {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkReadInfo(b *testing.B) {
	_, x := saleExchange(b)
	b.ReportAllocs()
	for b.Loop() {
		x.Request.Info = txn.TerminalInfo{}
		ReadInfo(&x.Request, txn.CarrierDE59)
	}
}
