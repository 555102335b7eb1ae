package history

import (
	"fmt"
	"strings"
)

// Check compares, and returns what is wrong: a line each, none if every promise has held.
func (h *History) Check() []string {
	c := h.clients()
	for _, conv := range h.Conversations {
		c.named[conv.Name] = conv
		if len(conv.Sent) == 0 && conv.Finished {
			c.silent[conv.Addr] = true
		}
	}
	served := c.journal("server", &h.Server)
	tapped := c.journal("tap", &h.Tap)
	c.acknowledged("server", &h.Server, served, h.Conversations)
	c.acknowledged("tap", &h.Tap, tapped, throughTap(h.Conversations))
	c.dropped(served)
	c.answered(served)
	c.passedOn(served, tapped)
	return c.wrong
}

// CheckClients compares only what clients have sent with what they have read.
func (h *History) CheckClients() []string { return h.clients().wrong }

func (h *History) clients() *check {
	c := &check{History: h, named: make(map[string]*Conversation), silent: make(map[string]bool), owner: make(map[string]*Conversation)}
	for _, conv := range h.Conversations {
		c.replies(conv)
		c.end(conv)
	}
	return c
}

func throughTap(all []*Conversation) (some []*Conversation) {
	for _, conv := range all {
		if conv.ThroughTap {
			some = append(some, conv)
		}
	}
	return some
}

// A check is one comparison.
type check struct {
	*History
	named  map[string]*Conversation
	silent map[string]bool          // the addresses of those who have finished and sent nothing, but for a blank line
	owner  map[string]*Conversation // by life and session of the server: whose replies named it
	wrong  []string
}

