package dialect

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

const (
	maxRedisSimple = 512 // bytes of a reply that is sent as a simple string
	maxRedisNested = 16  // depth to which values are shown in words
	maxRedisIndent = 256 // bytes before a line that is printed
)

func (g *redisGrammar) encode(of side, dst []byte, start int) ([]byte, error) {
	if of == replies {
		return encodeRedisReply(dst, start), nil
	}
	g.text = append(g.text[:0], dst[start:]...)
	text := g.text
	g.text = spare(g.text)
	defer func() { g.word = spare(g.word) }()
	n := 0
	for rest, ok := text, true; ok; n++ {
		var err error
		if g.word, rest, ok, err = nextWord(g.word[:0], rest); err != nil {
			return dst, err
		}
	}
	if n--; n == 0 {
		return dst, errors.New("it has no words")
	}
	dst = appendRedisHead(dst[:start], '*', n)
	for rest := text; n > 0; n-- {
		g.word, rest, _, _ = nextWord(g.word[:0], rest)
		dst = appendRedisBulk(dst, g.word)
	}
	return dst, nil
}

// made knows a simple string and an error: what is on one line was looked at when it was put there.
func (g *redisGrammar) made(of side, message []byte) parser {
	if of == requests || message[0] == '$' {
		return nil
	}
	g.reply.made(message)
	return &g.reply
}

// encodeRedisReply makes a reply of the text at dst[start:]: an error, a simple string, or a bulk string where that cannot be.
func encodeRedisReply(dst []byte, start int) []byte {
	text := dst[start:]
	switch {
	case bytes.HasPrefix(text, []byte(errorText)):
		dst = slices.Replace(dst, start, start+len(errorText), []byte("-ERR ")...)
		makeOneLine(dst[start:])
	case len(text) > maxRedisSimple || bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0:
		dst = slices.Insert(dst, start, appendRedisHead(nil, '$', len(text))...)
	default:
		dst = slices.Insert(dst, start, '+')
	}
	return append(dst, "\r\n"...)
}

func appendRedisHead(dst []byte, kind byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, kind), int64(n), 10), "\r\n"...)
}

func appendRedisBulk[S string | []byte](dst []byte, text S) []byte {
	return append(append(appendRedisHead(dst, '$', len(text)), text...), "\r\n"...)
}

// composeRedis makes a command of exactly these words.
func composeRedis(words []string) []byte {
	command := appendRedisHead(nil, '*', len(words))
	for _, word := range words {
		command = appendRedisBulk(command, word)
	}
	return command
}

// nextWord reads a word of a line as redis and redis-cli do: it may be quoted, with \n \r \t \b
// \a \xHH inside of "", and \' inside of ”.
func nextWord(dst, line []byte) (word, rest []byte, ok bool, err error) {
	i := 0
	for i < len(line) && isRedisSpace(line[i]) {
		i++
	}
	if i == len(line) {
		return dst, nil, false, nil
	}
	quote := byte(0)
	for ; i < len(line); i++ {
		b, next := line[i], byte(0)
		if i+1 < len(line) {
			next = line[i+1]
		}
		switch {
		case quote == 0 && isRedisSpace(b):
			return dst, line[i:], true, nil
		case quote == 0 && (b == '"' || b == '\''):
			quote = b
		case b == quote && i+1 < len(line) && !isRedisSpace(next):
			return dst, nil, false, errors.New("a closing quote has to be followed by a space")
		case b == quote && quote != 0:
			return dst, line[i+1:], true, nil
		case quote == '"' && b == '\\' && next == 'x' && i+3 < len(line) && isHex(line[i+2]) && isHex(line[i+3]):
			n, _ := strconv.ParseUint(string(line[i+2:i+4]), 16, 8)
			dst = append(dst, byte(n))
			i += 3
		case quote == '"' && b == '\\' && i+1 < len(line):
			dst = append(dst, unescaped(next))
			i++
		case quote == '\'' && b == '\\' && next == '\'':
			dst = append(dst, '\'')
			i++
		default:
			dst = append(dst, b)
		}
	}
	if quote != 0 {
		return dst, nil, false, errors.New("a quote is not closed")
	}
	return dst, nil, true, nil
}

