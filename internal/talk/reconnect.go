package talk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Between two attempts to connect passes the first pause, then twice as long each time up to the
// longest, and of each a fifth more or less by chance, so that many clients do not come back at once.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// errReconnect ends a connection because whoever types wants another.
var errReconnect = errors.New("another connection is wanted")

// over has a conversation go on over one connection after another, as long as it is to.
func (c *Conversation) over(ctx context.Context, talk func(context.Context) error) error {
	for err := error(nil); ; {
		if err = c.connect(ctx, err); err != nil {
			return err
		}
		if err = c.awaitGreeting(ctx); err == nil {
			err = talk(ctx)
		}
		c.connection.close()
		c.unanswered += c.owed
		if c.replied > 0 {
			c.attempts = 0
		}
		if err != errReconnect && !c.comesBack(err) {
			return c.answered(err)
		}
		c.keepUnfinished()
	}
}

// comesBack says whether another connection is to follow one that ended so.
func (c *Conversation) comesBack(err error) bool {
	var ended *Error
	return c.Reconnect && errors.As(err, &ended) && ended.lost && c.goesOn()
}

// goesOn says whether something may be left to say: requests are not said again.
func (c *Conversation) goesOn() bool {
	if c.input == nil {
		return c.connection == nil || c.sent == 0
	}
	return !c.input.over
}

// answered is how a conversation with Reconnect ended: not well if a request was left without its reply.
func (c *Conversation) answered(err error) error {
	switch {
	case err != nil || !c.Reconnect || c.unanswered == 0:
		return err
	case c.unanswered == 1:
		return &Error{text: "one request was left without a reply, and was not sent again"}
	}
	return &Error{text: fmt.Sprintf("%d requests were left without a reply, and were not sent again", c.unanswered)}
}

// keepUnfinished shows the lines of a request that was begun on a connection that is lost.
func (c *Conversation) keepUnfinished() {
	if c.unfinished == nil {
		return
	}
	c.View.NotSent(c.shownTyped(c.unfinished), "the connection in which it was begun has ended")
	if c.secret {
		c.secret = false
		c.hide(false)
	}
}

// connect makes the next connection. With Reconnect it tries until there is one, or nothing more is
// to be said; lost is how the last one ended, nil if there was none.
func (c *Conversation) connect(ctx context.Context, lost error) error {
	conn, err := c.Conn, lost
	c.Conn = nil
	if conn == nil && (lost == nil || lost == errReconnect) {
		conn, err = c.Dial(ctx)
	}
	for note := c.lostNote(); conn == nil; note = "" {
		switch {
		case ctx.Err() != nil:
			return c.cut(ctx)
		case !c.Reconnect:
			c.showNotSent()
			return err
		}
		if err != lost {
			note = strings.TrimPrefix(err.Error(), "cannot connect to "+c.Server+": ")
		}
		c.attempts++
		pause := pauseBefore(c.attempts)
		c.View.Reconnecting(c.Server, pause, c.attempts, note)
		over, stop := c.pause(ctx, pause)
		switch {
		case stop != nil:
			return stop
		case over && c.connection == nil:
			return err
		case over:
			return c.answered(nil)
		}
		conn, err = c.Dial(ctx)
	}
	c.open(conn)
	return nil
}

// lostNote says what of the last connection had no reply.
func (c *Conversation) lostNote() string {
	switch {
	case c.connection == nil || c.owed == 0:
		return ""
	case c.owed == 1:
		return "one request has no reply, and is not sent again"
	}
	return fmt.Sprintf("%d requests have no reply, and are not sent again", c.owed)
}

// pauseBefore is how long to wait before an attempt to connect, from 1.
func pauseBefore(attempt int) time.Duration {
	pause := firstPause
	for ; attempt > 1 && pause < longestPause; attempt-- {
		pause *= 2
	}
	pause = min(pause, longestPause) * 4 / 5
	return (pause + rand.N(pause/2)).Round(time.Millisecond)
}

// pause waits before the next attempt. It is over if the input has ended meanwhile; a line of it is kept.
func (c *Conversation) pause(ctx context.Context, pause time.Duration) (over bool, err error) {
	enough := time.NewTimer(pause)
	defer enough.Stop()
	if c.input == nil {
		select {
		case <-enough.C:
			return false, nil
		case <-ctx.Done():
			return false, c.cut(ctx)
		}
	}
	var lines <-chan line
	if len(c.input.block) == 0 {
		c.input.ask()
		lines = c.input.lines
	}
	for {
		select {
		case l := <-lines:
			if l.err != nil {
				c.input.asked, c.input.over = false, true
				return true, nil
			}
			c.input.putBack(l)
			lines = nil
		case <-enough.C:
			return false, nil
		case <-ctx.Done():
			return false, c.cut(ctx)
		}
	}
}
