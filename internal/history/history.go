// Package history compares what clients have seen with what journals have kept, while the programs between
// them were killed, stopped and started again: whether what docs/guarantees.md promises has held. It is for tests
// only, and knows neither sockets nor files.
package history

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
)

// A Moment orders what was noted in different places: what was over before something else began has the
// smaller one.
type Moment uint64

// A Clock gives moments. It does not measure time.
type Clock struct{ last atomic.Uint64 }

func (c *Clock) Now() Moment { return Moment(c.last.Add(1)) }

// A History is what all who took part know of one run.
type History struct {
	Conversations []*Conversation
	Server, Tap   Keeper
}

// A Conversation is what a client did on one connection, as it has seen that itself.
type Conversation struct {
	Name       string // the first word of each of its messages, and of nobody else's
	Addr       string // its own end of the connection
	ThroughTap bool   // its messages came to the server by way of the tap
	Began      Moment // before it connected
	Connected  Moment // behind that
	Sent       []Message
	Finished   bool      // it has sent all that it wanted to and said so: by a half-close, or a blank line
	Read       []Message // the replies that came whole
	Rest       string    // what came behind the last of them
	End        End
	Ended      Moment // behind that
}

// A Message is a line that was sent or read.
type Message struct {
	Text string
	At   Moment // before its first byte was sent, or behind its last was read
}

// requestsIn is how many requests there are in so many bytes of what was sent. At an end of file the beginning of one
// is one too.
func (c *Conversation) requestsIn(bytes uint64, atEnd bool) (n uint64) {
	for _, sent := range c.Sent {
		line := uint64(len(sent.Text) + len("\n"))
		if bytes >= line || atEnd && bytes > 0 {
			n++
		}
		bytes -= min(bytes, line)
	}
	return n
}

// An End is how a conversation ended, for its client.
type End int

const (
	Left  End = iota // the client went, and has not read what may still have come
	EOF              // the other side ended it in good order
	Reset            // or did not
	Hung             // nothing went on for longer than anybody has to be waited for
)

func (e End) String() string { return [...]string{"left", "end of file", "reset", "hung"}[e] }

// A Keeper is a program that keeps a journal, over all of its lives.
type Keeper struct {
	Lives    []Life
	Sessions []Session // of its journal
}

// A Life is a program from its start to its end.
type Life struct {
	Started   Moment // before that
	Listening Moment // when it was seen to listen; 0 if it was killed before
	Stopping  Moment // before anything was done to end it; 0 while it lasts
	Recorded  Moment // before something was sent that was seen in its journal while it lasted; 0 if nobody looked
	Sync      bool   // no reply leaves it before its record is on disk
	Exit      Exit
}

// An Exit is how a life ended.
type Exit int

const (
	Drained    Exit = iota // it has answered what it owed
	Cut                    // somebody was cut off, since the time was up or a second signal came
	Unrecorded             // it has said that something could not be recorded
	Killed
)

func (e Exit) String() string { return [...]string{"drained", "cut", "unrecorded", "killed"}[e] }

// loses reports whether what was acknowledged in this life may be in no journal: the newest of it.
func (l *Life) loses() bool { return !l.Sync && (l.Exit == Killed || l.Exit == Unrecorded) }

// lifeAt is the life in which a connection was made, behind which moment is; nil if there is none.
func (k *Keeper) lifeAt(moment Moment) (found *Life) {
	for i := range k.Lives {
		if k.Lives[i].Started < moment {
			found = &k.Lives[i]
		}
	}
	return found
}

// undisturbed reports whether nothing was done to the program while a conversation lasted.
func (k *Keeper) undisturbed(c *Conversation) bool {
	l := k.lifeAt(c.Connected)
	return l != nil && l.Listening > 0 && l.Listening < c.Began && (l.Stopping == 0 || c.Ended < l.Stopping)
}

// A Session is what a journal has of a conversation.
type Session struct {
	Number      uint64
	Remote      string // the client's address; empty if the journal has only its exchanges
	Closed      bool   // the journal has its end
	Reason      string // of that
	Requests    uint64 // which it counts
	BytesIn     uint64 // that were read of it; known once it is closed
	RepliedUpTo uint64
	Exchanges   []Exchange // in the order of recording
}

// An Exchange is a request and its reply.
type Exchange struct {
	Seq            uint64
	Request, Reply string
	Answered       bool // there is a reply
}

// A reply says which life of the server it comes from, which session of that and which request it is to.
type reply struct {
	life    int // from 1
	session uint64
	seq     uint64
	message string
}

// Pattern has a server reply so, in its life of that number: it is for --reply.
func Pattern(life int) string { return fmt.Sprintf("%d/{conn}/{seq} {message}", life) }

func (r reply) String() string {
	return fmt.Sprintf("%d/%d/%d %s", r.life, r.session, r.seq, r.message)
}

func parseReply(text string) (r reply, ok bool) {
	numbers, message, ok := strings.Cut(text, " ")
	parts := strings.Split(numbers, "/")
	if !ok || len(parts) != 3 {
		return r, false
	}
	life, err1 := strconv.Atoi(parts[0])
	session, err2 := strconv.ParseUint(parts[1], 10, 64)
	seq, err3 := strconv.ParseUint(parts[2], 10, 64)
	return reply{life, session, seq, message}, err1 == nil && err2 == nil && err3 == nil
}
