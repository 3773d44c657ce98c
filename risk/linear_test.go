package risk

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// What many goroutines ask of an engine at a time, and are told, is what one
// after another could have been told: no limit is passed together, none refuses
// what fits, for terminal, merchant, card and person, amount and count, day and
// month.
func TestF67VerdictsAreLinearizable(t *testing.T) {
	type state [8]int32 // terminal 1 and 2, merchant, card 1 and 2 minor; merchant count; person's month minor; merchant's codes
	type input struct {
		terminal, card int
		code           bool
		minor          int32
		release        bool
	}
	most := state{40, 40, 60, 30, 30, 9, 70, 25}
	use := func(i input, sign int32) (d state) {
		d[i.terminal] = sign * i.minor
		d[2], d[3+i.card], d[5], d[6] = sign*i.minor, sign*i.minor, sign, sign*i.minor
		if i.code {
			d[7] = sign * i.minor
		}
		return d
	}
	model := porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, out any) (bool, any) {
			next, i := s.(state), in.(input)
			sign := int32(1)
			if i.release {
				sign = -1
			}
			d := use(i, sign)
			fits := true
			for k := range next {
				next[k] += d[k]
				fits = fits && (d[k] <= 0 || next[k] <= most[k])
			}
			if i.release {
				return true, next
			}
			if out.(bool) != fits {
				return false, s
			}
			if !fits {
				return true, s
			}
			return true, next
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %v", in, out) },
	}
	codes, _ := txn.ParseMethods("code")
	for seed := range uint64(20) {
		e := policed(t, func(p *Policy) {
			limit := func(s txn.LimitScope, b txn.Limits) Limit { return Limit{Scope: s, Currency: txn.CNY, Bounds: b} }
			byCode := limit(txn.ScopeMerchant, txn.Limits{DayAmount: int64(most[7])})
			byCode.Methods = codes
			p.Plans = []Plan{{Limits: []Limit{
				limit(txn.ScopeTerminal, txn.Limits{DayAmount: int64(most[0])}),
				limit(txn.ScopeMerchant, txn.Limits{DayAmount: int64(most[2]), DayCount: uint32(most[5])}),
				limit(txn.ScopeCard, txn.Limits{DayAmount: int64(most[3])}),
				limit(txn.ScopeIdentity, txn.Limits{MonthAmount: int64(most[6])}), byCode}}}
		})
		const workers, each = 4, 12
		history := make([][]porcupine.Operation, workers)
		began := time.Now()
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(w)))
				var mine []input
				for range each {
					i := input{rnd.IntN(2), rnd.IntN(2), rnd.IntN(3) == 0, 1 + rnd.Int32N(15), false}
					if len(mine) > 0 && rnd.IntN(3) == 0 {
						i = mine[len(mine)-1]
						mine = mine[:len(mine)-1]
						i.release = true
					}
					req := good()
					req.Terminal.ID[7], req.CardToken = byte('1'+i.terminal), txn.CardToken{byte(1 + i.card)}
					req.Amount.Minor = int64(i.minor)
					if i.code {
						req.Entry = txn.EntryCode
					}
					op := porcupine.Operation{ClientId: w, Input: i, Call: int64(time.Since(began))}
					if i.release {
						e.Release(HoldOf(req))
						op.Output = true
					} else {
						op.Output = e.Assess(req).Reason == txn.Approved
					}
					op.Return = int64(time.Since(began))
					history[w] = append(history[w], op)
					if op.Output.(bool) && !i.release {
						mine = append(mine, i)
					}
				}
			})
		}
		wg.Wait()
		var all []porcupine.Operation
		for _, h := range history {
			all = append(all, h...)
		}
		if r := porcupine.CheckOperationsTimeout(model, all, 10*time.Second); r != porcupine.Ok {
			t.Fatalf("seed %d: %v", seed, r)
		}
	}
}
