package replay

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

const head = `"time":"2026-01-02T03:04:0%dZ","side":"tap","session":%d`

func line(event string, second, session int, fields string) string {
	return fmt.Sprintf(`{"event":"%s",`+head+`%s}`, event, second, session, fields) + "\n"
}

func TestReadEvents(t *testing.T) {
	text := `{"event":"started","time":"2026-01-02T03:04:05Z","side":"tap","local":"127.0.0.1:1"}` + "\n" +
		line("opened", 5, 1, "") +
		line("message", 6, 1, `,"bytes":5,"payload":"hello"`) +
		line("opened", 6, 2, "") +
		line("received", 7, 1, `,"seq":1,"bytes":1,"payload":"a"`) +
		line("received", 7, 1, `,"seq":2,"bytes":9,"payload_base64":"AP8=","cut":7`) +
		"\n" +
		line("replied", 9, 1, `,"seq":1,"bytes":0,"payload":""`) +
		line("replied", 9, 1, `,"seq":1,"bytes":1,"payload":"x"`) + // a second one answers nothing
		line("closed", 9, 1, `,"reason":"eof"`) +
		`{"event":"skipped","count":3,"time":"2026-01-02T03:04:05Z","side":"tap"}` + "\n" +
		`{"event":"skipped","count":4,"time":"2026-01-02T03:04:05Z","side":"tap"}` + "\n" +
		line("opened", 8, 1, "") + // another run
		line("closed", 8, 1, "") +
		line("received", 9, 1, `,"seq":8,"payload":"late"`) + // its beginning is not there
		`{"event":"received","time":"20`
	got, err := ReadEvents(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &Recording{Skipped: 7, Torn: true, Sessions: []Session{
		{Number: 1, Opened: at(0), Closed: at(4), Exchanges: []Exchange{
			{Received: at(1), Reply: []byte("hello")},
			{Seq: 1, Received: at(2), Took: 2 * time.Second, Request: []byte("a"), Reply: []byte{}},
			{Seq: 2, Received: at(2), Request: []byte("\x00\xff"), RequestCut: 7},
			{Received: at(4), Reply: []byte("x")},
		}},
		{Number: 2, Opened: at(1)},
		{Number: 1, Opened: at(3), Closed: at(3)},
		{Number: 1, Opened: at(4), Exchanges: []Exchange{{Seq: 8, Received: at(4), Request: []byte("late")}}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestBadRecordingsNameTheLine(t *testing.T) {
	good := line("opened", 5, 1, "")
	for _, c := range []struct{ text, want string }{
		{"Server: started on port 6969\n", "line 1: it is no event in JSON"},
		{good + "{}\n", `line 2: an event of side ""; only what a server, a tap or a client recorded can be replayed`},
		{good + strings.Replace(good, "tap", "replay", 1), `line 2: an event of side "replay"`},
		{good + line("received", 5, 1, `,"seq":1`), "line 2: a message without payload"},
		{good + line("received", 5, 1, `,"seq":1,"payload":"a","payload_base64":"YQ=="`), "line 2: a message with both"},
		{good + line("received", 5, 1, `,"seq":1,"bytes":2,"payload":"a"`), "line 2: bytes is 2 for a message of 1"},
		{good + line("received", 5, 1, `,"seq":1,"payload_base64":"?"`), "line 2: "},
		{good + "{\"event\":\n" + good, "line 2: "},
	} {
		if _, err := ReadEvents(strings.NewReader(c.text)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q gives %v, want %s", c.text, err, c.want)
		}
	}
}

// Whatever is in the file: no panic, and each message that was read stands in one place.
func FuzzReadEvents(f *testing.F) {
	f.Add(line("opened", 5, 1, "") + line("received", 6, 1, `,"seq":1,"bytes":1,"payload":"a"`) + line("replied", 7, 1, `,"seq":1,"payload_base64":"AA=="`))
	f.Add(line("message", 5, 1, `,"payload":""`) + line("closed", 6, 1, "") + `{"event":`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ReadEvents(strings.NewReader(text))
		if err != nil {
			return
		}
		read := 0
		for _, s := range got.Sessions {
			for _, x := range s.Exchanges {
				if x.Request == nil && x.Reply == nil {
					t.Errorf("an exchange of nothing: %+v", x)
				}
				if x.Request != nil {
					read++
				}
				if x.Reply != nil {
					read++
				}
			}
		}
		there := 0
		for l := range strings.Lines(text) {
			var e event
			if json.Unmarshal([]byte(l), &e) == nil && (e.Event == "received" || e.Event == "replied" || e.Event == "message") {
				there++
			}
		}
		if read != there {
			t.Errorf("%d messages of %d", read, there)
		}
	})
}
