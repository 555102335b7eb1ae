package dialect

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/parley-tcp/parley"
)

// redis is RESP2 and RESP3, https://redis.io/docs/latest/develop/reference/protocol-spec, with the
// streamed values of https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md.
var redis = Framing{
	Name:     "redis",
	Requests: &protocol{func() grammar { return new(redisGrammar) }},
	Words:    redisWords{},
	Compose:  composeRedis,
	Print:    printRedis,
	failed:   redisFailed,
}

const (
	maxRedisDepth = 1024     // of values in values
	maxRedisLine  = 64 << 10 // what is looked at of an inline command: redis takes no longer one
	maxRedisWord  = 32       // what is kept of a word, to know it by
)

func malformed(format string, about ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{parley.ErrMalformed}, about...)...)
}

// A noValue is the byte that stands where a value should begin. It is put into words when somebody wants them, and takes
// up no memory: a reply that is only a text, which is to become a value, is tried as one first.
type noValue byte

func (b noValue) Error() string {
	return malformed("byte 0x%02x where a value should begin", byte(b)).Error()
}
func (b noValue) Unwrap() error { return parley.ErrMalformed }

type redisGrammar struct {
	request redisRequest
	reply   redisReply
	owed    owed[redisAsked]
	text    []byte // scratch of encode
	word    []byte // the same

	// What the client has said:
	multi bool // between MULTI and EXEC, where nothing is carried out yet
	off   bool // CLIENT REPLY OFF
	skip  bool // CLIENT REPLY SKIP was the last command

	// What the server has said:
	resp3                      bool
	monitoring                 bool
	replicating                bool   // what comes are no replies any more, but a database and its changes
	channels, patterns, shards uint64 // that are subscribed to
	confirmations              uint64 // of the last SUBSCRIBE that are still to come behind its first
}

// redisAsked is what has to be known of a command when its reply comes: nothing of most.
type redisAsked struct {
	name   redisWord
	topics uint32 // to subscribe to, or not any more
}

func (g *redisGrammar) parser(of side) parser {
	switch {
	case of == requests:
		g.request.reset()
		return &g.request
	case g.replicating:
		return chunks{}
	}
	g.reply.reset()
	return &g.reply
}

func (g *redisGrammar) ended(of side, p parser) parley.Note {
	switch p := p.(type) {
	case *redisRequest:
		return parley.Note{Alone: !g.ask(&p.command), Secret: p.command.secret}
	case *redisReply:
		asked, _ := g.owed.first()
		replies := g.answers(p)
		return parley.Note{Alone: !replies, Last: replies && asked.name == redisQuit}
	}
	return parley.Note{Alone: true}
}

// ask notes a command and reports whether it is replied to. Those that have no words are not.
func (g *redisGrammar) ask(c *redisCommand) bool {
	if c.words == 0 || g.replicating {
		return false
	}
	skipped := g.skip
	g.skip = false
	switch {
	case c.name == redisMulti:
		g.multi = true
	case c.name == redisExec || c.name == redisDiscard:
		g.multi = false
	case c.name == redisReset:
		g.multi, g.off = false, false
	case c.replyMode == redisOn && c.words == 3 && !g.multi:
		g.off, skipped = false, false
	case c.replyMode == redisOff && c.words == 3 && !g.multi:
		g.off = true
	case c.replyMode == redisSkip && c.words == 3 && !g.multi:
		g.skip, skipped = !g.off, true
	}
	if g.off || skipped {
		return false
	}
	var asked redisAsked
	switch {
	case c.name.subscribes():
		asked = redisAsked{c.name, uint32(min(c.words-1, math.MaxUint32))}
	case c.name == redisMonitor || c.name == redisHello || c.name == redisReset || c.name == redisSync || c.name == redisQuit:
		asked.name = c.name
	}
	g.owed.push(asked)
	return true
}

