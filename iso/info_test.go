package iso

import (
	"strings"
	"testing"
)

// TestInfoParts takes each shape of terminal information apart, masked.
func TestInfoParts(t *testing.T) {
	for _, c := range []struct {
		name  string
		n     int
		value string
		want  string
	}{
		{"DE59", 59, "A2034" + "01002" + "04" + "02003SN1" + "03006890128" + "04003ABC" + "A5013" + "03003460" + "99000",
			"A2 machine=, A2.01 device type=04, A2.02 serial number=SN1, A2.03 random factor=******, A2.04 serial number's ciphertext=***, A5 place=, A5.03 MCC=460, A5.99 ="},
		{"DE59 with lengths of two digits", 59, "1204898617" + "06BD31,1" + "A207" + "0203SN1",
			"12 SIM card=8986, 17 position=BD31,1, A2 machine=, A2.02 serial number=SN1"},
		{"DE57", 57, "A2016" + "05003SN1" + "07003ABC", "A2 machine=, A2.05 serial number=SN1, A2.07 serial number's ciphertext=***"},
		{"DE57 of another use", 57, "ASCII", ""},
		{"DE46", 46, "PI0220402020503SN10703ABC", "04 device type=02, 05 serial number=SN1, 07 serial number's ciphertext=***"},
		{"DE59 cut", 59, "A2099", ""},
		{"DE59, a code cut", 59, "A3099622202123456789", ""},
		{"another field", 63, "A2003abc", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := testBare.Begin(nil, nil, nil, 0x0200)
			e.Bytes(c.n, []byte(c.value))
			frame, err := e.Finish()
			if err != nil {
				t.Fatal(err)
			}
			var m Message
			if err := testBare.Parse(&m, frame); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range Describe(&m, false).Fields[0].Parts {
				got = append(got, p.Tag+" "+p.Name+"="+p.Value)
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("\n got %s\nwant %s", s, c.want)
			}
			for _, p := range Describe(&m, true).Fields[0].Parts {
				if strings.Contains(p.Value, "*") {
					t.Errorf("unmasked: %s is %s", p.Tag, p.Value)
				}
			}
		})
	}
}
