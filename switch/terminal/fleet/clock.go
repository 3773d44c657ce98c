package fleet

import "context"

// clock tells terminals how far those are that they wait for.
type clock struct {
	passed map[Moment]chan struct{} // immutable; closed once the moment is over
}

// newClock knows the moments that somebody of the day waits for.
func newClock(day *Day) *clock {
	c := &clock{map[Moment]chan struct{}{}}
	for i := range day.Scripts {
		for j := range day.Scripts[i].Steps {
			if m := day.Scripts[i].Steps[j].After; m != nil && c.passed[*m] == nil {
				c.passed[*m] = make(chan struct{})
			}
		}
	}
	return c
}

// reaches says that a terminal is about to play step next. Each terminal says it of
// itself, from one goroutine.
func (c *clock) reaches(terminal string, next int) {
	for m, passed := range c.passed {
		if m.Terminal != terminal || m.Step >= next {
			continue
		}
		select {
		case <-passed:
		default:
			close(passed)
		}
	}
}

// await waits until a moment is over, nil is at once, or until ctx ends.
func (c *clock) await(ctx context.Context, m *Moment) error {
	if m == nil {
		return nil
	}
	select {
	case <-c.passed[*m]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
