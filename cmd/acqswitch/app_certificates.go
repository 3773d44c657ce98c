package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"
)

// certificatesEvery is how often the ends of certificates are looked at.
const certificatesEvery = time.Hour

// certificateMarks are how many days before a certificate's end people are told of it,
// once at each.
var certificateMarks = [...]int{30, 7, 1, 0}

// certificateWatch logs which certificates end soon.
type certificateWatch struct {
	log  *slog.Logger
	told map[expiring]int // the mark that was told of last; ends is zero
}

// expiring is a link or listener, and when the first certificate that it needs ends;
// zero: it needs none.
type expiring struct {
	what, name string // issuer and its name, or listener and its address
	ends       time.Time
}

// days is how many days are left, the last one whole.
func (x expiring) days(now time.Time) int { return int(math.Ceil(x.ends.Sub(now).Hours() / 24)) }

// note says that it has ended or ends soon; "" where it does not.
func (x expiring) note(now time.Time) string {
	switch days := x.days(now); {
	case x.ends.IsZero() || days > certificateMarks[0]:
		return ""
	case x.ends.Before(now):
		return fmt.Sprintf("a certificate of %s %s has ended: nobody agrees on TLS there", x.what, x.name)
	default:
		return fmt.Sprintf("a certificate of %s %s ends in %s", x.what, x.name, plural(days, "day"))
	}
}

// certificates are those of issuers' links and of what listens.
func (a *app) certificates() (all []expiring) {
	for _, is := range a.issuers.Status() {
		all = append(all, expiring{"issuer", is.Issuer, is.CertificateEnds})
	}
	for i, ends := range a.terminals.CertificateEnds() {
		all = append(all, expiring{"listener", a.cfg.Terminals.Listeners[i].Address, ends})
	}
	if a.adminTLS != nil {
		all = append(all, expiring{"listener", a.cfg.Admin.Address, a.adminTLS.Ends()})
	}
	return all
}

// watchCertificates looks at all certificates until ctx ends.
func (a *app) watchCertificates(ctx context.Context) error {
	w := certificateWatch{a.log, map[expiring]int{}}
	tick := time.NewTicker(certificatesEvery)
	defer tick.Stop()
	for {
		w.look(a.certificates(), time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *certificateWatch) look(all []expiring, now time.Time) {
	for _, x := range all {
		if x.ends.IsZero() {
			continue
		}
		mark, whose := -1, expiring{what: x.what, name: x.name}
		for _, days := range certificateMarks {
			if x.ends.Before(now.AddDate(0, 0, days)) {
				mark = days
			}
		}
		told, known := w.told[whose]
		if mark < 0 {
			delete(w.told, whose) // it was renewed
			continue
		}
		if known && told == mark {
			continue
		}
		w.told[whose] = mark
		level := slog.LevelWarn
		if mark <= 1 {
			level = slog.LevelError
		}
		w.log.Log(context.Background(), level, "a certificate ends: renew it, then SIGHUP", x.what, x.name, "ends", x.ends.UTC(), "days", x.days(now))
	}
}
