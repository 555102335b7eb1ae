package dialect

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/parley-tcp/parley"
)

// memcached is the text protocol of memcached with its meta commands, as its doc/protocol.txt has
// it: https://github.com/memcached/memcached/blob/master/doc/protocol.txt.
var memcached = Framing{
	Name:     "memcached",
	Requests: &protocol{func() grammar { return new(memcachedGrammar) }},
	Words:    memcachedWords{},
	Compose:  composeMemcached,
	failed:   memcachedFailed,
}

const (
	maxMemcachedLine = 2048 // what is looked at of a line: memcached takes no longer one, but for many keys
	maxMemcachedKey  = 250
	maxMemcachedData = math.MaxInt32 - 2
)

type memcachedGrammar struct {
	request  memcachedRequest
	reply    memcachedReply
	owed     owed[memcachedAsked]
	watching bool   // the server shows what it does, and answers nothing any more
	text     []byte // scratch of encode
}

// memcachedAsked is what has to be known of a command when its reply comes.
type memcachedAsked struct {
	kind   memcachedKind
	opaque uint32 // a hash of the token that its reply repeats, 0 if there is none
}

// A memcachedKind is what kind of reply a command gets.
type memcachedKind uint8

const (
	memcachedPlain memcachedKind = iota // one that no meta command gets
	memcachedMeta                       // that of a meta command
	memcachedNoop                       // MN
	memcachedWatch                      // OK, and from there on what the server does
	memcachedQuiet                      // none, unless it fails or, of a meta command, finds something
	memcachedQuit                       // none: the server closes
)

func (g *memcachedGrammar) parser(of side) parser {
	if of == requests {
		g.request.reset()
		return &g.request
	}
	g.reply.reset()
	return &g.reply
}

func (g *memcachedGrammar) ended(_ side, p parser) parley.Note {
	if r, ok := p.(*memcachedRequest); ok {
		asked := r.command.memcachedAsked
		return parley.Note{Alone: !g.ask(asked), Last: asked.kind == memcachedQuit}
	}
	return parley.Note{Alone: !g.answers(p.(*memcachedReply))}
}

// ask notes a command and reports whether it is replied to.
func (g *memcachedGrammar) ask(asked memcachedAsked) bool {
	switch {
	case g.watching || asked.kind == memcachedQuit:
		return false
	case asked.kind == memcachedQuiet && g.owed.full():
		return false
	}
	g.owed.push(asked)
	return asked.kind != memcachedQuiet
}

// answers reports whether what the server says is a reply. What a quiet command has to say
// is none, since nobody can wait for it.
func (g *memcachedGrammar) answers(r *memcachedReply) bool {
	asked, owed := g.owed.first()
	quiet := owed && asked.kind == memcachedQuiet
	if quiet {
		asked, owed = g.owed.second()
	}
	if g.watching || !owed || quiet && r.isOfQuiet(asked) {
		return false
	}
	if quiet {
		g.owed.drop()
	}
	g.owed.pop()
	g.watching = asked.kind == memcachedWatch && r.code == memcachedOK
	return true
}

// isOfQuiet reports whether it is of a quiet command rather than the reply to the one behind: a
// no-op, which ends a row of quiet commands, is answered by MN alone, and a return code is of
// a meta command and repeats its opaque token. An error may be of either: it is taken for
// the reply.
func (r *memcachedReply) isOfQuiet(next memcachedAsked) bool {
	switch r.code {
	case memcachedReturn:
		return next.kind != memcachedMeta || next.opaque != r.opaque
	case memcachedError:
		return next.kind == memcachedNoop
	}
	return false
}

// A memcachedCommand is what the line of a command says of its reply, and of the data behind it.
type memcachedCommand struct {
	memcachedAsked
	data bool // a block of data follows
	size uint64
}

// memcachedStorage are the words of the storage commands, without noreply.
var memcachedStorage = map[string]int{"set": 5, "add": 5, "replace": 5, "append": 5, "prepend": 5, "cas": 6}

// memcachedNoReply are the words, at least, of other commands that end with noreply.
var memcachedNoReply = map[string]int{"delete": 3, "incr": 3, "decr": 3, "touch": 3, "flush_all": 2, "verbosity": 2, "cache_memlimit": 2}

