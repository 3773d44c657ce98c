package registry

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// small is a registry with one of everything; the tests below break one thing.
const small = `version: 1
regions:
  - {code: 310000, name: Shanghai, lat: 31.2304, lng: 121.4737, radius_km: 65}
merchants:
  - mid: "999290054110001"
    name: "Corner \"Shop\" 上海"
    city: Shanghai
    mcc: "5411"
    region: 310101
    country: CN
    currency: CNY
    status: active
    policy: refuse
    kinds: [sale, balance]
    limits: {transaction: 50000.00, day_amount: "2000000", day_count: 20000}
    card_limits: {transaction: "20000.5"}
    terminals:
      - {tid: 00000001, serial: A-1, class: fixed, status: active, mac: none, region: 310101, premises: {lat: 31.2304, lng: 121.4737}, cells: [460-0-6243-12345678, 13824-16-1234], phone: "02112345678"}
      - {tid: "10000002", serial: A-2, class: mobile, status: suspended, mac: cup-ecb, region: 310115, areas: [310000], require_position: true, info: de46, serial_check: require}
  - mid: SHOP1
    name: Shop
    city: Tokyo
    mcc: "5812"
    country: JP
    currency: JPY
    status: active
    policy: allow
    kinds: [sale]
    limits: {transaction: 5000}
    terminals:
      - {tid: TOKYO1, serial: B-1, class: fixed, status: active, mac: none, premises: {lat: 35.71, lng: 139.79, radius_m: 100}}
    type: micro
    identity: 00112233445566778899aabbccddeeff
    grade: 3
    plan: 7
    entries: [chip, contactless]
    cards: [debit, prepaid]
    since: 2026-01-31
    licence_ends: 2027-02-28
    unmatched: true
    legal_name: 株式会社浅草
    licence: 91310101MA1FL0X001
    account: "6222020000000007"
    account_owner: Somebody
    bank: "102290000001"
    payout: d+1
    fee_plan: standard
    agency: "48802900"
    address: 2-3-1 Asakusa
    premises: {lat: 35.7148, lng: 139.7967}
    phone: +81 3 0000
  - mid: SHOP2
    name: Shop
    city: Tokyo
    mcc: "5812"
    country: JP
    currency: JPY
    status: active
    policy: allow
    kinds: [sale]
    terminals:
      - {tid: TOKYO2, serial: B-2, class: fixed, status: active, mac: none, premises: {lat: 35.71, lng: 139.79},
         plan: 2, model: P2 Pro, capabilities: [code, stripe], since: 2026-02-01, inspected: 2026-10-31,
         kind: smart, label: SN-1, certification: P3100, app: 320001, parameters: v7, sim: "898600"}
models:
  - {name: N910}
  - {name: P2 Pro, minimum: 1.2.0, target: 1.10.0, deadline: 2027-01-31}
stock:
  - {serial: C-1, model: N910, kind: qr-box}
`

func TestTurnover(t *testing.T) {
	s, err := Load(strings.NewReader(strings.Replace(small, "unmatched: true\n", "unmatched: true\n    turnover: 5000\n", 1)), "f")
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := s.Merchant(txn.MakeMerchantID("SHOP1")); !ok || m.Turnover != 5000 {
		t.Errorf("merchant %+v", m)
	}
}

