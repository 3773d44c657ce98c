package registry

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const sampleFile = "../../testdata/registry.yaml"

func sample(t testing.TB) *Snapshot {
	t.Helper()
	f, err := os.Open(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := Load(f, "registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSample(t *testing.T) {
	s := sample(t)
	if m, n := s.Len(); m < 36 || n < 100 {
		t.Fatalf("%d merchants, %d terminals", m, n)
	}
	m, ok := s.Merchant(txn.MakeMerchantID("999290054110001"))
	if !ok || m.MCC != 5411 || m.Country != 156 || m.Currency != txn.CNY || m.Region != 310101 || m.Status != txn.StatusActive ||
		m.Policy != txn.RegionRefuse || !m.Allows(txn.KindSale) || m.Limits.Transaction != 50_000_00 || m.Card.DayAmount != 200_000_00 {
		t.Errorf("merchant: %+v", m)
	}
	term, ok := s.Terminal(txn.MakeTerminalID("10000001"))
	if !ok || term.Merchant != m.ID || term.Status != txn.StatusActive || term.Mobility != txn.Fixed || term.Region != 310101 ||
		term.Lat != 31_230400 || term.Lng != 121_473700 || term.RadiusMetres != 500 || term.Limits.Transaction != 20_000_00 {
		t.Errorf("terminal: %+v", term)
	}
	if m, ok := s.Merchant(txn.MakeMerchantID("MERCHANT0000001")); !ok || m.Currency != 392 || m.Limits.Transaction != 300_000 {
		t.Errorf("a currency without decimals: %+v", m)
	}
}

func TestExportRoundTrips(t *testing.T) {
	secured, err := Load(strings.NewReader(small), "small.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]*Snapshot{"sample": sample(t), "with a MAC profile": secured}
	for _, security := range []string{"mac: none, keys: dukpt-tdes, ksn: FFFF9876543210E0", "mac: cmac, keys: dukpt-aes256, ksn: 1234567890123456",
		"mac: x9.19", "mac: cup-ecb, double_tak: true", "mac: none, keys: master-session, pin: iso-3"} {
		s, err := Load(strings.NewReader(strings.Replace(small, "mac: none, premises", security+", premises", 1)), "small.yaml")
		if err != nil {
			t.Fatal(err)
		}
		cases[security] = s
	}
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			var first, second bytes.Buffer
			if err := s.Export(&first); err != nil {
				t.Fatal(err)
			}
			again, err := Load(bytes.NewReader(first.Bytes()), "export")
			if err != nil {
				t.Fatalf("%v\n%s", err, first.Bytes())
			}
			mustEqual(t, s, again)
			if err := again.Export(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Fatalf("the second export differs: %v", err)
			}
		})
	}
}

func mustEqual(t *testing.T, a, b *Snapshot) {
	t.Helper()
	if !slices.Equal(a.rows.Circles, b.rows.Circles) || !slices.Equal(a.rows.Models, b.rows.Models) ||
		!slices.Equal(a.rows.Merchants, b.rows.Merchants) || !slices.Equal(a.rows.Terminals, b.rows.Terminals) {
		t.Fatalf("\n%+v\n%+v", a, b)
	}
}