// memcachedCommandOf reads a line as memcached does: where it finds an error in that of a storage
// command, it says so at once and takes what follows for commands.
func memcachedCommandOf(line []byte) (c memcachedCommand) {
	var first [7][]byte
	n, last := 0, []byte(nil)
	for word, rest := nextToken(line); word != nil; word, rest = nextToken(rest) {
		if n < len(first) {
			first[n] = word
		}
		n++
		last = word
	}
	flags := 2
	switch name := first[0]; string(name) {
	case "quit":
		c.kind = memcachedQuit
	case "watch":
		c.kind = memcachedWatch
	case "mn":
		c.kind = memcachedNoop
	case "me":
		c.kind = memcachedMeta
	case "ms":
		if n >= 3 && len(first[1]) <= maxMemcachedKey {
			c.size, c.data = memcachedSize(first[2])
		}
		flags = 3
		fallthrough
	case "mg", "md", "ma":
		c.kind = memcachedMeta
		c.readFlags(line, flags)
	default:
		quiet := string(last) == "noreply"
		words, stores := memcachedStorage[string(name)]
		switch {
		case stores && (n == words || n == words+1):
			_, isFlags := memcachedNumber(first[2])
			_, isTime := memcachedNumber(bytes.TrimPrefix(first[3], []byte("-")))
			_, isUnique := memcachedNumber(first[5])
			if size, ok := memcachedSize(first[4]); ok && isFlags && isTime && (words == 5 || isUnique) && len(first[1]) <= maxMemcachedKey {
				c.size, c.data = size, true
			}
		default:
			words, may := memcachedNoReply[string(name)]
			quiet = quiet && may && n >= words
		}
		if quiet {
			c.kind = memcachedQuiet
		}
	}
	return c
}

// readFlags looks for those of a meta command that matter: from the given word on.
func (c *memcachedCommand) readFlags(line []byte, from int) {
	quiet := false
	i := 0
	for word, rest := nextToken(line); word != nil; word, rest = nextToken(rest) {
		switch {
		case i < from:
		case word[0] == 'q':
			quiet = true
		case word[0] == 'O':
			c.opaque = hashOf(word)
		}
		i++
	}
	if quiet {
		c.memcachedAsked = memcachedAsked{kind: memcachedQuiet}
	}
}

// hashOf is never 0.
func hashOf(word []byte) uint32 {
	h := uint32(2166136261) // FNV-1a
	for _, b := range word {
		h = (h ^ uint32(b)) * 16777619
	}
	return max(h, 1)
}

// nextToken is the next word of a line, nil if there is none. Only spaces are between words.
func nextToken(line []byte) (word, rest []byte) {
	line = bytes.TrimLeft(line, " ")
	if len(line) == 0 {
		return nil, nil
	}
	word, rest, _ = bytes.Cut(line, []byte(" "))
	return word, rest
}

