//go:build cgo

package keys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

func init() { openers["pkcs11"] = hsmVault }

// A library is initialized once per process and reads its tokens then, so all
// tests share one token and take a local master key each.
var softHSM = sync.OnceValues(func() (module string, err error) {
	for _, path := range []string{os.Getenv("ACQ_TEST_PKCS11_MODULE"), "/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); path != "" && err == nil {
			module = path
			break
		}
	}
	if _, err := exec.LookPath("softhsm2-util"); err != nil || module == "" {
		return "", errors.New("SoftHSM2 is missing; install it with: apt-get install softhsm2")
	}
	dir, err := os.MkdirTemp("", "acqswitch-softhsm-")
	if err != nil {
		return "", err
	}
	softHSMDir = dir
	conf := filepath.Join(dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir)
	os.Setenv("SOFTHSM2_CONF", conf)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return "", err
	}
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "acqswitch test", "--pin", "47119", "--so-pin", "47119").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make a token: %w: %s", err, out)
	}
	return module, nil
})

var (
	softHSMDir string
	lmkLabels  atomic.Int32
)

func TestMain(m *testing.M) {
	code := m.Run()
	if softHSMDir != "" {
		os.RemoveAll(softHSMDir)
	}
	os.Exit(code)
}

// hsmConfig says how to open the token with a local master key of its own.
func hsmConfig(t testing.TB) PKCS11Config {
	t.Helper()
	module, err := softHSM()
	if err != nil {
		t.Fatal(err)
	}
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte("47119\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return PKCS11Config{Module: module, TokenLabel: "acqswitch test", PINFile: pin,
		LMKLabel: fmt.Sprint("lmk", lmkLabels.Add(1)), CreateLMK: true, Sessions: 4, Timeout: 10 * time.Second}
}

