package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// A turn is what one side says before the other does.
type turn struct {
	of   side
	text string
}

// dialogue reads "C: " and "S: " lines; those that follow one another are sent at once. Each ends
// in CRLF, and \n stands for more inside of it; \l is a bare LF, and \0 takes the last CRLF off.
func dialogue(text string) (turns []turn) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		who, what, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		of := requests
		if who == "S" {
			of = replies
		}
		what = strings.ReplaceAll(what, `\n`, "\r\n") + "\r\n"
		what = strings.ReplaceAll(what, `\l`, "\n")
		what = strings.ReplaceAll(what, "\\0\r\n", "")
		if n := len(turns); n > 0 && turns[n-1].of == of {
			turns[n-1].text += what
		} else {
			turns = append(turns, turn{of, what})
		}
	}
	return turns
}

// seenOf plays turns in pieces, and checks that no byte is lost.
func seenOf(t *testing.T, turns []turn, piece, max int) *pairing {
	t.Helper()
	p := newPairing(smtpFraming, piece, max)
	var sent [2]string
	for _, turn := range turns {
		if p.sides[turn.of].err == nil {
			p.feed(turn.of, []byte(turn.text))
			sent[turn.of] += turn.text
		}
	}
	for of, s := range p.sides {
		if got := string(s.whole) + string(s.long) + string(s.held); got != sent[of] && s.err == nil {
			t.Errorf("in pieces of %d: messages and the rest are %q, want %q", piece, got, sent[of])
		}
	}
	return p
}

