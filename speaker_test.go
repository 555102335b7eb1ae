package parley_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// A herald echoes, and says what its function tells; "" is nothing.
type herald struct {
	parley.Handler
	speak func(s *parley.Session, now time.Time) (message string, again time.Time, err error)
}

func (h herald) Speak(dst []byte, s *parley.Session, now time.Time) ([]byte, time.Time, error) {
	message, again, err := h.speak(s, now)
	if message == "" {
		return nil, again, err
	}
	return append(dst, message...), again, err
}

// inTurn says one text each time it is asked: all that there are at the opening, or one behind
// each reply if there is a - between them.
func inTurn(texts ...string) herald {
	return herald{echo, func(s *parley.Session, _ time.Time) (string, time.Time, error) {
		said, _ := s.Data.(int)
		if said == len(texts) {
			return "", time.Time{}, nil
		}
		s.Data = said + 1
		return strings.TrimPrefix(texts[said], "-"), time.Time{}, nil
	}}
}

// What nobody asked for is said in its place, told as such, and a gate is asked about it as about
// replies to no request.
func TestSpeaker(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w, p := new(witness), new(porter)
		dial := serve(&parley.Server{Handler: inTurn("hello", "world", "-", "news", "-"), Observer: w, Gate: p})
		c := dial()
		in := bufio.NewReader(c)
		for _, want := range []string{"hello\n", "world\n"} { // before anything is sent
			if line, err := in.ReadString('\n'); line != want || err != nil {
				t.Fatalf("got %q, %v; want %q", line, err, want)
			}
		}
		io.WriteString(c, "a\nb\n")
		c.CloseWrite()
		if rest, err := io.ReadAll(in); string(rest) != "a\nnews\nb\n" || err != nil {
			t.Errorf("then %q, %v", rest, err)
		}
		w.closed(t, 1)
		var got []string
		for _, e := range w.all() {
			if e.kind == parley.Unasked || e.kind == parley.Replied {
				got = append(got, e.body)
			}
		}
		if want := []string{"hello", "world", "a", "news", "b"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		got = nil
		for _, x := range p.exchanges() {
			got = append(got, fmt.Sprintf("%d %s %s", x.seq, x.request, x.reply))
		}
		if want := []string{"0 none hello", "0 none world", "1 a a", "0 none news", "2 b b"}; !slices.Equal(got, want) {
			t.Errorf("kept %q, want %q", got, want)
		}
	})
}

// The greeting of a protocol is said by who says something at the opening.
func TestSpeakerGreetsInsteadOfTheProtocol(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		for _, c := range []struct {
			handler parley.Handler
			want    string
		}{
			{inTurn("220 mine"), "220 mine\r\n221 QUIT\r\n"},
			{inTurn("-"), " ESMTP parley\r\n221 QUIT\r\n"},
		} {
			dial := serve(&parley.Server{Handler: c.handler, Framing: smtpFraming(t)})
			if got := say(t, dial(), "QUIT\r\n"); !strings.HasSuffix(got, c.want) || strings.Count(got, "220 ") != 1 {
				t.Errorf("heard %q, want %q", got, c.want)
			}
		}
	})
}

// Later messages come although the peer says nothing, each at its time and not before.
func TestSpeakerSpeaksLater(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		const pause = 5 * time.Millisecond
		dial := serve(&parley.Server{Handler: herald{echo, func(s *parley.Session, now time.Time) (string, time.Time, error) {
			due, waits := s.Data.(time.Time)
			if waits && now.Before(due) {
				return "", due, nil
			}
			s.Data = now.Add(pause)
			if !waits {
				return "", now.Add(pause), nil
			}
			return "tick", now.Add(pause), nil
		}}})
		c := dial()
		in := bufio.NewReader(c)
		for range 3 {
			if line, err := in.ReadString('\n'); line != "tick\n" || err != nil {
				t.Fatalf("got %q, %v", line, err)
			}
		}
		io.WriteString(c, "a\n")
		for line := ""; line != "a\n"; {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Between two messages nothing runs: what is due is all that wakes it.
func TestSpeakerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, asked := time.Now(), 0
		c := parleytest.Pipe(t, &parley.Server{IdleTimeout: time.Hour, Handler: herald{echo, func(_ *parley.Session, now time.Time) (string, time.Time, error) {
			asked++
			if now.Sub(begin) < time.Minute {
				return "", begin.Add(time.Minute), nil
			}
			if asked%2 == 0 {
				return "late", time.Time{}, nil
			}
			return "", time.Time{}, nil
		}}})
		line, err := bufio.NewReader(c).ReadString('\n')
		if took := time.Since(begin); line != "late\n" || err != nil || took < time.Minute || took > time.Minute+time.Millisecond || asked > 3 {
			t.Errorf("got %q, %v after %v, asked %d times", line, err, took, asked)
		}
	})
}

