package algo

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestPublishedPINVerification(t *testing.T) {
	var f struct {
		Rows []struct {
			Test, PVK, Offset, PAN, PIN, PVKI, Error string
			Table                                    string `json:"conversion_table"`
			From                                     int    `json:"pan_verify_offset"`
			Length                                   int    `json:"pan_verify_length"`
			Pad                                      string `json:"pan_pad"`
			ResultPIN                                string `json:"result_pin"`
			ResultOffset                             string `json:"result_offset"`
			ResultPVV                                string `json:"result_pvv"`
		}
	}
	load(t, "knovichikhin+psec/psec_pin.json", &f)
	one := func(s string) byte { // a field of another length is none at all
		if len(s) != 1 {
			return 0
		}
		return s[0]
	}
	for i, row := range f.Rows {
		name := fmt.Sprintf("row %d %s", i, row.Test)
		kind, pvk := TDES2, unhex(t, testKey)
		if strings.HasSuffix(row.Test, "_exceptions") {
			kind, pvk = DES, unhex(t, row.PVK)
		}
		c, err := NewLocal(kind, pvk)
		if err != nil {
			if row.Error == "" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		p := IBM3624{row.Table, row.From, row.Length, one(row.Pad)}
		var got []byte
		switch strings.TrimSuffix(row.Test, "_exceptions") {
		case "test_generate_ibm3624_pin":
			got, err = p.PIN(c, []byte(row.PAN), []byte(row.Offset))
		case "test_generate_ibm3624_offset":
			got, err = p.Offset(c, []byte(row.PAN), []byte(row.PIN))
		case "test_generate_visa_pvv":
			var pvv [4]byte
			pvv, err = VisaPVV(c, one(row.PVKI), []byte(row.PAN), []byte(row.PIN))
			got = pvv[:]
		default:
			t.Error("no test for", name)
		}
		if row.Error != "" {
			if err == nil {
				t.Errorf("%s: accepted, want %s", name, row.Error)
			}
			continue
		}
		if want := row.ResultPIN + row.ResultOffset + row.ResultPVV; err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%s: %s %v, want %s", name, got, err, want)
		}
	}
	if len(f.Rows) != 65 {
		t.Errorf("%d rows, want 65", len(f.Rows))
	}
	if _, err := VisaPVV(broken{}, '1', []byte(aPAN), []byte("1234")); err == nil {
		t.Error("an AES key was taken for a PVV")
	}
}
