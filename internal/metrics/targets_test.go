package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/probe"
)

// What a prober has found is told by blackbox_exporter's names where it has some; nothing is told of what was not
// found out, and of a dialogue the first 50 steps.
func TestTargets(t *testing.T) {
	steps := make([]probe.DialogueStep, 52)
	for i := range steps {
		steps[i] = probe.DialogueStep{Line: 2 * (i + 1), Took: time.Second, Held: i < 51}
	}
	states := []probe.State{
		{Name: "new"},
		{Name: "web", Probes: 9, Failed: map[dial.Kind]uint64{dial.Refused: 2, dial.Mismatch: 1}, Skipped: 4, Held: time.UnixMilli(1500), Up: true, Took: 3 * time.Second,
			Steps: []probe.Step{{Name: "lookup", Took: time.Second}, {Name: "STARTTLS", Took: 2 * time.Second}}, Expires: time.Unix(7, 0), TLS: "TLS 1.3"},
		{Name: `a"\b`, Probes: 1, Failed: map[dial.Kind]uint64{dial.Refused: 1}},
	}
	const want = `# HELP parley_probe_failures_total Probes that did not hold, by the kind of failure; kinds that have not been seen are left out.
# TYPE parley_probe_failures_total counter
parley_probe_failures_total{reason="mismatch",target="web"} 1
parley_probe_failures_total{reason="refused",target="a\"\\b"} 1
parley_probe_failures_total{reason="refused",target="web"} 2
# HELP parley_probe_last_success_timestamp_seconds When the last probe that held was over, in Unix time.
# TYPE parley_probe_last_success_timestamp_seconds gauge
parley_probe_last_success_timestamp_seconds{target="web"} 1.5
# HELP parley_probe_skipped_total Probes that were left out, since the one before was still running or waiting for its turn.
# TYPE parley_probe_skipped_total counter
parley_probe_skipped_total{target="a\"\\b"} 0
parley_probe_skipped_total{target="new"} 0
parley_probe_skipped_total{target="web"} 4
# HELP parley_probe_step_duration_seconds How long each step of the last probe took, those left out that it did not take.
# TYPE parley_probe_step_duration_seconds gauge
parley_probe_step_duration_seconds{step="lookup",target="web"} 1
parley_probe_step_duration_seconds{step="starttls",target="web"} 2
# HELP parley_probe_verdicts_total Probes that came to a verdict.
# TYPE parley_probe_verdicts_total counter
parley_probe_verdicts_total{target="a\"\\b"} 1
parley_probe_verdicts_total{target="new"} 0
parley_probe_verdicts_total{target="web"} 9
# HELP probe_dns_lookup_time_seconds How long the last probe took to look up the name; 0 for an address.
# TYPE probe_dns_lookup_time_seconds gauge
probe_dns_lookup_time_seconds{target="a\"\\b"} 0
probe_dns_lookup_time_seconds{target="web"} 1
# HELP probe_duration_seconds How long the last probe took.
# TYPE probe_duration_seconds gauge
probe_duration_seconds{target="a\"\\b"} 0
probe_duration_seconds{target="web"} 3
# HELP probe_ssl_earliest_cert_expiry When the first of the certificates expires that the server sent to the last probe, in Unix time.
# TYPE probe_ssl_earliest_cert_expiry gauge
probe_ssl_earliest_cert_expiry{target="web"} 7
# HELP probe_success 1 if the last probe held, 0 if not.
# TYPE probe_success gauge
probe_success{target="a\"\\b"} 0
probe_success{target="web"} 1
# HELP probe_tls_version_info 1, with the version of TLS of the last probe.
# TYPE probe_tls_version_info gauge
probe_tls_version_info{target="web",version="TLS 1.3"} 1
`
	all := targets{func() []probe.State { return states }}
	if err := testutil.CollectAndCompare(all, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(all); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}

	states = []probe.State{{Name: "talk", Probes: 1, Dialogue: steps}}
	if n := testutil.CollectAndCount(all, "parley_probe_dialogue_step_duration_seconds"); n != 50 {
		t.Errorf("%d steps have a time, want 50", n)
	}
	const played = `# HELP parley_probe_dialogue_steps How many steps of its dialogue the last probe played, by whether they held.
# TYPE parley_probe_dialogue_steps gauge
parley_probe_dialogue_steps{held="false",target="talk"} 1
parley_probe_dialogue_steps{held="true",target="talk"} 51
`
	if err := testutil.CollectAndCompare(all, strings.NewReader(played), "parley_probe_dialogue_steps"); err != nil {
		t.Error(err)
	}
}