func isRedisSpace(b byte) bool { return b == ' ' || '\t' <= b && b <= '\r' }

func isHex(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
}

func unescaped(b byte) byte {
	switch b {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return b
}

func (g *redisGrammar) appendText(of side, dst []byte, m Message) []byte {
	if of == requests {
		m.Secret = true // only words that are credentials are left out
		return redisWords{}.AppendRequest(dst, m)
	}
	return redisWords{}.AppendReply(dst, m)
}

// redisWords shows a command as it can be typed, SET foo "hello world", and a reply much as
// redis-cli does, but on one line: (integer) 3, [a b "hello world"].
type redisWords struct{}

func (redisWords) AppendRequest(dst []byte, m Message) []byte {
	v := redisView{redisReader: redisReader{m.Body, m.Cut == 0}, dst: dst, start: len(dst), hide: m.Secret}
	if len(m.Body) > 0 && m.Body[0] == '*' {
		v.command()
	} else {
		v.line(m.Cut > 0)
	}
	return v.dst
}

func (redisWords) AppendReply(dst []byte, m Message) []byte {
	v := redisView{redisReader: redisReader{m.Body, m.Cut == 0}, dst: dst, start: len(dst)}
	v.value(0)
	return v.dst
}

// A redisView makes words of a message, which may be cut or no message at all.
type redisView struct {
	redisReader
	dst     []byte
	start   int
	stopped bool // what follows is not there, or not shown

	hide   bool // credentials
	hidden bool // the word before was one
	parsed redisCommand
}

func (v *redisView) command() {
	length, n, _ := readRedisLength(v.rest[1:])
	if n == 0 || length.null || length.n == 0 {
		v.raw()
		return
	}
	v.rest = v.rest[1+n:]
	for i := uint64(0); i < length.n; i++ {
		if len(v.dst)-v.start > maxText {
			v.dst = strconv.AppendUint(append(v.dst, " …("...), length.n, 10)
			v.dst = append(v.dst, " words)"...)
			return
		}
		if i > 0 && !v.hidden {
			v.dst = append(v.dst, ' ')
		}
		if text, n := wholeRedisBulk(v.rest); n > 0 { // nearly always
			v.rest = v.rest[n:]
			v.word(text, uint64(len(text)))
			continue
		}
		word, ok := v.next()
		if !ok && len(v.rest) == 0 {
			v.dst = append(v.dst, "…"...)
			return
		}
		if !ok || word.kind != '$' {
			v.raw()
			return
		}
		v.word(word.text, word.n)
	}
}

// line shows an inline command. What has more lines is none.
func (v *redisView) line(cut bool) {
	end := bytes.IndexByte(v.rest, '\n')
	if end >= 0 && end < len(v.rest)-1 || end < 0 && !cut {
		v.raw()
		return
	}
	line := v.rest
	var scratch [maxTextWord]byte
	for i := 0; ; i++ {
		word, rest, ok, err := nextWord(scratch[:0], line)
		switch {
		case !ok && err == nil && i == 0:
			v.raw()
			return
		case !ok && err == nil:
			if cut {
				v.dst = append(v.dst, "…"...)
			}
			return
		}
		if i > 0 && !v.hidden {
			v.dst = append(v.dst, ' ')
		}
		if err != nil {
			v.rest = bytes.TrimLeft(line, " ")
			v.raw()
			return
		}
		v.word(word, uint64(len(word)))
		if line = rest; len(v.dst)-v.start > maxText {
			v.dst = append(v.dst, " …"...)
			return
		}
	}
}

// word shows a word of a command; credentials that follow each other as one.
func (v *redisView) word(text []byte, whole uint64) {
	secret := v.parsed.add(text[:min(len(text), maxRedisWord)]) && v.hide
	switch {
	case secret && v.hidden:
	case secret:
		v.dst = append(v.dst, "(secret)"...)
	default:
		if v.hidden {
			v.dst = append(v.dst, ' ')
		}
		v.dst = appendRedisWord(v.dst, text, whole)
	}
	v.hidden = secret
}

// appendRedisWord appends a word so that it is one when it is typed.
func appendRedisWord(dst, word []byte, whole uint64) []byte {
	if n := len(word); 0 < n && n <= maxTextWord && uint64(n) == whole && plainASCII(word) == n { // nearly always
		return append(dst, word...)
	}
	return appendShown(dst, word, whole, needsQuotes(word))
}

// needsQuotes reports whether a word has to be quoted so as to be one when it is typed.
func needsQuotes(word []byte) bool {
	for i := plainASCII(word); i < len(word); {
		r, n := utf8.DecodeRune(word[i:])
		if r <= ' ' || r == '"' || r == '\'' || r == '\\' || r == 0x7f || n == 1 && r == utf8.RuneError || n > 1 && !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return true
		}
		i += n
	}
	return len(word) == 0
}

