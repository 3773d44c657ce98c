//go:build !cgo

package keys

import "fmt"

// OpenPKCS11 needs a program built with cgo, since a module is a C library.
func OpenPKCS11(PKCS11Config) (*Vault, error) {
	return nil, fmt.Errorf("open the PKCS#11 vault: %w: this program was built without cgo; build it with CGO_ENABLED=1 and a C compiler", ErrUnsupported)
}
