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
	return serveHTTP(ctx, l, a.telemetry.Handler(a.notReady), a.log)
}

// serveHTTP serves until ctx ends. What is wrong with a connection is its peer's matter
// and said to debuggers alone.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:      h,
		ReadTimeout:  5 * time.Second,
		WriteTimeout: 20 * time.Second, // more than figures may take
		IdleTimeout:  time.Minute,
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		srv.Shutdown(late)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
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
