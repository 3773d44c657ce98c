package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Record plays the day against a switch that has seen none of it, and writes
// its traffic to pcap and what its messages are to be answered to expected. It
// fails, and what it wrote is of no use, if any answer is not the expected one.
func Record(ctx context.Context, day *Day, addrs map[string]string, pcap, expected io.Writer, o PlayOptions) (*Result, error) {
	rec, err := NewRecorder(pcap)
	if err != nil {
		return nil, err
	}
	o.Recorder = rec
	r, err := Play(ctx, day, addrs, o)
	if err = errors.Join(err, rec.Close()); err != nil {
		return r, err
	}
	switch {
	case r.Earlier > 0:
		return r, fmt.Errorf("record: %d messages were sent before; start with an empty log", r.Earlier)
	case r.MismatchCount > 0:
		return r, fmt.Errorf("record: %d answers are not the expected ones, the first of %s", r.MismatchCount, &r.Mismatches[0])
	}
	return r, WriteExpected(expected, day.Expected())
}
