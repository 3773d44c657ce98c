package txn

import "errors"

// ErrMAC says that a message is not what its sender sent, or that the sender has another key than
// we: it is as if it had not come.
var ErrMAC = errors.New("MAC (field 64 or 128) is missing or not the message's")

// NewKey is a working key as an issuer sends it, enciphered under the key for that (ZMK).
type NewKey struct {
	MAC        bool // for MACs; else for PINs
	SM4        bool // else DES or TDES, as long as it is
	Cryptogram []byte
	CheckValue []byte // empty where the MAC of its message is proof instead
}
