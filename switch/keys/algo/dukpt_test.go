package algo

import (
	"bytes"
	"errors"
	"testing"
)

// The rows are X9.24-1:2009 A.4's initial sequence.
func TestDUKPTOfX9241(t *testing.T) {
	bdk := unhex(t, testKey)
	for _, row := range []struct{ ksn, pin, request, response string }{
		{"FFFF9876543210E00001", "1B9C1845EB993A7A", "9CCC78173FC4FB64", "20364223C1FF00FA"},
		{"FFFF9876543210E00002", "10A01C8D02C69107", "F608A9BCA6FFC311", "D1FCA6BEF05D24D2"},
		{"FFFF9876543210E00003", "18DC07B94797B466", "20B59A4FEAC937E3", "BAD4CC9CC2AE326C"},
		{"FFFF9876543210E00004", "0BC79509D5645DF7", "C7BFA6CC44161828", "1EB08AEECE6FF0C2"},
		{"FFFF9876543210E00005", "5BC0AF22AD87B327", "0202B96339022058", "5CBE3E81D1D2A0FB"},
		{"FFFF9876543210E00006", "A16DF70AE36158D8", "", ""},
		{"FFFF9876543210E00007", "27711C16CB257F8E", "", ""},
		{"FFFF9876543210E00008", "50E55547A5027551", "", ""},
		{"FFFF9876543210E00009", "536CF7F678ACFC8D", "", ""},
		{"FFFF9876543210EFF800", "", "", ""}, // many one bits
	} {
		ksn := unhex(t, row.ksn)
		ik, err := DUKPTInitialKey(TDES2, bdk, ksn)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "initial key", ik, unhex(t, "6AC292FAA1315B4D858AB3A3D7D5933A"))
		keys, err := DUKPTDerive(TDES2, ik, ksn)
		if err != nil {
			t.Fatalf("%s: %v", row.ksn, err)
		}
		if row.pin != "" {
			got, err := EncipherPIN(nil, local(t, TDES2, keys.PIN), PINISO0, []byte("1234"), []byte("4012345678909"))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, row.ksn+" PIN", got, unhex(t, row.pin))
		}
		if row.request != "" {
			data := []byte("4012345678909D987")
			request, _ := MACX919.MAC(MACKey{local(t, TDES2, keys.MACRequest), local(t, DES, keys.MACRequest[:8])}, data)
			response, _ := MACX919.MAC(MACKey{local(t, TDES2, keys.MACResponse), local(t, DES, keys.MACResponse[:8])}, data)
			equal(t, row.ksn+" request MAC", request[:], unhex(t, row.request))
			equal(t, row.ksn+" response MAC", response[:], unhex(t, row.response))
		}
	}
}

