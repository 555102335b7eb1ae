package probe

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/parleytest"
)

// What GitLab and Jenkins are told: of each dialogue the connection and its steps, those behind
// the one that failed as skipped, what is sent not at all.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := new(Report)
		for _, c := range []struct {
			text  string
			serve func(c *parleytest.Conn)
		}{
			{"> PASS secret\n< ~ (?i)<&\n> b\n< *\n", counting},
			{"> a\n< *\n", counting},
			{"> a\n< *\n", silent},
			{"< *\n", nil},
		} {
			check, _ := playing(t, c.text, c.serve)
			check.Report = report
			if _, err := check.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if err := report.Write(&out); err != nil {
			t.Fatal(err)
		}
		const want = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="parley check" tests="13" failures="1" errors="2" skipped="3" time="2.011000">
  <testsuite name="a.talk" timestamp="2000-01-01T00:00:00" tests="5" failures="1" errors="0" skipped="2" time="0.004000">
    <testcase classname="a.talk" name="connect" file="a.talk" time="0.003000"></testcase>
    <testcase classname="a.talk" name="step 1: send" file="a.talk" time="0.000000"></testcase>
    <testcase classname="a.talk" name="step 2: &lt; ~ (?i)&lt;&amp;" file="a.talk" time="0.001000">
      <failure type="mismatch" message="x:7 (10.0.0.1:7): step 2 (a.talk:2): want ~ (?i)&lt;&amp;, got 1 PASS secret">x:7 (10.0.0.1:7): step 2 (a.talk:2): want ~ (?i)&lt;&amp;, got 1 PASS secret (connect 3.00 ms, 2: 1.00 ms)</failure>
    </testcase>
    <testcase classname="a.talk" name="step 3: send" file="a.talk" time="0.000000">
      <skipped></skipped>
    </testcase>
    <testcase classname="a.talk" name="step 4: &lt; *" file="a.talk" time="0.000000">
      <skipped></skipped>
    </testcase>
    <system-out>x:7 (10.0.0.1:7): step 2 (a.talk:2): want ~ (?i)&lt;&amp;, got 1 PASS secret (connect 3.00 ms, 2: 1.00 ms)</system-out>
  </testsuite>
  <testsuite name="a.talk" timestamp="2000-01-01T00:00:00" tests="3" failures="0" errors="0" skipped="0" time="0.004000">
    <testcase classname="a.talk" name="connect" file="a.talk" time="0.003000"></testcase>
    <testcase classname="a.talk" name="step 1: send" file="a.talk" time="0.000000"></testcase>
    <testcase classname="a.talk" name="step 2: &lt; *" file="a.talk" time="0.001000"></testcase>
    <system-out>10.0.0.1:7 a.talk held: connect 3.00 ms, 2: 1.00 ms</system-out>
  </testsuite>
  <testsuite name="a.talk" timestamp="2000-01-01T00:00:00" tests="3" failures="0" errors="1" skipped="0" time="2.003000">
    <testcase classname="a.talk" name="connect" file="a.talk" time="0.003000"></testcase>
    <testcase classname="a.talk" name="step 1: send" file="a.talk" time="0.000000"></testcase>
    <testcase classname="a.talk" name="step 2: &lt; *" file="a.talk" time="2.000000">
      <error type="reply_timeout" message="x:7 (10.0.0.1:7): step 2 (a.talk:2): want *, but nothing came within 2s">x:7 (10.0.0.1:7): step 2 (a.talk:2): want *, but nothing came within 2s (connect 3.00 ms, 2: 2000.00 ms)</error>
    </testcase>
    <system-out>x:7 (10.0.0.1:7): step 2 (a.talk:2): want *, but nothing came within 2s (connect 3.00 ms, 2: 2000.00 ms)</system-out>
  </testsuite>
  <testsuite name="a.talk" timestamp="2000-01-01T00:00:02" tests="2" failures="0" errors="1" skipped="1" time="0.000000">
    <testcase classname="a.talk" name="connect" file="a.talk" time="0.000000">
      <error type="refused" message="cannot connect to x:7 (10.0.0.1:7): connection refused; is a server listening there?">a.talk: cannot connect to x:7 (10.0.0.1:7): connection refused; is a server listening there?</error>
    </testcase>
    <testcase classname="a.talk" name="step 1: &lt; *" file="a.talk" time="0.000000">
      <skipped></skipped>
    </testcase>
    <system-out>a.talk: cannot connect to x:7 (10.0.0.1:7): connection refused; is a server listening there?</system-out>
  </testsuite>
</testsuites>
`
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", &out, want)
		}
	})
}

// Suites of the same dialogue are told apart.
func TestSuitesOfASeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, _ := playing(t, "> a\n< *\n", counting)
		check.Report, check.Count, check.Interval, check.Probe.All = new(Report), 2, time.Second, true
		check.Probe.Dialer.LookupAddrs = names(0, "10.0.0.1", "10.0.0.2")
		if _, err := check.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range check.Report.suites {
			got = append(got, s.Name)
		}
		const want = "a.talk 10.0.0.1:7 #1, a.talk 10.0.0.2:7 #1, a.talk 10.0.0.1:7 #2, a.talk 10.0.0.2:7 #2"
		if strings.Join(got, ", ") != want {
			t.Errorf("got %q, want %s", got, want)
		}
	})
}

// Whatever a server says, and a file is called, the report is XML and steers no terminal.
func FuzzReport(f *testing.F) {
	f.Add("a.talk", "]]>\x00\x1b[2J\ufffe\uffff\xff<&\"'\u202e")
	f.Add("\x1b]]>&.talk", "\ud7ff\ue000\u0085")
	f.Fuzz(func(t *testing.T, file, said string) {
		if strings.ContainsAny(said, "\n") {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			check, _ := playing(t, "< = never said\n", func(c *parleytest.Conn) { io.WriteString(c, said+"\n"); silent(c) })
			check.Probe.Script.Dialogue.File, check.Report = file, new(Report)
			if _, err := check.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := check.Report.Write(&out); err != nil {
				t.Fatal(err)
			}
			if bad := strings.IndexFunc(out.String(), func(r rune) bool {
				return r < ' ' && r != '\n' || r == '\u202e' || r == '\ufffd' && !strings.Contains(file+said, "\ufffd")
			}); bad >= 0 {
				t.Errorf("%q", out.String()[bad:])
			}
			tokens, failures := xml.NewDecoder(&out), 0
			for {
				token, err := tokens.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if start, is := token.(xml.StartElement); is && start.Name.Local == "failure" {
					failures++
				}
			}
			if failures != 1 {
				t.Errorf("%d failures, want 1", failures)
			}
		})
	})
}
