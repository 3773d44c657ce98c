package pos

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/certs/certstest"
	"github.com/acqswitch/acqswitch/switch/transport"
)

// BenchmarkSecured is what TLS costs: a request on a session that stands, and one on
// a connection of its own, as terminals usually make it. Both ends are counted.
func BenchmarkSecured(b *testing.B) {
	ours := certstest.NewAuthority(b)
	s, _ := run(b, Config{Listeners: []Listener{listener(b, "cup-pos", nil), listener(b, "cup-pos", issue(ours))}, InFlightMax: 1}, &desk{})
	l, err := (&certs.Client{CA: ours.File}).Load()
	if err != nil {
		b.Fatal(err)
	}
	resuming := l.TLS.Clone()
	resuming.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, row := range []struct {
		name     string
		listener int
		config   *tls.Config
		stands   bool
	}{
		{"plain", 0, nil, true}, {"TLS", 1, l.TLS, true},
		{"connect/plain", 0, nil, false}, {"connect/resumed", 1, resuming, false}, {"connect/full", 1, l.TLS, false},
	} {
		b.Run(row.name, func(b *testing.B) {
			var conn net.Conn
			for b.Loop() {
				if conn == nil {
					if conn, err = transport.Dial(b.Context(), s.Addrs()[row.listener].String(), nil, row.config, 10*time.Second); err != nil {
						b.Fatal(err)
					}
				}
				if err := ask(conn, 1); err != nil {
					b.Fatal(err)
				}
				if !row.stands {
					conn.Close()
					conn = nil
				}
			}
			if conn != nil {
				conn.Close()
			}
		})
	}
}