func TestSMTPPairsRequestsWithReplies(t *testing.T) {
	for _, c := range []struct{ name, dialogue, want string }{
		{"a delivery", `
			S: 220 mx ESMTP
			C: EHLO a
			S: 250-mx\n250-PIPELINING\n250 SIZE 1000
			C: MAIL FROM:<a@b>
			S: 250 OK
			C: RCPT TO:<c@d>
			S: 250 OK
			C: data
			S: 354 go on
			C: Subject: x\n\n..dot\n.x\n.
			S: 250 queued
			C: QUIT
			S: 221 bye`, `
			= 220 mx ESMTP
			EHLO a = 250 mx, PIPELINING, SIZE 1000
			MAIL FROM:<a@b> = 250 OK
			RCPT TO:<c@d> = 250 OK
			data = 354 go on
			message (28 bytes) = 250 queued
			QUIT = 221 bye`},
		{"pipelined, one recipient refused", `
			S: 220 mx ESMTP
			C: MAIL FROM:<a@b>\nRCPT TO:<c@d>\nRCPT TO:<e@f>\nDATA
			S: 250 a\n250 c\n550 no e\n354 go on
			C: .
			S: 554 no message
			C: RSET
			S: 250 OK`, `
			= 220 mx ESMTP
			MAIL FROM:<a@b> = 250 a
			RCPT TO:<c@d> = 250 c
			RCPT TO:<e@f> = 550 no e
			DATA = 354 go on
			message (3 bytes) = 554 no message
			RSET = 250 OK`},
		{"a refused DATA", `
			S: 220-mx ESMTP\n220 no spam
			C: RCPT TO:<c@d>\nDATA
			S: 550 no c\n503 no recipient
			C: RSET\nQUIT
			S: 250 OK\n221 bye`, `
			= 220 mx ESMTP, no spam
			RCPT TO:<c@d> = 550 no c
			DATA = 503 no recipient
			RSET = 250 OK
			QUIT = 221 bye`},
		{"a message that does not wait for its 354", `
			S: 220 mx ESMTP
			C: EHLO a\nDATA\nSubject: x\n\nhi\n.\nQUIT
			S: 250 mx\n354 go on\n250 queued\n221 bye`, `
			= 220 mx ESMTP
			EHLO a = 250 mx
			DATA = 354 go on
			message (21 bytes) = 250 queued
			QUIT = 221 bye`},
		{"two of them, the first refused", `
			S: 220 mx ESMTP
			C: DATA\na\nb\n.\nDATA\nc\n.\nQUIT
			S: 503 no\n500 a?\n500 b?\n500 .?\n354 go on\n250 queued\n221 bye`, `
			= 220 mx ESMTP
			DATA = 503 no
			message (9 bytes) = 500 a?
			DATA = 354 go on
			message (6 bytes) = 250 queued
			QUIT = 221 bye
			= 500 b?
			= 500 .?`},
		{"refused in the middle of one", `
			S: 220 mx ESMTP
			C: DATA\na\nb
			S: 503 no\n500 a?\n500 b?
			C: .\nQUIT
			S: 500 .?\n221 bye`, `
			= 220 mx ESMTP
			DATA = 503 no
			= 500 a?
			= 500 b?
			message (6 bytes)
			message (3 bytes) = 500 .?
			QUIT = 221 bye`},
		{"refused in the middle of a line", `
			S: 220 mx ESMTP
			C: DATA\na\nb\nc\0
			S: 503 no\n500 a?
			C: \n.\nQUIT
			S: 500 b?\n500 c?\n500 .?\n221 bye`, `
			= 220 mx ESMTP
			DATA = 503 no
			= 500 a?
			message (9 bytes)
			message (3 bytes) = 500 .?
			QUIT = 221 bye
			= 500 b?
			= 500 c?`},
		{"BDAT", `
			S: 220 mx ESMTP
			C: BDAT 3\nx\nbdat 7 last\n.\n..\n\0
			S: 250 3 octets\n250 queued
			C: BDAT 0 LAST\nBDAT x\nBDAT 3 MORE\nBDAT 99999999999999999999\nBDAT 3                                                           x
			S: 250 a\n501 b\n501 c\n501 d\n501 e`, `
			= 220 mx ESMTP
			BDAT 3 = 250 3 octets
			bdat 7 last = 250 queued
			BDAT 0 LAST = 250 a
			BDAT x = 501 b
			BDAT 3 MORE = 501 c
			BDAT 99999999999999999999 = 501 d
			BDAT 3                                                           x = 501 e`},
		{"AUTH", `
			S: 220 mx ESMTP
			C: AUTH PLAIN AGEAYg==
			S: 535 no
			C: auth login
			S: 334 VXNlcm5hbWU6
			C: YQ==
			S: 334 UGFzc3dvcmQ6
			C: QUIT
			S: 235 OK
			C: AUTH LOGIN YQ==
			S: 334 UGFzc3dvcmQ6
			C: *
			S: 501 cancelled
			C: AUTH EXTERNAL =
			S: 235 OK
			C: NOOP
			S: 250 OK`, `
			= 220 mx ESMTP
			AUTH PLAIN (secret) = 535 no
			auth login = 334 VXNlcm5hbWU6
			(secret) = 334 UGFzc3dvcmQ6
			(secret) = 235 OK
			AUTH LOGIN (secret) = 334 UGFzc3dvcmQ6
			* = 501 cancelled
			AUTH EXTERNAL = = 235 OK
			NOOP = 250 OK`},
		{"credentials that do not wait for their 334", `
			S: 220 mx ESMTP
			C: EHLO a\nAUTH LOGIN\nYQ==\nYg==\nMAIL FROM:<a@b>\nDATA\nhi\n.
			S: 250 mx\n334 VXNlcm5hbWU6\n334 UGFzc3dvcmQ6\n235 OK\n250 OK\n354 go on\n250 queued`, `
			= 220 mx ESMTP
			EHLO a = 250 mx
			AUTH LOGIN = 334 VXNlcm5hbWU6
			(secret) = 334 UGFzc3dvcmQ6
			(secret) = 235 OK
			MAIL FROM:<a@b> = 250 OK
			DATA = 354 go on
			message (7 bytes) = 250 queued`},
		{"a command among them", `
			S: 220 mx ESMTP
			C: AUTH LOGIN\nYQ==\nYg==
			S: 334 VXNlcm5hbWU6\n334 UGFzc3dvcmQ6
			C: NOOP
			S: 235 OK\n250 OK`, `
			= 220 mx ESMTP
			AUTH LOGIN = 334 VXNlcm5hbWU6
			(secret) = 334 UGFzc3dvcmQ6
			(secret) = 235 OK
			NOOP = 250 OK`},
		{"STARTTLS", `
			S: 220 mx ESMTP
			C: STARTTLS
			S: 454 not now
			C: STARTTLS
			S: 220 go ahead
			C: ` + "\x16\x03\x01\x02\x00\x01" + `
			S: ` + "\x16\x03\x03\x00\x01\x02", `
			= 220 mx ESMTP
			STARTTLS = 454 not now
			STARTTLS = 220 go ahead
			TLS (8 bytes)
			= TLS (8 bytes)`},
		{"TLS that does not wait", `
			S: 220 mx ESMTP
			C: NOOP\nSTARTTLS
			S: 250 OK
			C: ` + "\x16\x03\x01\x02\x00\x01" + `
			S: 220 go ahead`, `
			= 220 mx ESMTP
			NOOP = 250 OK
			STARTTLS = 220 go ahead
			TLS (8 bytes)`},
		{"a server that says more", `
			S: 220 mx ESMTP
			C: NOOP
			S: 250 OK\n421 idle`, `
			= 220 mx ESMTP
			NOOP = 250 OK
			= 421 idle`},
		{"bare LF", `
			S: 220 mx ESMTP\l\0
			C: DATA\l\0
			S: 354-go\l354 on\l\0
			C: hi\l.\lNOOP\l\0
			S: 250-queued\l250\l250 OK`, `
			= 220 mx ESMTP
			DATA = 354 go, on
			message (5 bytes) = 250 queued
			NOOP = 250 OK`},
		{"a bare LF ends nothing that began with CRLF", `
			S: 220 mx ESMTP
			C: DATA
			S: 354 go on
			C: hi\l.\lMAIL FROM:<a@b>\l.\n\l.\nmore\n.
			S: 250 queued`, `
			= 220 mx ESMTP
			DATA = 354 go on
			message (37 bytes) = 250 queued`},
		{"but where the server says it does", `
			S: 220 mx ESMTP
			C: DATA
			S: 354 go on
			C: hi\l.\l\0
			S: 250 queued
			C: QUIT
			S: 221 bye`, `
			= 220 mx ESMTP
			DATA = 354 go on
			= 250 queued
			message (5 bytes)
			QUIT = 221 bye`},
		{"FTP", `
			S: 220 ftp
			C: USER a
			S: 331 password?
			C: PASS b
			S: 230-hello\n  5 users\nand text\n230 done
			C: QUIT
			S: 221`, `
			= 220 ftp
			USER a = 331 password?
			PASS (secret) = 230 hello,   5 users, and text, done
			QUIT = 221`},
		{"8-bit, blank and strange lines", `
			S: 220 mx ESMTP
			C: MAIL FROM:<` + "\xff\xe9" + `>\n\n` + "\x00" + `
			S: 250 ` + "\xe9" + `\n500 what?\n500 what?`, `
			= 220 mx ESMTP
			MAIL FROM:<` + "\xff\xe9" + `> = 250 ` + "\xe9" + `
			 = 500 what?
			(3 bytes) = 500 what?`},
		{"nobody replies", `
			C: EHLO a
			S: 220 mx ESMTP
			C: NOOP`, `
			EHLO a = ?
			= 220 mx ESMTP
			NOOP = ?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			turns := dialogue(c.dialogue)
			first := 1
			if strings.Contains(c.dialogue, "STARTTLS") { // of which pieces are shown as they come
				first = 199
			}
			for piece := first; piece < 200; piece++ {
				o := seenOf(t, turns, piece, 1000)
				var want []string
				for line := range strings.Lines(strings.TrimSpace(c.want)) {
					want = append(want, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "\t\t\t"))
				}
				if !slices.Equal(o.told, want) {
					t.Fatalf("in pieces of %d:\n%s\nwant\n%s", piece, strings.Join(o.told, "\n"), strings.Join(want, "\n"))
				}
				if o.sides[requests].err != nil || o.sides[replies].err != nil {
					t.Errorf("lost: %v, %v", o.sides[requests].err, o.sides[replies].err)
				}
			}
		})
	}
}

// A message over the limit is skipped, and what follows is read as ever.
func TestSMTPMessagesAtTheLimit(t *testing.T) {
	const max = 100
	for _, size := range []int{max - 1, max, max + 1, 10 * max} {
		message := "x:\r\n" + strings.Repeat("x", size-9) + "\r\n.\r\n"
		line := strings.Repeat("n", size-2) + "\r\n"
		reply := "250 " + strings.Repeat("y", size-6) + "\r\n"
		want := []string{
			"= 220 mx", "DATA = 354 go on", fmt.Sprintf("message (%d bytes) = %s", size, reply[:size-2]),
			line[:size-2] + " = 500 what?", "QUIT = 221 bye",
		}
		for piece := 1; piece <= 2*size; piece += 1 + piece/8 {
			o := seenOf(t, []turn{
				{replies, "220 mx\r\n"}, {requests, "DATA\r\n"}, {replies, "354 go on\r\n"}, {requests, message}, {replies, reply},
				{requests, line}, {replies, "500 what?\r\n"}, {requests, "QUIT\r\n"}, {replies, "221 bye\r\n"},
			}, piece, max)
			if !slices.Equal(o.told, want) {
				t.Fatalf("%d bytes in pieces of %d:\n%s\nwant\n%s", size, piece, strings.Join(o.told, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// That BDAT is too long is known before its octets come.
func TestBDATOverTheLimit(t *testing.T) {
	for size, want := range map[int64]error{86: nil, 87: parley.ErrTooLong, 1 << 32: parley.ErrTooLong} {
		line := fmt.Sprintf("BDAT %d\r\nx", size)
		requests, _ := parley.OpenFraming(smtpFraming.Requests, nil)
		if _, _, err := requests.Next([]byte(line), 0, 86+len("BDAT 86\r\n"), false); err != want {
			t.Errorf("%q: %v, want %v", line, err, want)
		}
	}
}

func TestWhatIsNotSMTP(t *testing.T) {
	for _, c := range []struct {
		of   side
		text string
		want string // of the error; "" if there is none
	}{
		{replies, "2", ""},
		{replies, "22", ""},
		{replies, "22x", "an SMTP reply begins with three digits"},
		{replies, "HTTP/1.1 200 OK\r\n", "an SMTP reply begins with three digits"},
		{replies, "\r\n", "an SMTP reply begins with three digits"},
		{replies, "22\n", "an SMTP reply begins with three digits"},
		{replies, "220-a\r\nHTTP/1.1 200 OK\r\n", ""},
		{replies, "220\r\n", ""},
		{requests, "\x16", ""},
		{requests, "\x16\x03", "TLS, not smtp"},
		{requests, "\x16\x03\x01\x02\x00\x01\n", "TLS, not smtp"},
		{requests, "\x15\x03\r\n", ""},
		{requests, "\xff\x00\r\n", ""},
	} {
		for piece := 1; piece <= len(c.text); piece++ {
			o := newPairing(smtpFraming, piece, 1000)
			o.feed(c.of, []byte(c.text))
			lost := o.sides[c.of].err
			switch {
			case c.want == "" && lost != nil:
				t.Errorf("%q: %v", c.text, lost)
			case c.want != "" && (!errors.Is(lost, parley.ErrMalformed) || !strings.Contains(lost.Error(), c.want)):
				t.Errorf("%q in pieces of %d: %v, want %s", c.text, piece, lost, c.want)
			}
		}
	}
}

// What is remembered of a client that never waits is bounded, and said when it is.
func TestSMTPClientFarAhead(t *testing.T) {
	o := newPairing(smtpFraming, 1000, 1000)
	client := &o.sides[requests]
	memory := client.framing.(*direction).grammar.(*smtp)
	o.feed(requests, bytes.Repeat([]byte("NOOP\r\n"), 10_000))
	if client.err != nil || len(memory.inFlight) != 1 {
		t.Errorf("many commands: %v, %d runs; want one", client.err, len(memory.inFlight))
	}
	o.feed(requests, bytes.Repeat([]byte("NOOP\r\nDATA\r\n.\r\n"), 10_000))
	if !errors.Is(client.err, parley.ErrMalformed) || len(memory.inFlight) != maxSMTPRuns {
		t.Errorf("many messages: %v, %d runs; want an end at %d", client.err, len(memory.inFlight), maxSMTPRuns)
	}
}

func TestSMTPRequestsOfWords(t *testing.T) {
	inMessage := []turn{{replies, "220 mx\r\n"}, {requests, "DATA\r\n"}, {replies, "354 go on\r\n"}}
	for _, c := range []struct {
		before      []turn
		words, want string
		err         string
		unfinished  bool
	}{
		{words: "EHLO a", want: "EHLO a\r\n"},
		{words: "EHLO a\r", want: "EHLO a\r\n"},
		{words: "EHLO a\r\n", want: "EHLO a\r\n"},
		{words: "EHLO a\n", want: "EHLO a\n"},
		{words: "", want: "\r\n"},
		{words: "a\nb", err: "a newline at byte 1 would end the command early"},
		{words: "BDAT 3 LAST", err: "0 bytes follow BDAT 3 LAST", unfinished: true},
		{words: "BDAT 3 LAST\nabc", want: "BDAT 3 LAST\nabc"}, // whole: as it is
		{words: "BDAT 3 LAST\r\nabc", want: "BDAT 3 LAST\r\nabc"},
		{words: "BDAT 3 LAST\nabcd", err: "4 bytes follow BDAT 3 LAST"},
		{words: "BDAT 0 LAST", want: "BDAT 0 LAST\r\n"},
		{inMessage, "Subject: x", "", "a line with nothing but a dot ends it", true},
		{inMessage, "Subject: x\n\nhi", "", "a line with nothing but a dot ends it", true},
		{inMessage, ".", ".\r\n", "", false},
		{inMessage, "Subject: x\n\n.hi\r\n.", "Subject: x\r\n\r\n..hi\r\n.\r\n", "", false},
		{inMessage, "a\n.\nb\n.\n", "a\r\n..\r\nb\r\n.\r\n", "", false},
		{inMessage, "..\r\n.b\r\n.\r\n", "..\r\n.b\r\n.\r\n", "", false}, // whole: as it is
	} {
		o := seenOf(t, c.before, 100, 1000)
		got, err := o.sides[requests].framing.End([]byte("before"+c.words), len("before"))
		switch {
		case c.err == "" && (err != nil || string(got) != "before"+c.want):
			t.Errorf("%q: %q, %v; want %q", c.words, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || errors.Is(err, parley.ErrUnfinished) != c.unfinished):
			t.Errorf("%q: %q, %v; want the error %q", c.words, got, err, c.err)
		}
	}
}

func TestSMTPRepliesOfWords(t *testing.T) {
	for _, c := range []struct{ to, words, want string }{
		{"NOOP", "hi", "250 hi"},
		{"NOOP", "", "250 "},
		{"NOOP", "a\nb\r\nc\n", "250-a\r\n250-b\r\n250 c"},
		{"NOOP", "250-a\n250 b", "250-a\r\n250 b"},
		{"NOOP", "2500 b", "250 2500 b"},
		{"NOOP", "451", "451 "},
		{"NOOP", "Error: no recorded answer", "500 no recorded answer"},
		{"NOOP", "550 no\r\n", "550 no"},
		{"DATA", "hi", "354 hi"},
		{"DATA", "250 OK", "354 OK"},
		{"DATA", "250-OK\n250 go on", "354-OK\r\n354 go on"},
		{"DATA", "554 no", "554 no"},
		{"DATA", "Error: request longer than 9 bytes", "552 request longer than 9 bytes"},
		{"QUIT", "hi", "221 hi"},
		{"QUIT", "250 OK", "221 OK"},
		{"STARTTLS", "hi", "502 hi"},
		{"STARTTLS", "220 go", "220 go"},
		{"AUTH LOGIN", "hi", "235 hi"},
		{"AUTH LOGIN", "334 VXNlcm5hbWU6", "334 VXNlcm5hbWU6"},
		{"AUTH PLAIN AGEAYg==", "you said AGEAYg==", "235 OK"},
		{"AUTH PLAIN AGEAYg==", "250 AGEAYg==", "235 OK"},
		{"AUTH PLAIN AGEAYg==", "535 no", "535 no"},
	} {
		o := newPairing(smtpFraming, 100, 1000)
		o.sides[replies].framing.(parley.Greeter).Greet(nil)
		o.feed(requests, []byte(c.to+"\r\n"))
		got, err := o.sides[replies].framing.End([]byte("before"+c.words), len("before"))
		if want := "before" + c.want + "\r\n"; string(got) != want || err != nil {
			t.Errorf("to %s %q became %q, %v; want %q", c.to, c.words, got, err, want)
		}
	}
}

// Words say how long it was of what is cut, and leave credentials out.
func TestSMTPWords(t *testing.T) {
	for _, c := range []struct {
		of   side
		m    Message
		want string
	}{
		{requests, Message{Body: []byte("MAIL FROM:<aaa"), Cut: 86}, "MAIL FROM:<aaa…(100 bytes)"},
		{requests, Message{Body: []byte("a:\r\nb"), Cut: 95}, "message (100 bytes)"},
		{requests, Message{Body: []byte("a: b\r\n"), Cut: 94}, "message (100 bytes)"},
		{requests, Message{Body: []byte("BDAT 86 LAST\r\n\x00\x01"), Cut: 84}, "BDAT 86 LAST"},
		{requests, Message{Body: []byte(".\r\n")}, "message (3 bytes)"},
		{requests, Message{Body: []byte("auth plain  AGEAYg==\r\n"), Secret: true}, "AUTH plain (secret)"},
		{requests, Message{Body: []byte("auth plain  AGEAYg==\r\n")}, "auth plain  AGEAYg=="},
		{requests, Message{Body: []byte("AGEAYg==\r\n"), Secret: true}, "(secret)"},
		{requests, Message{Body: []byte("AUTH PLAIN AGE"), Cut: 86, Secret: true}, "AUTH PLAIN (secret)"},
		{requests, Message{Body: []byte("\x16\x03\x01\x02\x00\x01"), Cut: 94}, "TLS (100 bytes)"},
		{requests, Message{Body: []byte("\x01\x02\r\n")}, "(4 bytes)"},
		{replies, Message{Body: []byte("250 aaa"), Cut: 93}, "250 aaa…(100 bytes)"},
		{replies, Message{Body: []byte("250-a\r\n250-b\r\n25"), Cut: 84}, "250 a, b, 25…(100 bytes)"},
		{replies, Message{Body: []byte("250-a\n250-\n251 b\n")}, "250 a, 251 b"},
		{replies, Message{Body: []byte("250-\r\n250 b\r\n")}, "250 , b"},
		{replies, Message{Body: []byte("250\r\n")}, "250"},
		{replies, Message{Body: []byte("\x15\x03\x01\x00\x02\x02\x28")}, "TLS (7 bytes)"},
	} {
		got := smtpWords{}.AppendRequest([]byte("> "), c.m)
		if c.of == replies {
			got = smtpWords{}.AppendReply([]byte("> "), c.m)
		}
		if string(got) != "> "+c.want {
			t.Errorf("%+q is %q, want %q", c.m.Body, got, c.want)
		}
	}
}

func TestSMTPStatus(t *testing.T) {
	for reply, want := range map[string]string{"250 OK\r\n": "250", "250-a\r\n250 b\r\n": "250", "354\r\n": "354", "OK\r\n": "", "25": ""} {
		if code, ok := smtpFraming.Status([]byte(reply)); code != want || ok != (want != "") {
			t.Errorf("%q has the code %q, %v; want %q", reply, code, ok, want)
		}
	}
}

// FuzzSMTP has arbitrary bytes of both sides come in turn, and in any pieces.
func FuzzSMTP(f *testing.F) {
	f.Add([]byte("220 mx\r\n"), []byte("EHLO a\r\nDATA\r\nhi\r\n.\r\n"), []byte("250 mx\r\n354 go on\r\n250 OK\r\n"), []byte("QUIT\r\n"), uint64(1))
	f.Add([]byte("220-mx\r\n"), []byte("STARTTLS\r\n"), []byte("220 go\r\n"), []byte("\x16\x03\x01"), uint64(2))
	f.Add([]byte("220 mx\n"), []byte("AUTH LOGIN\nBDAT 3\nabc"), []byte("334 x\n250 y\n"), []byte("DATA\n.\nDATA\n"), uint64(3))
	f.Fuzz(func(t *testing.T, s1, c1, s2, c2 []byte, seed uint64) {
		if len(s1)+len(c1)+len(s2)+len(c2) > 4096 {
			return
		}
		turns := []turn{{replies, string(s1)}, {requests, string(c1)}, {replies, string(s2)}, {requests, string(c2)}, {replies, string(s1)}}
		whole := seenOf(t, turns, 4096, 64)
		bytewise := seenOf(t, turns, 1, 64)
		memory := whole.sides[requests].framing.(*direction).grammar.(*smtp)
		if memory.tls || memory.ahead {
			return // it is shown as it comes
		}
		if whole.sides[requests].err == nil && whole.sides[replies].err == nil && !slices.Equal(whole.told, bytewise.told) {
			t.Errorf("whole:\n%q\nin bytes:\n%q", whole.told, bytewise.told)
		}
	})
}

// FuzzSMTPSide has arbitrary bytes of one side come.
func FuzzSMTPSide(f *testing.F) {
	f.Add([]byte("EHLO a\r\nAUTH LOGIN\r\nYQ==\r\nDATA\r\na\r\n.\r\nBDAT 3\r\nabcQUIT\r\n"), 3)
	f.Add([]byte("220-mx\r\n220 ESMTP\r\n250-a\nb\n250 c\n"), 1)
	f.Add([]byte("DATA\n.\nSTARTTLS\n\x16\x03"), 2)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		if piece <= 0 || bytes.Contains(stream, []byte{tlsHandshake}) { // TLS is shown as it comes
			return
		}
		testGrammar(t, smtpFraming, requests, stream, piece)
		testGrammar(t, smtpFraming, replies, stream, piece)
	})
}

// Dialogues of a client and a server that keep to the protocol, however their bytes come: each
// request has its reply.
func FuzzSMTPDialogues(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		var turns []turn
		var want []string
		n := 0
		say := func(of side, text string) {
			if last := len(turns) - 1; last >= 0 && turns[last].of == of {
				turns[last].text += text
				return
			}
			turns = append(turns, turn{of, text})
		}
		reply := func(code string) (text, words string) {
			n++
			if r.IntN(3) == 0 {
				return fmt.Sprintf("%s-%d\r\n%s-\r\n%s more\r\n", code, n, code, code), fmt.Sprintf("%s %d, more", code, n)
			}
			return fmt.Sprintf("%s %d\r\n", code, n), fmt.Sprintf("%s %d", code, n)
		}
		text, words := reply("220")
		say(replies, text)
		want = append(want, "= "+words)
		for range 1 + r.IntN(8) {
			var commands, answers string
			ask := func(request, shown, code string) {
				text, words := reply(code)
				commands += request
				answers += text
				want = append(want, shown+" = "+words)
			}
			for range r.IntN(4) { // pipelined
				switch r.IntN(4) {
				case 0:
					ask("NOOP\r\n", "NOOP", "250")
				case 1:
					ask("RCPT TO:<a@b>\r\n", "RCPT TO:<a@b>", []string{"250", "550"}[r.IntN(2)])
				case 2:
					octets := strings.Repeat("\r\n.\r\n354 DATA\r\n", 1+r.IntN(3))
					line := fmt.Sprintf("BDAT %d", len(octets))
					ask(line+"\r\n"+octets, line, "250")
				case 3:
					ask("AUTH PLAIN x\r\n", "AUTH PLAIN (secret)", "535")
					say(requests, commands)
					say(replies, answers)
					commands, answers = "", ""
				}
			}
			switch r.IntN(4) {
			case 0:
				ask("DATA\r\n", "DATA", "354")
				say(requests, commands)
				say(replies, answers)
				commands, answers = "", ""
				message := strings.Repeat([]string{"x\r\n", "..\r\n", "\r\n", "\n.\n", ".\r\r\n", "QUIT\r\n", "x\n.\r\n"}[r.IntN(7)], r.IntN(3))
				if message != "" && r.IntN(2) == 0 {
					message += "y\r\n"
				}
				if strings.HasSuffix(message, "\n") && !strings.HasSuffix(message, "\r\n") {
					message += "z\r\n"
				}
				if strings.HasSuffix(message, "x\n.\r\n") || message == "" || strings.HasSuffix(message, "\r\n") {
					message += ".\r\n"
				}
				ask(message, fmt.Sprintf("message (%d bytes)", len(message)), []string{"250", "554"}[r.IntN(2)])
			case 1:
				ask("DATA\r\n", "DATA", "503")
			case 2:
				ask("AUTH LOGIN\r\n", "AUTH LOGIN", "334")
				say(requests, commands)
				say(replies, answers)
				commands, answers = "", ""
				ask("REFUQQ==\r\n", "(secret)", []string{"235", "535"}[r.IntN(2)])
			}
			say(requests, commands)
			say(replies, answers)
		}
		for _, piece := range []int{1, 2, 3, 5, 1 + r.IntN(100), 10_000} {
			if o := seenOf(t, turns, piece, 1000); !slices.Equal(o.told, want) {
				t.Fatalf("in pieces of %d:\n%s\nwant\n%s", piece, strings.Join(o.told, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}
