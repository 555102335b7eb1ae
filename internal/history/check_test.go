package history

import (
	"fmt"
	"strings"
	"testing"
)

// good is a history in which all is well. The server was killed between its two lives and keeps nothing by
// force in the first of them; the tap had one life. In each life there were a client of its own and one behind the tap.
func good() *History {
	h := &History{
		Server: Keeper{Lives: []Life{
			{Started: 1, Listening: 2, Stopping: 100, Exit: Killed},
			{Started: 110, Listening: 111, Stopping: 200, Exit: Drained},
		}},
		Tap: Keeper{Lives: []Life{{Started: 3, Listening: 4, Stopping: 300, Sync: true, Exit: Drained}}},
	}
	for _, c := range []struct {
		name string
		life int
		tap  bool
		from Moment
	}{{"a", 1, false, 10}, {"b", 1, true, 30}, {"c", 2, false, 120}, {"d", 2, true, 140}} {
		number := uint64(len(h.Conversations) + 1)
		conv := &Conversation{Name: c.name, Addr: c.name + ":1", ThroughTap: c.tap, Began: c.from, Connected: c.from + 1, Finished: true, End: EOF, Ended: c.from + 10}
		s := Session{Number: number, Remote: conv.Addr, Closed: true, Reason: "eof", Requests: 3, BytesIn: 3 * 4, RepliedUpTo: 3}
		for i := range 3 {
			text := fmt.Sprintf("%s %d", c.name, i+1)
			answer := reply{c.life, number, uint64(i + 1), text}.String()
			conv.Sent = append(conv.Sent, Message{text, c.from + 2 + 2*Moment(i)})
			conv.Read = append(conv.Read, Message{answer, c.from + 3 + 2*Moment(i)})
			s.Exchanges = append(s.Exchanges, Exchange{uint64(i + 1), text, answer, true})
		}
		h.Conversations = append(h.Conversations, conv)
		if c.tap {
			h.Tap.Sessions = append(h.Tap.Sessions, s)
			s.Remote = "tap:1"
			s.Exchanges = append([]Exchange(nil), s.Exchanges...)
		}
		h.Server.Sessions = append(h.Server.Sessions, s)
	}
	return h
}

func TestAGoodHistoryIsFoundGood(t *testing.T) {
	for _, wrong := range good().Check() {
		t.Error(wrong)
	}
}

