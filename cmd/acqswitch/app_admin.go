package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// serveAdmin answers operators until ctx ends.
func (a *app) serveAdmin(ctx context.Context) error {
	return serveHTTP(ctx, a.admin, a.telemetry.Handler(a.notReady))
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:      h,
		ReadTimeout:  5 * time.Second,
		WriteTimeout: 20 * time.Second, // more than figures may take
		IdleTimeout:  time.Minute,
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
