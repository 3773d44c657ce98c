package registry

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/moov-io/iso4217"
	"golang.org/x/text/language"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Export writes the snapshot as a file that Load reads into an equal one.
func (s *Snapshot) Export(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "version: %s\n\nregions:\n", formatVersion)
	for i := range s.rows.Circles {
		c := &s.rows.Circles[i]
		fmt.Fprintf(b, "  - {code: %06d, name: %s, lat: %s, lng: %s, radius_km: %s}\n", c.Area.Region, quote(c.Name[:]),
			formatDecimal(int64(c.Area.Lat), 6), formatDecimal(int64(c.Area.Lng), 6), formatDecimal(int64(c.Area.RadiusMetres), 3))
	}
	if len(s.rows.Models) > 0 {
		fmt.Fprint(b, "\nmodels:\n")
	}
	for i := range s.rows.Models {
		fmt.Fprintf(b, "  - {name: %s}\n", quote(s.rows.Models[i].Name[:]))
	}
	bound := make(map[txn.MerchantID][]int, len(s.rows.Merchants))
	for i := range s.rows.Terminals {
		m := s.rows.Terminals[i].Merchant
		bound[m] = append(bound[m], i)
	}
	fmt.Fprint(b, "\nmerchants:\n")
	for i := range s.rows.Merchants {
		m := &s.rows.Merchants[i]
		exportMerchant(b, m)
		for j, k := range bound[m.ID] {
			if j == 0 {
				fmt.Fprint(b, "    terminals:\n")
			}
			s.exportTerminal(b, &s.rows.Terminals[k], m.Currency)
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("export registry: %w", err)
	}
	return nil
}

func exportMerchant(w io.Writer, m *txn.Merchant) {
	fmt.Fprintf(w, "  - mid: %q\n    name: %s\n    city: %s\n    mcc: \"%04d\"\n", m.ID.String(), quote(m.Name[:]), quote(m.City[:]), m.MCC)
	if m.Region != 0 {
		fmt.Fprintf(w, "    region: %06d\n", m.Region)
	}
	fmt.Fprintf(w, "    country: %q\n    currency: %s\n    status: %s\n    policy: %s\n    kinds: [%s]\n",
		countryCode(m.Country), currencyCode(m.Currency), m.Status, m.Policy, kindNames(m.Kinds))
	for _, l := range []struct {
		key    string
		limits txn.Limits
	}{{"limits", m.Limits}, {"card_limits", m.Card}} {
		if l.limits != (txn.Limits{}) {
			fmt.Fprintf(w, "    %s: %s\n", l.key, limitsText(l.limits, m.Currency))
		}
	}
	exportParty(w, m)
}

// exportParty writes what rules ask of a merchant.
func exportParty(w io.Writer, m *txn.Merchant) {
	if m.Type != txn.Enterprise {
		fmt.Fprintf(w, "    type: %s\n", m.Type)
	}
	if m.Identity != (txn.Identity{}) {
		fmt.Fprintf(w, "    identity: \"%x\"\n", m.Identity[:])
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"grade", int(m.Grade)}, {"plan", int(m.Plan)}} {
		if n.value != 0 {
			fmt.Fprintf(w, "    %s: %d\n", n.key, n.value)
		}
	}
	if m.Entries != 0 {
		fmt.Fprintf(w, "    entries: [%s]\n", entryNames(m.Entries))
	}
	if m.Cards != 0 {
		fmt.Fprintf(w, "    cards: [%s]\n", cardNames(m.Cards))
	}
	exportDate(w, "    since", m.Since)
	exportDate(w, "    licence_ends", m.LicenceEnds)
	if m.Unmatched {
		fmt.Fprint(w, "    unmatched: true\n")
	}
}

func exportDate(w io.Writer, key string, d txn.Date) {
	if d != 0 {
		fmt.Fprintf(w, "%s: %s\n", key, d)
	}
}