func (c *check) say(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// replies compares what a client has read with what it has sent: one reply each, in order, whole, and all of
// them from one session, which is nobody else's. (Guarantee 1.)
func (c *check) replies(conv *Conversation) {
	var first reply
	for i, read := range conv.Read {
		if i == len(conv.Sent) {
			c.say("%s: read %d replies to %d requests; one more is %.60q", conv.Name, len(conv.Read), len(conv.Sent), read.Text)
			return
		}
		got, ok := parseReply(read.Text)
		if i == 0 {
			first = got
		}
		want := reply{first.life, first.session, uint64(i + 1), conv.Sent[i].Text}
		if !ok || got != want {
			c.say("%s: reply %d is %.60q, want %.60q", conv.Name, i+1, read.Text, want)
			return
		}
	}
	if len(conv.Read) == 0 {
		return
	}
	session := fmt.Sprintf("%d/%d", first.life, first.session)
	if other := c.owner[session]; other != nil {
		c.say("%s and %s were both session %s", other.Name, conv.Name, session)
	}
	c.owner[session] = conv
}

// end looks at how a conversation ended. Where nothing was done to the programs it ends in good order once the
// client has said all, and not before it has every reply. (Guarantee 2.)
func (c *check) end(conv *Conversation) {
	if conv.End == Hung {
		c.say("%s: hung with %d replies to %d requests", conv.Name, len(conv.Read), len(conv.Sent))
		return
	}
	if conv.End == Left || !c.Server.undisturbed(conv) || conv.ThroughTap && !c.Tap.undisturbed(conv) {
		return
	}
	if conv.End != EOF || !conv.Finished || conv.Rest != "" || len(conv.Read) != len(conv.Sent) {
		c.say("%s: nothing was done to anybody, and it ended with %v, %d replies to %d requests and %.60q behind them; it had finished: %t",
			conv.Name, conv.End, len(conv.Read), len(conv.Sent), conv.Rest, conv.Finished)
	}
}

// journal compares a journal with what was sent: it has of each conversation one session, in that the first
// messages in their order and none twice, and to each the reply that it got. (Guarantees 1, 6 and 7.)
func (c *check) journal(who string, k *Keeper) map[*Conversation]*Session {
	kept := make(map[*Conversation]*Session)
	for i := range k.Sessions {
		s := &k.Sessions[i]
		if len(s.Exchanges) == 0 {
			continue
		}
		name, _, _ := strings.Cut(s.Exchanges[0].Request, " ")
		conv := c.named[name]
		switch {
		case who == "tap" && s.Exchanges[0].Request == "" && len(s.Exchanges) == 1 && c.silent[s.Remote]:
			continue // the blank line, as in exchanges
		case conv == nil:
			c.say("the %s's journal: session %d has %.60q, which nobody sent", who, s.Number, s.Exchanges[0].Request)
			continue
		case kept[conv] != nil:
			c.say("the %s's journal: what %s sent is recorded twice", who, name)
			continue
		case who == "tap" && !conv.ThroughTap:
			c.say("the tap's journal has what %s sent, past it", name)
			continue
		case (who == "tap" || !conv.ThroughTap) && s.Remote != "" && s.Remote != conv.Addr:
			c.say("the %s's journal: %s was at %s, and is recorded as %s", who, name, conv.Addr, s.Remote)
		}
		kept[conv] = s
		c.exchanges(who, conv, s)
	}
	return kept
}

// exchanges compares a session with its conversation.
func (c *check) exchanges(who string, conv *Conversation, s *Session) {
	for i, x := range s.Exchanges {
		if who == "tap" && i == len(conv.Sent) && x.Request == "" && !x.Answered && conv.Finished {
			return // the blank line by which it finished, which may be a request for all that a tap knows
		}
		if x.Seq != uint64(i+1) || i >= len(conv.Sent) || x.Request != conv.Sent[i].Text && !c.unfinished(who, conv, s, i) {
			c.say("the %s's journal: exchange %d of %s is request %d, %.60q, which is not what it sent as its %d", who, i+1, conv.Name, x.Seq, x.Request, i+1)
			return
		}
		if !x.Answered {
			if who == "server" && i < len(conv.Read) {
				c.say("the server's journal has no reply to %.60q, and %s has read it", x.Request, conv.Name)
			}
			continue
		}
		got, ok := parseReply(x.Reply)
		switch {
		case i >= len(conv.Read) && c.begun(who, conv, x): // it need not be whole
		case !ok || got.seq != x.Seq || got.message != x.Request || who == "server" && got.session != s.Number:
			c.say("the %s's journal: session %d: the reply to %.60q is %.60q", who, s.Number, x.Request, x.Reply)
		case i < len(conv.Read) && x.Reply != conv.Read[i].Text:
			c.say("the %s's journal: the reply to %.60q is %.60q, and %s has read %.60q", who, x.Request, x.Reply, conv.Name, conv.Read[i].Text)
		}
	}
}

// unfinished reports whether an exchange may be the beginning of a message: of the last one, where the client went,
// or the tap was ended, in the middle of it, or for the tap the server was.
func (c *check) unfinished(who string, conv *Conversation, s *Session, i int) bool {
	wentOff := conv.End == Left || conv.ThroughTap && !c.Tap.undisturbed(conv) || who == "tap" && !c.Server.undisturbed(conv)
	return wentOff && i == len(s.Exchanges)-1 && strings.HasPrefix(conv.Sent[i].Text, s.Exchanges[i].Request)
}

// begun reports whether a reply may be the beginning of one: what a tap saw of it before one of the two ended.
func (c *check) begun(who string, conv *Conversation, x Exchange) bool {
	got, ok := parseReply(x.Reply)
	wentOff := conv.End == Left || !c.Server.undisturbed(conv) || !c.Tap.undisturbed(conv)
	return who == "tap" && wentOff && (!ok || got.seq == x.Seq && strings.HasPrefix(x.Request, got.message))
}

// acknowledged looks for what a client has read in the journal. A program that was killed may have lost what it was
// about to record, which is the newest: nothing is lost that was read before something that is kept was
// sent. (Guarantee 6.)
func (c *check) acknowledged(who string, k *Keeper, kept map[*Conversation]*Session, all []*Conversation) {
	newest := make(map[*Life]Moment)
	for i := range k.Lives {
		newest[&k.Lives[i]] = k.Lives[i].Recorded
	}
	for conv, s := range kept {
		l := c.lifeOf(k, conv, s)
		newest[l] = max(newest[l], conv.Sent[min(len(s.Exchanges), len(conv.Sent))-1].At)
	}
	for _, conv := range all {
		n, s := 0, kept[conv]
		if s != nil {
			n = len(s.Exchanges)
		}
		if n >= len(conv.Read) {
			continue
		}
		lost, l := conv.Read[n], c.lifeOf(k, conv, s)
		switch {
		case l == nil:
			c.say("%s has read %.60q before there was a %s", conv.Name, lost.Text, who)
		case !l.loses():
			c.say("%s has read %.60q, which is not in the %s's journal; it was %v", conv.Name, lost.Text, who, l.Exit)
		case lost.At < newest[l]:
			c.say("%s has read %.60q, which is not in the %s's journal, and what was sent behind that was", conv.Name, lost.Text, who)
		}
	}
}

// lifeOf is the life of a program that a conversation was in. Where the tap was between, the server's replies say it
// better: the tap connects later than its client.
func (c *check) lifeOf(k *Keeper, conv *Conversation, s *Session) *Life {
	texts := make([]string, 0, 2)
	if len(conv.Read) > 0 {
		texts = append(texts, conv.Read[0].Text)
	}
	if s != nil {
		texts = append(texts, s.Exchanges[0].Reply)
	}
	for _, text := range texts {
		if got, ok := parseReply(text); ok && k == &c.Server && got.life >= 1 && got.life <= len(k.Lives) {
			return &k.Lives[got.life-1]
		}
	}
	return k.lifeAt(conv.Connected)
}

// dropped compares how many bytes the server says that it has read with how many requests it says that they were,
// of each session that ended in good order: what it has read and forgotten is neither answered nor recorded, and its
// client sees a close as if it had come too late. (Guarantee 3.)
func (c *check) dropped(served map[*Conversation]*Session) {
	whose := make(map[*Session]*Conversation)
	for conv, s := range served {
		whose[s] = conv
	}
	at := make(map[string]*Conversation) // of whom there is no exchange
	for _, conv := range c.Conversations {
		if served[conv] == nil && !conv.ThroughTap {
			at[conv.Addr] = conv
		}
	}
	for i := range c.Server.Sessions {
		s := &c.Server.Sessions[i]
		conv := whose[s]
		if conv == nil && len(s.Exchanges) == 0 {
			conv = at[s.Remote]
		}
		if conv == nil || !inOrder[s.Reason] {
			continue
		}
		if n := conv.requestsIn(s.BytesIn, s.Reason == "eof"); n != s.Requests {
			c.say("the server's journal: session %d (%s) has read %d bytes of %s, in which are %d requests, and has had %d",
				s.Number, s.Reason, s.BytesIn, conv.Name, n, s.Requests)
		}
	}
}

// inOrder are the ends at which all is answered that was read.
var inOrder = map[string]bool{"eof": true, "blank": true, "shutdown": true}

// answered compares what the server has read and replied, by its journal, with what came to those clients that
// were connected to it and stayed to the end. (Guarantee 3.)
func (c *check) answered(served map[*Conversation]*Session) {
	for conv, s := range served {
		l := c.Server.lifeAt(conv.Connected)
		if l == nil || conv.ThroughTap {
			continue
		}
		if l.Exit == Drained || l.Exit == Cut {
			if !s.Closed || s.Requests != uint64(len(s.Exchanges)) {
				c.say("the server's journal: session %d, of %s, has %d exchanges; that it has ended is %t, with %d requests",
					s.Number, conv.Name, len(s.Exchanges), s.Closed, s.Requests)
			}
		}
		if conv.End == Left {
			continue
		}
		if l.Exit == Drained && (len(s.Exchanges) != len(conv.Read) || conv.Rest != "") {
			c.say("%s: the server has drained, and of %d requests that it had read %d were answered, with %.60q behind them", conv.Name, len(s.Exchanges), len(conv.Read), conv.Rest)
		}
		if counted[s.Reason] && s.RepliedUpTo > uint64(len(conv.Read)) {
			c.say("the server's journal: %s was replied to up to %d (%s), and has read %d replies", conv.Name, s.RepliedUpTo, s.Reason, len(conv.Read))
		}
	}
}

// counted are the ends at which only what the peer's system has acknowledged counts as replied.
var counted = map[string]bool{"eof": true, "blank": true, "shutdown": true, "drain_cut": true}

// passedOn looks for what the tap has seen answered in the server's journal. (Guarantee 6, and 7 of the tap.)
func (c *check) passedOn(served, tapped map[*Conversation]*Session) {
	for conv, s := range tapped {
		there := served[conv]
		for i, x := range s.Exchanges {
			if !x.Answered {
				continue
			}
			if there != nil && i < len(there.Exchanges) {
				if got := there.Exchanges[i].Reply; got != x.Reply && !(c.begun("tap", conv, x) && strings.HasPrefix(got, x.Reply)) {
					c.say("the reply to %.60q is %.60q in the tap's journal, and %.60q in the server's", x.Request, x.Reply, got)
				}
				continue
			}
			if l := c.lifeOf(&c.Server, conv, s); l == nil || !l.loses() {
				c.say("the tap's journal has %.60q, which is not in the server's", x.Reply)
				break
			}
		}
	}
}
