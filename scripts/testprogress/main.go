// Testprogress shows how a run of tests goes on: it reads what `go test -json` prints and
// writes a line for each package as it ends, all that a failed or skipped test printed, and a
// line about what is under way whenever nothing else was to be said for ten seconds. It exits
// with 1 unless every package passed.
//
//	go test -json ./... | go run ./scripts/testprogress
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// silence is how long nothing may be said.
const silence = 10 * time.Second

func main() {
	r := newReport(os.Stdout, time.Now())
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewReader(os.Stdin)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				lines <- line
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case line, more := <-lines:
			if !more {
				os.Exit(r.end(time.Now()))
			}
			r.read(line, time.Now())
		case now := <-time.After(time.Until(r.spoke.Add(silence))):
			r.underWay(now)
		}
	}
}

// An event is what `go test -json` prints a line of; see `go doc test2json` and
// `go help buildjson`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

// A report is how far the tests are.
type report struct {
	out          io.Writer
	began, spoke time.Time
	running      map[string][]string         // by package, the tests that have begun and not ended
	output       map[string]*strings.Builder // by package and test, until it has passed
	tests        map[string]int              // by how they ended, without those within others
	packages     int
	broken       []string // packages that failed
}

func newReport(out io.Writer, now time.Time) *report {
	return &report{out: out, began: now, spoke: now, running: map[string][]string{},
		output: map[string]*strings.Builder{}, tests: map[string]int{}}
}

func (r *report) say(now time.Time, format string, args ...any) {
	fmt.Fprintf(r.out, format+"\n", args...)
	r.spoke = now
}

// read takes one line of input; one that is no event is passed on.
func (r *report) read(line string, now time.Time) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		r.say(now, "%s", strings.TrimRight(line, "\n"))
		return
	}
	id := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		r.say(now, "%s", strings.TrimRight(e.Output, "\n"))
	case "run":
		r.running[e.Package] = append(r.running[e.Package], e.Test)
	case "output":
		if r.output[id] == nil {
			r.output[id] = new(strings.Builder)
		}
		r.output[id].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e, now)
		} else {
			r.endTest(e, now)
		}
	}
}

// endTest shows what failed, and why something was skipped.
func (r *report) endTest(e event, now time.Time) {
	r.running[e.Package] = slices.DeleteFunc(r.running[e.Package], func(test string) bool { return test == e.Test })
	if e.Action != "pass" {
		r.show(e.Package+" "+e.Test, now)
	}
	if !strings.Contains(e.Test, "/") {
		r.tests[e.Action]++
	}
	delete(r.output, e.Package+" "+e.Test)
}

// endPackage says how a package ended. Where it failed, what it printed beside its tests
// and in those that never ended is shown: a panic, a leak.
func (r *report) endPackage(e event, now time.Time) {
	r.packages++
	if e.Action == "fail" {
		r.broken = append(r.broken, e.Package)
		for _, test := range append(r.running[e.Package], "") {
			r.show(e.Package+" "+test, now)
		}
	}
	if e.Action != "skip" { // it has no tests
		took := time.Duration(e.Elapsed * float64(time.Second)).Round(100 * time.Millisecond)
		r.say(now, "%-5s %-50s %s", map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action], e.Package, took)
	}
	delete(r.running, e.Package)
}

func (r *report) show(id string, now time.Time) {
	if text := r.output[id]; text != nil {
		r.say(now, "%s", strings.TrimRight(text.String(), "\n"))
	}
}

// underWay says what takes so long: the test that began last, of any package.
func (r *report) underWay(now time.Time) {
	doing := "compiling"
	for _, name := range slices.Sorted(maps.Keys(r.running)) {
		if tests := r.running[name]; len(tests) > 0 {
			doing = "in " + name + ", " + tests[len(tests)-1]
		}
	}
	r.say(now, "      %s: %s", now.Sub(r.began).Round(time.Second), doing)
}

// end closes the report and is the exit code.
func (r *report) end(now time.Time) int {
	r.say(now, "%d packages in %s", r.packages, now.Sub(r.began).Round(time.Second))
	for _, name := range r.broken {
		r.say(now, "FAIL  %s", name)
	}
	r.say(now, "%d passed, %d failed, %d skipped", r.tests["pass"], r.tests["fail"], r.tests["skip"])
	if len(r.broken) > 0 || r.tests["fail"] > 0 || r.tests["pass"] == 0 {
		return 1
	}
	return 0
}
