package payout

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Calendar says on which days banks work: Monday to Friday except holidays, and the
// weekend days that are worked in exchange. It knows the years that its file lists and
// no others. It is immutable.
type Calendar struct {
	years map[txn.Date]bool // by year: whether its holidays are told, or that there are none
	odd   map[txn.Date]bool // days that are not as their weekday says: whether they are worked
}

// ErrYear says that the calendar does not know a year.
var ErrYear = errors.New("the calendar does not have the year")

// works says whether banks work on a day. It fails with ErrYear.
func (c *Calendar) works(d txn.Date) (bool, error) {
	if year := d / 10000; !seen(c.years, year) {
		return false, fmt.Errorf("%w %d: add it, with its holidays", ErrYear, year)
	}
	if works, odd := c.odd[d]; odd {
		return works, nil
	}
	return !weekend(d), nil
}

// ErrHolidays says that a year's holidays are not told.
var ErrHolidays = errors.New("the calendar lists no holidays of")

// Told fails with ErrYear or ErrHolidays unless the file says of the year of a day
// which holidays it has, were it none. works needs no more than the year: what an
// earlier version settled by goes on to mean the same.
func (c *Calendar) Told(d txn.Date) error {
	told, known := c.years[d/10000]
	switch {
	case !known:
		return fmt.Errorf("%w %d: add it, with its holidays", ErrYear, d/10000)
	case !told:
		return fmt.Errorf(`%w %d: add those that are announced, or "holidays: []" if there are none`, ErrHolidays, d/10000)
	}
	return nil
}

// from is the first day banks work on, from a day on. It fails with ErrYear.
func (c *Calendar) from(d txn.Date) (txn.Date, error) {
	for ; ; d = d.After() {
		if works, err := c.works(d); works || err != nil {
			return d, err
		}
	}
}

func weekend(d txn.Date) bool {
	w := d.In(time.UTC).Weekday()
	return w == time.Saturday || w == time.Sunday
}

// calendarYAML is the file. The keys are explained in testdata/calendar.yaml.
type calendarYAML struct {
	Version yamlfile.Scalar `yaml:"version"`
	Years   []yearYAML      `yaml:"years"`
}

type yearYAML struct {
	Year     yamlfile.Scalar   `yaml:"year"`
	Holidays []holidayYAML     `yaml:"holidays"`
	Workdays []yamlfile.Scalar `yaml:"workdays"`
}

type holidayYAML struct {
	Name yamlfile.Scalar `yaml:"name"`
	From yamlfile.Scalar `yaml:"from"`
	To   yamlfile.Scalar `yaml:"to"`
}

func (l *loader) calendar(doc *calendarYAML) *Calendar {
	c := &Calendar{years: map[txn.Date]bool{}, odd: map[txn.Date]bool{}}
	l.Version(doc.Version)
	if len(doc.Years) == 0 {
		l.Add(doc.Version, "years", "are missing: without one no working day is known")
	}
	for i := range doc.Years {
		y := &doc.Years[i]
		year, err := time.Parse("2006", y.Year.Text)
		n := txn.Date(year.Year())
		switch {
		case err != nil:
			l.Add(y.Year, "years[].year", "%q must be a year as 2026", y.Year.Text)
			continue
		case seen(c.years, n):
			l.Add(y.Year, "years[].year", "%d is here twice: join them", n)
		}
		c.years[n] = y.Holidays != nil
		for i := range y.Holidays {
			h := &y.Holidays[i]
			at := yamlfile.First(h.Name, h.From, h.To)
			from := l.dayOf(at.Or(h.From), n, "years[].holidays[].from")
			to := from
			if h.To.Line > 0 {
				to = l.dayOf(h.To, n, "years[].holidays[].to")
			}
			if from == 0 || to == 0 {
				continue
			}
			if to < from {
				l.Add(h.To, "years[].holidays[].to", "%s is before %s, when the holiday begins", to, from)
			}
			for d := from; d <= to; d = d.After() {
				if _, twice := c.odd[d]; twice {
					l.Add(at.Or(h.From), "years[].holidays[].from", "%s is a holiday already", d)
				}
				c.odd[d] = false
			}
		}
		for _, w := range y.Workdays {
			d := l.dayOf(w, n, "years[].workdays[]")
			_, odd := c.odd[d]
			switch {
			case d == 0:
			case odd:
				l.Add(w, "years[].workdays[]", "%s is here as a holiday or a working day already", d)
			case !weekend(d):
				l.Add(w, "years[].workdays[]", "%s is a %s, which is worked anyway", d, d.In(time.UTC).Weekday())
			}
			c.odd[d] = true
		}
	}
	return c
}

func seen(years map[txn.Date]bool, n txn.Date) bool { _, ok := years[n]; return ok }

// dayOf is a day of a year; 0 is a problem.
func (l *loader) dayOf(s yamlfile.Scalar, year txn.Date, field string) txn.Date {
	d, err := txn.ParseDate(s.Text)
	if err != nil || d/10000 != year {
		l.Add(s, field, "%q must be a day of %d, as %d-01-31", s.Text, year, year)
		return 0
	}
	return d
}

// Years are the years that are known, in order; Untold those of them whose holidays
// are not told.
func (c *Calendar) Years() (known, untold []int) {
	for y, told := range c.years {
		if known = append(known, int(y)); !told {
			untold = append(untold, int(y))
		}
	}
	slices.Sort(known)
	slices.Sort(untold)
	return known, untold
}
