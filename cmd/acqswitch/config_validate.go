package main

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// validate names the first key that cannot work, and why.
func (c *config) validate() error {
	t, r := &c.Terminals, &c.Reversals
	for _, rule := range [...]struct {
		key string
		err error
	}{
		{"acquirer", func() error { _, err := txn.ParseAcquirer(c.Acquirer); return err }()},
		{"node", between(c.Node, 0, 1023)},
		{"data_dir", needed(c.DataDir)},
		{"zone, cut_over", func() error { _, err := c.businessDay(); return err }()},
		{"answer_within", between(c.AnswerWithin, time.Millisecond, txn.PatienceDefault)},
		{"in_flight_max", atLeast(c.InFlightMax, 1)},
		{"terminals.listeners", func() error { _, err := c.listeners(); return err }()},
		{"terminals.sessions_max", atLeast(t.SessionsMax, 1)},
		{"terminals.sessions_per_address_max", atLeast(t.SessionsPerAddressMax, 0)},
		{"terminals.in_flight_max", atLeast(t.InFlightMax, 1)},
		{"terminals.rate", between(t.Rate, 0, 1_000_000)},
		{"terminals.burst", between(t.Burst, 1, 1_000_000)},
		{"terminals.frame_deadline", atLeast(t.FrameDeadline, time.Millisecond)},
		{"terminals.write_deadline", atLeast(t.WriteDeadline, time.Millisecond)},
		{"terminals.idle_max", atLeast(t.IdleMax, time.Millisecond)},
		{"terminals.drain_within", func() error {
			if t.DrainWithin < c.AnswerWithin {
				return fmt.Errorf("%v must be at least answer_within, %v, or a stop cuts off requests that still have time", t.DrainWithin, c.AnswerWithin)
			}
			return nil
		}()},
		{"recorder.percent", func() error {
			if p := c.Recorder.Percent; !(p >= 0 && p <= 100) {
				return fmt.Errorf("%v must be 0 to 100", p)
			}
			return nil
		}()},
		{"recorder.size_max", atLeast(c.Recorder.SizeMax, 1<<20)},
		{"registry_from", oneOf(c.RegistryFrom, "file", "database")},
		{"office", c.Office.validate()},
		{"vault", c.Vault.validate()},
		{"sign_on.grace", between(c.SignOn.Grace, 0, 12*time.Hour)},
		{"sign_on.per_second", between(c.SignOn.PerSecond, 1, 1_000_000)},
		{"journal.disk.low", atLeast(c.Journal.Disk.Low, 0)},
		{"journal.disk.enough", atLeast(c.Journal.Disk.Enough, c.Journal.Disk.Low)},
		{"ledger.dsn", dsn(c.Ledger.DSN)},
		{"ledger.lag_max", atLeast(c.Ledger.LagMax, 0)},
		{"ledger.keep_days", between(c.Ledger.KeepDays, keepDaysMin, 36_500)},
		{"ledger.retention_years", between(c.Ledger.RetentionYears, retentionYearsMin, 100)},
		{"risk", func() error { _, err := newRisk(c, filePolicy); return err }()},
		{"reversals.in_flight", atLeast(r.InFlight, 1)},
		{"reversals.retry", atLeast(r.Retry, time.Millisecond)},
		{"reversals.retry_max", atLeast(r.RetryMax, r.Retry)},
		{"reversals.park_after", between(r.ParkAfter, 1, 10_000)},
		{"reversals.undelivered_grace", atLeast(r.UndeliveredGrace, time.Millisecond)},
		{"originals.refund_days", between(c.Originals.RefundDays, 1, 180)},
		{"originals.preauth_days", between(c.Originals.PreauthDays, 1, 180)},
		{"originals.completion_percent", between(c.Originals.CompletionPercent, 1, 200)},
		{"originals.tip_percent", between(c.Originals.TipPercent, 1, 100)},
		{"batches.close_after", between(c.Batches.CloseAfter, 0, 24*time.Hour)},
		{"settlement.schedule", func() error {
			if c.Settlement.Schedule == 0 {
				return nil
			}
			return between(c.Settlement.Schedule, settlement.After+time.Minute, 23*time.Hour)
		}()},
		{"settlement.disputes[]", func() error { _, err := c.deadlines(); return err }()},
		{"admin.address", address(c.Admin.Address, true)},
		{"admin", func() error {
			if c.Admin.TLS == nil {
				return nil
			}
			return c.Admin.TLS.Validate()
		}()},
		{"log.level", oneOf(c.Log.Level, "debug", "info", "warn", "error")},
		{"log.format", oneOf(c.Log.Format, "json", "text")},
		{"trace.ratio", between(c.Trace.Ratio, 0, 1)},
		{"trace.slow", atLeast(c.Trace.Slow, 0)},
		{"issuers[].timeout", c.timeouts()},
		{"stand_in[]", func() error { _, err := c.standIns(); return err }()},
	} {
		if rule.err != nil {
			return fmt.Errorf("%s: %w", rule.key, rule.err)
		}
	}
	return nil
}

// timeouts refuses an issuer's timeout that is not shorter than answer_within.
func (c *config) timeouts() error {
	for _, is := range c.Issuers {
		if t := cmp.Or(is.Timeout, txn.IssuerTimeoutDefault); t >= c.AnswerWithin {
			return fmt.Errorf("%v of %q must be shorter than answer_within, %v, or the terminal is answered before the issuer has its time", t, is.Name, c.AnswerWithin)
		}
	}
	return nil
}

func needed(s string) error {
	if s == "" {
		return errors.New("must be given")
	}
	return nil
}

func between[T cmp.Ordered](x, low, high T) error {
	if !(x >= low && x <= high) {
		return fmt.Errorf("%v must be between %v and %v", x, low, high)
	}
	return nil
}

func atLeast[T cmp.Ordered](x, low T) error {
	if x < low {
		return fmt.Errorf("%v must be at least %v", x, low)
	}
	return nil
}

// address is host:port, or nothing where that means none.
func address(s string, mayBeEmpty bool) error {
	if _, _, err := net.SplitHostPort(s); err != nil && !(mayBeEmpty && s == "") {
		return fmt.Errorf("%q must be host:port, as 127.0.0.1:8583", s)
	}
	return nil
}

// dsn checks the kind of ledger only: the rest may hold a password.
func dsn(s string) error {
	for _, scheme := range []string{"sqlite:", "postgres://", "postgresql://"} {
		if strings.HasPrefix(s, scheme) && len(s) > len(scheme) {
			return nil
		}
	}
	return errors.New("must be sqlite:PATH or postgres://USER@HOST/DATABASE")
}

func oneOf(s string, allowed ...string) error {
	if slices.Contains(allowed, s) {
		return nil
	}
	return fmt.Errorf("%q must be one of %s", s, strings.Join(allowed, ", "))
}