func hsmVault(t testing.TB) *Vault {
	t.Helper()
	v, err := OpenPKCS11(hsmConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestPKCS11Configuration(t *testing.T) {
	good := hsmConfig(t)
	for want, change := range map[string]func(*PKCS11Config){
		"module must be":        func(c *PKCS11Config) { c.Module = "" },
		"is no PKCS#11 library": func(c *PKCS11Config) { c.Module = "/dev/null" },
		"token label must":      func(c *PKCS11Config) { c.TokenLabel = "" },
		"none has that label":   func(c *PKCS11Config) { c.TokenLabel = "nobody" },
		"PIN file must":         func(c *PKCS11Config) { c.PINFile = "" },
		"or else PIN variable":  func(c *PKCS11Config) { c.PINEnv = "HOME" },
		"holds no PIN":          func(c *PKCS11Config) { c.PINFile, c.PINEnv = "", "ACQ_TEST_NO_SUCH_VARIABLE" },
		"no such file":          func(c *PKCS11Config) { c.PINFile += "x" },
		"sessions must":         func(c *PKCS11Config) { c.Sessions = 1000 },
		"timeout must":          func(c *PKCS11Config) { c.Timeout = time.Hour },
		"no local master key":   func(c *PKCS11Config) { c.CreateLMK = false },
		"CKR_PIN_INCORRECT":     func(c *PKCS11Config) { os.WriteFile(c.PINFile+"w", []byte("1234"), 0o600); c.PINFile += "w" },
		"others may read it":    func(c *PKCS11Config) { os.WriteFile(c.PINFile+"r", []byte("47119"), 0o644); c.PINFile += "r" },
	} {
		c := good
		change(&c)
		v, err := OpenPKCS11(c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "47119") {
			t.Errorf("%v, want %q", err, want)
		}
		if err == nil {
			v.Close()
		}
	}
}

// TestPKCS11KeysOutliveTheProcess opens the same token again.
func TestPKCS11KeysOutliveTheProcess(t *testing.T) {
	cfg := hsmConfig(t)
	v, err := OpenPKCS11(cfg)
	if err != nil {
		t.Fatal(err)
	}
	zpk, err := v.Generate(theIssuer, PurposeZPK, algo.AES256)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.CreateLMK = false
	if v, err = OpenPKCS11(cfg); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	z, err := v.OpenZone(zpk)
	if err != nil {
		t.Fatal(err)
	}
	z.Close()
	if _, err := hsmVault(t).OpenZone(zpk); !errors.Is(err, ErrSealedKey) {
		t.Errorf("under another master key: %v", err)
	}
}

// TestF87PKCS11Lost closes the sessions behind the vault's back, as a module that
// restarts does: calls fail, none is answered by anything else, and opened
// keys work again once the connection is back.
func TestF87PKCS11Lost(t *testing.T) {
	v := hsmVault(t)
	tmkClear := unhex(t, pubTMK)
	tmk := load(t, v, OfTerminal(theTerminal), PurposeTMK, algo.TDES2, tmkClear)
	de62, keys, err := v.Issue(tmk, theTerminal, KeySetDouble, IssueOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	term, err := v.OpenTerminal(keys)
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	d := takeKeys(t, algo.TDES2, tmkClear, de62, algo.TDES2, algo.DES)
	message := []byte("0200")
	mac, _ := algo.MACCUPECB.MAC(d.tak, message)
	m := v.engine.(*hsm).module
	slot, err := m.slot()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ctx.CloseAllSessions(slot); err != nil {
		t.Fatal(err)
	}
	if _, err := term.VerifyMAC(algo.MACCUPECB, message, mac[:]); !errors.Is(err, ErrDown) {
		t.Fatalf("without a connection: %v, want ErrDown", err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := term.VerifyMAC(algo.MACCUPECB, message, mac[:])
		if err == nil {
			break
		}
		if !errors.Is(err, ErrDown) || time.Now().After(end) {
			t.Fatalf("after the loss: %v", err)
		}
	}
}

// TestF87PKCS11Hangs blocks every session, as a module that does not answer.
func TestF87PKCS11Hangs(t *testing.T) {
	v := hsmVault(t)
	h := v.engine.(*hsm)
	zpk, err := v.Generate(theIssuer, PurposeZPK, algo.TDES2)
	if err != nil {
		t.Fatal(err)
	}
	h.module.cfg.Timeout = 200 * time.Millisecond
	release := make(chan struct{})
	for range h.module.cfg.Sessions {
		_, err := h.module.do(func(session) ([]byte, error) { <-release; return nil, nil })
		if !errors.Is(err, ErrDown) || !strings.Contains(err.Error(), "no answer within") {
			t.Errorf("a call that hangs: %v", err)
		}
	}
	h.module.cfg.Timeout = time.Minute
	start := time.Now()
	if _, err := v.OpenZone(zpk); !errors.Is(err, ErrDown) || !strings.Contains(err.Error(), "none of 4 sessions answers") {
		t.Errorf("all sessions hang: %v", err)
	}
	if took := time.Since(start); took > h.module.cfg.Timeout/2 {
		t.Errorf("refused after %v", took)
	}
	close(release)
	h.module.cfg.Timeout = 10 * time.Second
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		z, err := v.OpenZone(zpk)
		if err == nil {
			z.Close()
			break
		}
		if !errors.Is(err, ErrDown) || time.Now().After(end) {
			t.Fatalf("when it answers again: %v", err)
		}
	}
}

// TestPKCS11KeepsKeysInside asks the module for what it must not give.
func TestPKCS11KeepsKeysInside(t *testing.T) {
	v := hsmVault(t)
	zpk, err := v.Generate(theIssuer, PurposeZPK, algo.TDES2)
	if err != nil {
		t.Fatal(err)
	}
	z, err := v.OpenZone(zpk)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	h := v.engine.(*hsm)
	h.module.do(func(s session) ([]byte, error) {
		wrap, bind, err := s.lmk(h.label)
		if err != nil {
			t.Error(err)
		}
		for name, o := range map[string]pkcs11.ObjectHandle{"wrap": wrap, "bind": bind, "zpk": z.zpk.(*hsmKey).object} {
			if a, err := s.ctx.GetAttributeValue(s.handle, o, template{attr(pkcs11.CKA_VALUE, nil)}); err == nil {
				t.Errorf("%s: the module gives %d bytes", name, len(a[0].Value))
			}
			if _, err := s.wrap(h.label, o); err == nil {
				t.Errorf("%s: the module wraps it again", name)
			}
		}
		return nil, nil
	})
}