func TestLoadSmall(t *testing.T) {
	s, err := Load(strings.NewReader(small), "small.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, _ := s.Merchant(txn.MakeMerchantID("999290054110001"))
	if want := (txn.Limits{Transaction: 50_000_00, DayAmount: 2_000_000_00, DayCount: 20_000}); m.Limits != want {
		t.Errorf("limits %+v", m.Limits)
	}
	if m.Card.Transaction != 20_000_50 {
		t.Errorf("card limits %+v", m.Card)
	}
	if got := text(m.Name[:]); got != `Corner "Shop" 上海` {
		t.Errorf("name %q", got)
	}
	first, ok := s.Terminal(txn.MakeTerminalID("00000001"))
	if !ok || first.RadiusMetres != 500 || first.MAC != txn.MACNone {
		t.Errorf("a terminal id written as a number lost its zeros, or the radius its default: %+v", first)
	}
	if first.Phone != 2112345678 || first.Cells != [txn.CellsMax]txn.CellID{{Country: 460, Area: 6243, Cell: 12345678}, {Operator: 13824, Area: 16, Cell: 1234}} {
		t.Errorf("line and cells of %+v", first)
	}
	second, _ := s.Terminal(txn.MakeTerminalID("10000002"))
	if second.AreaCount != 1 || second.Areas[0] != (txn.Area{Region: 310000, Lat: 31_230400, Lng: 121_473700, RadiusMetres: 65_000}) ||
		!second.RequirePosition || second.MAC != txn.MACCUPECB || second.Status != txn.StatusSuspended || second.Mobility != txn.Mobile {
		t.Errorf("terminal %+v", second)
	}
	if second.Serial.String() != "A-2" || second.SerialCheck != txn.SerialRequired || second.Carrier != txn.CarrierDE46 || first.SerialCheck != txn.SerialIgnored || first.Carrier != txn.CarrierDE59 {
		t.Errorf("machine of %+v and %+v", second, first)
	}
	m, _ = s.Merchant(txn.MakeMerchantID("SHOP1"))
	if m.Type != txn.Micro || m.Identity[0] != 0 || m.Identity[15] != 0xff || m.Grade != 3 || m.Plan != 7 || !m.Entries.Has(txn.EntryChip) || m.Entries.Has(txn.EntryStripe) ||
		!m.Cards.Has(txn.CardPrepaid) || m.Cards.Has(txn.CardCredit) || m.Since != 20260131 || m.LicenceEnds != 20270228 || !m.Unmatched {
		t.Errorf("merchant %+v", m)
	}
	third, _ := s.Terminal(txn.MakeTerminalID("TOKYO2"))
	if model, ok := s.model(third.Model); !ok || model.String() != "P2 Pro" || third.Plan != 2 || third.Capabilities != 1<<txn.EntryCode|1<<txn.EntryStripe || third.Since != 20260201 || third.Inspected != 20261031 {
		t.Errorf("terminal %+v", third)
	}
	if _, ok := s.model(3); ok {
		t.Error("a model that is not there was found")
	}
	if _, ok := s.Terminal(txn.MakeTerminalID("1")); ok {
		t.Error("a terminal that is not there was found")
	}
}

// A bad file names the line, the field and what is wrong, and gives no rows.
func TestLoadRefuses(t *testing.T) {
	for _, row := range []struct {
		name     string
		old, new string // the change to small
		want     string
	}{
		{"info in no known field", "info: de46", "info: de60", `f:19: terminals[].info: "de60" must be one of de59, de57, de46, de59-bd, de63, none`},
		{"serial checked and nowhere told", "info: de46", "info: none", `f:19: terminals[].serial_check: means nothing to a terminal whose info is none`},
		{"serial check of no known kind", "serial_check: require", "serial_check: true", `f:19: terminals[].serial_check: "true" must be one of off, compare, require`},
		{"cell without its numbers", "13824-16-1234", "13824-1234", `f:18: terminals[].cells[]: "13824-1234" must be country-operator-area-cell, such as 460-0-6243-12345678`},
		{"cell in hexadecimal", "13824-16-1234", "460-0-6243-ff", `f:18: terminals[].cells[]: "460-0-6243-ff" must be`},
		{"cell with a sign", "13824-16-1234", "460-0-6243-+7", `f:18: terminals[].cells[]:`},
		{"cell 0", "13824-16-1234", "460-0-6243-0", `f:18: terminals[].cells[]:`},
		{"operator over 16 bits", "13824-16-1234", "460-65536-6243-7", `f:18: terminals[].cells[]:`},
		{"cell over 32 bits", "13824-16-1234", "460-0-6243-4294967296", `f:18: terminals[].cells[]:`},
		{"cell twice", "13824-16-1234", "460-00-6243-12345678", `f:18: terminals[].cells[]: 460-00-6243-12345678 is listed twice`},
		{"more cells than there may be", "13824-16-1234", "1-1-1, 1-1-2, 1-1-3, 1-1-4", `f:18: terminals[].cells: are 5, at most 4 may be listed`},
		{"cells of one that moves", "areas: [310000]", "areas: [310000], cells: [1-1-1]", `f:19: terminals[].cells: mean nothing to a terminal that moves`},
		{"cells in stock", "kind: qr-box", "kind: qr-box, cells: [1-1-1]", `stock[].cells: is of a machine at a merchant's`},
		{"line with signs", `"02112345678"`, "+86-21-12345678", `f:18: terminals[].phone: "+86-21-12345678" must be 1 to 16 digits`},
		{"line of 17 digits", `"02112345678"`, `"00000002112345678"`, `f:18: terminals[].phone:`},
		{"line 0", `"02112345678"`, `"0"`, `f:18: terminals[].phone:`},
		{"line in stock", "kind: qr-box", `kind: qr-box, phone: "1"`, `stock[].phone: is of a machine at a merchant's`},
		{"not YAML", "regions:", "regions: {", `f:3: could not find flow map content`},
		{"version of tomorrow", "version: 1", "version: 2", `f:1: version: this program reads version 1`},
		{"no version", "version: 1\n", "\n", `f:1: version:`},
		{"unknown key", "policy: refuse", "polcy: refuse", `f:13: unknown field "polcy": correct or remove it`},
		{"key twice", "city: Shanghai\n", "city: Shanghai\n    city: Beijing\n", `f:8: mapping key "city" already defined`},
		{"list where a value belongs", "city: Shanghai", "city: [Shanghai]", `f:7: a single value is needed here, not a sequence`},
		{"value where a list belongs", "kinds: [sale, balance]", "kinds: sale", `f:14: string was used where sequence is expected`},
		{"second document", "merchants:", "---\nmerchants:", `f:4: there is a second YAML document`},

		{"region circle of no region", "code: 310000", "code: 310200", `f:3: regions[].code: "310200" is no region of GB/T 2260`},
		{"region circle without centre", "lat: 31.2304, lng: 121.4737, radius_km: 65", "lng: 121.4737, radius_km: 65", `f:3: regions[].lat: "" must be a number`},
		{"region circle without radius", "radius_km: 65", "radius_km: 0", `f:3: regions[].radius_km: "0" must be a number from 0.001 to 2000.000`},

		{"merchant id missing", `mid: "999290054110001"`, "mid:", `f:6: merchants[].mid: "" must be 1 to 15 letters and digits`},
		{"merchant id of 14 digits", "999290054110001", "99929005411001", `f:5: merchants[].mid: "99929005411001" must be 15 digits`},
		{"merchant id says another MCC", "999290054110001", "999290058120001", `f:5: merchants[].mid: 999290058120001 says MCC 5812`},
		{"merchant id twice", "mid: SHOP1", "mid: \"999290054110001\"", `f:20: merchants[].mid: merchant 999290054110001 is already used on line 5`},
		{"name too long", "name: Shop", "name: " + strings.Repeat("x", 41), `f:21: merchants[].name:`},
		{"name with a line break", "name: Shop", `name: "a\nb"`, `f:21: merchants[].name: "a\nb" must be 1 to 40 bytes of printable text`},
		{"MCC nobody has", `"5812"`, `"5810"`, `f:23: merchants[].mcc: "5810" is no merchant category code`},
		{"Chinese merchant without region", "    region: 310101\n", "\n", `merchants[].region: "" is no region of GB/T 2260`},
		{"country in digits", "country: JP", "country: 392", `f:24: merchants[].country: "392" is no ISO 3166 country`},
		{"country nobody has", "country: JP", "country: XX", `f:24: merchants[].country:`},
		{"currency in small letters", "currency: JPY", "currency: jpy", `f:25: merchants[].currency: "jpy" is no ISO 4217 currency`},
		{"currency that nobody is paid in", "currency: JPY", "currency: XAU", `f:25: merchants[].currency: "XAU" is no ISO 4217 currency that is paid in`},
		{"status misspelt", "status: active\n    policy: refuse", "status: actve\n    policy: refuse", `f:12: merchants[].status: "actve" must be one of draft, submitted, under-review, rejected, active, hold, suspended, closed, frozen`},
		{"policy missing", "policy: allow", "policy:", `f:20: merchants[].policy: "" must be one of refuse, listed, allow`},
		{"kinds empty", "kinds: [sale]", "kinds: []", `f:20: merchants[].kinds: is empty`},
		{"kind that needs no permission", "kinds: [sale]", "kinds: [sale, reversal]", `f:28: merchants[].kinds[]: "reversal" must be one of sale, balance`},
		{"fractions of a fen", "50000.00", "50000.001", `f:15: merchants[].limits.transaction: "50000.001" must be a number from 0.01 to 9999999999.99 with at most 2 decimals`},
		{"fractions of a yen", "transaction: 5000}", "transaction: 5000.0}", `f:29: merchants[].limits.transaction: "5000.0" must be a number from 1 to 999999999999 with at most 0 decimals`},
		{"limit in scientific notation", "50000.00", "5e4", `f:15: merchants[].limits.transaction: "5e4"`},
		{"limit with commas", "50000.00", `"50,000.00"`, `f:15: merchants[].limits.transaction: "50,000.00"`},
		{"limit of nothing", "50000.00", "0", `f:15: merchants[].limits.transaction: "0"`},
		{"negative limit", "50000.00", "-1", `f:15: merchants[].limits.transaction: "-1"`},
		{"limit over DE4", "50000.00", "10000000000.00", `f:15: merchants[].limits.transaction: "10000000000.00"`},
		{"count over 32 bits", "20000}", "4294967296}", `f:15: merchants[].limits.day_count: "4294967296"`},

		{"terminal id of 9", "TOKYO1", "TOKYO0001", `f:31: terminals[].tid: "TOKYO0001" must be 1 to 8 letters and digits`},
		{"terminal id missing", "tid: TOKYO1, ", "", `f:31: terminals[].tid: "" must be`},
		{"terminal bound twice", "tid: TOKYO1", "tid: 00000001", `f:31: terminals[].tid: terminal 00000001 is already used on line 18: a terminal is bound to one merchant`},
		{"machine bound twice", "serial: B-1", "serial: A-2", `f:31: terminals[].serial: serial A-2 is already used on line 19: one machine serves one merchant`},
		{"serial too long", "serial: B-1", "serial: " + strings.Repeat("9", 51), `f:31: terminals[].serial:`},
		{"class misspelt", "class: mobile", "class: roaming", `f:19: terminals[].class: "roaming" must be one of fixed, mobile, chain`},
		{"MAC algorithm missing", "mac: none, premises", "premises", `f:31: terminals[].mac: "" must be one of none, cup-ecb`},
		{"MAC algorithm misspelt", "mac: cup-ecb", "mac: ecb", `f:19: terminals[].mac: "ecb" must be one of none, cup-ecb`},
		{"MAC algorithm for nobody", "mac: cup-ecb", "mac: invalid", `f:19: terminals[].mac: "invalid" must be one of none, cup-ecb`},
		{"MAC without keys", "mac: cup-ecb", "mac: cup-ecb, keys: none", `f:19: terminals[].keys: none gives no keys for mac cup-ecb`},
		{"MAC that AES keys do not make", "mac: none, premises", "mac: x9.19, keys: dukpt-aes128, ksn: 0123456789ABCDEF, premises", `f:31: terminals[].keys: dukpt-aes128 gives no keys for mac x9.19`},
		{"key scheme misspelt", "mac: none, premises", "mac: none, keys: dukpt, premises", `f:31: terminals[].keys: "dukpt" must be one of none, master-session, dukpt-tdes, dukpt-aes128`},
		{"DUKPT without a serial number", "mac: none, premises", "mac: none, keys: dukpt-tdes, premises", `f:31: terminals[].ksn: "" must be 16 hexadecimal digits`},
		{"serial number with a counter", "mac: none, premises", "mac: none, keys: dukpt-tdes, ksn: FFFF9876543210E1, premises", `f:31: terminals[].ksn: FFFF9876543210E1 has counter bits`},
		{"serial number of nobody", "mac: none, premises", "mac: none, ksn: FFFF9876543210E0, premises", `f:31: terminals[].ksn: is for terminals with DUKPT keys`},
		{"double TAK of nobody", "mac: none, premises", "mac: none, double_tak: true, premises", `f:31: terminals[].double_tak: is for terminals with keys: master-session`},
		{"terminal in no region", "region: 310115", "region: 310199", `f:19: terminals[].region: "310199" is no region of GB/T 2260`},
		{"region of five digits", "region: 310115", "region: 31011", `f:19: terminals[].region: "31011" is no region`},
		{"premises of a fixed terminal missing", ", premises: {lat: 35.71, lng: 139.79, radius_m: 100}", "", `f:31: terminals[].premises: is missing`},
		{"latitude over the pole", "lat: 35.71", "lat: 90.000001", `f:31: terminals[].premises.lat: "90.000001" must be a number from -90.000000 to 90.000000`},
		{"longitude missing", "lng: 139.79, ", "", `f:31: terminals[].premises.lng: "" must be a number`},
		{"latitude and longitude changed over", "lat: 31.2304, lng: 121.4737},", "lat: 12.4737, lng: 31.2304},", `f:18: terminals[].premises: is not in China`},
		{"radius of nothing", "radius_m: 100", "radius_m: 0", `f:31: terminals[].premises.radius_m: "0" must be a number from 1 to 2000`},
		{"areas of a mobile terminal missing", "areas: [310000], ", "", `f:19: terminals[].areas: is empty`},
		{"areas of a fixed terminal", "serial: A-1,", "serial: A-1, areas: [310000],", `f:18: terminals[].areas: mean nothing to a fixed terminal`},
		{"area without a circle", "areas: [310000]", "areas: [330100]", `f:19: terminals[].areas[]: 330100 has no circle`},
		{"area listed twice", "areas: [310000]", "areas: [310000, 310000]", `f:19: terminals[].areas[]: 310000 is listed twice`},
		{"nine areas", "areas: [310000]", "areas: [310000, 1, 2, 3, 4, 5, 6, 7, 8]", `f:19: terminals[].areas: are 9, at most 8`},
		{"type of nobody", "type: micro", "type: shop", `f:32: merchants[].type: "shop" must be one of enterprise, individual-business, natural-person, micro`},
		{"identity in clear", "identity: 00112233445566778899aabbccddeeff", "identity: 310101199001011234", `f:33: merchants[].identity: must be 32 hexadecimal digits: the keyed hash of a document's number, never the number`},
		{"grade of six", "grade: 3", "grade: 6", `f:34: merchants[].grade: "6" must be a number from 1 to 5`},
		{"grade of nothing", "grade: 3", "grade: 0", `f:34: merchants[].grade: "0" must be a number from 1 to 5`},
		{"plan over 16 bits", "plan: 7", "plan: 65536", `f:35: merchants[].plan: "65536" must be a number from 1 to 65535`},
		{"entry of no kind", "entries: [chip,", "entries: [swipe,", `f:36: merchants[].entries[]: "swipe" must be one of manual, stripe, code, chip, contactless`},
		{"card of no type", "cards: [debit,", "cards: [cheque,", `f:37: merchants[].cards[]: "cheque" must be one of unknown, debit, credit, prepaid`},
		{"day that never was", "since: 2026-01-31", "since: 2026-02-30", `f:38: merchants[].since: "2026-02-30" must be a date`},
		{"licence of long ago", "licence_ends: 2027-02-28", "licence_ends: 1899-12-31", `f:39: merchants[].licence_ends: "1899-12-31" must be a date`},
		{"perhaps unmatched", "unmatched: true", "unmatched: perhaps", `f:40: merchants[].unmatched: "perhaps" must be true or false`},
		{"turnover in parts of a yen", "unmatched: true", "unmatched: true\n    turnover: 50.5", `f:41: merchants[].turnover: "50.5" must be a number from 1`},
		{"plan of nothing", "plan: 2", "plan: 0", `f:63: terminals[].plan: "0" must be a number from 1 to 65535`},
		{"model that is not listed", "model: P2 Pro", "model: P3", `f:63: terminals[].model: "P3" is no known model: add it at the head of the file, or with registry model`},
		{"capability of no kind", "[code, stripe]", "[code, print]", `f:63: terminals[].capabilities[]: "print" must be one of`},
		{"inspected in words", "inspected: 2026-10-31", "inspected: today", `f:63: terminals[].inspected: "today" must be a date`},
		{"model twice", "name: N910", "name: P2 Pro", `f:67: models[].name: model P2 Pro is already used on line 66`},
		{"model with a long name", "name: N910", "name: 123456789012345678901", `f:66: models[].name: "123456789012345678901" must be 1 to 20 bytes`},
		{"identity in clear in a file that is loaded", "legal_name: 株式会社浅草", "identity_number: 310101199001011234", `f:41: merchants[].identity_number: is a number in clear: give identity`},
		{"legal name of two lines", "legal_name: 株式会社浅草", `legal_name: "a\nb"`, `f:41: merchants[].legal_name: must be 1 to 80 bytes of printable text`},
		{"account with spaces", `account: "6222020000000007"`, `account: "6222 0200"`, `f:43: merchants[].account: must be 1 to 34 bytes of letters and digits`},
		{"payout of next year", "payout: d+1", "payout: d+365", `f:46: merchants[].payout: "d+365" must be one of t+1, d+1, t+0, d+0`},
		{"premises off the map", "lat: 35.7148, lng: 139.7967}", "lat: 35.7148, lng: 180.1}", `f:50: merchants[].premises.lng: "180.1" must be`},
		{"kind of machine nobody makes", "kind: smart", "kind: clever", `f:64: terminals[].kind: "clever" must be one of traditional, smart, mobile, qr-box`},
		{"stock at a merchant's", "serial: B-2, class: fixed, status: active", "serial: B-2, class: fixed, status: stock", `terminals[].status: is stock, and it is at a merchant's`},
		{"terminal of another merchant", "serial: B-2, class", "serial: B-2, merchant: SHOP1, class", `terminals[].merchant: "SHOP1" is not the merchant it stands at, SHOP2`},
		{"bound machine in stock", "serial: C-1, model", "serial: C-1, status: active, model", `f:69: stock[].status: "active" must be stock or retired`},
		{"stock with a terminal id", "serial: C-1, model", "serial: C-1, tid: X, model", `f:69: stock[].tid: is of a machine at a merchant`},
		{"machine in stock and bound", "serial: C-1, model", "serial: B-2, model", `f:69: terminals[].serial: serial B-2 is already used on line 62`},
		{"target below the minimum", "target: 1.10.0", "target: 1.1.9", `f:67: models[].target: 1.1.9 is below the minimum, 1.2.0`},
		{"deadline of nothing", "target: 1.10.0, ", "", `f:67: models[].deadline: is of a target`},
		{"version too long", "minimum: 1.2.0", "minimum: 123456789", `f:67: models[].minimum: must be 1 to 8 bytes`},
		{"position perhaps required", "require_position: true", "require_position: yes", `f:19: terminals[].require_position: "yes" must be true or false`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if n := strings.Count(small, row.old); n == 0 {
				t.Fatalf("%q is not in the file", row.old)
			}
			s, err := Load(strings.NewReader(strings.Replace(small, row.old, row.new, 1)), "f")
			if err == nil || s != nil {
				t.Fatalf("it was loaded")
			}
			if !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got:  %v\nwant: %s", err, row.want)
			}
		})
	}
}

