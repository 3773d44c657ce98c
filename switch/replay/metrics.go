package replay

import (
	"bufio"
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// StageTime is a mean of one stage of the host's, over a run.
type StageTime struct {
	Stage string        `json:"stage"`
	Count int64         `json:"count"`
	Mean  time.Duration `json:"mean_ns"`
}

// Stages are sums and counts of the stages of a switch, by stage.
type Stages map[string]stageSum

type stageSum struct{ seconds, count float64 }

// metricsMax bounds what is read of a page of metrics.
const metricsMax = 16 << 20

// ReadStages reads the stages out of a page of Prometheus metrics. What else is
// there is left out; a page without them has none.
func ReadStages(r io.Reader) Stages {
	all := Stages{}
	in := bufio.NewScanner(io.LimitReader(r, metricsMax))
	for in.Scan() {
		name, rest, ok := strings.Cut(in.Text(), "{")
		labels, value, closed := strings.Cut(rest, "}")
		kind, known := strings.CutPrefix(name, "acq_txn_stage_duration_seconds_")
		if !ok || !closed || !known || kind != "sum" && kind != "count" {
			continue
		}
		_, stage, _ := strings.Cut(labels, `stage="`)
		stage, _, _ = strings.Cut(stage, `"`)
		v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || stage == "" {
			continue
		}
		s := all[stage]
		if kind == "sum" {
			s.seconds += v
		} else {
			s.count += v
		}
		all[stage] = s
	}
	return all
}

// Since is what the stages took since before, the longest first.
func (s Stages) Since(before Stages) []StageTime {
	var all []StageTime
	for stage, now := range s {
		n := now.count - before[stage].count
		if n > 0 {
			all = append(all, StageTime{stage, int64(n), time.Duration((now.seconds - before[stage].seconds) / n * 1e9)})
		}
	}
	slices.SortFunc(all, func(a, b StageTime) int { return cmp.Or(cmp.Compare(b.Mean, a.Mean), cmp.Compare(a.Stage, b.Stage)) })
	return all
}