func (s *Snapshot) exportTerminal(w io.Writer, t *txn.Terminal, c txn.Currency) {
	fmt.Fprintf(w, "      - tid: %q\n        serial: %s\n        class: %s\n        status: %s\n        mac: %s\n",
		t.ID.String(), quote(t.Serial[:]), t.Mobility, t.Status, t.Profile)
	if t.Keys != txn.KeysNone {
		fmt.Fprintf(w, "        keys: %s\n", t.Keys)
	}
	if t.Keys.DUKPT() {
		fmt.Fprintf(w, "        ksn: \"%X\"\n", t.Device[:])
	}
	if t.PINFormat != txn.PINByDE53 {
		fmt.Fprintf(w, "        pin: %s\n", t.PINFormat)
	}
	if t.DoubleTAK {
		fmt.Fprint(w, "        double_tak: true\n")
	}
	if t.Region != 0 {
		fmt.Fprintf(w, "        region: %06d\n", t.Region)
	}
	if t.RadiusMetres != 0 {
		fmt.Fprintf(w, "        premises: {lat: %s, lng: %s, radius_m: %d}\n",
			formatDecimal(int64(t.Lat), 6), formatDecimal(int64(t.Lng), 6), t.RadiusMetres)
	}
	if t.AreaCount > 0 {
		var codes []string
		for _, a := range t.Areas[:t.AreaCount] {
			codes = append(codes, fmt.Sprintf("%06d", a.Region))
		}
		fmt.Fprintf(w, "        areas: [%s]\n", strings.Join(codes, ", "))
	}
	if t.Carrier != txn.CarrierDE59 {
		fmt.Fprintf(w, "        info: %s\n", t.Carrier)
	}
	if t.SerialCheck != txn.SerialIgnored {
		fmt.Fprintf(w, "        serial_check: %s\n", t.SerialCheck)
	}
	if t.RequirePosition {
		fmt.Fprint(w, "        require_position: true\n")
	}
	if t.Limits != (txn.Limits{}) {
		fmt.Fprintf(w, "        limits: %s\n", limitsText(t.Limits, c))
	}
	if t.Plan != 0 {
		fmt.Fprintf(w, "        plan: %d\n", t.Plan)
	}
	if m, ok := s.Model(t.Model); ok {
		fmt.Fprintf(w, "        model: %s\n", quote(m.Name[:]))
	}
	if t.Capabilities != 0 {
		fmt.Fprintf(w, "        capabilities: [%s]\n", entryNames(t.Capabilities))
	}
	exportDate(w, "        since", t.Since)
	exportDate(w, "        inspected", t.Inspected)
}

func limitsText(l txn.Limits, c txn.Currency) string {
	exp, _ := c.Exponent()
	var parts []string
	if l.Transaction != 0 {
		parts = append(parts, fmt.Sprintf("transaction: %q", formatDecimal(l.Transaction, exp)))
	}
	if l.DayAmount != 0 {
		parts = append(parts, fmt.Sprintf("day_amount: %q", formatDecimal(l.DayAmount, exp)))
	}
	if l.DayCount != 0 {
		parts = append(parts, fmt.Sprintf("day_count: %d", l.DayCount))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func kindNames(kinds uint32) string {
	var names []string
	for k := txn.Kind(0); k.String() != "invalid"; k++ {
		if kinds&(1<<k) != 0 {
			names = append(names, k.String())
		}
	}
	return strings.Join(names, ", ")
}

func entryNames(e txn.Entries) string {
	var names []string
	for _, m := range entryModes {
		if e.Has(m.mode) {
			names = append(names, m.name)
		}
	}
	return strings.Join(names, ", ")
}

func cardNames(c txn.Cards) string {
	var names []string
	for t := txn.CardType(0); t.String() != "invalid"; t++ {
		if c.Has(t) {
			names = append(names, t.String())
		}
	}
	return strings.Join(names, ", ")
}

func countryCode(n uint16) string {
	r, err := language.EncodeM49(int(n))
	if err != nil {
		return fmt.Sprintf("%03d", n)
	}
	return r.String()
}

func currencyCode(c txn.Currency) string {
	code, ok := iso4217.Lookup(c.String())
	if !ok {
		return c.String()
	}
	return code.Code
}

func quote(b []byte) string { return strconv.Quote(text(b)) }
