package metrics

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-tcp/parley/internal/probe"
)

// maxSteps is how many steps of a dialogue have a time of their own: each is a series for each target.
const maxSteps = 50

// targets is what a Prober has found out, read at each scrape. Metrics that blackbox_exporter has too
// have its names; what has not been found out, such as the certificate of a target in plain, is left out.
type targets struct{ states func() []probe.State }

// A desc of one value for each target, and more labels.
func targetDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"target"}, labels...), nil)
}

var (
	targetSuccess  = targetDesc("probe_success", "1 if the last probe held, 0 if not.")
	targetDuration = targetDesc("probe_duration_seconds", "How long the last probe took.")
	targetLookup   = targetDesc("probe_dns_lookup_time_seconds", "How long the last probe took to look up the name; 0 for an address.")
	targetExpiry   = targetDesc("probe_ssl_earliest_cert_expiry", "When the first of the certificates expires that the server sent to the last probe, in Unix time.")
	targetTLS      = targetDesc("probe_tls_version_info", "1, with the version of TLS of the last probe.", "version")
	targetStep     = targetDesc("parley_probe_step_duration_seconds", "How long each step of the last probe took, those left out that it did not take.", "step")
	targetHeld     = targetDesc("parley_probe_last_success_timestamp_seconds", "When the last probe that held was over, in Unix time.")
	targetVerdicts = targetDesc("parley_probe_verdicts_total", "Probes that came to a verdict.")
	targetFailures = targetDesc("parley_probe_failures_total", "Probes that did not hold, by the kind of failure; kinds that have not been seen are left out.", "reason")
	targetSkipped  = targetDesc("parley_probe_skipped_total", "Probes that were left out, since the one before was still running or waiting for its turn.")
	targetPlayed   = targetDesc("parley_probe_dialogue_steps", "How many steps of its dialogue the last probe played, by whether they held.", "held")
	targetPlaying  = targetDesc("parley_probe_dialogue_step_duration_seconds", "How long each of the first 50 steps took of the dialogue that the last probe played.", "step", "line")
)

// Describe says nothing: what there is depends on the targets.
func (t targets) Describe(chan<- *prometheus.Desc) {}

func (t targets) Collect(metrics chan<- prometheus.Metric) {
	for _, s := range t.states() {
		gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{s.Name}, labels...)...)
		}
		count := func(desc *prometheus.Desc, n uint64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), append([]string{s.Name}, labels...)...)
		}
		count(targetVerdicts, s.Probes)
		count(targetSkipped, s.Skipped)
		if s.Probes == 0 {
			continue
		}
		gauge(targetSuccess, truth(s.Up))
		gauge(targetDuration, s.Took.Seconds())
		lookup := time.Duration(0)
		for _, step := range s.Steps {
			if step.Name == "lookup" {
				lookup = step.Took
			}
			gauge(targetStep, step.Took.Seconds(), strings.ToLower(step.Name))
		}
		gauge(targetLookup, lookup.Seconds())
		if !s.Expires.IsZero() {
			gauge(targetExpiry, float64(s.Expires.Unix()))
		}
		if s.TLS != "" {
			gauge(targetTLS, 1, s.TLS)
		}
		if !s.Held.IsZero() {
			gauge(targetHeld, float64(s.Held.UnixMilli())/1000)
		}
		for _, kind := range slices.Sorted(maps.Keys(s.Failed)) {
			count(targetFailures, s.Failed[kind], string(kind))
		}
		collectDialogue(s.Dialogue, gauge)
	}
}

func collectDialogue(played []probe.DialogueStep, gauge func(desc *prometheus.Desc, value float64, labels ...string)) {
	if len(played) == 0 {
		return
	}
	held := 0
	for i, step := range played {
		if step.Held {
			held++
		}
		if i < maxSteps {
			gauge(targetPlaying, step.Took.Seconds(), strconv.Itoa(i+1), strconv.Itoa(step.Line))
		}
	}
	gauge(targetPlayed, float64(held), "true")
	gauge(targetPlayed, float64(len(played)-held), "false")
}

func truth(so bool) float64 {
	if so {
		return 1
	}
	return 0
}
