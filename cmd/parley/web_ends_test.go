package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recordBothEnds makes a journal of what a client, a tap that does not pass its second request on, and a
// server have recorded of a connection.
func recordBothEnds(t *testing.T) (file string) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	server := startServer(t, "-q", "--node", "web-2", "--journal", at("server"))
	tap := startTap(t, server.addr, "-q", "--node", "edge", "--journal", at("tap"), "--fault", "request.drop=2")
	typed := program(t, "client", "-q", tap.addr, "--node", "desk", "--journal", at("client"), "-w", "500ms")
	typed.Stdin = strings.NewReader("red\ngreen\n")
	client := start(t, typed)
	if code := client.exit(t); code != exitNetwork {
		t.Fatalf("the client exits with %d: %s", code, client.stderr)
	}
	tap.stop(t, os.Interrupt)
	server.stop(t, os.Interrupt)
	if err := collectJournals(t.Context(), at("all.journal"), at("client"), at("tap"), at("server")); err != nil {
		t.Fatal(err)
	}
	return at("all.journal")
}

// Of a connection that several have recorded the page has a lifeline for each, what did not arrive, and how
// far their clocks are apart. Nodes are a column once there are several, and one can be chosen.
func testBothEnds(t *testing.T, browser context.Context) {
	dir := filepath.Dir(recordBothEnds(t))
	file := filepath.Join(dir, "growing.journal")
	collect := func(names ...string) {
		t.Helper()
		for i, name := range names {
			names[i] = filepath.Join(dir, name)
		}
		if err := collectJournals(t.Context(), file, names...); err != nil {
			t.Fatal(err)
		}
	}
	collect("client")
	_, url := startJournalPage(t, file)
	b := openTab(t, browser, 1280, 800, url+"#session=desk/1")
	b.until(isLive)
	b.until(`document.querySelectorAll('#sessions > li').length === 1 && document.querySelectorAll('#rows button.open').length > 0`)
	const column = `document.querySelector('.where') !== null || [...document.querySelectorAll('.heads')].some(e => e.checkVisibility())`
	if got := strings.Join(b.texts("#sessions button.open"), " "); got != "#1" || eval[bool](b, column) {
		t.Errorf("of one node the session is called %s; a column of nodes: %v", got, eval[bool](b, column))
	}
	collect("tap", "server")
	b.until(`document.querySelectorAll('#rows .where').length === 2 && document.querySelectorAll('#sessions .where').length === 1`) // of those that were listed
	eval[any](b, `document.querySelector('#clear').click()`)
	b.until(`document.querySelectorAll('#sessions > li').length === 3 && !document.querySelector('#node-part').hidden`)
	names := eval[[]string](b, `[...document.querySelectorAll('#sessions > li')].map(li => li.querySelector('.where.node').textContent + ' ' + li.querySelector('button.open').textContent + ' ' + li.querySelector('button.open').ariaLabel)`)
	slices.Sort(names)
	if got, want := strings.Join(names, ", "), "desk #1 Session desk/1: open its diagram, edge #1 Session edge/1: open its diagram, web-2 #1 Session web-2/1: open its diagram"; got != want {
		t.Errorf("sessions are %s, want %s", got, want)
	}
	b.until(`document.querySelectorAll('#rows .where').length === 5`)
	for list, heads := range map[string]string{"rows": "Time Node Session Request Reply Took", "sessions": "Node Session Client"} {
		if got := strings.Join(strings.Fields(b.text("#"+list+"-heads")), " "); got != heads {
			t.Errorf("the columns of #%s are called %s, want %s", list, got, heads)
		}
		// What stands below a heading begins where it does, and all of them are on one line.
		apart := fmt.Sprintf(`(heads => [...document.querySelectorAll('#%s > li:not(.gap)')].flatMap(li => heads.filter((head, i) =>
			Math.abs(head.getBoundingClientRect().left - li.children[i].getBoundingClientRect().left) > 1 || head.getBoundingClientRect().top !== heads[0].getBoundingClientRect().top).map(head => head.textContent)))
			([...document.querySelectorAll('#%[1]s-heads > span')])`, list)
		if got := eval[[]string](b, apart); len(got) > 0 {
			t.Errorf("in #%s these are not below their headings: %q", list, got)
		}
	}
	eval[any](b, `(e => { e.value = 'web-2'; e.dispatchEvent(new Event('input', { bubbles: true })) })(document.querySelector('#node'))`)
	b.until(`document.querySelectorAll('#sessions > li').length === 1 && location.hash.includes('node=web-2')`)
	eval[any](b, `document.querySelector('#sessions button.open').click()`)
	b.until(`!document.querySelector('#session').hidden && !document.querySelector('#session-ends').hidden && document.querySelector('#diagram').textContent.includes('red')`)
	if got := strings.Join(b.texts("#diagram .actor"), " "); got != "Client Tap Server" {
		t.Errorf("lifelines are %s", got)
	}
	ends := b.texts("#session-ends li")
	if len(ends) != 3 || ends[0] != "client desk/1" || !strings.Contains(ends[2], "server web-2/1: its clock is about ") || !strings.Contains(ends[2], "an estimate, from exchange 1, which of 1 was") {
		t.Errorf("it is said of the ends: %q", ends)
	}
	if got := eval[string](b, `document.querySelector("#diagram").textContent`); !strings.Contains(got, "green") || !strings.Contains(got, "did not arrive") || !strings.Contains(got, "✕") {
		t.Errorf("the diagram does not say what did not arrive: %s", got)
	}
	if got := eval[string](b, `document.querySelector("#steps").textContent`); !strings.Contains(got, "server web-2/1: did not arrive") {
		t.Errorf("the table does not say what did not arrive: %s", got)
	}
	if *pictures > 0 {
		b.picture("ends", "light")
	}
	b.fine(url)
}