// answers reports whether a value is a reply, and notes what it changes.
func (g *redisGrammar) answers(r *redisReply) bool {
	asked, owed := g.owed.first()
	push := r.kind == '>'
	subscribed := g.channels+g.patterns+g.shards > 0
	switch name := r.name(); {
	case name.subscribes() && r.elements == 3 && g.confirmations > 0:
		g.confirmations--
		g.confirm(name, r.remaining())
		return false
	case name.subscribes() && r.elements == 3 && owed && asked.name == name:
		g.confirmations = g.unconfirmed(asked)
		g.confirm(name, r.remaining())
		g.owed.pop()
		return true
	case name.subscribes() && (push || subscribed && !g.resp3): // a shard has moved, say
		g.confirm(name, r.remaining())
		return false
	case push || !owed:
		return false
	case r.kind == '*' && name == redisMessage && subscribed && !g.resp3:
		return false
	case g.monitoring && r.isMonitored():
		return false
	}
	g.owed.pop()
	switch {
	case asked.name == redisMonitor && r.kind == '+':
		g.monitoring = string(r.first) == "OK\r"
	case asked.name == redisHello && (r.kind == '%' || r.kind == '*'):
		g.resp3 = r.kind == '%'
	case asked.name == redisReset && r.kind == '+':
		g.resp3, g.monitoring = false, false
		g.channels, g.patterns, g.shards, g.confirmations = 0, 0, 0, 0
	case asked.name == redisSync:
		g.replicating = r.kind != '-'
	}
	return true
}

// unconfirmed is how many confirmations come behind the first: there is one for each channel or
// pattern, and where none is named one for each that there is.
func (g *redisGrammar) unconfirmed(asked redisAsked) uint64 {
	n := uint64(asked.topics)
	switch {
	case n > 0:
	case asked.name == redisUnsubscribe:
		n = g.channels
	case asked.name == redisPUnsubscribe:
		n = g.patterns
	case asked.name == redisSUnsubscribe:
		n = g.shards
	}
	return max(n, 1) - 1
}

// confirm notes how many subscriptions there are now, those to channels and patterns together.
func (g *redisGrammar) confirm(name redisWord, remaining uint64) {
	switch name {
	case redisSubscribe, redisUnsubscribe:
		g.channels = remaining - min(g.patterns, remaining)
	case redisPSubscribe, redisPUnsubscribe:
		g.patterns = remaining - min(g.channels, remaining)
	default:
		g.shards = remaining
	}
}

// A redisWord is a word of redis that something turns on; the others are 0.
type redisWord uint8

const (
	redisSubscribe redisWord = iota + 1
	redisPSubscribe
	redisSSubscribe
	redisUnsubscribe
	redisPUnsubscribe
	redisSUnsubscribe
	redisMessage
	redisMonitor
	redisHello
	redisReset
	redisSync
	redisQuit
	redisMulti
	redisExec
	redisDiscard
	redisClient
	redisReplies
	redisOn
	redisOff
	redisSkip
	redisAuth
	redisAuth2
	redisACL
	redisSetUser
	redisConfig
	redisSet
	redisMigrate
	redisSentinel
)

func redisWordOf(word []byte) redisWord {
	var upper [len("PUNSUBSCRIBE")]byte
	if len(word) > len(upper) {
		return 0
	}
	for i, b := range word {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		upper[i] = b
	}
	switch string(upper[:len(word)]) {
	case "SUBSCRIBE":
		return redisSubscribe
	case "PSUBSCRIBE":
		return redisPSubscribe
	case "SSUBSCRIBE":
		return redisSSubscribe
	case "UNSUBSCRIBE":
		return redisUnsubscribe
	case "PUNSUBSCRIBE":
		return redisPUnsubscribe
	case "SUNSUBSCRIBE":
		return redisSUnsubscribe
	case "MESSAGE", "PMESSAGE", "SMESSAGE":
		return redisMessage
	case "MONITOR":
		return redisMonitor
	case "HELLO":
		return redisHello
	case "RESET":
		return redisReset
	case "SYNC", "PSYNC":
		return redisSync
	case "QUIT":
		return redisQuit
	case "MULTI":
		return redisMulti
	case "EXEC":
		return redisExec
	case "DISCARD":
		return redisDiscard
	case "CLIENT":
		return redisClient
	case "REPLY":
		return redisReplies
	case "ON":
		return redisOn
	case "OFF":
		return redisOff
	case "SKIP":
		return redisSkip
	case "AUTH":
		return redisAuth
	case "AUTH2":
		return redisAuth2
	case "ACL":
		return redisACL
	case "SETUSER":
		return redisSetUser
	case "CONFIG":
		return redisConfig
	case "SET":
		return redisSet
	case "MIGRATE":
		return redisMigrate
	case "SENTINEL":
		return redisSentinel
	}
	return 0
}