// raw shows what is left as it is.
func (v *redisView) raw() {
	v.stopped = true
	if v.hide {
		v.dst = append(v.dst, "(secret)"...)
		return
	}
	v.dst = appendShown(v.dst, v.rest, uint64(len(v.rest)), false)
}

func (v *redisView) value(depth int) {
	item, ok := v.next()
	inside := depth > 0
	switch {
	case !ok && len(v.rest) == 0:
		v.dst = append(v.dst, "…"...)
		v.stopped = true
		return
	case !ok:
		v.raw()
		return
	case item.null:
		v.dst = append(v.dst, "(nil)"...)
		return
	}
	switch item.kind {
	case '-', '!':
		v.dst = append(v.dst, "(error) "...)
	case ':', '(':
		if !inside {
			v.dst = append(v.dst, "(integer) "...)
		}
	case ',':
		if !inside {
			v.dst = append(v.dst, "(double) "...)
		}
	case '#':
		v.dst = append(v.dst, item.boolean()...)
		return
	case '*', '~', '>':
		v.elements(item, depth, '[', " ", "]")
		return
	case '%':
		v.elements(item, depth, '{', ", ", "}")
		return
	case '|':
		v.elements(item, depth, '{', ", ", "} ")
		if !v.stopped {
			v.value(depth)
		}
		return
	case '=':
		item.text, item.n = item.verbatim(), item.n-min(4, item.n)
	}
	quoted := item.kind != '-' && item.kind != '!' && (inside && needsQuotes(item.text) || len(item.text) == 0)
	v.dst = appendShown(v.dst, item.text, item.n, quoted)
	if v.stopped = item.cut; item.cut {
		v.dst = append(v.dst, "…"...)
	}
}

// elements shows those of a value, in pairs if it is a map.
func (v *redisView) elements(of redisItem, depth int, open byte, between, end string) {
	pairs := of.kind == '%' || of.kind == '|'
	v.dst = append(v.dst, open)
	for i := uint64(0); !v.stopped && v.more(of, i); i++ {
		switch {
		case i == 0:
		case pairs && i%2 == 1:
			v.dst = append(v.dst, ": "...)
		default:
			v.dst = append(v.dst, between...)
		}
		if depth == maxRedisNested || len(v.dst)-v.start > maxText {
			v.dst = append(v.dst, "…"...)
			if v.stopped = true; !of.streamed {
				v.dst = strconv.AppendUint(append(v.dst, '('), of.n, 10)
				v.dst = append(v.dst, ')')
			}
			break
		}
		v.value(depth + 1)
	}
	v.dst = append(v.dst, end...)
}

// printRedis prints a reply as redis-cli does: "bar", (integer) 3, 1) "a" on a terminal, and bar,
// 3, a elsewhere. What a server says of a reply beside it, its attributes, is left out.
func printRedis(dst, reply []byte, terminal bool) []byte {
	p := redisPrinter{redisReader{rest: reply}, dst}
	if terminal {
		p.print(nil, 0)
		return p.dst
	}
	p.printRaw(0)
	return append(p.dst, '\n')
}

type redisPrinter struct {
	redisReader
	dst []byte
}

