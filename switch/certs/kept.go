package certs

import (
	"crypto/tls"
	"sync/atomic"
	"time"
)

// Kept are the certificates of connections that we accept, as their files were last
// read. It is safe for concurrent use.
type Kept struct {
	files  *Server
	terms  *tls.Config // of every connection; asks for what is loaded
	loaded atomic.Pointer[Loaded]
}

// Keep reads the files for the first time.
func (s *Server) Keep() (*Kept, error) {
	loaded, err := s.Load()
	if err != nil {
		return nil, err
	}
	k := &Kept{files: s}
	k.loaded.Store(loaded)
	k.terms = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return k.loaded.Load().TLS, nil
	}}
	return k, nil
}

// TLS is one configuration for all connections, each with the certificates that were
// read last before it began. It has the keys of their tickets: a terminal that connects
// for each request, as is usual, resumes its last session.
func (k *Kept) TLS() *tls.Config { return k.terms }

// Reload reads the files again, for the connections that begin from then on. After an
// error the certificates are those of before.
func (k *Kept) Reload() error {
	loaded, err := k.files.Reload()
	if err == nil {
		k.loaded.Store(loaded)
	}
	return err
}

// Ends is when the first of the certificates ends that connections need.
func (k *Kept) Ends() time.Time { return k.loaded.Load().Ends }
