//go:build cgo

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// softHSM makes a token of SoftHSM2 in dir and returns the module's path and the
// environment that finds the token. .ci/softhsm.sh installs it.
func softHSM(t *testing.T, dir string) (module string, env []string) {
	t.Helper()
	for _, path := range []string{os.Getenv("ACQ_TEST_PKCS11_MODULE"), "/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); path != "" && err == nil {
			module = path
			break
		}
	}
	if _, err := exec.LookPath("softhsm2-util"); err != nil || module == "" {
		t.Fatal("SoftHSM2 is missing; install it with: apt-get install softhsm2")
	}
	write(t, dir, "softhsm2.conf", fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir))
	env = []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf")}
	cmd := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "acqswitch test", "--pin", "47119", "--so-pin", "47119")
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make a token: %v: %s", err, out)
	}
	return module, env
}

// With a module for its vault the switch gives terminals keys and trades with
// them, over a restart; and says what a module cannot do.
func TestHardwareVault(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("the switch ended with %d", code)
	}
	module, env := softHSM(t, t.TempDir())
	config, err := os.ReadFile(filepath.Join(s.dir, "acqswitch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	vault := func(more string) {
		write(t, s.dir, "acqswitch.yaml", string(config)+fmt.Sprintf("vault: {kind: pkcs11, module: %q, token: acqswitch test, timeout: 20s, %s}\n", module, more))
	}
	s.env = append(env, "TEST_PIN=47119")
	keys := func(stdin string, args ...string) result {
		t.Helper()
		return acqswitch(t, s.dir, s.env, stdin, append([]string{"keys"}, append(args, "--config", "acqswitch.yaml")...)...)
	}
	vault("pin_env: TEST_PIN")
	keys("", "list").check(t, exitFailed, "", "token has no local master key")
	vault("pin_env: TEST_NO_PIN")
	keys("", "list").check(t, exitFailed, "", "environment variable TEST_NO_PIN holds no PIN")
	vault("pin_env: TEST_PIN, create_lmk: true")
	keys("", "list").check(t, exitOK, "OWNER", "")
	vault("pin_env: TEST_PIN")

	write(t, s.dir, "secured.yaml", strings.Replace(registryText, "mac: none", "mac: cup-ecb", 1))
	s.cli("registry", "import", "--config", "acqswitch.yaml", "secured.yaml").check(t, exitOK, "", "")
	keys(testTMKComponents, "load-terminal", "10000001").check(t, exitOK, "08D7B4FB", "")
	zpk, kcv := testKey(t, algo.TDES2, 40)
	keys(components(t, algo.TDES2, zpk), "load-issuer", "east").check(t, exitOK, kcv, "")
	kbpk, _ := testKey(t, algo.AES256, 41)
	keys(components(t, algo.AES256, kbpk), "load-kbpk", "factory", "--kind", "aes256").check(t, exitOK, "", "")
	keys("", "list").check(t, exitOK, "terminal 10000001", "")
	keys("", "export", "terminal", "10000001", "--kbpk", "factory").check(t, exitFailed, "", "keys do not leave the module")
	bdk, _ := testKey(t, algo.TDES2, 42)
	keys(components(t, algo.TDES2, bdk), "load-bdk", "FFFF987654").check(t, exitFailed, "", "this kind of key vault cannot do that")
	keys(components(t, algo.SM4, bdk), "load-terminal", "10000001", "--kind", "sm4").check(t, exitUsage, "", "PKCS#11 has no SM4 keys")

	pin := write(t, s.dir, "pin", "47119\n")
	if err := os.Chmod(pin, 0o600); err != nil {
		t.Fatal(err)
	}
	vault("pin_file: pin")
	for stan := range 2 {
		s.start()
		s.terminal(testTMK, "sale", "--amount", "12.50", "--card", testPAN, "--stan", fmt.Sprint(10*stan+1)).check(t, exitOK, "approved: code 00", "")
		if code := s.server.stop(syscall.SIGTERM); code != exitOK {
			t.Fatalf("the switch ended with %d", code)
		}
	}
	log, err := os.ReadFile(s.server.log)
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range map[string]string{"PIN": "47119", "master key": testTMK, "card": testPAN} {
		if strings.Contains(string(log), secret) {
			t.Errorf("the log holds the %s", what)
		}
	}
}
