package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/parleytest"
)

// guarded is a protocol of lines, of which those that begin with AUTH are secret.
type guarded struct{ parley.Framing }

func (g guarded) Open() (requests, replies parley.Framing) {
	return &guardedRequests{Framing: parley.Lines}, parley.Lines
}

func (guarded) AppendRequest(dst []byte, m dialect.Message) []byte {
	return append(dst, "AUTH (secret)"...)
}
func (guarded) AppendReply(dst []byte, m dialect.Message) []byte { return append(dst, m.Body...) }

type guardedRequests struct {
	parley.Framing
	secret bool
}

func (g *guardedRequests) End(dst []byte, start int) ([]byte, error) {
	g.secret = bytes.HasPrefix(dst[start:], []byte("AUTH"))
	return g.Framing.End(dst, start)
}

func (g *guardedRequests) Note() parley.Note { return parley.Note{Secret: g.secret} }

// dialogued is the report of a dialogue of which every tenth ends with something else, and of every
// hundredth nothing more comes.
func dialogued(t *testing.T, plan load.Plan) *Report {
	t.Helper()
	d, err := dialogue.Parse("what.talk", []byte("# it counts\n> user {n}\n< = re user {n}\nwait 5ms\n"+
		"> AUTH \\x1b[2J a rather long line that does not fit into the table of the steps, 1{n}\n< !~ what\n"))
	if err != nil {
		t.Fatal(err)
	}
	line, _ := dialect.Parse("line")
	plan.Script = &load.Script{Dialogue: d, Framing: line}
	if plan.Warmup == 0 {
		plan.Script.Framing = dialect.Framing{Name: "auth", Requests: guarded{parley.Lines}, Words: guarded{}}
	}
	return measured(t, plan, func(line string, conn *parleytest.Conn) bool {
		switch {
		case strings.HasPrefix(line, "AUTH") && strings.HasSuffix(line, "00"):
			time.Sleep(time.Hour)
		case strings.HasPrefix(line, "AUTH") && strings.HasSuffix(line, "0"):
			conn.Write([]byte("what? \x1b[2J\n"))
		default:
			return false
		}
		return true
	})
}

func TestReportOfADialogue(t *testing.T) {
	const between = time.Second - time.Millisecond/2 // when nothing happens: what was sent by then is not counted
	for name, plan := range map[string]load.Plan{
		"dialogue.txt":      {Connections: 4, Requests: 200, Timeout: time.Second},
		"dialogue-open.txt": {Connections: 4, Rate: 50, Warmup: between, Duration: 4 * time.Second, Timeout: time.Second, ConnectEach: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			report := dialogued(t, plan)
			var text bytes.Buffer
			if err := report.WriteText(&text, 80); err != nil {
				t.Error(err)
			}
			_, table, _ := strings.Cut(text.String(), "  step  line")
			table, _, _ = strings.Cut(table, "\n\n")
			for line := range strings.Lines(table) {
				if n := utf8.RuneCountInString(line); n > 81 { // with its end
					t.Errorf("%d columns: %s", n-1, line)
				}
			}
			golden(t, name, text.String())
		})
	}
}

// In JSON and on the page each step has its times, and what is shown of the service is escaped.
func TestStepsInJSONAndOnThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := dialogued(t, load.Plan{Connections: 1, Requests: 100, Timeout: time.Second})
		var line, page bytes.Buffer
		if err := report.WriteJSON(&line); err != nil {
			t.Error(err)
		}
		var got struct {
			Script string
			Judged bool
			Steps  []struct {
				Step, Line, Count int
				What              string
				Times             struct {
					P99 float64 `json:"p99_us"`
				}
			}
			Examples map[string]struct {
				Step, Line      int
				Want, Why, Kind string
				Reply64         []byte `json:"reply_base64"`
				Request         *string
			}
		}
		if err := json.Unmarshal(line.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if s := got.Steps; got.Script != "what.talk" || !got.Judged || len(s) != 4 || s[2].Step != 4 || s[2].Line != 5 || s[3].Count != 90 || s[1].Times.P99 < 9900 || s[2].What != "> AUTH (secret)" {
			t.Errorf("got %+v", got)
		}
		e := got.Examples["mismatched"]
		if e.Step != 5 || e.Line != 6 || e.Want != "!~ what" || e.Kind != "" || string(e.Reply64) != "what? \x1b[2J" || e.Request != nil ||
			e.Why != `step 5 (what.talk:6): want !~ what, got what? \x1b[2J` {
			t.Errorf("the example is %+v", e)
		}
		if e := got.Examples["missing"]; e.Kind != "reply_timeout" || !strings.HasSuffix(e.Why, "but nothing came within 1s") {
			t.Errorf("what is missing is %+v", e)
		}
		var kept bytes.Buffer
		if err := NewBaseline(NewSetup(PlanFacts{}, &report.Plan, ""), report).Write(&kept); err != nil {
			t.Error(err)
		}
		if b, err := ReadBaseline(&kept); err != nil || len(b.Result.Steps) != 4 || b.Plan.Messages != report.Plan.Digest() {
			t.Errorf("kept as %+v, %v", b, err)
		}
		if err := WritePage(&page, report.About(nil), report.Result); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"<h2>Steps</h2>", `<td class="what">&gt; AUTH (secret)</td>`, "dialogues a second", "dialogues/s", "want !~ what, got what? \\x1b[2J"} {
			if !strings.Contains(page.String(), want) {
				t.Errorf("the page has no %s", want)
			}
		}
		if strings.ContainsRune(page.String(), '\x1b') || strings.Contains(page.String(), "requests") {
			t.Errorf("the page is\n%s", page.String())
		}
	})
}
