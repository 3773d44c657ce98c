package day

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Result is what came of a day.
type Result struct {
	Steps int        `json:"steps"`
	Off   int        `json:"off"` // steps that did not go as expected
	Done  []Done     `json:"done"`
	Took  txn.Millis `json:"took_ms"`
	// The totals of the last settlement, as the terminal and as the switch have
	// them.
	Terminal txn.Totals `json:"terminal"`
	Host     txn.Totals `json:"host"`
	Settled  bool       `json:"settled"` // to the end, with the same totals
}

// Done is a step that was done.
type Done struct {
	Number   int        `json:"number"` // from 1
	Step     string     `json:"step"`
	STAN     uint32     `json:"stan"`
	Expected string     `json:"expected"`
	Got      string     `json:"got"` // a code, even, uneven, or none
	OK       bool       `json:"ok"`
	RRN      string     `json:"rrn,omitempty"`
	Latency  txn.Millis `json:"latency_ms"`
	Err      error      `json:"-"` // why none

	Answer terminal.Answer `json:"-"`

	Why string `json:"error,omitempty"`
}

// Run does the steps with a terminal. dial brings it to life, each time with the
// same store; Run closes it. done is called after each step. An error is the
// context's or that of a terminal that could not be brought to life.
func Run(ctx context.Context, s *Script, dial func(context.Context) (*terminal.Client, error), done func(*Done)) (*Result, error) {
	began := time.Now()
	r := &runner{dial: dial, originals: map[string]terminal.Original{}}
	defer r.close()
	for i := range s.Steps {
		if err := r.step(ctx, i, &s.Steps[i]); err != nil {
			return &r.Result, fmt.Errorf("step %d (%s): %w", i+1, &s.Steps[i], err)
		}
		if done != nil {
			done(&r.Done[i])
		}
	}
	r.Took = txn.Millis(time.Since(began))
	return &r.Result, nil
}

type runner struct {
	Result
	dial      func(context.Context) (*terminal.Client, error)
	client    *terminal.Client
	originals map[string]terminal.Original
}

func (r *runner) close() {
	if r.client != nil {
		r.client.Close()
		r.client = nil
	}
}

func (r *runner) step(ctx context.Context, i int, s *Step) (err error) {
	if s.Do == doRestart {
		r.close()
	}
	if r.client == nil {
		if r.client, err = r.dial(ctx); err != nil {
			return err
		}
	}
	if err := terminal.Pause(ctx, s.After); err != nil {
		return err
	}
	d := Done{Number: i + 1, Step: s.String(), Expected: s.Expect, Got: "00"}
	if s.Do != doRestart {
		var answer terminal.Answer
		answer, d.Got, d.Err = r.do(ctx, s)
		d.Answer, d.RRN, d.Latency = answer, answer.RRN, txn.Millis(answer.Latency)
		if err := ctx.Err(); err != nil {
			return err
		}
		d.STAN = r.client.STAN()
		if n, err := strconv.ParseUint(answer.STAN, 10, 32); err == nil {
			d.STAN = uint32(n)
		}
		if s.As != "" {
			o := terminal.Original{Kind: s.kind, STAN: d.STAN, Batch: r.client.Batch(), Date: answer.Date, RRN: answer.RRN, AuthCode: answer.AuthCode, Acquirer: answer.Acquirer}
			r.originals[s.As] = o
		}
	}
	if d.Err != nil {
		d.Why = d.Err.Error()
	}
	d.OK = d.Got == d.Expected
	r.Steps++
	if !d.OK {
		r.Off++
	}
	r.Done = append(r.Done, d)
	return nil
}

// do is one step, and what it got.
func (r *runner) do(ctx context.Context, s *Step) (a terminal.Answer, got string, err error) {
	t := terminal.Transaction{Card: s.card, Original: r.originals[s.Of], Months: s.Months}
	if s.Auth != "" {
		t.Original.AuthCode = s.Auth
	}
	if s.Amount != "" {
		if t.Amount, err = txn.ParseAmount(s.Amount, r.client.Currency()); err != nil {
			return a, "none", err
		}
	}
	switch s.kind {
	case txn.KindSignOn:
		if a, err = r.client.SignOn(ctx); err == nil {
			err = r.client.Obey(ctx, a, nil)
		}
	case txn.KindSignOff:
		a, err = r.client.SignOff(ctx)
	case txn.KindEcho:
		a, err = r.client.Echo(ctx)
	case txn.KindDownload:
		a, err = r.client.DownloadAll(ctx, nil)
	case txn.KindStatus:
		a, err = r.client.UploadStatus(ctx, terminal.StatusFine)
	case txn.KindReversal:
		a, err = r.client.Reversal(ctx, t.Amount, t.Original)
	case txn.KindSettlement:
		return r.settle(ctx)
	default:
		a, err = r.client.Do(ctx, s.kind, t)
	}
	if err != nil {
		return a, "none", err
	}
	return a, a.Code, nil
}

func (r *runner) settle(ctx context.Context) (terminal.Answer, string, error) {
	settlement, err := r.client.Settlement(ctx)
	r.Terminal, r.Host = settlement.Terminal, settlement.Host
	r.Settled = err == nil && settlement.Even
	switch {
	case err != nil:
		return settlement.Answer, "none", err
	case settlement.Even:
		return settlement.Answer, "even", nil
	}
	return settlement.Answer, "uneven", nil
}
