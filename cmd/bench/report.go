package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// report is all results, by variant in the order they first ran.
type report struct {
	opts     options
	variants []variant
	results  map[string][]result
}

func (r *report) add(v variant, res result) {
	if r.results[v.name] == nil {
		r.variants = append(r.variants, v)
	}
	r.results[v.name] = append(r.results[v.name], res)
}

func (r *report) wrong() (n int64) {
	for _, results := range r.results {
		for _, res := range results {
			n += res.Wrong
		}
	}
	return n
}

// of is the median of one figure of a variant.
func (r *report) of(name string, figure func(result) float64) float64 {
	return median(r.results[name], figure)
}

func median[T any](of []T, figure func(T) float64) float64 {
	vs := make([]float64, len(of))
	for i := range of {
		vs[i] = figure(of[i])
	}
	slices.Sort(vs)
	return (vs[(len(vs)-1)/2] + vs[len(vs)/2]) / 2
}

func tps(r result) float64   { return r.TPS }
func ratio(r result) float64 { return r.Ratio }
func p50(r result) float64   { return r.P50 }
func p99(r result) float64   { return r.P99 }
func p999(r result) float64  { return r.P999 }

// line is one result for people who wait.
func (r result) line() string {
	s := fmt.Sprintf("%s  round %d  %-25s %8.0f/s  p50 %s", r.Begun, r.Round, r.Name, r.TPS, micros(r.P50))
	if r.Ratio > 0 {
		s += fmt.Sprintf("  %.2f of the forwarder  %d behind, caught up in %.1f s", r.Ratio, r.Lag, r.CatchUp)
	}
	if r.Held > 0 {
		s += fmt.Sprintf("  held back %d times", r.Held)
	}
	if r.Wrong > 0 {
		s += fmt.Sprintf("  %d ERRORS", r.Wrong)
	}
	return s + "  cpu us" + cpuText(r.CPU)
}

// cpuText is processor time by role in the order of a sale's way.
func cpuText(cpu map[string]float64) (s string) {
	for _, role := range [...]string{"terminals", "switch", "issuer", "postgres"} {
		if t, ok := cpu[role]; ok {
			s += fmt.Sprintf(" %s %.1f", role, t)
		}
	}
	return s
}

func (r *report) writeText(w io.Writer) error {

	fmt.Fprintf(w, "\n%d processors, %s, %s/%s; %d rounds of %v, medians\n\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, r.opts.rounds, r.opts.duration)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "run\tsales/s\tlow\thigh\tof forwarder\tp50\tp99\tp99.9\terrors\tbehind\tcatch up\tcpu us a sale\t")
	for _, v := range r.variants {
		results := r.results[v.name]
		rates := make([]float64, 0, len(results))
		var wrong int64
		for _, res := range results {
			rates = append(rates, res.TPS)
			wrong += res.Wrong
		}
		share, behind, late := "", "", ""
		if v.engine != "" {
			share = fmt.Sprintf("%.2f", r.of(v.name, ratio))
			behind = fmt.Sprintf("%.0f", r.of(v.name, func(r result) float64 { return float64(r.Lag) }))
			late = fmt.Sprintf("%.1f s", r.of(v.name, func(r result) float64 { return r.CatchUp }))
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t\n", v.name,
			r.of(v.name, tps), slices.Min(rates), slices.Max(rates), share,
			micros(r.of(v.name, p50)), micros(r.of(v.name, p99)), micros(r.of(v.name, p999)), wrong, behind, late, cpuText(r.cpu(v.name)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, v := range r.variants {
		if v.engine != "" {
			fmt.Fprintln(w, r.summary(v))
		}
	}
	return nil
}

func (r *report) cpu(name string) map[string]float64 {
	cpu := map[string]float64{}
	for role := range r.results[name][0].CPU {
		cpu[role] = r.of(name, func(r result) float64 { return r.CPU[role] })
	}
	return cpu
}

// summary is a sentence that can be quoted alone.
func (r *report) summary(v variant) string {
	base := forwarderName(v.shape)
	s := fmt.Sprintf("%s: %.0f sales/s, %.2f of a byte forwarder's %.0f/s, p50 %s, p99 %s, p99.9 %s; %s, fsynced journal",
		v.name, r.of(v.name, tps), r.of(v.name, ratio), r.of(base, tps),
		micros(r.of(v.name, p50)), micros(r.of(v.name, p99)), micros(r.of(v.name, p999)), v.shape)
	if v.bar > 0 {
		met := "met"
		if r.of(v.name, ratio) < v.bar {
			met = "MISSED"
		}
		s += fmt.Sprintf("; bar %.2f %s", v.bar, met)
	}
	return s
}

func (s shape) String() string {
	return fmt.Sprintf("%d sessions with %d in flight", s.sessions, s.inFlight)
}

func micros(us float64) string {
	d := time.Duration(us * 1e3)
	switch {
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", us/1e3)
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", us/1e3)
	}
	return fmt.Sprintf("%.0f us", us)
}

func (r *report) writeJSON(w io.Writer) error {
	type summary struct {
		Name     string             `json:"name"`
		TPS      float64            `json:"tps"`
		Ratio    float64            `json:"ratio,omitempty"`
		Bar      float64            `json:"bar,omitempty"`
		P50      float64            `json:"p50_us"`
		P99      float64            `json:"p99_us"`
		P999     float64            `json:"p999_us"`
		CPU      map[string]float64 `json:"cpu_us"`
		Sessions int                `json:"sessions"`
		InFlight int                `json:"in_flight"`
	}
	var medians []summary
	for _, v := range r.variants {
		medians = append(medians, summary{v.name, r.of(v.name, tps), r.of(v.name, ratio), v.bar,
			r.of(v.name, p50), r.of(v.name, p99), r.of(v.name, p999), r.cpu(v.name), v.shape.sessions, v.shape.inFlight})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"processors": runtime.NumCPU(), "go": runtime.Version(), "rounds": r.opts.rounds, "duration_s": r.opts.duration.Seconds(),
		"medians": medians, "runs": slices.Concat(slices.Collect(maps.Values(r.results))...),
	})
}
