package probe

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialogue"
)

// A Report collects verdicts on dialogues as JUnit's XML has them: a test suite for each dialogue
// that was played, with a test for the connection and one for each step. Its zero value is
// ready.
type Report struct{ suites []suite }

type suite struct {
	Name      string `xml:"name,attr"`
	Timestamp string `xml:"timestamp,attr"`
	counts
	Cases  []testCase `xml:"testcase"`
	Output string     `xml:"system-out"`
}

type counts struct {
	Tests    int     `xml:"tests,attr"`
	Failures int     `xml:"failures,attr"`
	Errors   int     `xml:"errors,attr"`
	Skipped  int     `xml:"skipped,attr"`
	Time     seconds `xml:"time,attr"`
}

type testCase struct {
	Class   string    `xml:"classname,attr"`
	Name    string    `xml:"name,attr"`
	File    string    `xml:"file,attr"`
	Time    seconds   `xml:"time,attr"`
	Failure *reason   `xml:"failure"` // something else was said than expected
	Error   *reason   `xml:"error"`   // nothing was said that could be judged
	Skipped *struct{} `xml:"skipped"`
}

type reason struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

type seconds time.Duration

func (s seconds) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', 6, 64), nil
}

// add adds the verdict on a dialogue.
func (r *Report) add(c *Check, f *Finding) {
	d := c.Probe.Script.Dialogue
	file := escaped(d.File)
	s := suite{Name: file, Timestamp: f.Time.UTC().Format("2006-01-02T15:04:05"), Output: string(c.scriptVerdict(f))}
	if c.Probe.All && f.Address != "" {
		s.Name += " " + escaped(f.Address)
	}
	if c.Count > 1 {
		s.Name += " #" + strconv.Itoa(c.rounds)
	}
	add := func(name string, took time.Duration) *testCase {
		s.Cases = append(s.Cases, testCase{Class: s.Name, Name: name, File: file, Time: seconds(took)})
		return &s.Cases[len(s.Cases)-1]
	}
	connect := add("connect", f.Lookup+f.Connect+f.StartTLS+f.TLS)
	if !f.Connected || f.Kind == Expiring {
		connect.blame(c, f)
	}
	for i := range d.Steps {
		test := add(nameOf(i, &d.Steps[i]), 0)
		if i >= len(f.Played) {
			test.Skipped = new(struct{})
			continue
		}
		test.Time = seconds(f.Played[i].Took)
		if f.Played[i].Err != nil {
			test.blame(c, f)
		}
	}
	for i := range s.Cases {
		s.count(&s.Cases[i])
	}
	r.suites = append(r.suites, s)
}

// nameOf names a step. What is sent is left out, which may be a password.
func nameOf(i int, step *dialogue.Step) string {
	what := step.String()
	if step.Kind == dialogue.Send {
		what = "send"
	}
	return fmt.Sprintf("step %d: %s", i+1, console.AppendBrief(nil, []byte(what), 200))
}

// blame has a test be the one that failed.
func (t *testCase) blame(c *Check, f *Finding) {
	why := &reason{Type: string(f.Kind), Message: escaped(c.why(f)), Text: string(c.scriptVerdict(f))}
	if f.Kind == dial.Mismatch || f.Kind == Expiring {
		t.Failure = why
	} else {
		t.Error = why
	}
}

func (n *counts) count(t *testCase) {
	n.Tests++
	n.Time += t.Time
	switch {
	case t.Failure != nil:
		n.Failures++
	case t.Error != nil:
		n.Errors++
	case t.Skipped != nil:
		n.Skipped++
	}
}

// escaped is a text without what a terminal would obey and XML cannot have.
func escaped(text string) string { return string(console.AppendEscaped(nil, []byte(text))) }

// Write writes the report.
func (r *Report) Write(w io.Writer) error {
	all := struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		counts
		Suites []suite `xml:"testsuite"`
	}{Name: "parley check", Suites: r.suites}
	for _, s := range r.suites {
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
		all.Time += s.Time
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, xml.Header+string(text)+"\n")
	return err
}