// Each of these histories breaks one promise, and is found to.
func TestABadHistoryIsFoundBad(t *testing.T) {
	// what a client did; a and c are clients of the server, b and d of the tap
	const a, b, c, d = 0, 1, 2, 3
	const tapped = 1 // the second session of the tap's journal is d's
	for _, bad := range []struct {
		name string
		do   func(h *History)
		want string // in one of the lines
	}{
		{"a reply is lost", func(h *History) { r := &h.Conversations[a].Read; *r = append((*r)[:1], (*r)[2:]...) }, `a: reply 2 is "1/1/3 a 3", want "1/1/2 a 2"`},
		{"the last reply is lost", func(h *History) { r := &h.Conversations[a].Read; *r = (*r)[:2] }, "2 replies to 3 requests"},
		{"a reply comes twice", func(h *History) { r := h.Conversations[a].Read; r[2] = r[1] }, `a: reply 3 is "1/1/2 a 2"`},
		{"a reply comes twice, behind all", func(h *History) { r := &h.Conversations[a].Read; *r = append(*r, (*r)[2]) }, "read 4 replies to 3 requests"},
		{"replies are not in order", func(h *History) { r := h.Conversations[a].Read; r[0], r[1] = r[1], r[0] }, "a: reply 1"},
		{"a reply is another session's", func(h *History) { h.Conversations[a].Read[1] = h.Conversations[b].Read[1] }, `a: reply 2 is "1/2/2 b 2"`},
		{"a reply has another text", func(h *History) { h.Conversations[a].Read[1].Text += "!" }, `a: reply 2 is "1/1/2 a 2!"`},
		{"a reply is split", func(h *History) { r := &h.Conversations[a].Read; *r = (*r)[:2]; h.Conversations[a].Rest = "1/1/3" }, `"1/1/3" behind them`},
		{"two clients are one session", func(h *History) {
			for i := range 3 {
				h.Conversations[c].Read[i].Text = strings.Replace(h.Conversations[c].Read[i].Text, "2/3/", "1/1/", 1)
			}
		}, "a and c were both session 1/1"},
		{"a client is reset", func(h *History) { h.Conversations[c].End = Reset }, "it ended with reset"},
		{"a client is hung up on before it is done", func(h *History) { h.Conversations[c].Finished = false }, "it had finished: false"},
		{"a client is left waiting", func(h *History) { h.Conversations[c].End = Hung }, "c: hung with 3 replies"},

		{"what was never sent is recorded", func(h *History) {
			h.Server.Sessions = append(h.Server.Sessions, Session{Number: 9, Exchanges: []Exchange{{1, "x 1", "2/9/1 x 1", true}}})
		}, `"x 1", which nobody sent`},
		{"a message that was never sent is recorded", func(h *History) {
			s := &h.Server.Sessions[c]
			s.Exchanges = append(s.Exchanges, Exchange{4, "c 4", "2/3/4 c 4", true})
		}, `"c 4", which is not what it sent`},
		{"half a message is recorded", func(h *History) { h.Server.Sessions[c].Exchanges[2].Request = "c " }, `"c ", which is not what it sent`},
		{"a request is served twice", func(h *History) {
			s := h.Server.Sessions[c]
			s.Number = 9
			h.Server.Sessions = append(h.Server.Sessions, s)
		}, "what c sent is recorded twice"},
		{"an exchange is recorded twice", func(h *History) { x := h.Server.Sessions[c].Exchanges; x[2] = x[1] }, `exchange 3 of c is request 2`},
		{"the journal has another order", func(h *History) { x := h.Server.Sessions[c].Exchanges; x[1], x[2] = x[2], x[1] }, `exchange 2 of c is request 3`},
		{"the journal has a hole", func(h *History) { x := &h.Server.Sessions[c].Exchanges; *x = append((*x)[:1], (*x)[2]) }, `exchange 2 of c is request 3`},
		{"the journal has another reply", func(h *History) { h.Server.Sessions[c].Exchanges[1].Reply = "1/3/2 c 2" }, `and c has read "2/3/2 c 2"`},
		{"the journal has the reply of another", func(h *History) { x := h.Server.Sessions[c].Exchanges; x[1].Reply = x[2].Reply }, `the reply to "c 2" is "2/3/3 c 3"`},
		{"the journal has no reply to what was answered", func(h *History) { h.Server.Sessions[c].Exchanges[2].Answered = false }, `no reply to "c 3", and c has read it`},
		{"the journal has another client", func(h *History) { h.Server.Sessions[c].Remote = "z:1" }, "is recorded as z:1"},
		{"the journal does not know that a session ended", func(h *History) { h.Server.Sessions[c].Closed = false }, "that it has ended is false"},
		{"the journal counts other requests than it has", func(h *History) { h.Server.Sessions[c].Requests = 4 }, "with 4 requests"},

		{"what was acknowledged is not recorded", func(h *History) {
			x := &h.Server.Sessions[c].Exchanges
			*x = (*x)[:2]
			h.Server.Sessions[c].Requests = 2
		}, `"2/3/3 c 3", which is not in the server's journal; it was drained`},
		{"a whole conversation is not recorded", func(h *History) { h.Server.Sessions = h.Server.Sessions[:d] }, `d has read "2/4/1 d 1", which is not in the server's journal`},
		{"what was acknowledged is not recorded, by the tap", func(h *History) { h.Tap.Sessions = h.Tap.Sessions[:tapped] }, `"2/4/1 d 1", which is not in the tap's journal`},
		{"a server that syncs and was killed has lost something", func(h *History) { h.Server.Lives[0].Sync = true; h.Server.Sessions = h.Server.Sessions[1:] }, `"1/1/1 a 1", which is not in the server's journal; it was killed`},
		{"a killed server has lost something, and not the newest", func(h *History) { h.Server.Sessions = h.Server.Sessions[1:] }, "and what was sent behind that was"},

		{"a killed server has lost something, and what was sent behind that had been recorded", func(h *History) {
			h.Server.Lives[0].Recorded = 35
			h.Server.Sessions = h.Server.Sessions[2:]
		}, `"1/1/1 a 1", which is not in the server's journal, and what was sent behind that was`},

		{"a drain answers not all that was read", func(h *History) {
			h.Server.Lives[1].Stopping = 125
			h.Conversations[c].Read = h.Conversations[c].Read[:2]
		}, "of 3 requests that it had read 2 were answered"},
		{"a drain forgets what it has read", func(h *History) {
			h.Server.Lives[1].Stopping = 125
			h.Conversations[c].Read = h.Conversations[c].Read[:2]
			s := &h.Server.Sessions[c]
			s.Exchanges, s.Reason, s.Requests, s.RepliedUpTo = s.Exchanges[:2], "shutdown", 2, 2
		}, "session 3 (shutdown) has read 12 bytes of c, in which are 3 requests, and has had 2"},
		{"a drain forgets all that it has read of somebody", func(h *History) {
			h.Server.Lives[1].Stopping = 125
			h.Conversations[c].Read = nil
			h.Server.Sessions[c] = Session{Number: 3, Remote: "c:1", Closed: true, Reason: "shutdown", BytesIn: 4}
		}, "session 3 (shutdown) has read 4 bytes of c, in which are 1 requests, and has had 0"},
		{"a drain ends in half a reply", func(h *History) { h.Server.Lives[1].Stopping = 125; h.Conversations[c].Rest = "2/3/4" }, `with "2/3/4" behind them`},
		{"a cut reply counts as taken", func(h *History) {
			h.Server.Lives[1].Stopping, h.Server.Lives[1].Exit = 125, Cut
			h.Conversations[c].Read, h.Server.Sessions[c].Reason = h.Conversations[c].Read[:2], "drain_cut"
		}, "replied to up to 3 (drain_cut), and has read 2"},

		{"the tap passes on what the server has not said", func(h *History) {
			h.Tap.Sessions[tapped].Exchanges[1].Reply = "2/5/2 d 2"
			h.Conversations[d].Read = h.Conversations[d].Read[:1]
		}, `is "2/5/2 d 2" in the tap's journal, and "2/4/2 d 2" in the server's`},
		{"the server has no record of what the tap has", func(h *History) {
			h.Conversations[d].Read = nil
			h.Server.Sessions = h.Server.Sessions[:d]
		}, `the tap's journal has "2/4/1 d 1", which is not in the server's`},
		{"the tap has half a reply, and nothing was done to anybody", func(h *History) {
			h.Conversations[d].Read = h.Conversations[d].Read[:2]
			h.Tap.Sessions[tapped].Exchanges[2].Reply = "2/4/3 d"
		}, `the reply to "d 3" is "2/4/3 d"`},
		{"the tap has what did not pass it", func(h *History) { h.Tap.Sessions = append(h.Tap.Sessions, h.Server.Sessions[a]) }, "has what a sent, past it"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			h := good()
			bad.do(h)
			wrong := strings.Join(h.Check(), "\n")
			if !strings.Contains(wrong, bad.want) {
				t.Errorf("found was %q, want %q in it", wrong, bad.want)
			}
		})
	}
}

