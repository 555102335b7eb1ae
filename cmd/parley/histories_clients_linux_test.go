package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley/internal/history"
)

// A client has one conversation and writes down what it sees.
type client struct {
	w *world
	*history.Conversation
	conn   *net.TCPConn
	manner manner
	over   <-chan struct{} // closed when it is to come to an end
	left   atomic.Bool     // it goes, whatever else comes
}

// A manner is how a client behaves.
type manner struct {
	messages int
	size     int           // of each
	window   int           // how many may be unanswered: 1 is lockstep
	burst    int           // how many are sent as one piece; 1 if zero
	pause    time.Duration // between two messages
	deaf     time.Duration // it does not read for so long, and is owed more than its socket holds
	goes     int           // in front of which message it resets the connection; never if negative
	silent   time.Duration // how long it waits before it says that it has finished
	blank    bool          // it finishes with a blank line
}

func anyManner(r *rand.Rand) manner {
	m := manner{messages: 1 + r.IntN(60), size: r.IntN(100), window: 1, pause: time.Duration(r.IntN(20)) * time.Millisecond, goes: -1, blank: r.IntN(5) == 0}
	if r.IntN(2) == 0 {
		m.window = 2 + r.IntN(30)
	}
	switch r.IntN(8) {
	case 0:
		m.goes = r.IntN(m.messages + 1)
	case 1:
		m.messages, m.size, m.window, m.pause = 20+r.IntN(60), 20000, 1000, 0
		m.deaf = time.Duration(200+r.IntN(2000)) * time.Millisecond
	case 2:
		m.silent = time.Duration(r.IntN(2000)) * time.Millisecond
	}
	return m
}

// beClient has one conversation after the other.
func (w *world) beClient(number int, throughTap bool) {
	r := rand.New(rand.NewPCG(w.seed, uint64(number+1)))
	at := w.server
	if throughTap {
		at = w.tap
	}
	addr := at.addr
	for n := 1; ; n++ {
		select {
		case <-w.over:
			return
		default:
		}
		if w.converse(fmt.Sprintf("%d.%d", number, n), addr, throughTap, anyManner(r), w.over) == 0 {
			time.Sleep(10 * time.Millisecond) // the program may just be started, or there is nobody behind the tap
		}
	}
}

// flood has one more client send more to the server than sockets hold, and read no reply for a time. It says less
// once enough is called.
func (w *world) flood(deaf time.Duration) (enough func()) {
	w.floods++
	over, addr, name := make(chan struct{}), w.server.addr, fmt.Sprintf("flood.%d", w.floods)
	w.clients.Go(func() {
		w.converse(name, addr, false, manner{messages: 120, size: 60000, window: 120, deaf: deaf, goes: -1}, over)
	})
	return func() { close(over) }
}

// chatter has one more client send short messages to the server, without a pause and many as one piece: at any moment
// some of them have been read and are not answered.
func (w *world) chatter() {
	w.floods++
	addr, name := w.server.addr, fmt.Sprintf("flood.%d", w.floods)
	w.clients.Go(func() {
		w.converse(name, addr, false, manner{messages: 100000, window: 100000, burst: 5000, goes: -1}, w.over)
	})
}

// converse has one conversation, which may end early once over is closed, and returns how many replies there were.
func (w *world) converse(name, addr string, throughTap bool, m manner, over <-chan struct{}) (replies int) {
	c := &client{w: w, manner: m, over: over, Conversation: &history.Conversation{Name: name, ThroughTap: throughTap, Began: w.clock.Now()}}
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0
	}
	c.Connected, c.Addr, c.conn = w.clock.Now(), conn.LocalAddr().String(), conn.(*net.TCPConn)
	w.note(c, true)
	c.talk()
	w.note(c, false)
	return len(c.Read)
}

// note takes down a client that has connected, and then that it has ended.
func (w *world) note(c *client, connected bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if connected {
		w.conversations = append(w.conversations, c.Conversation)
		w.connected[c.Conversation] = c
		return
	}
	delete(w.connected, c.Conversation)
}

// takeEnded are the conversations that have ended since it was called before.
func (w *world) takeEnded() (ended []*history.Conversation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conversations = slices.DeleteFunc(w.conversations, func(c *history.Conversation) bool {
		if w.connected[c] != nil {
			return false
		}
		ended = append(ended, c)
		return true
	})
	return ended
}

// resetAll has every client reset its connection at once.
func (w *world) resetAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.connected {
		c.reset()
	}
}

func (c *client) reset() {
	c.left.Store(true)
	c.conn.SetLinger(0)
	c.conn.Close()
}

// talk sends and reads until one of the two sides ends it.
func (c *client) talk() {
	answered, ended, spoken := make(chan struct{}, c.manner.messages+1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(spoken)
		c.speak(answered, ended)
	}()
	c.listen(answered)
	close(ended)
	c.conn.Close()
	<-spoken
}

// speak sends, and says when it has finished.
func (c *client) speak(answered, ended <-chan struct{}) {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	filler := strings.Repeat("x", c.manner.size)
	for i := 0; i < c.manner.messages; {
		if i == c.manner.goes {
			c.reset()
			return
		}
		if i >= c.manner.window {
			select {
			case <-answered:
			case <-ended:
				return
			}
		}
		if !c.pause(c.manner.pause, ended) {
			break
		}
		var piece strings.Builder
		for range max(1, c.manner.burst) {
			i++
			text := fmt.Sprintf("%s %d %s.", c.Name, i, filler)
			c.Sent = append(c.Sent, history.Message{Text: text, At: c.w.clock.Now()})
			piece.WriteString(text + "\n")
		}
		if _, err := io.WriteString(c.conn, piece.String()); err != nil {
			return
		}
	}
	c.pause(c.manner.silent, ended)
	select {
	case <-ended: // before it had finished
		return
	default:
	}
	if c.manner.goes == c.manner.messages {
		c.reset()
		return
	}
	c.Finished = true
	if c.manner.blank {
		io.WriteString(c.conn, "\n")
	} else {
		c.conn.CloseWrite()
	}
}

// pause waits, and reports whether there is still something to say.
func (c *client) pause(d time.Duration, ended <-chan struct{}) bool {
	select {
	case <-time.After(d):
		return true
	case <-ended:
	case <-c.over:
	}
	return false
}

// listen reads up to the end.
func (c *client) listen(answered chan<- struct{}) {
	c.pause(c.manner.deaf, nil)
	in := bufio.NewReader(c.conn)
	for {
		c.conn.SetReadDeadline(time.Now().Add(patience))
		line, err := in.ReadString('\n')
		if err == nil {
			c.Read = append(c.Read, history.Message{Text: strings.TrimSuffix(line, "\n"), At: c.w.clock.Now()})
			select {
			case answered <- struct{}{}:
			default: // nobody asked for so many
			}
			continue
		}
		c.Rest, c.Ended = line, c.w.clock.Now()
		switch {
		case c.left.Load():
			c.End = history.Left
		case err == io.EOF:
			c.End = history.EOF
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.End = history.Hung
		default:
			c.End = history.Reset
		}
		return
	}
}