// isLookedInto reports whether what stands behind it matters.
func (w redisWord) isLookedInto() bool {
	switch w {
	case redisClient, redisHello, redisMigrate, redisACL, redisConfig, redisSentinel:
		return true
	}
	return false
}

func (w redisWord) subscribes() bool { return redisSubscribe <= w && w <= redisSUnsubscribe }

// A redisCommand is what matters of a command, found out word by word.
type redisCommand struct {
	words     uint64 // so far
	name      redisWord
	second    redisWord
	replyMode redisWord // of CLIENT REPLY
	hide      uint64    // words to come that are credentials
	secret    bool
}

// add is told of the next word, or its beginning, and reports whether that is a credential.
func (c *redisCommand) add(word []byte) (hidden bool) {
	c.words++
	switch {
	case c.hide > 0:
		c.hide--
		c.secret = true
		return true
	case c.words == 1:
		if c.name = redisWordOf(word); c.name == redisAuth {
			c.hide = math.MaxUint64
		}
	case !c.name.isLookedInto():
	case c.words == 2:
		c.second = redisWordOf(word)
	case c.name == redisClient && c.second == redisReplies && c.words == 3:
		c.replyMode = redisWordOf(word)
	case c.name == redisHello && redisWordOf(word) == redisAuth: // AUTH user password
		c.hide = 2
	case c.name == redisMigrate && c.words > 6 && redisWordOf(word) == redisAuth:
		c.hide = 1
	case c.name == redisMigrate && c.words > 6 && redisWordOf(word) == redisAuth2:
		c.hide = 2
	case c.name == redisACL && c.second == redisSetUser && c.words > 3 && len(word) > 0 && strings.IndexByte("><#!", word[0]) >= 0:
		c.secret = true
		return true
	case (c.name == redisConfig && c.second == redisSet || c.name == redisSentinel) && namesPassword(word):
		c.hide = 1
	}
	return false
}

// namesPassword reports whether it is the name of a password in a configuration.
func namesPassword(word []byte) bool {
	const ending = "-pass"
	return bytes.EqualFold(word, []byte("requirepass")) || bytes.EqualFold(word, []byte("masterauth")) ||
		len(word) > len(ending) && bytes.EqualFold(word[len(word)-len(ending):], []byte(ending))
}

// A redisLength is a number at the end of a line.
type redisLength struct {
	n        uint64
	null     bool // it is -1
	streamed bool // it is ?
}

// readRedisLength reads a length and the end of its line; n is 0 while that has not come.
func readRedisLength(p []byte) (l redisLength, n int, err error) {
	const most = 18 // digits that fit, also if there are twice as many elements
	if len(p) > 0 {
		l.null, l.streamed = p[0] == '-', p[0] == '?'
	}
	if l.null || l.streamed {
		n = 1
	}
	digits := n
	for ; n < len(p) && '0' <= p[n] && p[n] <= '9' && n-digits < most && !l.streamed; n++ {
		l.n = l.n*10 + uint64(p[n]-'0')
	}
	switch {
	case n == len(p):
		return l, 0, nil
	case p[n] != '\r' || n == digits && !l.streamed:
	case n+1 == len(p):
		return l, 0, nil
	case p[n+1] == '\n' && (!l.null || l.n == 1):
		return l, n + 2, nil
	default:
		n++
	}
	return l, 0, malformed("byte 0x%02x in a length", p[n])
}

// wholeRedisBulk is the string that p begins with, and how many bytes that takes up with what is around it: none if it is
// not whole, or not one.
func wholeRedisBulk(p []byte) (text []byte, n int) {
	const most = 18 // digits, as of any length
	size, at := uint64(0), 1
	for at < len(p) && at <= most && '0' <= p[at] && p[at] <= '9' {
		size = size*10 + uint64(p[at]-'0')
		at++
	}
	if at == 1 || len(p)-at < len("\r\n\r\n") || p[0] != '$' || p[at] != '\r' || p[at+1] != '\n' {
		return nil, 0
	}
	rest := p[at+2:]
	if uint64(len(rest)) < size+2 || rest[size] != '\r' || rest[size+1] != '\n' {
		return nil, 0
	}
	return rest[:size], at + 2 + int(size) + 2
}

