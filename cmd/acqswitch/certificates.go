package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/acqswitch/acqswitch/switch/issuer"
)

// certificatesEvery is how often it is looked at when certificates end.
const certificatesEvery = time.Hour

// certificateMarks are the days before its end at which a certificate is told of,
// each once.
var certificateMarks = [...]int{30, 7, 1, 0}

// certificateWatch tells people of certificates that end.
type certificateWatch struct {
	log  *slog.Logger
	told map[string]int // the mark that was told of last, by issuer
}

// watchCertificates looks at the issuers' certificates until ctx ends.
func (a *app) watchCertificates(ctx context.Context) error {
	w := certificateWatch{a.log, map[string]int{}}
	tick := time.NewTicker(certificatesEvery)
	defer tick.Stop()
	for {
		w.look(a.issuers.Status(), time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *certificateWatch) look(all []issuer.Status, now time.Time) {
	for _, s := range all {
		if s.CertificateEnds.IsZero() {
			continue
		}
		mark := -1
		for _, days := range certificateMarks {
			if s.CertificateEnds.Before(now.AddDate(0, 0, days)) {
				mark = days
			}
		}
		told, known := w.told[s.Issuer]
		if mark < 0 {
			delete(w.told, s.Issuer) // it was renewed
			continue
		}
		if known && told == mark {
			continue
		}
		w.told[s.Issuer] = mark
		level := slog.LevelWarn
		if mark <= 1 {
			level = slog.LevelError
		}
		w.log.Log(context.Background(), level, "a certificate of the issuer's links ends: renew it, then SIGHUP", "issuer", s.Issuer, "ends", s.CertificateEnds.UTC(), "days", mark)
	}
}
