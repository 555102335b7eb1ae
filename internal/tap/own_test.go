package tap

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// own is a client with a record of its own, and its server.
func own(t *testing.T, gate parley.Gate, observer parley.Observer) (client *Own, server net.Conn) {
	ours, theirs := connPair()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	session := parley.NewSession(1, theirs.LocalAddr(), ours.LocalAddr(), time.Now())
	return NewOwn(t.Context(), ours, session, parley.Lines, parley.Lines, observer, gate), theirs
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); string(got) != want || err != nil {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
}

// What a client writes and reads is recorded as requests, their replies, and what came unasked.
func TestAClientKeepsItsOwnRecord(t *testing.T) {
	var gate porter
	closed := make(chan parley.Event, 1)
	client, server := own(t, &gate, parley.ObserverFunc(func(e *parley.Event) {
		if e.Kind == parley.Closed {
			closed <- *e
		}
	}))
	io.WriteString(server, "hello\n")
	hear(t, client, "hello\n")
	io.WriteString(client, "a\nb\n")
	hear(t, server, "a\nb\n")
	io.WriteString(server, "1\n2\n")
	hear(t, client, "1\n2\n")
	io.WriteString(client, "c\n")
	client.CloseWrite()
	server.Close()
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("Read = %d, %v, want the end", n, err)
	}
	e := <-closed
	if got := fmt.Sprint(e.Reason, " ", e.Seq, " ", e.Replied, " ", e.In, " ", e.Out); got != "eof 3 2 6 10" {
		t.Errorf("closed: %s, want eof 3 2 6 10", got)
	}
	client.Close() // of which nothing more is told
	gate.check(t, `1.0 - "hello"`, `1.1 "a" "1"`, `1.2 "b" "2"`, `1.3 "c" -`)
}

// A request that was typed as a secret is not recorded, nor where the server says it again.
func TestASecretIsNotRecorded(t *testing.T) {
	var gate porter
	client, server := own(t, &gate, nil)
	for _, line := range []string{"a", "hunter2", "b"} {
		if line == "hunter2" {
			client.Hide([]byte(line))
		}
		io.WriteString(client, line+"\n")
		hear(t, server, line+"\n")
		io.WriteString(server, "you said "+line+"\n")
		hear(t, client, "you said "+line+"\n")
	}
	client.Close()
	gate.check(t, `1.1 "a" "you said a"`, `1.2 "(secret)" "you said (secret)" (secret)`, `1.3 "b" "you said b"`)
}

// A client that leaves has ended both sides; what it was owed is recorded without a reply.
func TestAClientThatLeavesEndsItsRecord(t *testing.T) {
	var gate porter
	closed := make(chan parley.CloseReason, 1)
	client, _ := own(t, &gate, parley.ObserverFunc(func(e *parley.Event) {
		if e.Kind == parley.Closed {
			closed <- e.Reason
		}
	}))
	io.WriteString(client, "a\n")
	client.Close()
	if reason := <-closed; reason != parley.EndOfFile {
		t.Errorf("closed: %v, want %v", reason, parley.EndOfFile)
	}
	gate.check(t, `1.1 "a" -`)
}