// readRedisEnd reads the end of a string; n is 0 while that has not come.
func readRedisEnd(p []byte) (n int, err error) {
	switch {
	case p[0] != '\r':
		return 0, malformed("byte 0x%02x behind a string, which is longer than it says", p[0])
	case len(p) == 1:
		return 0, nil
	case p[1] != '\n':
		return 0, malformed("byte 0x%02x behind a CR", p[1])
	}
	return 2, nil
}

// A redisStep is what comes next in a message.
type redisStep uint8

const (
	redisBegin       redisStep = iota // of the message, or of a value in it
	redisInline                       // a command on a line
	redisHead                         // a length
	redisBulk                         // of a request: the $ before it
	redisData                         // as many bytes as the length says
	redisEnd                          // behind them
	redisSimple                       // a value on a line
	redisChunk                        // of a streamed string: the ; before it
	redisChunkLength                  // and behind that
)

// A redisRequest finds the end of a command: an array of bulk strings, or a line.
type redisRequest struct {
	redisRequestState
	line lineReader
	kept [maxRedisWord]byte
}

// A redisRequestState is how far one has been read.
type redisRequestState struct {
	command redisCommand
	step    redisStep
	array   bool   // the length of the array has been read
	left    uint64 // bytes of a word to come
	words   uint64 // to come, with the one that is being read
	word    []byte // its beginning
}

func (r *redisRequest) reset() {
	r.redisRequestState = redisRequestState{}
	r.line = r.line.again(maxRedisLine)
}

func (r *redisRequest) parse(p []byte, _ bool) (n int, done bool, err error) {
	for n < len(p) {
		switch r.step {
		case redisBegin:
			if p[n] != '*' {
				r.step = redisInline
				continue
			}
			n++
			r.step = redisHead
		case redisInline:
			line, k, whole := r.line.read(p[n:])
			if whole {
				r.split(line)
			}
			return n + k, whole, nil
		case redisBulk:
			if p[n] != '$' {
				return n, false, malformed("byte 0x%02x where a word of the command should begin with $", p[n])
			}
			if word, k := wholeRedisBulk(p[n:]); k > 0 { // nearly always
				n += k
				if r.add(word) {
					return n, true, nil
				}
				continue
			}
			n++
			r.step = redisHead
		case redisHead:
			length, k, err := readRedisLength(p[n:])
			if k == 0 {
				return n, false, err
			}
			n += k
			if done, err = r.begin(length); done || err != nil {
				return n, done, err
			}
		case redisData:
			k := int(min(r.left, uint64(len(p)-n)))
			r.word = append(r.word, p[n:n+min(k, maxRedisWord-len(r.word))]...)
			n += k
			if r.left -= uint64(k); r.left == 0 {
				r.step = redisEnd
			}
		default:
			k, err := readRedisEnd(p[n:])
			if k == 0 {
				return n, false, err
			}
			n += k
			if r.add(r.word) {
				return n, true, nil
			}
			r.step = redisBulk
		}
	}
	return n, false, nil
}

// add notes a word, or its beginning, and reports whether it was the last.
func (r *redisRequest) add(word []byte) (last bool) {
	r.command.add(word[:min(len(word), maxRedisWord)])
	r.words--
	return r.words == 0
}

// begin begins what the length is of.
func (r *redisRequest) begin(length redisLength) (done bool, err error) {
	switch {
	case length.streamed:
		return false, malformed("a command whose length is not known")
	case !r.array:
		r.array, r.words, r.step = true, length.n, redisBulk
		return length.null || r.words == 0, nil
	case length.null:
		return false, malformed("a word of the command that is null")
	}
	r.left, r.word, r.step = length.n, r.kept[:0], redisData
	if r.left == 0 {
		r.step = redisEnd
	}
	return false, nil
}