func TestLoadRefusesInputs(t *testing.T) {
	t.Run("empty", func(t *testing.T) {
		if _, err := Load(strings.NewReader("# nothing\n"), "f"); err == nil || !strings.Contains(err.Error(), "the file is empty") {
			t.Fatal(err)
		}
	})
	t.Run("unreadable", func(t *testing.T) {
		if _, err := Load(iotest.ErrReader(os.ErrPermission), "f"); !errors.Is(err, os.ErrPermission) {
			t.Fatal(err)
		}
	})
	t.Run("over the size", func(t *testing.T) {
		if _, err := Load(bytes.NewReader(make([]byte, FileSizeMax+1)), "f"); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Fatal(err)
		}
	})
	t.Run("many problems are cut off", func(t *testing.T) {
		_, err := Load(strings.NewReader("version: 1\nmerchants:\n"+strings.Repeat("  - {mid: \"\"}\n", 100)), "f")
		if lines := strings.Split(err.Error(), "\n"); len(lines) != yamlfile.ProblemsMax+1 || !strings.HasSuffix(lines[yamlfile.ProblemsMax], " more") {
			t.Fatalf("%d problems: %s", len(lines), lines[len(lines)-1])
		}
		var p *yamlfile.Problem
		if !errors.As(err, &p) || p.File != "f" || p.Line != 3 {
			t.Fatalf("%+v", p)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	id, other := txn.MakeMerchantID("A"), txn.MakeMerchantID("B")
	one, two := txn.MakeTerminalID("1"), txn.MakeTerminalID("2")
	for name, row := range map[string]struct {
		m []txn.Merchant
		t []txn.Terminal
	}{
		"merchant twice":          {m: []txn.Merchant{{ID: id}, {ID: id}}},
		"terminal twice":          {[]txn.Merchant{{ID: id}}, []txn.Terminal{{ID: one, Merchant: id, Serial: txn.Serial{1}}, {ID: one, Merchant: id, Serial: txn.Serial{2}}}},
		"machine twice":           {[]txn.Merchant{{ID: id}, {ID: other}}, []txn.Terminal{{ID: one, Merchant: id, Serial: txn.Serial{1}}, {ID: two, Merchant: other, Serial: txn.Serial{1}}}},
		"terminal of nobody":      {[]txn.Merchant{{ID: id}}, []txn.Terminal{{ID: one, Merchant: other, Serial: txn.Serial{1}}}},
		"terminal of no model":    {[]txn.Merchant{{ID: id}}, []txn.Terminal{{ID: one, Merchant: id, Serial: txn.Serial{1}, Model: 1}}},
		"terminal without serial": {[]txn.Merchant{{ID: id}}, []txn.Terminal{{ID: one, Merchant: id}}},
	} {
		if _, err := New(Rows{Merchants: row.m, Terminals: row.t}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// FuzzLoad: no input breaks Load, and what it accepts survives a round trip.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte("version: 1"))
	f.Add([]byte("version: 1\nmerchants: &a\n- mid: *a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Load(bytes.NewReader(b), "f")
		if err != nil {
			return
		}
		again, _ := rewrite(t, b)
		mustEqual(t, s, again)
	})
}

func TestDecimals(t *testing.T) {
	for _, row := range []struct {
		text   string
		places int
		want   int64
		ok     bool
	}{
		{"0", 2, 0, true}, {"1", 2, 100, true}, {"1.5", 2, 150, true}, {"1.05", 2, 105, true}, {"-1.05", 2, -105, true},
		{"0.000001", 6, 1, true}, {"007", 0, 7, true}, {"92233720368547758.07", 2, 9223372036854775807, true},
		{"92233720368547758.08", 2, 0, false}, {"1.005", 2, 0, false}, {"1.", 2, 0, false}, {".5", 2, 0, false}, {"", 2, 0, false},
		{"+1", 2, 0, false}, {"--1", 2, 0, false}, {"1e3", 2, 0, false}, {"0x1", 2, 0, false}, {" 1", 2, 0, false}, {"1_000", 2, 0, false}, {"1.-5", 2, 0, false},
	} {
		n, err := parseDecimal(row.text, row.places)
		if (err == nil) != row.ok || row.ok && n != row.want {
			t.Errorf("%q with %d places: %d, %v", row.text, row.places, n, err)
		}
		if row.ok {
			if back, err := parseDecimal(txn.Decimal(n, row.places), row.places); err != nil || back != n {
				t.Errorf("%q is written %q", row.text, txn.Decimal(n, row.places))
			}
		}
	}
}

func TestStoreReplaces(t *testing.T) {
	old, err := New(Rows{})
	if err != nil {
		t.Fatal(err)
	}
	st := NewStore(old)
	held := st.Snapshot()
	st.Replace(sample(t))
	if m, _ := held.Len(); m != 0 {
		t.Error("a snapshot changed under its holder")
	}
	if m, _ := st.Snapshot().Len(); m == 0 {
		t.Error("the new snapshot is not in force")
	}
}

func million(tb testing.TB) *Snapshot {
	const nm, nt = 200_000, 1_000_000
	ms, ts := make([]txn.Merchant, nm), make([]txn.Terminal, nt)
	for i := range ms {
		ms[i].ID = txn.MakeMerchantID(fmt.Sprintf("9992900%08d", i))
	}
	for i := range ts {
		ts[i].ID, ts[i].Merchant = txn.MakeTerminalID(fmt.Sprintf("%08d", i)), ms[i%nm].ID
		ts[i].Serial = txn.MakeSerial(fmt.Sprintf("NL-%d", i))
	}
	s, err := New(Rows{Merchants: ms, Terminals: ts})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestLookupDoesNotAllocate(t *testing.T) {
	s := sample(t)
	tid, mid := txn.MakeTerminalID("10000001"), txn.MakeMerchantID("999290054110001")
	if n := testing.AllocsPerRun(100, func() {
		s.Terminal(tid)
		s.Merchant(mid)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// BenchmarkLookup finds a terminal and its merchant among a million and 200,000.
func BenchmarkLookup(b *testing.B) {
	s := million(b)
	ids := make([]txn.TerminalID, 1<<16)
	for i := range ids {
		ids[i] = txn.MakeTerminalID(fmt.Sprintf("%08d", i*7919%1_000_000))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		t, ok := s.Terminal(ids[i&(len(ids)-1)])
		if !ok {
			b.Fatal("not found")
		}
		if _, ok := s.Merchant(t.Merchant); !ok {
			b.Fatal("not found")
		}
		i++
	}
}

// BenchmarkLoadSample reads the sample file.
func BenchmarkLoadSample(b *testing.B) {
	file, err := os.ReadFile(sampleFile)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := Load(bytes.NewReader(file), "registry.yaml"); err != nil {
			b.Fatal(err)
		}
	}
}
