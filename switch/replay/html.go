package replay

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"ms":    milliseconds,
	"time":  func(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" },
	"round": func(d time.Duration) string { return d.Round(time.Millisecond).String() },
}).Parse(page))

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d)/1e6) }

// WriteHTML writes the report as one page that needs nothing else: plots are
// inline SVG.
func (r *Report) WriteHTML(w io.Writer) error {
	data := struct {
		*Report
		Title                                          string
		Latencies, Rates, Percentiles, Answers, Stages template.HTML
	}{r, "Replay of " + r.Capture, r.latencyPlot(), r.ratePlot(), r.curvePlot(), r.codePlot(), ""}
	if r.Load != nil {
		data.Title, data.Stages = "Load "+r.Capture, r.stagePlot()
	}
	if err := pageTemplate.Execute(w, data); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// The plots' size in SVG units, and the room for the axes.
const (
	plotWidth, plotHeight    = 860.0, 260.0
	plotLeft, plotBottom     = 70.0, 30.0
	plotRight, plotTop       = 10.0, 12.0
	innerWidth, innerHeight  = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
	colourP50, colourP99     = "#2a78b8", "#d98a1f"
	colourMax, colourAnswers = "#b8392a", "#4d8f4d"
)

// plot draws lines over two axes. Its text is made here, of numbers and names
// that are escaped.
type plot struct {
	b          strings.Builder
	xMax, yMax float64
	logY       bool
	yMin       float64
}

func newPlot(xMax, yMin, yMax float64, logY bool) *plot {
	p := &plot{xMax: max(xMax, 1e-9), yMax: max(yMax, yMin*1.001, 1e-9), logY: logY, yMin: yMin}
	fmt.Fprintf(&p.b, `<svg viewBox="0 0 %g %g" role="img">`, plotWidth, plotHeight)
	fmt.Fprintf(&p.b, `<path class="axis" d="M%g %gV%gH%g"/>`, plotLeft, plotTop, plotHeight-plotBottom, plotWidth-plotRight)
	return p
}

func (p *plot) x(v float64) float64 { return plotLeft + v/p.xMax*innerWidth }

func (p *plot) y(v float64) float64 {
	if !p.logY {
		return plotTop + innerHeight*(1-v/p.yMax)
	}
	v = max(v, p.yMin)
	return plotTop + innerHeight*(1-math.Log(v/p.yMin)/math.Log(p.yMax/p.yMin))
}

func (p *plot) yTick(v float64, label string) {
	fmt.Fprintf(&p.b, `<path class="grid" d="M%g %.1fH%g"/><text class="y" x="%g" y="%.1f">%s</text>`, plotLeft, p.y(v), plotWidth-plotRight, plotLeft-6, p.y(v)+4, template.HTMLEscapeString(label))
}

func (p *plot) xTick(v float64, label string) {
	fmt.Fprintf(&p.b, `<text class="x" x="%.1f" y="%g">%s</text>`, p.x(v), plotHeight-plotBottom+18, template.HTMLEscapeString(label))
}

func (p *plot) line(colour, name string, xs, ys []float64) {
	fmt.Fprintf(&p.b, `<path class="line" stroke="%s" d="`, colour)
	for i := range xs {
		fmt.Fprintf(&p.b, "%c%.1f %.1f", "ML"[min(i, 1)], p.x(xs[i]), p.y(ys[i]))
	}
	fmt.Fprintf(&p.b, `"><title>%s</title></path>`, template.HTMLEscapeString(name))
}

func (p *plot) end() template.HTML {
	p.b.WriteString(`</svg>`)
	return template.HTML(p.b.String())
}

// decades are ticks of a logarithmic axis of milliseconds.
func (p *plot) decades() {
	for d := 0.001; d <= 1e6; d *= 10 {
		if d >= p.yMin*0.999 && d <= p.yMax*1.001 {
			p.yTick(d, fmt.Sprintf("%g ms", d))
		}
	}
}

func inMS(d time.Duration) float64 { return float64(d) / 1e6 }

// bounds are decades around latencies.
func bounds(low, high time.Duration) (float64, float64) {
	return math.Pow(10, math.Floor(math.Log10(max(inMS(low), 0.001)))), math.Pow(10, math.Ceil(math.Log10(max(inMS(high), 0.01))))
}

func (r *Report) latencyPlot() template.HTML {
	var xs, p50, p99, most []float64
	low, high := time.Hour, time.Duration(0)
	for _, s := range r.Series {
		if s.Answered == 0 {
			continue
		}
		xs = append(xs, (s.At + s.Span/2).Seconds())
		p50, p99, most = append(p50, inMS(s.P50)), append(p99, inMS(s.P99)), append(most, inMS(s.Max))
		low, high = min(low, s.P50), max(high, s.Max)
	}
	if len(xs) == 0 {
		return "no answers"
	}
	yMin, yMax := bounds(low, high)
	p := newPlot(r.span(), yMin, yMax, true)
	p.decades()
	p.seconds()
	p.line(colourMax, "longest", xs, most)
	p.line(colourP99, "p99", xs, p99)
	p.line(colourP50, "p50", xs, p50)
	return p.end()
}

func (r *Report) span() float64 {
	if n := len(r.Series); n > 0 {
		return (r.Series[n-1].At + r.Series[n-1].Span).Seconds()
	}
	return 1
}

func (p *plot) seconds() {
	for i := range 6 {
		v := p.xMax * float64(i) / 5
		p.xTick(v, fmt.Sprintf("%.3g s", v))
	}
}

func (r *Report) ratePlot() template.HTML {
	var xs, ys []float64
	most := 0.0
	for _, s := range r.Series {
		rate := float64(s.Answered) / s.Span.Seconds()
		xs, ys, most = append(xs, (s.At+s.Span/2).Seconds()), append(ys, rate), max(most, rate)
	}
	if len(xs) == 0 {
		return "no answers"
	}
	p := newPlot(r.span(), 0, most*1.05, false)
	for i := range 5 {
		v := most * float64(i) / 4
		p.yTick(v, fmt.Sprintf("%.0f/s", v))
	}
	p.seconds()
	p.line(colourAnswers, "answers a second", xs, ys)
	return p.end()
}

// curvePlot has the percentiles on an axis on which every nine more is as long.
func (r *Report) curvePlot() template.HTML {
	var xs, ys []float64
	for _, c := range r.Curve {
		if c.Quantile < 1 {
			xs, ys = append(xs, -math.Log10(1-c.Quantile)), append(ys, inMS(c.At))
		}
	}
	if len(xs) == 0 || r.Latency.N == 0 {
		return "no answers"
	}
	last := math.Max(xs[len(xs)-1], 1) + 0.3
	xs, ys = append(xs, last), append(ys, inMS(r.Latency.Max))
	yMin, yMax := bounds(time.Duration(max(ys[0], 0.001)*1e6), r.Latency.Max)
	p := newPlot(last, yMin, yMax, true)
	p.decades()
	for _, q := range [...]struct {
		at   float64
		name string
	}{{0, "0%"}, {0.30103, "50%"}, {1, "90%"}, {2, "99%"}, {3, "99.9%"}, {4, "99.99%"}, {5, "99.999%"}, {6, "99.9999%"}} {
		if q.at <= last {
			p.xTick(q.at, q.name)
		}
	}
	p.line(colourP50, "latency", xs, ys)
	return p.end()
}

// codePlot has two bars for each code: now and recorded.
func (r *Report) codePlot() template.HTML {
	if len(r.Codes) == 0 {
		return "no answers"
	}
	most := 1
	for _, c := range r.Codes {
		most = max(most, c.Now, c.Recorded)
	}
	var b strings.Builder
	const row, left = 34.0, 230.0
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img">`, plotWidth, row*float64(len(r.Codes)))
	for i, c := range r.Codes {
		y := row * float64(i)
		wide := func(n int) float64 { return float64(n) / float64(most) * (plotWidth - left - 90) }
		fmt.Fprintf(&b, `<text class="y" x="%g" y="%g">%s: %s</text>`, left-8, y+20, template.HTMLEscapeString(c.Kind), template.HTMLEscapeString(c.Code))
		fmt.Fprintf(&b, `<rect fill="%s" x="%g" y="%g" width="%.1f" height="11"/><text x="%.1f" y="%g">%d</text>`, colourP50, left, y+4, wide(c.Now), left+wide(c.Now)+5, y+14, c.Now)
		if r.Load == nil {
			fmt.Fprintf(&b, `<rect fill="#bbb" x="%g" y="%g" width="%.1f" height="11"/><text x="%.1f" y="%g">%d</text>`, left, y+17, wide(c.Recorded), left+wide(c.Recorded)+5, y+27, c.Recorded)
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// stagePlot has a bar for each stage of the switch's.
func (r *Report) stagePlot() template.HTML {
	if len(r.Load.Stages) == 0 {
		return ""
	}
	var b strings.Builder
	const row, left = 24.0, 230.0
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img">`, plotWidth, row*float64(len(r.Load.Stages)))
	for i, s := range r.Load.Stages {
		y, wide := row*float64(i), float64(s.Mean)/float64(max(1, r.Load.Stages[0].Mean))*(plotWidth-left-180)
		fmt.Fprintf(&b, `<text class="y" x="%g" y="%g">%s</text><rect fill="%s" x="%g" y="%g" width="%.1f" height="13"/><text x="%.1f" y="%g">%s, %d times</text>`,
			left-8, y+15, template.HTMLEscapeString(s.Stage), colourP50, left, y+4, wide, left+wide+5, y+15, milliseconds(s.Mean), s.Count)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
