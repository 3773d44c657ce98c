package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// serveAdmin answers operators until ctx ends.
func (a *app) serveAdmin(ctx context.Context) error {
	l := a.admin
	if a.adminTLS != nil {
		l = tls.NewListener(l, a.adminTLS.TLS())
	}
	return serveHTTP(ctx, l, a.telemetry.Handler(a.notReady), figuresStopMax, a.log)
}

// figuresStopMax is how long whoever reads figures may hold up a stop, and an upgrade.
const figuresStopMax = 100 * time.Millisecond

// serveHTTP serves until ctx ends, and what was asked before then for as long as stopMax:
// what a handler uses stops after it. What is wrong with a connection is its peer's matter
// and said to debuggers alone.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, stopMax time.Duration, log *slog.Logger) error {
	srv := &http.Server{
		Handler:      h,
		ReadTimeout:  5 * time.Second,
		WriteTimeout: 20 * time.Second, // more than figures may take
		IdleTimeout:  time.Minute,
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(ended)
		late, cancel := context.WithTimeout(context.Background(), stopMax)
		defer cancel()
		if srv.Shutdown(late) != nil {
			srv.Close()
		}
	})()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-ended
	return nil
}

// notReady says why sales cannot be made now, or nothing.
func (a *app) notReady(context.Context) error {
	for _, is := range a.issuers.Status() {
		if is.Up > 0 {
			return nil
		}
	}
	return errors.New("no issuer link is up")
}
