package issuer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
)

// ReloadTLS reads the certificates of all issuers again. Links that stand are not
// touched; the next ones are made with them. Where a file is wrong the old ones
// stay in force, of that issuer.
func (r *Router) ReloadTLS() error {
	var errs []error
	for _, is := range r.issuers {
		if is.cfg.TLS == nil {
			continue
		}
		s, err := is.cfg.TLS.Reload()
		if err != nil {
			errs = append(errs, fmt.Errorf("issuer %q: %w", is.name(), err))
			continue
		}
		is.tls.Store(s)
	}
	return errors.Join(errs...)
}

// secured is the configuration of one connection, which notes when the issuer's
// certificate ends; nil where the links are plain.
func (is *issuer) secured() *tls.Config {
	s := is.tls.Load()
	if s == nil {
		return nil
	}
	config := s.TLS.Clone()
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
		return certs.Sooner(s.Ends, *peer)
	}
	return s.Ends
}
