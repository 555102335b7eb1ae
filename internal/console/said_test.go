package console_test

import (
	"bytes"
	"testing"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
)

// However little a server says at a time, what is kept of it is bounded.
func TestWhatWasSaidIsBounded(t *testing.T) {
	var said console.Said
	for range 300_000 {
		said.Message(dialect.Message{Body: []byte("x")})
	}
	if kept := bytes.Count(said.AppendJSON(nil), []byte("\n")); kept > 64<<20/256 {
		t.Errorf("%d messages are kept of 300000, want no more than 64 MiB with 256 bytes for each", kept)
	}
}

// What was typed behind /secret is not there to be shown, also where other credentials are.
func TestWhatWasNeverKeptIsNotShownAsNothing(t *testing.T) {
	said := console.Said{Wording: console.Wording{Secrets: true}}
	said.Opened("s", "", "")
	said.Sent(dialect.Message{Body: []byte{}, Cut: 7, Secret: true})
	dialogue, err := said.AppendDialogue(nil, dialect.Framing{Name: "line"})
	if err != nil {
		t.Fatal(err)
	}
	for form, text := range map[string][]byte{"Markdown": said.AppendMarkdown(nil), "dialogue": dialogue} {
		if !bytes.Contains(text, []byte("(secret)")) {
			t.Errorf("%s:\n%s\nwant (secret) for the request", form, text)
		}
	}
}
