package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestNothingTellsASecret provokes the errors of a terminal's and an issuer's
// keys, prints what can be printed, and searches all of it for every secret.
func TestNothingTellsASecret(t *testing.T) {
	eachVault(t, func(t *testing.T, v *Vault) {
		tmkClear, zpkClear := unhex(t, pubTMK), unhex(t, "1F1F2E2E3D3D4C4C5B5B6A6A7979888F")
		tmk := load(t, v, OfTerminal(theTerminal), PurposeTMK, algo.TDES2, tmkClear)
		zpk := load(t, v, theIssuer, PurposeZPK, algo.TDES2, zpkClear)
		kbpk := load(t, v, theIssuer, PurposeKBPK, algo.AES128, zpkClear)
		zmk := load(t, v, theIssuer, PurposeZMK, algo.TDES2, tmkClear)
		de62, keys, err := v.Issue(tmk, theTerminal, KeySetDoubleTrack, IssueOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := takeKeys(t, algo.TDES2, tmkClear, de62, algo.TDES2, algo.DES, algo.TDES2)
		term, err := v.OpenTerminal(keys)
		if err != nil {
			t.Fatal(err)
		}
		zone, err := v.OpenZone(zpk)
		if err != nil {
			t.Fatal(err)
		}
		pan := thePAN.Append(nil)
		block, _ := algo.EncipherPIN(nil, d.tpk, algo.PINISO0, []byte(thePIN), pan)
		clearBlock := bytes.Clone(block)
		d.tpk.Decrypt(clearBlock, clearBlock)
		tpkClear := bytes.Clone(de62[:16])
		master, _ := algo.NewLocal(algo.TDES2, tmkClear)
		master.Decrypt(tpkClear, tpkClear)

		other, _ := txn.ParsePAN("6222021234567765438")
		component := Component{tmkClear, []byte{1, 2, 3, 4}}
		var said strings.Builder
		for _, err := range []error{
			second(term.TranslatePIN(nil, algo.PINISO0, block, &other, zone, algo.PINISO0)),
			second(term.TranslatePIN(nil, algo.PINISO0, clearBlock, &thePAN, zone, algo.PINISO0)),
			second(term.TranslatePIN(nil, algo.PINISO0, block, &thePAN, zone, algo.PINISO4)),
			second(term.TranslatePIN(nil, algo.PINISO4, block, &thePAN, zone, algo.PINISO0)),
			second(term.TranslatePIN(nil, algo.PINISO0, block, &thePAN, zone, algo.PINISO1)),
			second(term.VerifyMAC(algo.MACCUPECB, pan, tmkClear)),
			second(v.Combine(theIssuer, PurposeZMK, algo.TDES2, component, component)),
			second(v.Combine(theIssuer, PurposeZMK, algo.AES256, component, component)),
			second(v.ImportTR31(theIssuer, PurposeZPK, kbpk, "D0112P0AE00E0000"+strings.Repeat(hex.EncodeToString(tmkClear), 3))),
			second(v.ImportTR31(theIssuer, PurposeZPK, kbpk, hex.EncodeToString(tmkClear))),
			second(v.ImportCryptogram(theIssuer, PurposeZPK, algo.TDES2, zmk, zpkClear, []byte{1, 2})),
			second(v.ImportCryptogram(theIssuer, PurposeZPK, algo.TDES2, zpk, tmkClear, tmkClear)),
			second(v.OpenZone(Key{theIssuer, tmkClear})),
			second(v.OpenZone(tmk)),
			second(v.OpenDUKPT(zpk, tmkClear)),
			second(algo.NewLocal(algo.DES, tmkClear)),
			second(algo.DUKPTDerive(algo.TDES2, zpkClear, tmkClear)),
		} {
			if err == nil {
				t.Error("a call that must fail did not")
			}
			fmt.Fprintln(&said, err)
		}
		log := slog.New(slog.NewJSONHandler(&said, nil))
		log.Info("keys", "key", tmk, "sealed", tmk.Sealed, "component", component, "terminal", keys)
		for _, x := range []any{v, tmk, tmk.Sealed, keys, term, zone, component, &component, d.tpk, d.tak} {
			fmt.Fprintf(&said, "%v %+v %#v %s\n", x, x, x, x)
		}
		for name, secret := range map[string][]byte{
			"TMK": tmkClear, "TMK's left half": tmkClear[:8], "ZPK": zpkClear, "TPK": tpkClear,
			"PIN": []byte(thePIN), "clear PIN block": clearBlock, "PIN block": block, "card number": pan,
		} {
			for form, text := range map[string]string{
				"as it is": string(secret), "in hexadecimal": hex.EncodeToString(secret), "in base 64": base64.StdEncoding.EncodeToString(secret),
				"as numbers": strings.Trim(fmt.Sprint(secret), "[]"),
			} {
				if strings.Contains(strings.ToLower(said.String()), strings.ToLower(text)) {
					t.Errorf("%s appears %s", name, form)
				}
			}
		}
		if t.Failed() {
			t.Log(said.String())
		}
		term.Close()
		zone.Close()
		if err := second(term.TranslatePIN(nil, algo.PINISO0, block, &thePAN, zone, algo.PINISO0)); !errors.Is(err, ErrClosed) {
			t.Errorf("closed keys: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// TestLockMemory runs in a process of its own, since it is for the whole of it.
func TestLockMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		if err := LockMemory(); !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
		return
	}
	if os.Getenv("ACQ_TEST_LOCK") != "" {
		if err := LockMemory(); err != nil {
			fmt.Println("refused:", err)
			return
		}
		status, _ := os.ReadFile("/proc/self/status")
		_, locked, _ := strings.Cut(string(status), "VmLck:")
		locked, _, _ = strings.Cut(locked, "\n")
		fmt.Println("locked:", locked)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockMemory$")
	cmd.Env = append(os.Environ(), "ACQ_TEST_LOCK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, locked, ok := strings.Cut(string(out), "locked:")
	locked, _, _ = strings.Cut(locked, "\n")
	switch {
	case ok && strings.TrimSpace(locked) == "0 kB":
		t.Error("memory is not locked, and nobody was told")
	case !ok && !strings.Contains(string(out), "without swap"):
		t.Errorf("refused without saying what to do: %s", out)
	}
}