// value is the next value, without its attributes. What is none is printed as it is.
func (p *redisPrinter) value(depth int) (item redisItem, ok bool) {
	for {
		item, ok = p.next()
		if !ok || depth > maxRedisDepth {
			p.dst = append(p.dst, p.rest...)
			p.rest = nil
			return item, false
		}
		if item.kind != '|' {
			return item, true
		}
		printed := len(p.dst)
		for i := uint64(0); p.more(item, i) && len(p.rest) > 0; i++ {
			p.printRaw(depth + 1)
		}
		p.dst = p.dst[:printed]
	}
}

func (p *redisPrinter) print(indent []byte, depth int) {
	item, ok := p.value(depth)
	switch {
	case !ok:
	case item.null:
		p.dst = append(p.dst, "(nil)"...)
	case item.aggregate():
		p.printElements(item, indent, depth)
		return
	default:
		p.printSimple(item)
	}
	p.dst = append(p.dst, '\n')
}

func (p *redisPrinter) printSimple(item redisItem) {
	switch item.kind {
	case '$':
		p.dst = append(appendEscaped(append(p.dst, '"'), item.text, true, true), '"')
	case '=':
		p.dst = append(p.dst, item.verbatim()...)
	case '#':
		p.dst = append(p.dst, item.boolean()...)
	default:
		switch item.kind {
		case '-', '!':
			p.dst = append(p.dst, "(error) "...)
		case ':':
			p.dst = append(p.dst, "(integer) "...)
		case ',':
			p.dst = append(p.dst, "(double) "...)
		}
		p.dst = append(p.dst, item.text...)
	}
}

func (p *redisPrinter) printElements(of redisItem, indent []byte, depth int) {
	name, mark, lines := "array", byte(')'), of.n
	switch of.kind {
	case '%':
		name, mark = "hash", '#'
		lines /= 2
	case '~':
		name, mark = "set", '~'
	case '>':
		name = "push"
	}
	if !p.more(of, 0) {
		p.dst = append(append(append(p.dst, "(empty "...), name...), ")\n"...)
		return
	}
	width := len(strconv.AppendUint(nil, lines, 10))
	inner := indent
	if len(indent) < maxRedisIndent {
		inner = append(bytes.Clone(indent), bytes.Repeat([]byte(" "), width+2)...)
	}
	for i, line := uint64(0), uint64(1); p.more(of, i) && len(p.rest) > 0; i, line = i+1, line+1 {
		if i > 0 {
			p.dst = append(p.dst, indent...)
		}
		number := strconv.AppendUint(nil, line, 10)
		for range width - len(number) {
			p.dst = append(p.dst, ' ')
		}
		p.dst = append(append(p.dst, number...), mark, ' ')
		p.print(inner, depth+1)
		if of.kind == '%' {
			p.dst = append(bytes.TrimSuffix(p.dst, []byte("\n")), " => "...)
			if p.redisReader.hasLines() {
				p.dst = append(append(p.dst, '\n'), inner...)
			}
			p.print(inner, depth+1)
			i++
		}
	}
}

// hasLines reports whether the next value takes up more than one line on a terminal.
func (r redisReader) hasLines() bool {
	for {
		item, ok := r.next()
		switch {
		case !ok || item.null:
			return false
		case item.kind == '=':
			return bytes.Contains(item.verbatim(), []byte("\n"))
		case !item.aggregate() || item.n == 0 && !item.streamed:
			return false
		case item.kind != '%' && item.n == 1:
		case item.kind == '%' && item.n == 2:
			if key, _ := r.next(); key.aggregate() {
				return true
			}
		default:
			return true
		}
	}
}

func (p *redisPrinter) printRaw(depth int) {
	item, ok := p.value(depth)
	switch {
	case !ok || item.null:
	case item.aggregate():
		for i := uint64(0); p.more(item, i) && len(p.rest) > 0; i++ {
			switch {
			case i == 0:
			case item.kind == '%' && i%2 == 1:
				p.dst = append(p.dst, ' ')
			default:
				p.dst = append(p.dst, '\n')
			}
			p.printRaw(depth + 1)
		}
	case item.kind == '-' || item.kind == '!':
		p.dst = append(append(p.dst, item.text...), '\n')
	case item.kind == '#':
		p.dst = append(p.dst, item.boolean()...)
	case item.kind == '=':
		p.dst = append(p.dst, item.verbatim()...)
	default:
		p.dst = append(p.dst, item.text...)
	}
}

