// Package certs makes TLS of PEM files: for connections that are dialed, to an
// issuer or a switch, and for those that are accepted, from terminals.
//
// Promises: TLS 1.2 at least (PCI DSS 4.2.1); a peer is verified by the authorities
// of a file and by no others, the system's store is not asked; a file that is wrong
// is named by its key in the configuration. Not here: when files are read again, and
// who is told that a certificate ends.
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// Client names the files of connections that we dial.
type Client struct {
	// CA verifies the peer; required.
	CA string `yaml:"ca"`
	// Cert and Key are ours, for peers that want one.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ServerName is the name in the peer's certificate. Default: its address's host.
	ServerName string `yaml:"server_name"`
}

// Validate names the first key that cannot work, and why. It reads no file.
func (c *Client) Validate() error {
	switch {
	case c.CA == "":
		return errors.New("tls.ca must name the file of the peer's authority")
	case (c.Cert == "") != (c.Key == ""):
		return errors.New("tls.key must be given together with tls.cert")
	}
	return nil
}

// Server names the files of connections that we accept.
type Server struct {
	// Cert and Key are ours; required.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// CA verifies who connects: without a certificate of its authorities nobody is
	// let in. Empty: nobody is asked for one.
	CA string `yaml:"ca"`
}

// Validate names the first key that cannot work, and why. It reads no file.
func (s *Server) Validate() error {
	switch {
	case s.Cert == "":
		return errors.New("tls.cert must name the file of our certificate")
	case s.Key == "":
		return errors.New("tls.key must be given together with tls.cert")
	}
	return nil
}

// Files are the paths, so that a caller can make them absolute.
func (c *Client) Files() []*string { return []*string{&c.CA, &c.Cert, &c.Key} }

// Files are the paths, so that a caller can make them absolute.
func (s *Server) Files() []*string { return []*string{&s.Cert, &s.Key, &s.CA} }

// Loaded is what the files had when they were read.
type Loaded struct {
	TLS *tls.Config
	// Ends is when the first certificate ends without which nothing works. An
	// authority that ends may stand in its file beside the one that follows it, so of
	// authorities the last to end counts.
	Ends time.Time
}

// Load reads the files.
func (c *Client) Load() (*Loaded, error) {
	l := &Loaded{TLS: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}}
	var err error
	if l.TLS.RootCAs, err = l.authorities(c.CA); err != nil {
		return nil, err
	}
	if c.Cert == "" {
		return l, nil
	}
	return l, l.pair(c.Cert, c.Key)
}

// Load reads the files.
func (s *Server) Load() (*Loaded, error) {
	l := &Loaded{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}
	if err := l.pair(s.Cert, s.Key); err != nil || s.CA == "" {
		return l, err
	}
	l.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	var err error
	l.TLS.ClientCAs, err = l.authorities(s.CA)
	return l, err
}

// Reload is Load of files that are to follow those in force.
func (c *Client) Reload() (*Loaded, error) { return following(c.Load()) }

// Reload is Load of files that are to follow those in force.
func (s *Server) Reload() (*Loaded, error) { return following(s.Load()) }

// following refuses a certificate of ours that is not valid now: whoever is let in by the
// one that it would replace would be let in no more.
func following(l *Loaded, err error) (*Loaded, error) {
	if err != nil || len(l.TLS.Certificates) == 0 {
		return l, err
	}
	leaf := l.TLS.Certificates[0].Leaf
	switch now := time.Now(); {
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("tls.cert is not valid before %s", leaf.NotBefore.Format(time.RFC3339))
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("tls.cert has ended, on %s", leaf.NotAfter.Format(time.RFC3339))
	}
	return l, nil
}

// authorities reads the certificates of a file that sign those of peers.
func (l *Loaded) authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read tls.ca: %w", err)
	}
	pool, last := x509.NewCertPool(), time.Time{}
	blocks := bytes.Count(text, []byte("-----BEGIN "))
	for n := 1; n <= blocks; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, fmt.Errorf("read tls.ca: %s is cut off or damaged in part %d of %d", file, n, blocks)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read tls.ca: part %d of %s: %w", n, file, err)
		case cert.Version == 3 && !(cert.BasicConstraintsValid && cert.IsCA) && !bytes.Equal(cert.RawIssuer, cert.RawSubject):
			// It would be believed itself, and nobody whom its authority signed for.
			return nil, fmt.Errorf("read tls.ca: part %d of %s is a certificate of %q, which is no authority", n, file, cert.Subject)
		}
		pool.AddCert(cert)
		if cert.NotAfter.After(last) {
			last = cert.NotAfter
		}
	}
	if last.IsZero() {
		return nil, errors.New("read tls.ca: no certificate in " + file)
	}
	l.Ends = Sooner(l.Ends, last)
	return pool, nil
}

// pair reads a certificate of ours and its key.
func (l *Loaded) pair(cert, key string) error {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("read tls.cert and tls.key: %w", err)
	}
	l.TLS.Certificates = []tls.Certificate{pair}
	l.Ends = Sooner(l.Ends, pair.Leaf.NotAfter)
	return nil
}

// Sooner is the earlier of two times; a zero one is none.
func Sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