// A speaker that never stops is held back by a peer that reads nothing, answers one that does, says
// all of what it says, and ends with a drain, also once its peer has half-closed.
func TestEndlessSpeaker(t *testing.T) {
	const requests, behind = 20, tightly
	overEachTight(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w := new(witness)
		padding := strings.Repeat("x", 1000)
		srv := &parley.Server{Observer: w, WriteTimeout: 4 * patience, Handler: herald{echo, func(s *parley.Session, _ time.Time) (string, time.Time, error) {
			said, _ := s.Data.(int)
			s.Data = said + 1
			return fmt.Sprintf("%d %s", said, padding), time.Time{}, nil
		}}}
		dial := serve(srv)
		c, deaf := dial(), dial()
		var sent sync.WaitGroup
		sent.Go(func() {
			for range requests {
				io.WriteString(c, "a\n")
			}
			c.CloseWrite()
		})
		in := bufio.NewReader(c)
		for said, answered, ahead := 0, 0, behind; answered < requests || ahead > 0; {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "a\n" {
				answered++
				continue
			}
			if number, _, _ := strings.Cut(line, " "); number != fmt.Sprint(said) {
				t.Fatalf("message %d is %q", said, line)
			}
			said++
			if answered == requests {
				ahead -= len(line) // by then the end of file is seen
			}
		}
		sent.Wait()
		var read sync.WaitGroup
		read.Go(func() { io.Copy(io.Discard, in) })
		drained := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		go func() { drained <- srv.Shutdown(ctx) }()
		if end := w.closed(t, 1); end.reason != parley.Draining && end.reason != parley.EndOfFile {
			t.Errorf("ended for %v, want %v", end.reason, parley.Draining)
		}
		deaf.Close()
		if err := <-drained; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		read.Wait()
	})
}

// A speaker that says nothing, and always names a time that is past, keeps no session: neither one
// whose peer has half-closed, nor one whose peer is silent for too long.
func TestSpeakerWithNothingToSayIsLeft(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w := new(witness)
		dial := serve(&parley.Server{Observer: w, IdleTimeout: 200 * time.Millisecond, Handler: herald{echo, func(_ *parley.Session, now time.Time) (string, time.Time, error) {
			return "", now.Add(-time.Second), nil
		}}})
		if got := say(t, dial(), "a\n"); got != "a\n" {
			t.Errorf("heard %q", got)
		}
		if end := w.closed(t, 1); end.reason != parley.EndOfFile {
			t.Errorf("ended for %v, want %v", end.reason, parley.EndOfFile)
		}
		c := dial()
		io.WriteString(c, "a\n")
		if got, err := io.ReadAll(c); string(got) != "a\n" || err != nil {
			t.Errorf("heard %q, %v", got, err)
		}
		if end := w.closed(t, 2); end.reason != parley.IdleTimeout {
			t.Errorf("ended for %v, want %v", end.reason, parley.IdleTimeout)
		}
	})
}

// A speaker that panics or fails ends its session alone.
func TestSpeakerThatFails(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		for n, fail := range []func() error{
			func() error { panic("oops") },
			func() error { return errors.New("no luck") },
		} {
			w := new(witness)
			dial := serve(&parley.Server{Observer: w, Handler: herald{echo, func(s *parley.Session, _ time.Time) (string, time.Time, error) {
				if s.Data == nil {
					s.Data = 1
					return "", time.Time{}, nil
				}
				return "", time.Time{}, fail()
			}}})
			if got := say(t, dial(), "a\nb\n"); got != "a\n" {
				t.Errorf("%d: heard %q", n, got)
			}
			if end := w.closed(t, 1); end.reason != parley.HandlerError || end.err == nil {
				t.Errorf("%d: ended for %v, %v", n, end.reason, end.err)
			}
		}
	})
}