// What is allowed to happen when programs are killed is not found bad.
func TestWhatMayHappenIsFoundGood(t *testing.T) {
	const a, b, c, d = 0, 1, 2, 3 // as above
	for _, may := range []struct {
		name string
		do   func(h *History)
	}{
		{"a killed server has lost the newest", func(h *History) {
			h.Server.Lives[0].Stopping = 35
			h.Server.Sessions[b].Exchanges, h.Server.Sessions[b].Closed = h.Server.Sessions[b].Exchanges[:1], false
		}},
		{"a killed server has lost all", func(h *History) { h.Server.Lives[0].Stopping = 15; h.Server.Sessions = h.Server.Sessions[2:] }},
		{"a reset by a kill, in a reply", func(h *History) {
			h.Server.Lives[0].Stopping, h.Server.Lives[0].Sync = 15, true
			h.Conversations[a].Read, h.Conversations[a].Rest, h.Conversations[a].End = h.Conversations[a].Read[:1], "1/1/2", Reset
			h.Server.Sessions[a] = Session{Number: 1, Remote: "a:1", Exchanges: h.Server.Sessions[a].Exchanges}
		}},
		{"a client goes", func(h *History) {
			h.Conversations[c].Read, h.Conversations[c].End = h.Conversations[c].Read[:1], Left
			h.Server.Sessions[c].Exchanges[2] = Exchange{3, "c", "2/3/3 c", true}
		}},
		{"a client goes, and what it had sent is read", func(h *History) {
			h.Conversations[c].Read, h.Conversations[c].End = h.Conversations[c].Read[:1], Left
			h.Server.Sessions[c].Exchanges[2] = Exchange{3, "c 3", "", false}
		}},
		{"a server drains before all is sent", func(h *History) {
			h.Server.Lives[1].Stopping, h.Conversations[c].Finished = 125, false
			h.Conversations[c].Read, h.Server.Sessions[c].Exchanges = h.Conversations[c].Read[:2], h.Server.Sessions[c].Exchanges[:2]
			h.Server.Sessions[c].Requests, h.Server.Sessions[c].BytesIn, h.Server.Sessions[c].RepliedUpTo = 2, 2*4, 2
		}},
		{"a killed server has lost the newest, behind what had been recorded", func(h *History) {
			h.Server.Lives[0].Stopping, h.Server.Lives[0].Recorded = 35, 21
			h.Server.Sessions[b].Exchanges, h.Server.Sessions[b].Closed = h.Server.Sessions[b].Exchanges[:1], false
		}},
		{"a server drains before it has read all", func(h *History) {
			h.Server.Lives[1].Stopping = 125
			h.Conversations[c].Read, h.Server.Sessions[c].Exchanges = h.Conversations[c].Read[:2], h.Server.Sessions[c].Exchanges[:2]
			h.Server.Sessions[c].Reason, h.Server.Sessions[c].Requests, h.Server.Sessions[c].BytesIn, h.Server.Sessions[c].RepliedUpTo = "shutdown", 2, 2*4+3, 2
		}},
		{"a drain that had to cut has not answered all that it had read", func(h *History) {
			h.Server.Lives[1].Stopping, h.Server.Lives[1].Exit = 125, Cut
			h.Conversations[c].Read, h.Server.Sessions[c].Exchanges = h.Conversations[c].Read[:2], h.Server.Sessions[c].Exchanges[:2]
			h.Server.Sessions[c].Reason, h.Server.Sessions[c].Requests, h.Server.Sessions[c].RepliedUpTo = "drain_cut", 2, 2
		}},
		{"the journal has only the exchanges of a session", func(h *History) {
			h.Server.Sessions[a].Remote, h.Server.Sessions[a].Closed = "", false
		}},
		{"a reply got no further than the tap, which was killed", func(h *History) {
			h.Tap.Lives[0].Stopping, h.Tap.Lives[0].Exit = 145, Killed
			h.Conversations[d].Read, h.Conversations[d].End = h.Conversations[d].Read[:1], Reset
		}},
		{"the tap has seen half a reply of a server that was killed", func(h *History) {
			h.Server.Lives[0].Stopping = 35
			h.Conversations[b].Read, h.Conversations[b].End = h.Conversations[b].Read[:1], Reset
			h.Tap.Sessions[0].Exchanges[1].Reply = "1/2/2 b"
			h.Tap.Sessions[0].Exchanges[2] = Exchange{Seq: 3, Request: "b"} // nor had it all of the next request
		}},
		{"the tap has a blank line for a request", func(h *History) { s := &h.Tap.Sessions[0]; s.Exchanges = append(s.Exchanges, Exchange{Seq: 4}) }},
		{"the tap has a blank line for the only request", func(h *History) {
			h.Conversations = append(h.Conversations, &Conversation{Name: "e", Addr: "e:1", ThroughTap: true, Began: 160, Connected: 161, Finished: true, End: EOF, Ended: 170})
			h.Tap.Sessions = append(h.Tap.Sessions, Session{Number: 9, Remote: "e:1", Exchanges: []Exchange{{Seq: 1}}})
		}},
		{"the tap was killed in a message", func(h *History) {
			h.Tap.Lives[0].Stopping, h.Tap.Lives[0].Exit = 145, Killed
			h.Conversations[d].Read, h.Conversations[d].End = h.Conversations[d].Read[:1], Reset
			h.Server.Sessions[d].Exchanges[1] = Exchange{2, "d", "2/4/2 d", true}
			h.Server.Sessions[d].Exchanges = h.Server.Sessions[d].Exchanges[:2]
			h.Server.Sessions[d].Requests, h.Server.Sessions[d].BytesIn = 2, 4+1
			h.Tap.Sessions[1].Exchanges = h.Tap.Sessions[1].Exchanges[:1]
		}},
	} {
		t.Run(may.name, func(t *testing.T) {
			h := good()
			may.do(h)
			for _, wrong := range h.Check() {
				t.Error(wrong)
			}
		})
	}
}
