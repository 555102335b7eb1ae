//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A dashboard is what the tests look at of one for Grafana.
type dashboard struct {
	UID        string
	Panels     []panel
	Templating struct {
		List []struct {
			Name, Type, Definition string
			Datasource             *datasource
		}
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []struct {
		Expr, LegendFormat string
		Datasource         datasource
	}
}

type datasource struct{ Type, UID string }

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile("../../docs/grafana/parley.json")
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// queries are all expressions of a dashboard, and which of them may have no result, since they leave out what
// does not occur; their panels say so.
func (d dashboard) queries() (all map[string]bool) {
	all = make(map[string]bool)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all[target.Expr] = strings.HasSuffix(target.Expr, " > 0") && strings.HasPrefix(p.Description, "Empty ")
		}
	}
	return all
}

// The dashboard can be imported anywhere: it asks no data source by its name and needs no plugin, and no panel
// lies on another.
func TestTheDashboardIsWhole(t *testing.T) {
	d := readDashboard(t)
	wants := datasource{"prometheus", "${datasource}"}
	ids, cells := map[int]string{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] != "" {
			t.Errorf("%q and %q have the number %d", p.Title, ids[p.ID], p.ID)
		}
		ids[p.ID] = p.Title
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if cells[[2]int{x, y}] != "" || x >= 24 {
					t.Fatalf("%q lies on %q, or beside the page", p.Title, cells[[2]int{x, y}])
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !slices.Contains([]string{"timeseries", "state-timeline", "bargauge", "stat", "table"}, p.Type) || p.Description == "" || len(p.Targets) == 0 || p.Datasource != wants {
			t.Errorf("%q is a %s of %v with %d queries: %s", p.Title, p.Type, p.Datasource, len(p.Targets), p.Description)
		}
		for _, target := range p.Targets {
			if target.Datasource != wants || target.LegendFormat == "" {
				t.Errorf("%q: %+v", p.Title, target)
			}
		}
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
		if v.Type == "query" && (v.Datasource == nil || *v.Datasource != wants) {
			t.Errorf("$%s is of %v", v.Name, v.Datasource)
		}
	}
	if want := []string{"datasource", "instance", "target"}; d.UID != "parley" || !slices.Equal(names, want) {
		t.Errorf("uid %q, variables %v; want parley, %v", d.UID, names, want)
	}
}

// The files for Prometheus are right, and the alerts fire when they should.
func TestFilesForPrometheus(t *testing.T) {
	run(t, peer(t, "promtool", "check", "config", "../../docs/prometheus/prometheus.yml"), "") // and the rules that it names
	run(t, peer(t, "promtool", "test", "rules", "testdata/prometheus/alerts_test.yml"), "")
}

// A Prometheus with the configuration of the manual scrapes a server, one with TLS and a prober. Each query of the
// dashboard has a result, each of its variables has values, and each alert can be evaluated.
func TestPrometheusAnswersTheDashboard(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, "-q", "--admin", "127.0.0.1:0", "--journal", filepath.Join(dir, "journal"))
	secure := startServer(t, "-q", "--admin", "127.0.0.1:0", "--tls-self-signed")
	talk, targets := filepath.Join(dir, "a.talk"), filepath.Join(dir, "targets")
	os.WriteFile(talk, []byte("> a\n< ~ a\n"), 0o600)
	os.WriteFile(targets, fmt.Appendf(nil, "web localhost:%s hello\ntls %s --tls --insecure\naway 127.0.0.1:1\ntalk %s --script %s\n", s.port, secure.addr, s.addr, talk), 0o600)
	p, probed := startProber(t, targets, "--every", "100ms")
	p.stdout.await(t, "talk is up")
	api := startPrometheus(t, dir, []string{adminOf(t, s.process), adminOf(t, secure.process)}, probed)

	inManual := strings.NewReplacer("$__rate_interval", "10s", "$__range", "1m", "$instance", ".*", "$target", ".*")
	for expr, mayBeEmpty := range readDashboard(t).queries() {
		if asked := inManual.Replace(expr); mayBeEmpty {
			ask(t, api, asked)
		} else {
			eventually(t, "there is a result of "+asked, func() bool { return ask(t, api, asked) > 0 })
		}
	}
	for _, v := range readDashboard(t).Templating.List {
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			count := fmt.Sprintf("count by (%s) (%s)", m[2], m[1])
			eventually(t, "$"+v.Name+" has values", func() bool { return ask(t, api, count) > 1 })
		} else if v.Type == "query" {
			t.Errorf("$%s is %s, which nobody has tried", v.Name, v.Definition)
		}
	}

	eventually(t, "there is an alert that a target is down", func() bool { return ask(t, api, `ALERTS{alertname="ParleyTargetDown",target="away"}`) == 1 })
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	healthy := func() (n int) {
		get(t, api+"/api/v1/rules", &rules)
		for _, g := range rules.Data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Errorf("%s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					n++
				}
			}
		}
		return n
	}
	eventually(t, "all alerts have been evaluated", func() bool { return healthy() == 11 })
}

// startPrometheus starts one with the configuration of the manual, but for the addresses and how often it looks, and
// returns where it is asked.
func startPrometheus(t *testing.T, dir string, servers []string, prober string) (api string) {
	t.Helper()
	config, err := os.ReadFile("../../docs/prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs("../../docs/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	hosts := func(urls ...string) string {
		return strings.NewReplacer("http://", "", "/", "").Replace(`"` + strings.Join(urls, `", "`) + `"`)
	}
	text := string(config)
	for of, is := range map[string]string{`"127.0.0.1:7970"`: hosts(servers...), `"127.0.0.1:9115"`: hosts(prober), ": 15s": ": 250ms", "- alerts.yml": "- " + rules} {
		if !strings.Contains(text, of) {
			t.Fatalf("docs/prometheus/prometheus.yml has no %s", of)
		}
		text = strings.ReplaceAll(text, of, is)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := "127.0.0.1:" + freePort(t)
	start(t, peer(t, "prometheus", "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "tsdb"), "--web.listen-address", at, "--log.level=warn"))
	api = "http://" + at
	eventually(t, "Prometheus is ready", func() bool {
		resp, err := http.Get(api + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return api
}

// ask is how many series a query has as its result.
func ask(t *testing.T, api, query string) int {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct{ Result []any }
	}
	get(t, api+"/api/v1/query?query="+url.QueryEscape(query), &answer)
	if answer.Status != "success" {
		t.Fatalf("%s: %s", query, answer.Error)
	}
	return len(answer.Data.Result)
}

func get(t *testing.T, url string, into any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", url, err, text)
	}
}
