// Package certstest makes authorities and certificates for tests.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	File string // of its own certificate

	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one that ends in an hour.
func NewAuthority(t testing.TB) *Authority {
	a := &Authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, time.Now().Add(time.Hour))
	a.File = a.write("CERTIFICATE", a.cert.Raw)
	return a
}

// Issue makes a certificate for 127.0.0.1 and its key, for both ends of a
// connection, that ends in half an hour.
func (a *Authority) Issue() (cert, key string) { return a.IssueUntil(time.Now().Add(time.Hour / 2)) }

// IssueUntil makes one that ends at an instant, and begins 100 days before or has begun.
func (a *Authority) IssueUntil(ends time.Time) (cert, key string) {
	a.t.Helper()
	c, k := a.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, ends)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	a.must(err)
	return a.write("CERTIFICATE", c.Raw), a.write("PRIVATE KEY", der)
}

// sign completes a certificate and signs it, with its own key where a has none.
func (a *Authority) sign(of *x509.Certificate, ends time.Time) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	a.must(err)
	of.SerialNumber, of.Subject = number, pkix.Name{CommonName: "test " + number.String()}
	of.NotBefore, of.NotAfter = time.Now().Add(-2*time.Hour), ends
	if ends.After(time.Now().Add(100 * 24 * time.Hour)) { // one that is made for next year
		of.NotBefore = ends.Add(-100 * 24 * time.Hour)
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = of, key
	}
	der, err := x509.CreateCertificate(rand.Reader, of, parent, key.Public(), by)
	a.must(err)
	cert, err := x509.ParseCertificate(der)
	a.must(err)
	return cert, key
}

func (a *Authority) write(kind string, der []byte) string {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "file.pem")
	a.must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

func (a *Authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}