// A redisItem is a value, or the beginning of one that has others in it.
type redisItem struct {
	kind     byte
	n        uint64 // bytes or elements, as they were announced; those of a map are two a pair
	text     []byte // of a value, as far as it is there
	null     bool
	streamed bool // elements up to an end
	cut      bool // a line without its end
}

func (i *redisItem) aggregate() bool {
	switch i.kind {
	case '*', '%', '~', '|', '>':
		return true
	}
	return false
}

func (i redisItem) boolean() string {
	if string(i.text) == "t" {
		return "(true)"
	}
	return "(false)"
}

// verbatim is the text behind its format, such as txt:
func (i redisItem) verbatim() []byte { return i.text[min(4, len(i.text)):] }

// A redisReader reads values of which the end may be missing.
type redisReader struct {
	rest  []byte
	whole bool // nothing is missing
}

// next reads a value, or the beginning of one that has others in it. It is not ok if there
// is none: rest is then what is there instead.
func (r *redisReader) next() (item redisItem, ok bool) {
	if len(r.rest) == 0 {
		return item, false
	}
	item.kind = r.rest[0]
	switch item.kind {
	case '+', '-', ':', '_', ',', '#', '(':
		line, rest, whole := bytes.Cut(r.rest[1:], []byte("\n"))
		item.text, item.null, item.cut = bytes.TrimSuffix(line, []byte("\r")), item.kind == '_', !whole
		item.n = uint64(len(item.text))
		r.rest = rest
		return item, true
	case '$', '!', '=', '*', '%', '~', '|', '>':
	default:
		return item, false
	}
	l, n, err := readRedisLength(r.rest[1:])
	switch {
	case err != nil:
		return item, false
	case n == 0:
		r.rest = nil
		return item, false
	}
	r.rest = r.rest[1+n:]
	item.n, item.null, item.streamed = l.n, l.null, l.streamed
	switch {
	case item.null:
	case item.aggregate():
		if item.kind == '%' || item.kind == '|' {
			item.n *= 2
		}
	case item.streamed:
		item.text = r.chunks()
		item.n, item.streamed = uint64(len(item.text)), false
	default:
		left := r.rest
		item.text = r.data(item.n)
		if len(item.text)+2 <= len(left) { // its end is there
			item.n = uint64(len(item.text))
		}
	}
	return item, true
}

// data reads a string and its end. One that has another end than its length says had a part of it
// replaced, and ends with its line.
func (r *redisReader) data(n uint64) (text []byte) {
	k := int(min(n, uint64(len(r.rest))))
	if short := k+2 > len(r.rest); short && r.whole || !short && string(r.rest[k:k+2]) != "\r\n" {
		if end := bytes.Index(r.rest, []byte("\r\n")); end >= 0 {
			k = end
		}
	}
	text = r.rest[:k]
	r.rest = r.rest[min(k+2, len(r.rest)):]
	return text
}

// chunks reads a streamed string.
func (r *redisReader) chunks() (text []byte) {
	for len(r.rest) > 0 && r.rest[0] == ';' {
		l, n, err := readRedisLength(r.rest[1:])
		if n == 0 || err != nil {
			return text
		}
		if r.rest = r.rest[1+n:]; l.n == 0 {
			return text
		}
		text = append(text, r.data(l.n)...)
	}
	return text
}

// more reports whether there should be an element behind the first n. It reads the end of those
// that were streamed.
func (r *redisReader) more(of redisItem, n uint64) bool {
	if !of.streamed {
		return n < of.n
	}
	end := []byte(".\r\n")
	if bytes.HasPrefix(r.rest, end) {
		r.rest = r.rest[len(end):]
		return false
	}
	return true
}
