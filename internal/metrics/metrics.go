// Package metrics counts what a server or a tap does, for Prometheus, and answers at an address for
// its operators: how much was done (/metrics), whether it lives (/healthz) and is to be sent
// connections (/readyz), and where its time goes (/debug/pprof). Nothing that is told there names a
// peer, a session or a secret.
package metrics

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// A Gauge is a number that goes up and down, and is read at each scrape.
type Gauge struct {
	Name   string            // all of it, such as "parley_ship_lag_seconds": with its unit, in seconds or bytes
	Help   string            // one sentence, that it is for
	Labels map[string]string // tell it from others of the same name, which must have the same labels; few values, and none of a peer or session
	Value  func() float64    // must not block; NaN leaves it out of this scrape
}

// A Counter is a Gauge that only goes up, and whose name ends in _total.
type Counter Gauge

// A plain metric is a gauge or a counter of another package, as a collector.
type plain struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func() float64
}

func newPlain(g Gauge, kind prometheus.ValueType) *plain {
	return &plain{prometheus.NewDesc(g.Name, g.Help, nil, g.Labels), kind, g.Value}
}

func (p *plain) Describe(descs chan<- *prometheus.Desc) { descs <- p.desc }

func (p *plain) Collect(metrics chan<- prometheus.Metric) {
	if v := p.value(); !math.IsNaN(v) {
		metrics <- prometheus.MustNewConstMetric(p.desc, p.kind, v)
	}
}

// registry has what every process tells of itself, and what is added.
func registry(opt *Options) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	about := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "parley_build_info", Help: "1, with the version of parley and of Go that it was built with.",
		ConstLabels: prometheus.Labels{"version": opt.Version, "goversion": goVersion},
	})
	about.Set(1)
	all := []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), about,
	}
	for _, g := range opt.Gauges {
		all = append(all, newPlain(g, prometheus.GaugeValue))
	}
	for _, c := range opt.Counters {
		all = append(all, newPlain(Gauge(c), prometheus.CounterValue))
	}
	if opt.Counts != nil {
		all = append(all, opt.Counts)
	}
	if opt.Targets != nil {
		all = append(all, targets{opt.Targets})
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}