// The rows are of the supplement of test vectors to X9.24-3:2017.
func TestDUKPTOfX9243(t *testing.T) {
	bdk128 := unhex(t, "FEDCBA9876543210F1F1F1F1F1F1F1F1")
	bdk256 := append(bytes.Clone(bdk128), bdk128...)
	ik128, ik256 := "1273671EA26AC29AFA4D1084127652A1", "CE9CE0C101D1138F97FB6CAD4DF045A7083D4EAE2D35A31789D01CCF0949550F"
	for _, row := range []struct {
		name            string
		kind            Kind
		bdk             []byte
		ik, ksn         string
		pin, gen, check string
	}{
		{"AES-128, 1", AES128, bdk128, ik128, "00000001", "AF8CB133A78F8DC2D1359F18527593FB", "A2DC23DE6FDE0824A2BC321E08E4B8B7", "DBB463945B286C07CD3AD82EE96FD9C9"},
		{"AES-128, 2", AES128, bdk128, ik128, "00000002", "D30BDC73EC9714B000BEC66BDB7B6D09", "", ""},
		{"AES-128, 3", AES128, bdk128, ik128, "00000003", "7D69F01F3B45449F62C7816ECE723268", "", ""},
		{"AES-128, 8", AES128, bdk128, ik128, "00000008", "4D9DF3FBEE3448FC3E676D04320A90F5", "6FD572E5D59E618875F193484F9178FB", ""},
		{"AES-128, 8675309", AES128, bdk128, ik128, "00845FED", "D1DDA386AA4A556AF0119FDCB5D132C6", "", ""},
		{"AES-256, 1", AES256, bdk256, ik256, "00000001", "8C1AB7BEE973829E30242E0BBBDD4946D540C98FC1B5BDCF94790001A23FD502", "61DABDF4B340CF461EE860B1D1AB55357142BD2D6977306859CF49AEFE8F1549", ""},
		{"AES-256, 2", AES256, bdk256, ik256, "00000002", "3583D6CD02FC38822CC71A8D7678E04F4A8556335E6CC66863D3DADC5AEE2C62", "", ""},
		{"AES-256, 3", AES256, bdk256, ik256, "00000003", "96A1AB5D37CB7CF81DDE64F66C46E0389B833E7AD5F4E44C791F04FAFDA6DA0E", "", ""},
	} {
		ksn := unhex(t, "1234567890123456"+row.ksn)
		ik, err := DUKPTInitialKey(row.kind, row.bdk, ksn)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, row.name+" initial key", ik, unhex(t, row.ik))
		keys, err := DUKPTDerive(row.kind, ik, ksn)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, row.name+" PIN key", keys.PIN, unhex(t, row.pin))
		for what, pair := range map[string]struct {
			got  []byte
			want string
		}{"request": {keys.MACRequest, row.gen}, "response": {keys.MACResponse, row.check}} {
			if pair.want != "" {
				equal(t, row.name+" MAC key for the "+what, pair.got, unhex(t, pair.want))
			}
		}
		keys.Clear()
		if !bytes.Equal(keys.PIN, make([]byte, len(keys.PIN))) {
			t.Error("key not cleared")
		}
	}
}

func TestKSNRefusals(t *testing.T) {
	for _, row := range []struct {
		name string
		kind Kind
		ksn  string
	}{
		{"empty", TDES2, ""},
		{"short", TDES2, "FFFF9876543210E000"},
		{"AES serial number with TDES", TDES2, "123456789012345600000001"},
		{"TDES serial number with AES", AES128, "FFFF9876543210E00001"},
		{"counter zero", TDES2, "FFFF9876543210E00000"},
		{"eleven one bits", TDES2, "FFFF9876543210E007FF"},
		{"AES counter zero", AES128, "123456789012345600000000"},
		{"seventeen one bits", AES256, "12345678901234560001FFFF"},
		{"DES has no DUKPT", DES, "FFFF9876543210E00001"},
	} {
		ik := make([]byte, row.kind.KeySize())
		if _, err := DUKPTInitialKey(row.kind, ik, unhex(t, row.ksn)); !errors.Is(err, ErrKSN) {
			t.Errorf("%s: initial key: %v", row.name, err)
		}
		if _, err := DUKPTDerive(row.kind, ik, unhex(t, row.ksn)); !errors.Is(err, ErrKSN) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	for _, size := range []int{0, 8, 24} {
		if _, err := DUKPTDerive(TDES2, make([]byte, size), unhex(t, "FFFF9876543210E00001")); !errors.Is(err, ErrKeyInvalid) {
			t.Errorf("initial key of %d bytes: %v", size, err)
		}
	}
}

func local(t testing.TB, kind Kind, b []byte) *Local {
	t.Helper()
	l, err := NewLocal(kind, b)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func BenchmarkDUKPT(b *testing.B) {
	for _, row := range []struct {
		name string
		kind Kind
		ksn  string
	}{{"TDES", TDES2, "FFFF9876543210E00155"}, {"AES-128", AES128, "123456789012345600000155"}} {
		b.Run(row.name, func(b *testing.B) {
			ik, ksn := make([]byte, 16), unhex(b, row.ksn)
			for b.Loop() {
				if _, err := DUKPTDerive(row.kind, ik, ksn); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
