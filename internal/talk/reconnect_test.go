package talk_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/talk"
	"github.com/parley-tcp/parley/parleytest"
)

var pauses = regexp.MustCompile(`in \d+(\.\d+)?m?s `)

// comesBack has a conversation that comes back, with a server for each connection; nil refuses it.
func comesBack(t *testing.T, input io.Reader, servers ...func(s *parleytest.Conn)) (shown string, err error) {
	t.Helper()
	var served []chan struct{}
	next := 0
	var out bytes.Buffer
	c := conversation(nil, parley.Lines, console.NewClientNarrative(&out, nil, console.Piped))
	c.Conn, c.Reconnect = nil, true
	c.Dial = func(context.Context) (net.Conn, error) {
		serve := servers[min(next, len(servers)-1)]
		if next++; serve == nil {
			return nil, errors.New("cannot connect to s: connection refused")
		}
		ours, theirs := parleytest.ConnPair()
		done := make(chan struct{})
		served = append(served, done)
		go func() { defer close(done); serve(theirs) }()
		return ours, nil
	}
	err = c.Lines(t.Context(), input)
	for _, done := range served {
		<-done
	}
	return pauses.ReplaceAllString(strings.ReplaceAll(out.String(), "Client: ", ""), "in N "), err
}

// answers answers so many lines, and leaves.
func answers(n int, then func(s *parleytest.Conn)) func(s *parleytest.Conn) {
	return func(s *parleytest.Conn) {
		in := bufio.NewReader(s)
		for range n {
			line, err := in.ReadString('\n')
			if err != nil {
				s.Close()
				return
			}
			io.WriteString(s, line)
		}
		then(s)
	}
}

func TestComesBack(t *testing.T) {
	losesOne := answers(1, func(s *parleytest.Conn) { bufio.NewReader(s).ReadString('\n'); s.CloseWrite(); readsOn(s) })
	for _, c := range []struct {
		name    string
		servers []func(s *parleytest.Conn)
		shown   string
		want    string
	}{
		{"a server that cannot be reached at first", []func(s *parleytest.Conn){nil, nil, echoes}, `reconnecting to s in N (attempt 1): connection refused
reconnecting to s in N (attempt 2): connection refused
Connected to s
Enter data: a
sending [1] a ...
server response: a
Enter data: b
sending [1] b ...
server response: b
Enter data: 
Connection closed
`, ""},
		{"a request that is lost", []func(s *parleytest.Conn){losesOne, nil, echoes}, `Connected to s
Enter data: a
sending [1] a ...
server response: a
Enter data: b
sending [1] b ...
Connection closed (closed by the server before it replied)
reconnecting to s in N (attempt 1): one request has no reply, and is not sent again
Connected to s
Enter data: 
Connection closed
`, "one request was left without a reply, and was not sent again"},
	} {
		synctest.Test(t, func(t *testing.T) {
			if c.name == "a request that is lost" {
				c.shown = "" // the input ends during the first pause
			}
			shown, err := comesBack(t, strings.NewReader("a\nb\n"), c.servers...)
			if c.shown == "" {
				c.shown = shown
				if !strings.Contains(shown, "b ...\nConnection closed (closed by the server before it replied)\nreconnecting to s in N (attempt 1): one request has no reply, and is not sent again\n") {
					t.Errorf("%s: shown\n%s", c.name, shown)
				}
			}
			check(t, c.name, shown, c.shown, err, c.want)
		})
	}
}

// What is behind a request that is lost goes out over the next connection; the lost one does not.
func TestGoesOnWithTheNextLine(t *testing.T) {
	for _, window := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			var second []string
			losesAll := func(s *parleytest.Conn) {
				in := bufio.NewReader(s)
				for range window {
					in.ReadString('\n')
				}
				s.CloseWrite()
				readsOn(s)
			}
			takes := func(s *parleytest.Conn) {
				for in := bufio.NewReader(s); ; {
					line, err := in.ReadString('\n')
					if err != nil {
						s.Close()
						return
					}
					second = append(second, strings.TrimSuffix(line, "\n"))
					io.WriteString(s, line)
				}
			}
			servers := []func(*parleytest.Conn){losesAll, takes}
			var out bytes.Buffer
			next := 0
			done := make(chan struct{}, 2)
			c := conversation(nil, parley.Lines, console.NewReplies(&out, io.Discard, false))
			c.Conn, c.Reconnect, c.Window = nil, true, window
			c.Dial = func(context.Context) (net.Conn, error) {
				ours, theirs := parleytest.ConnPair()
				serve := servers[next]
				next++
				go func() { serve(theirs); done <- struct{}{} }()
				return ours, nil
			}
			err := c.Lines(t.Context(), strings.NewReader("a\nb\nc\nd\n"))
			<-done
			<-done
			want := strings.Join([]string{"a", "b", "c", "d"}[window:], " ")
			if got := strings.Join(second, " "); got != want {
				t.Errorf("%d in flight: the second server got %q, want %q", window, got, want)
			}
			var ended *talk.Error
			if !errors.As(err, &ended) || !strings.Contains(err.Error(), "left without a reply") {
				t.Errorf("%d in flight: %v", window, err)
			}
		})
	}
}

// An input that ends while there is no server ends it: with an error if there never was one.
func TestEndOfInputEndsComingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown, err := comesBack(t, strings.NewReader(""), nil)
		check(t, "never connected", shown, "reconnecting to s in N (attempt 1): connection refused\n", err, "cannot connect to s: connection refused")
	})
	synctest.Test(t, func(t *testing.T) {
		shown, err := comesBack(t, strings.NewReader("a\n"), answers(1, closes), nil)
		if err != nil || !strings.HasSuffix(shown, "Connection closed\n") || strings.Contains(shown, "reconnecting") {
			t.Errorf("a server that leaves as the input ends: %v\n%s", err, shown)
		}
	})
}

// Pauses double up to five seconds, each a fifth more or less.
func TestPausesGrow(t *testing.T) {
	for attempt, want := range map[int]float64{1: 0.1, 2: 0.2, 3: 0.4, 6: 3.2, 7: 5, 8: 5, 1000: 5} {
		least, most := 1e9, 0.0
		for range 1000 {
			p := talk.PauseBefore(attempt).Seconds()
			least, most = min(least, p), max(most, p)
		}
		if least < want*0.79 || most > want*1.21 || least > want*0.9 || most < want*1.1 {
			t.Errorf("before attempt %d: from %.3fs to %.3fs, want %.1fs a fifth more or less", attempt, least, most, want)
		}
	}
}

// One request is sent once, however often it took to connect.
func TestOnceComesBackOnlyToConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		c := conversation(nil, parley.Lines, console.NewReplies(io.Discard, io.Discard, false))
		c.Conn, c.Reconnect = nil, true
		served := make(chan struct{})
		c.Dial = func(context.Context) (net.Conn, error) {
			if dials++; dials < 3 {
				return nil, errors.New("refused")
			}
			ours, theirs := parleytest.ConnPair()
			go func() {
				defer close(served)
				theirs.Read(make([]byte, 100))
				theirs.CloseWrite()
				readsOn(theirs)
			}()
			return ours, nil
		}
		err := c.Once(t.Context(), []byte("a"))
		check(t, "", "", "", err, "s closed the connection before it replied")
		if dials != 3 {
			t.Errorf("%d attempts to connect, want 3", dials)
		}
		<-served
	})
}
