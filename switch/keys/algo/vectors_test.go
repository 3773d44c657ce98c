package algo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// load reads a file of testdata/crypto.
func load(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../testdata/crypto", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// psecRow is one row of the psec files; which fields it has depends on Test.
type psecRow struct {
	Test    string
	Error   string
	Data    string
	Result  string
	Padding int
	Length  int

	BlockLen     int    `json:"block_len"`
	PIN          string `json:"pin"`
	PAN          string `json:"pan"`
	PINBlock     string `json:"pin_block"`
	PINField     string `json:"pin_field"`
	PANField     string `json:"pan_field"`
	Key          string
	KBPK         string
	KB           string
	KBPKLen      int    `json:"kbpk_len"`
	KeyLen       int    `json:"key_len"`
	MaskedKeyLen *int   `json:"masked_key_len"`
	KBLen        int    `json:"kb_len"`
	Version      string `json:"version_id"`
	Usage        string `json:"key_usage"`
	Algorithm    string
	Mode         string `json:"mode_of_use"`
	KeyVersion   string `json:"version_num"`
	Exportable   string `json:"exportability"`
	Header       string
}

func psec(t testing.TB, name string) []psecRow {
	var f struct{ Rows []psecRow }
	load(t, "knovichikhin+psec/"+name, &f)
	if len(f.Rows) == 0 {
		t.Fatal("no rows in", name)
	}
	return f.Rows
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimPrefix(strings.ReplaceAll(s, " ", ""), "hex:"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func key(t testing.TB, kind Kind, s string) *Local {
	t.Helper()
	l, err := NewLocal(kind, unhex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func macKey(t testing.TB, kind Kind, s string) MACKey {
	t.Helper()
	k := MACKey{Whole: key(t, kind, s)}
	if kind == TDES2 {
		k.Left = key(t, DES, s[:16])
	}
	return k
}

func equal(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %X, want %X", what, got, want)
	}
}