// split notes the words of a line. Where redis finds that a quote is not closed it replies so.
func (r *redisRequest) split(line []byte) {
	for {
		word, rest, ok, err := nextWord(r.kept[:0], line)
		if ok || err != nil {
			r.command.add(word[:min(len(word), maxRedisWord)])
		}
		if !ok {
			return
		}
		line = rest
	}
}

func (r *redisRequest) coming() (n uint64) {
	const word = uint64(len("$0\r\n\r\n"))
	switch r.step {
	case redisData:
		n = r.left + 2
	case redisBulk:
		return r.words * word
	}
	if r.words > 0 {
		n += (r.words - 1) * word
	}
	return n
}

// A redisReply finds the end of a value, however many others are in it.
type redisReply struct {
	redisReplyState
	frames []redisFrame
	kept   [2][maxRedisWord]byte
}

// A redisReplyState is how far one has been read.
type redisReplyState struct {
	kind     byte   // its first byte
	elements uint64 // there should be
	first    []byte // the beginning of the value, or of its first element
	third    []byte // of its third element

	step    redisStep
	current byte // the kind of what is read
	index   int  // of the element, from 1; past 3 it does not matter
	keep    *[]byte
	left    uint64 // bytes to come
	chunks  bool   // of a streamed string
	cr      bool   // was the last byte
}

// A redisFrame is a value of which others are the elements.
type redisFrame struct {
	left      uint64 // to come, with the one that is read
	streamed  bool   // and nobody knows how many
	attribute bool   // it is said of the value that follows
}

func (r *redisReply) reset() {
	r.redisReplyState = redisReplyState{}
	r.frames, r.first, r.third = r.frames[:0], r.kept[0][:0], r.kept[1][:0]
}

// made has it as if it had read a value that is a whole line.
func (r *redisReply) made(line []byte) {
	r.reset()
	r.begin(line[0])
	r.note(line[1 : len(line)-1])
}

func (r *redisReply) parse(p []byte, _ bool) (n int, done bool, err error) {
	for n < len(p) && !done {
		k := 1
		switch b := p[n]; r.step {
		case redisBegin:
			err = r.begin(b)
		case redisSimple:
			k, done, err = r.parseSimple(p[n:])
		case redisHead, redisChunkLength:
			var length redisLength
			if length, k, err = readRedisLength(p[n:]); k == 0 {
				return n, false, err
			}
			done, err = r.beginLong(length)
		case redisData:
			k = int(min(r.left, uint64(len(p)-n)))
			r.note(p[n : n+k])
			if r.left -= uint64(k); r.left == 0 {
				r.step = redisEnd
			}
		case redisEnd:
			if k, err = readRedisEnd(p[n:]); k == 0 {
				return n, false, err
			}
			if r.chunks {
				r.step = redisChunk
			} else {
				done = r.endValue()
			}
		default:
			if b != ';' {
				err = malformed("byte 0x%02x where a part of a streamed string should begin with ;", b)
			}
			r.step = redisChunkLength
		}
		if err != nil {
			return n, false, err
		}
		n += k
	}
	return n, done, nil
}

// begin begins a value, by its first byte.
func (r *redisReply) begin(b byte) error {
	r.step = redisSimple
	switch b {
	case '+', '-', ':', '_', ',', '#', '(':
	case '$', '!', '=', '*', '%', '~', '|', '>':
		r.step = redisHead
	case '.':
		if n := len(r.frames); n == 0 || !r.frames[n-1].streamed {
			return malformed("an end of a streamed value that has not begun")
		}
	default:
		return noValue(b)
	}
	r.current, r.keep, r.cr = b, nil, false
	switch {
	case b == '|' || b == '.':
	case len(r.frames) == 0:
		r.kind, r.keep = b, &r.first
	case len(r.frames) == 1 && !r.frames[0].attribute && r.index < 3:
		switch r.index++; r.index {
		case 1:
			r.keep = &r.first
		case 3:
			r.keep = &r.third
		}
	}
	return nil
}

func (r *redisReply) note(p []byte) {
	if r.keep != nil {
		*r.keep = append(*r.keep, p[:min(len(p), maxRedisWord-len(*r.keep))]...)
	}
}

