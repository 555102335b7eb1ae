//go:build unix

package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley/internal/journal"
)

// The journals of a server and of a tap before it in one: each is found by its node, a session by both,
// and the two records of one connection by its addresses.
func TestLogOfManyNodes(t *testing.T) {
	dir := t.TempDir()
	behind, before, all := filepath.Join(dir, "behind"), filepath.Join(dir, "before"), filepath.Join(dir, "all.journal")
	server := startServer(t, "-q", "--node", "web-2", "--journal", behind)
	tap := startTap(t, server.addr, "-q", "--node", "edge", "--journal", before)
	for _, line := range []string{"one\n", "two\n"} {
		converse(t, tap.addr, line)
	}
	for _, p := range []*process{tap.process, server.process} {
		if code := p.stop(t, syscall.SIGINT); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
	if err := collectJournals(t.Context(), all, behind, before); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		args       []string
		has, hasNo string
	}{
		{nil, "", ""},
		{[]string{"--node", "web-2"}, `"node":"web-2"`, `"node":"edge"`},
		{[]string{"--node", "edge"}, `"node":"edge"`, `"node":"web-2"`},
		{[]string{"--node", "edge", "--node", "web-2"}, `"node":"web-2"`, ""},
		{[]string{"--session", "web-2/2"}, `"payload":"two"`, `"payload":"one"`},
		{[]string{"--session", "web-2/2"}, `"node":"web-2"`, `"node":"edge"`},
		{[]string{"--session", "2", "--node", "edge"}, `"payload":"two"`, `"node":"web-2"`},
		{[]string{"--session", "2"}, `"node":"web-2"`, `"payload":"one"`},
	} {
		out := run(t, program(t, append([]string{"log", all, "--json"}, c.args...)...), "")
		if !strings.Contains(out, c.has) || c.hasNo != "" && strings.Contains(out, c.hasNo) {
			t.Errorf("%q tells\n%s\nwant %s and not %s", c.args, out, c.has, c.hasNo)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--session", "web-2/7"}, 1, "parley: " + all + " has no session web-2/7 that is what the flags select\n"},
		{[]string{"--node", "web"}, 1, "parley: " + all + " has nothing of a node web; there are "},
		{[]string{"--session", "web-2/0"}, 2, `parley: --session "web-2/0": use a number from 1 on`},
		{[]string{"--session", "web-2/x"}, 2, `parley: --session "web-2/x": use a number from 1 on, with its node before it`},
		{[]string{"--session", "web-2/1", "--node", "edge"}, 2, "parley: --session web-2/1 names a node already; leave --node out\n"},
	} {
		p := start(t, program(t, append([]string{"log", all}, c.args...)...))
		if code := p.exit(t); code != c.code || !strings.Contains(p.stderr.String(), c.want) {
			t.Errorf("%q: exit code %d, %s", c.args, code, p.stderr)
		}
	}

	r := must(journal.Open(all))
	defer r.Close()
	var sessions []journal.Session
	for s, err := range r.Sessions(t.Context(), journal.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	for _, s := range sessions {
		others := must(r.OtherEnds(t.Context(), s.ID))
		if len(others) != 1 || others[0].Number != s.Number || others[0].Node == s.Node {
			t.Errorf("the other ends of %+v are %+v", s, others)
		}
	}
	if len(sessions) != 4 {
		t.Errorf("%d sessions, want 4", len(sessions))
	}
}
