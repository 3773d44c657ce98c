package txn

// NewKey is a working key as an issuer sends it, enciphered under the key for that (ZMK).
type NewKey struct {
	MAC        bool // for MACs; else for PINs
	SM4        bool // else DES or TDES, as long as it is
	Cryptogram []byte
	CheckValue []byte // empty where the MAC of its message is proof instead
}
