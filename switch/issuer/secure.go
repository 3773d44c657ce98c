package issuer

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// secured is what the links of an issuer are secured with, as its files had it
// when they were read last.
type secured struct {
	config *tls.Config
	ends   time.Time // when it is of no more use
}

// load reads the files; it is nil where the links are plain. An authority that
// ends may stand in the file beside the one that follows it: the last to end
// counts.
func (t *TLSConfig) load(address string) (*secured, error) {
	if t == nil {
		return nil, nil
	}
	text, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("read tls.ca: %w", err)
	}
	host, _, _ := net.SplitHostPort(address)
	s := &secured{config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: or(t.ServerName, host)}}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			s.config.RootCAs.AddCert(cert)
			if cert.NotAfter.After(s.ends) {
				s.ends = cert.NotAfter
			}
		}
	}
	if s.ends.IsZero() {
		return nil, errors.New("read tls.ca: no certificate in " + t.CA)
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read tls.cert and tls.key: %w", err)
		}
		s.config.Certificates = []tls.Certificate{pair}
		s.ends = sooner(s.ends, pair.Leaf.NotAfter)
	}
	return s, nil
}

// sooner is the earlier of two times; a zero one is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// ReloadTLS reads the certificates of all issuers again. Links that stand are not
// touched; the next ones are made with them. Where a file is wrong the old ones
// stay in force, of that issuer.
func (r *Router) ReloadTLS() error {
	var errs []error
	for _, is := range r.issuers {
		s, err := is.cfg.TLS.load(is.cfg.Address)
		if err != nil {
			errs = append(errs, fmt.Errorf("issuer %q: %w", is.name(), err))
			continue
		}
		is.tls.Store(s)
	}
	return errors.Join(errs...)
}

// forIssuer is the configuration of one connection, which notes when the issuer's
// certificate ends.
func (s *secured) forIssuer(is *issuer) *tls.Config {
	config := s.config.Clone()
	config.VerifyConnection = func(state tls.ConnectionState) error {
		is.peerEnds.Store(&state.PeerCertificates[0].NotAfter)
		return nil
	}
	return config
}

// certificateEnds is when the first certificate ends that the links need, ours or
// the issuer's; zero where they are plain.
func (is *issuer) certificateEnds() (ends time.Time) {
	s := is.tls.Load()
	if s == nil {
		return ends
	}
	if peer := is.peerEnds.Load(); peer != nil {
		return sooner(s.ends, *peer)
	}
	return s.ends
}
