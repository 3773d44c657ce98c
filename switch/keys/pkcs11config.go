package keys

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"
)

// PKCS11Config says which hardware security module holds the keys and how.
type PKCS11Config struct {
	Module     string        // path of the maker's PKCS#11 library
	TokenLabel string        // label of the token to use
	PINFile    string        // file (0600) with the user's PIN; never the PIN itself
	PINEnv     string        // instead of PINFile: the environment variable that holds it
	LMKLabel   string        // label of the local master keys on the token, acqswitch-lmk by default
	CreateLMK  bool          // make the local master keys when the token has none: once, at the ceremony
	Sessions   int           // sessions, and so calls at a time, 8 by default
	Timeout    time.Duration // a call waits this long, for a session and for its end, 2 s by default
}

// pin reads the PIN. The caller clears it.
func (c *PKCS11Config) pin() ([]byte, error) {
	if c.PINFile != "" {
		return readSecret(c.PINFile)
	}
	pin, ok := os.LookupEnv(c.PINEnv)
	if !ok || pin == "" {
		return nil, fmt.Errorf("environment variable %s holds no PIN", c.PINEnv)
	}
	return []byte(pin), nil
}

const pkcs11SessionsMax = 256

func (c *PKCS11Config) validate() error {
	c.LMKLabel = cmp.Or(c.LMKLabel, "acqswitch-lmk")
	c.Sessions = cmp.Or(c.Sessions, 8)
	c.Timeout = cmp.Or(c.Timeout, 2*time.Second)
	switch {
	case c.Module == "":
		return errors.New("module must be the path of a PKCS#11 library")
	case c.TokenLabel == "":
		return errors.New("token label must name a token")
	case (c.PINFile == "") == (c.PINEnv == ""):
		return errors.New("PIN file must be the path of a file with the user's PIN, or else PIN variable the name of an environment variable that holds it")
	case c.Sessions < 1 || c.Sessions > pkcs11SessionsMax:
		return fmt.Errorf("sessions must be 1 to %d", pkcs11SessionsMax)
	case c.Timeout < time.Millisecond || c.Timeout > time.Minute:
		return errors.New("timeout must be 1 ms to 1 min")
	}
	return nil
}
