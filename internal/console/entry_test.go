package console

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// What is told of a journal is what the server told, byte for byte, but for how long a reply
// took.
func TestEntriesReadLikeTheServersOwn(t *testing.T) {
	var narrative, asJSON, entries, entriesJSON []byte
	told := make(chan struct{})
	observe := func(e *parley.Event) {
		narrator, j := &Narrative{verbose: true}, NewJSON(nil, "")
		if narrator.Wants(e.Kind) {
			narrative = narrator.appendEvent(narrative, e)
		}
		asJSON = j.appendEvent(asJSON, e)
		entry := Entry{Kind: e.Kind, Side: "server", Time: e.Time, Number: e.Session.Number(), Seq: e.Seq, Body: e.Body, Took: e.Took,
			Remote: string(e.Session.AppendRemote(nil)), Local: string(e.Session.AppendLocal(nil)), In: e.In, Out: e.Out, Reason: e.Reason.String()}
		entries = AppendEntry(entries, &entry, true)
		entriesJSON = AppendEntryJSON(entriesJSON, &entry)
		if e.Kind == parley.Closed {
			close(told)
		}
	}
	echo := func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil }
	addr := parleytest.Start(t, &parley.Server{Handler: parley.HandlerFunc(echo), Observer: parley.ObserverFunc(observe)})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "hello\n\x00\xff \u202e\"\\\n\n")
	io.Copy(io.Discard, c)
	c.Close()
	<-told
	narrative = regexp.MustCompile(` \([0-9.]+ (ns|µs|ms|s)\)\n`).ReplaceAll(narrative, []byte("\n"))
	if !bytes.Equal(entries, narrative) {
		t.Errorf("told\n%s\nthe server told\n%s", entries, narrative)
	}
	if !bytes.Equal(entriesJSON, asJSON) {
		t.Errorf("told\n%s\nthe server told\n%s", entriesJSON, asJSON)
	}
}

func TestReasonsOfEntries(t *testing.T) {
	for reason, want := range map[string]string{
		"eof": "", "blank": "", "reset": " (connection reset by peer)", "idle_timeout": " (idle timeout)",
		"handler_error": " (handler error)", "shutdown": " (server is shutting down)", "of\tthe_future": ` (of\tthe future)`,
	} {
		got := string(AppendEntry(nil, &Entry{Kind: parley.Closed, Reason: reason}, false))
		if want = "Server: Connection closed!" + want + "\n"; got != want {
			t.Errorf("%s: %q, want %q", reason, got, want)
		}
	}
}

func TestEntriesAreEscaped(t *testing.T) {
	bad := string(strange(200))
	for _, kind := range []parley.EventKind{parley.Opened, parley.Received, parley.Replied, parley.Closed} {
		e := Entry{Kind: kind, Time: time.Now(), Remote: bad, Local: bad, Body: []byte(bad), Reason: bad, Unsent: "unknown"}
		for _, line := range [][]byte{AppendEntry(nil, &e, true), AppendEntryJSON(nil, &e)} {
			text, whole := strings.CutSuffix(string(line), "\n")
			if !whole {
				t.Errorf("%v: no line: %.60q", kind, line)
			}
			checkHarmless(t, []byte(text))
		}
	}
}