// parseSimple reads to the end of a line: no CR or LF may be inside it.
func (r *redisReply) parseSimple(p []byte) (n int, done bool, err error) {
	i := bytes.IndexByte(p, '\n')
	line := p
	if i >= 0 {
		line = p[:i]
	}
	cr := bytes.IndexByte(line, '\r')
	switch {
	case r.cr && (i != 0), cr >= 0 && cr < len(line)-1:
		return 0, false, malformed("a CR inside of a line")
	case i >= 0 && !r.cr && cr < 0:
		return 0, false, malformed("a line that ends without CR")
	case r.current == '.' && (cr > 0 || cr < 0 && len(line) > 0):
		return 0, false, malformed("an end of a streamed value that is longer")
	}
	r.note(line)
	r.cr = r.cr || cr >= 0
	if i < 0 {
		return len(p), false, nil
	}
	if r.current != '.' {
		return i + 1, r.endValue(), nil
	}
	return i + 1, r.endFrame(), nil
}

// beginLong begins what the length is of.
func (r *redisReply) beginLong(l redisLength) (done bool, err error) {
	switch {
	case r.step == redisChunkLength && (l.streamed || l.null),
		l.null && r.current != '$' && r.current != '*',
		l.streamed && (r.current == '!' || r.current == '='):
		return false, malformed("a length that a %c cannot have", r.current)
	case r.step == redisChunkLength && l.n == 0:
		r.chunks = false
		return r.endValue(), nil
	case l.null:
		return r.endValue(), nil
	case r.current == '$' && l.streamed:
		r.chunks, r.step = true, redisChunk
		return false, nil
	case r.current == '$' || r.current == '!' || r.current == '=':
		r.left, r.step = l.n, redisData
		if l.n == 0 {
			r.step = redisEnd
		}
		return false, nil
	}
	frame := redisFrame{left: l.n, streamed: l.streamed, attribute: r.current == '|'}
	if r.current == '%' || r.current == '|' {
		frame.left *= 2
	}
	if len(r.frames) == 0 && !frame.attribute {
		r.elements = frame.left
	}
	switch {
	case l.n == 0 && !l.streamed && frame.attribute:
		r.step = redisBegin
		return false, nil
	case l.n == 0 && !l.streamed:
		return r.endValue(), nil
	case len(r.frames) == maxRedisDepth:
		return false, malformed("values in values, more than %d deep", maxRedisDepth)
	}
	r.frames, r.step = append(r.frames, frame), redisBegin
	return false, nil
}

// endValue reports whether with a value all ends that it is in.
func (r *redisReply) endValue() (done bool) {
	r.step = redisBegin
	for len(r.frames) > 0 {
		top := &r.frames[len(r.frames)-1]
		if top.streamed {
			return false
		}
		if top.left--; top.left > 0 {
			return false
		}
		r.frames = r.frames[:len(r.frames)-1]
		if top.attribute {
			return false
		}
	}
	return true
}

// endFrame is endValue of a value that was streamed.
func (r *redisReply) endFrame() (done bool) {
	top := r.frames[len(r.frames)-1]
	r.frames, r.step = r.frames[:len(r.frames)-1], redisBegin
	return !top.attribute && r.endValue()
}

func (r *redisReply) coming() (n uint64) {
	const value = uint64(len("_\r\n"))
	if r.step == redisData {
		n = r.left + 2
	}
	if len(r.frames) > 0 {
		if top := r.frames[len(r.frames)-1]; top.left > 0 {
			n += (top.left - 1) * value
		}
	}
	return n
}

// name is the first element of what may be a message.
func (r *redisReply) name() redisWord {
	if r.kind != '*' && r.kind != '>' {
		return 0
	}
	return redisWordOf(bytes.TrimSuffix(r.first, []byte("\r")))
}

// remaining is the third element of a confirmation: how many subscriptions there are.
func (r *redisReply) remaining() uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(string(r.third), "\r"), 10, 32)
	return n
}

// isMonitored reports whether it is what MONITOR shows, such as
// +1339518083.107412 [0 127.0.0.1:60866] "keys" "*".
func (r *redisReply) isMonitored() bool {
	at, _, ok := bytes.Cut(r.first, []byte(" ["))
	_, err := strconv.ParseFloat(string(at), 64)
	return ok && err == nil && r.kind == '+'
}
