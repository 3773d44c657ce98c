package keys

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// The published chain of keys: its PIN and MAC key come under the ZMK, and are what their
// check values say.
func TestCryptograms(t *testing.T) {
	var f struct {
		Parts []string `json:"zmk_parts"`
		PIK   string   `json:"pik_enc"`
		PIKCV string   `json:"pik_kcv"`
		MAK   string   `json:"mak_enc"`
		MAKCV string   `json:"mak_kcv"`
	}
	text, err := os.ReadFile("../../testdata/crypto/Ajsgn+Java8583/ajsgn_x919_chain.json")
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	clearZMK := unhex(t, f.Parts[0])
	subtle.XORBytes(clearZMK, clearZMK, unhex(t, f.Parts[1]))
	pik, pikKCV := unhex(t, f.PIK), unhex(t, f.PIKCV)
	eachVault(t, func(t *testing.T, v *Vault) {
		zmk := load(t, v, theIssuer, PurposeZMK, algo.TDES2, clearZMK)
		zpk, err := v.ImportCryptogram(theIssuer, PurposeZPK, algo.TDES2, zmk, pik, pikKCV)
		if err != nil {
			t.Fatal(err)
		}
		zak, err := v.ImportCryptogram(theIssuer, PurposeZAK, algo.TDES2, zmk, unhex(t, f.MAK), unhex(t, f.MAKCV))
		if err != nil {
			t.Fatal(err)
		}
		received, err := v.Receive(theIssuer, PurposeZPK, algo.TDES2, zmk, pik)
		if err != nil {
			t.Fatal(err)
		}
		for what, row := range map[string]struct {
			k    Key
			same bool
			want error
		}{
			"itself": {zpk, true, nil}, "a key for another use": {zak, false, ErrPurpose},
			"another": {load(t, v, theIssuer, PurposeZPK, algo.TDES2, clearZMK), false, nil}, "another kind": {load(t, v, theIssuer, PurposeZPK, algo.AES128, clearZMK), false, nil},
		} {
			if same, err := received.Is(row.k); same != row.same || !errors.Is(err, row.want) {
				t.Errorf("%s: %v, %v", what, same, err)
			}
		}
		local, _ := algo.NewLocal(algo.TDES2, decipher(t, clearZMK, pik))
		want, _ := algo.MACX99.MAC(algo.MACKey{Whole: local}, pik)
		if got, err := received.MAC(algo.MACX99, pik); err != nil || got != want {
			t.Errorf("its MAC: %X, %v, want %X", got, err, want)
		}
		received.Close()
		if !bytes.Equal(received.clear, make([]byte, 16)) {
			t.Error("a closed key is still there")
		}
		zone, err := v.OpenZone(zpk)
		if err != nil {
			t.Fatal(err)
		}
		zone.Close()
		mac, err := v.OpenZoneMAC(zak)
		if err != nil {
			t.Fatal(err)
		}
		mac.Close()
		if info, _ := zpk.Sealed.Info(); !bytes.Equal(info.KCV[:], pikKCV) {
			t.Errorf("KCV %v, want %X", info.KCV, pikKCV)
		}
		single, err := v.ImportCryptogram(theIssuer, PurposeZAK, algo.DES, zmk, pik[:8], kcv(t, algo.DES, decipher(t, clearZMK, pik[:8])))
		if err != nil {
			t.Fatal(err)
		}
		if mac, err = v.OpenZoneMAC(single); err != nil {
			t.Fatal(err)
		}
		mac.Close()

		others := load(t, v, "issuer west", PurposeZMK, algo.TDES2, clearZMK)
		kbpk := load(t, v, theIssuer, PurposeKBPK, algo.TDES2, clearZMK)
		long := append(bytes.Clone(pik), pik[:8]...)
		for name, row := range map[string]struct {
			purpose    Purpose
			kind       algo.Kind
			zmk        Key
			cryptogram []byte
			kcv        []byte
			want       error
		}{
			"a wrong check value":          {PurposeZPK, algo.TDES2, zmk, pik, []byte{1, 2, 3, 4}, ErrCheckValue},
			"no check value":               {PurposeZPK, algo.TDES2, zmk, pik, nil, ErrCheckValue},
			"a check value of one byte":    {PurposeZPK, algo.TDES2, zmk, pik, pikKCV[:1], ErrCheckValue},
			"another's ZMK":                {PurposeZPK, algo.TDES2, others, pik, pikKCV, ErrPurpose},
			"a key for key blocks":         {PurposeZPK, algo.TDES2, kbpk, pik, pikKCV, ErrPurpose},
			"a PIN key":                    {PurposeZPK, algo.TDES2, zpk, pik, pikKCV, ErrPurpose},
			"a key that is not the issuer": {PurposeTMK, algo.TDES2, zmk, pik, pikKCV, ErrPurpose},
			"a ZMK":                        {PurposeZMK, algo.TDES2, zmk, pik, pikKCV, ErrPurpose},
			"a strong key under a weak":    {PurposeZPK, algo.TDES3, zmk, long, pikKCV, ErrPurpose},
			"a key that is cut off":        {PurposeZPK, algo.TDES2, zmk, pik[:8], pikKCV, ErrPurpose},
			"a key that is too long":       {PurposeZPK, algo.TDES2, zmk, long, pikKCV, ErrPurpose},
		} {
			k, err := v.ImportCryptogram(theIssuer, row.purpose, row.kind, row.zmk, row.cryptogram, row.kcv)
			if err == nil || k.Sealed != nil || row.want != nil && !errors.Is(err, row.want) {
				t.Errorf("%s: %v, want %v", name, err, row.want)
			}
		}
		if v.isHSM() {
			return
		}
		sm4 := load(t, v, theIssuer, PurposeZMK, algo.SM4, clearZMK)
		local, err = algo.NewLocal(algo.SM4, clearZMK)
		if err != nil {
			t.Fatal(err)
		}
		sent := bytes.Clone(pik)
		local.Encrypt(sent, sent)
		if _, err := v.ImportCryptogram(theIssuer, PurposeZPK, algo.SM4, sm4, sent, kcv(t, algo.SM4, pik)); err != nil {
			t.Errorf("SM4: %v", err)
		}
		if _, err := v.ImportCryptogram(theIssuer, PurposeZAK, algo.DES, sm4, sent[:8], pikKCV); !errors.Is(err, ErrPurpose) {
			t.Errorf("half a block: %v", err)
		}
	})
}

func decipher(t *testing.T, zmk, cryptogram []byte) []byte {
	t.Helper()
	k, err := algo.NewLocal(algo.TDES2, zmk)
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.Clone(cryptogram)
	k.Decrypt(out, out)
	return out
}