// memcachedNumber reads a number as memcached does, which takes more than a length can be.
func memcachedNumber(word []byte) (n uint64, ok bool) {
	word = bytes.TrimPrefix(word, []byte("+"))
	for _, b := range word {
		digit := uint64(b - '0')
		if digit > 9 || n > (math.MaxUint64-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, len(word) > 0
}

// memcachedSize is a length of data.
func memcachedSize(word []byte) (n uint64, ok bool) {
	n, ok = memcachedNumber(word)
	return n, ok && n <= maxMemcachedData
}

// notMemcached reports that no message begins with such a byte: with those of the binary protocol,
// for one.
func notMemcached(b byte) error {
	switch {
	case b == 0x80 || b == 0x81:
		return malformed("byte 0x%02x, with which the binary protocol of memcached begins, not the text protocol", b)
	case b < ' ' && b != '\r' && b != '\n':
		return malformed("byte 0x%02x where a line should begin", b)
	}
	return nil
}

// A memcachedRequest finds the end of a command: a line, and its data. Its data is as long as
// the line says and two bytes more, which memcached looks at only then.
type memcachedRequest struct {
	command memcachedCommand
	line    lineReader
	begun   bool
	left    uint64 // of data and its end
}

func (r *memcachedRequest) reset() { *r = memcachedRequest{line: r.line.again(maxMemcachedLine)} }

func (r *memcachedRequest) parse(p []byte, _ bool) (n int, done bool, err error) {
	if !r.begun && len(p) > 0 {
		if err := notMemcached(p[0]); err != nil {
			return 0, false, err
		}
		r.begun = true
	}
	if r.left == 0 {
		line, k, whole := r.line.read(p)
		if n = k; !whole {
			return n, false, nil
		}
		if r.command = memcachedCommandOf(bytes.TrimSuffix(line, []byte("\r"))); !r.command.data {
			return n, true, nil
		}
		r.left = r.command.size + 2
	}
	k := int(min(r.left, uint64(len(p)-n)))
	r.left -= uint64(k)
	return n + k, r.left == 0, nil
}

func (r *memcachedRequest) coming() uint64 { return r.left }

// A memcachedCode is what the first word of a reply tells.
type memcachedCode uint8

const (
	memcachedOther memcachedCode = iota
	memcachedOK
	memcachedError  // ERROR, CLIENT_ERROR, SERVER_ERROR
	memcachedReturn // of a meta command
	memcachedValue  // VALUE: data follows, and another line
	memcachedMore   // STAT and such: another line follows
	memcachedDump   // a meta command for each key
	memcachedEnd    // END
)

func memcachedCodeOf(word []byte) memcachedCode {
	switch string(word) {
	case "OK":
		return memcachedOK
	case "ERROR", "CLIENT_ERROR", "SERVER_ERROR":
		return memcachedError
	case "VA", "HD", "EN", "NS", "EX", "NF", "ME":
		return memcachedReturn
	case "VALUE":
		return memcachedValue
	case "STAT", "ITEM", "PREFIX":
		return memcachedMore
	case "mg":
		return memcachedDump
	case "END":
		return memcachedEnd
	}
	if bytes.HasPrefix(word, []byte("key=")) { // of lru_crawler metadump
		return memcachedMore
	}
	return memcachedOther
}

// A memcachedReply finds the end of a reply: a line, or several up to END, with data behind some.
type memcachedReply struct {
	code   memcachedCode // of its first line
	opaque uint32
	line   lineReader
	begun  bool   // the first line is read
	left   uint64 // of data
	ending int    // bytes read of the CRLF behind it, and 1 more; 0 outside of data
}

func (r *memcachedReply) reset() { *r = memcachedReply{line: r.line.again(maxMemcachedLine)} }

func (r *memcachedReply) parse(p []byte, _ bool) (n int, done bool, err error) {
	for n < len(p) && !done {
		k := 1
		switch {
		case r.left > 0:
			k = int(min(r.left, uint64(len(p)-n)))
			r.left -= uint64(k)
		case r.ending > 0:
			if p[n] != "\r\n"[r.ending-1] {
				return n, false, malformed("byte 0x%02x behind data, which is longer than its length", p[n])
			}
			if r.ending++; r.ending == 3 {
				r.ending = 0
				done = r.code != memcachedValue
			}
		default:
			var line []byte
			var whole bool
			if !r.begun && len(r.line.held) == 0 {
				err = notMemcached(p[n])
			}
			if line, k, whole = r.line.read(p[n:]); whole && err == nil {
				done, err = r.parseLine(bytes.TrimSuffix(line, []byte("\r")))
			}
			if err != nil {
				return n, false, err
			}
		}
		n += k
	}
	return n, done, nil
}

func (r *memcachedReply) parseLine(line []byte) (done bool, err error) {
	word, rest := nextToken(line)
	code := memcachedCodeOf(word)
	if !r.begun {
		r.begun, r.code = true, code
		if code == memcachedReturn {
			return r.parseReturn(word, rest)
		}
	}
	switch {
	case r.code == memcachedDump:
		return code != memcachedDump, nil // EN
	case code == memcachedEnd || code == memcachedError:
		return true, nil
	case r.code == memcachedMore:
		return false, nil
	case r.code != memcachedValue:
		return true, nil
	case code != memcachedValue:
		return false, malformed("%.40q where VALUE or END should come", line)
	}
	_, rest = nextToken(rest)
	_, rest = nextToken(rest)
	return false, r.beginData(rest, line)
}

// parseReturn reads the line of a meta command's reply.
func (r *memcachedReply) parseReturn(word, flags []byte) (done bool, err error) {
	for flag, rest := nextToken(flags); flag != nil; flag, rest = nextToken(rest) {
		if flag[0] == 'O' {
			r.opaque = hashOf(flag)
		}
	}
	if string(word) != "VA" {
		return true, nil
	}
	return false, r.beginData(flags, flags)
}

// beginData begins data whose length is the next word.
func (r *memcachedReply) beginData(rest, line []byte) error {
	word, _ := nextToken(rest)
	size, ok := memcachedSize(word)
	if !ok {
		return malformed("%.40q has no length of its data", line)
	}
	r.left, r.ending = size, 1
	return nil
}

func (r *memcachedReply) coming() uint64 {
	if r.ending == 0 {
		return 0
	}
	return r.left + 3 - uint64(r.ending)
}

func (g *memcachedGrammar) encode(of side, dst []byte, start int) ([]byte, error) {
	g.text = append(g.text[:0], dst[start:]...)
	text := g.text
	g.text = spare(g.text)
	if of == replies {
		return appendMemcachedReply(dst[:start], text), nil
	}
	line, data, more := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	c := memcachedCommandOf(line[:min(len(line), maxMemcachedLine)])
	ending := data[min(c.size, uint64(len(data))):]
	switch {
	case more && !c.data:
		return dst, fmt.Errorf("a newline at byte %d would end the command early", len(line))
	case c.data && uint64(len(data)) < c.size:
		return dst, parley.ErrUnfinished
	case len(ending) > 0 && string(ending) != "\n" && string(ending) != "\r\n":
		return dst, fmt.Errorf("its data is longer than %d bytes", c.size)
	}
	dst = append(append(dst[:start], line...), "\r\n"...)
	if c.data {
		dst = append(append(dst, data[:c.size]...), "\r\n"...)
	}
	return dst, nil
}

// composeMemcached makes a command of words: those behind the line of a storage command are its data.
func composeMemcached(words []string) []byte {
	line := len(words)
	if n, stores := memcachedStorage[words[0]]; stores && len(words) > n {
		line = n
		if words[n] == "noreply" {
			line++
		}
	}
	command := []byte(strings.Join(words[:line], " "))
	if line < len(words) {
		command = append(append(command, "\r\n"...), strings.Join(words[line:], " ")...)
	}
	return command
}

// appendMemcachedReply appends the reply that a text makes. What is no reply of several lines is put
// on one.
func appendMemcachedReply(dst, text []byte) []byte {
	if reason, ok := bytes.CutPrefix(text, []byte(errorText)); ok {
		dst = append(dst, "SERVER_ERROR "...)
		text = reason
	}
	start := len(dst)
	dst = append(append(dst, text...), "\r\n"...)
	var r memcachedReply
	r.reset()
	if n, done, err := r.parse(dst[start:], false); err == nil && done && n == len(dst)-start {
		return dst
	}
	makeOneLine(dst[start : start+len(text)])
	return dst
}

func (g *memcachedGrammar) appendText(of side, dst []byte, m Message) []byte {
	if of == requests {
		return memcachedWords{}.AppendRequest(dst, m)
	}
	return memcachedWords{}.AppendReply(dst, m)
}

// memcachedWords shows the lines of a message with semicolons between them, and its data behind
// its length: set k 0 60 [5 bytes] hello.
type memcachedWords struct{}

func (memcachedWords) AppendRequest(dst []byte, m Message) []byte {
	line, data, whole := bytes.Cut(m.Body, []byte("\n"))
	c := memcachedCommandOf(bytes.TrimSuffix(line[:min(len(line), maxMemcachedLine)], []byte("\r")))
	switch {
	case whole && len(data) > 0 && !c.data: // no command
		return appendBriefly(dst, m.Body, maxText, m.Cut > 0)
	case !whole || !c.data:
		return appendBriefly(dst, bytes.TrimSuffix(line, []byte("\r")), maxText, m.Cut > 0)
	}
	at := 4
	if bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("ms ")) {
		at = 2
	}
	dst, _ = appendMemcachedData(dst, line, at, c.size, data)
	return dst
}

func (memcachedWords) AppendReply(dst []byte, m Message) []byte {
	start := len(dst)
	rest := m.Body
	for i := 0; len(rest) > 0; i++ {
		line, behind, whole := bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if i > 0 && m.Cut == 0 && len(behind) == 0 && (string(line) == "END" || string(line) == "EN") {
			return dst
		}
		if i > 0 {
			dst = append(dst, "; "...)
		}
		if len(dst)-start > maxText {
			return append(dst, "…"...)
		}
		at := 0
		switch word, _ := nextToken(line); {
		case string(word) == "VALUE":
			at = 3
		case string(word) == "VA":
			at = 1
		}
		if size, ok := memcachedSize(tokenAt(line, at)); at > 0 && ok && whole {
			dst, rest = appendMemcachedData(dst, line, at, size, behind)
			continue
		}
		dst = appendBriefly(dst, line, maxTextWord, !whole && m.Cut > 0)
		rest = behind
	}
	return dst
}

// tokenAt is a word of a line, counted from 0.
func tokenAt(line []byte, i int) (word []byte) {
	for word, line = nextToken(line); i > 0; i-- {
		word, line = nextToken(line)
	}
	return word
}

// appendMemcachedData appends a line in which one word is the length of the data behind it, and returns
// what is behind that.
func appendMemcachedData(dst, line []byte, at int, size uint64, data []byte) (with, rest []byte) {
	i := 0
	for word, rest := nextToken(bytes.TrimSuffix(line, []byte("\r"))); word != nil; word, rest = nextToken(rest) {
		if i > 0 {
			dst = append(dst, ' ')
		}
		if i == at {
			dst = append(strconv.AppendUint(append(dst, '['), size, 10), " bytes]"...)
		} else {
			dst = appendBriefly(dst, word, maxTextWord, false)
		}
		i++
	}
	n := int(min(size, uint64(len(data))))
	dst = appendBriefly(append(dst, ' '), data[:n], maxTextWord, uint64(n) < size)
	return dst, data[min(n+2, len(data)):]
}
