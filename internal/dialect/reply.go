package dialect

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/parley-tcp/parley"
)

// Lines is a framing of lines in which a message read is n of them.
func Lines(line parley.Framing, n int) parley.Framing { return severalLines{line, n} }

// Until is a framing of lines in which a message read goes on until a line for which last holds.
func Until(line parley.Framing, last func(line []byte) bool) parley.Framing {
	return linesUntil{line, last}
}

type severalLines struct {
	parley.Framing
	n int
}

func (s severalLines) Next(buf []byte, _, max int, eof bool) (n int, body []byte, err error) {
	for range s.n {
		k, line, err := s.Framing.Next(buf[n:], 0, max, eof)
		if err != nil || k == 0 {
			return 0, nil, err
		}
		body = buf[:n+len(line)]
		n += k
	}
	if len(body) > max {
		return 0, nil, parley.ErrTooLong
	}
	return n, body, nil
}

type linesUntil struct {
	parley.Framing
	last func(line []byte) bool
}

func (l linesUntil) Next(buf []byte, scanned, max int, eof bool) (n int, body []byte, err error) {
	for n = bytes.LastIndexByte(buf[:scanned], '\n') + 1; ; { // the lines before have been looked at
		k, line, err := l.Framing.Next(buf[n:], 0, max, eof)
		if err != nil || k == 0 {
			return 0, nil, err
		}
		body = buf[:n+len(line)]
		if len(body) > max {
			return 0, nil, parley.ErrTooLong
		}
		if n += k; l.last(line) {
			return n, body, nil
		}
	}
}

// Lacks says what a reply of which only this came, framing included, lacks to be whole, and
// what may help; advice may be "".
func (f Framing) Lacks(came []byte) (lacks, advice string) {
	request, name, two := strings.Cut(f.Name, "/")
	if !two {
		name = f.Name
	}
	with := func(reply string) string { // the flag for such replies
		if two && reply != request {
			reply = request + "/" + reply
		}
		return "--framing " + reply
	}
	if isProtocol(name) { // its messages are whole in none of the others
		return lacksOf(name, came), ""
	}
	return lacksOf(name, came), adviceFor(came, with)
}

// lacksOf is what the reply lacks in the framing of that name.
func lacksOf(name string, came []byte) string {
	begun := fmt.Sprintf("%d bytes came", len(came))
	if len(came) == 1 {
		begun = "1 byte came"
	}
	kind, of, _ := strings.Cut(name, ":")
	switch {
	case kind == "line" || kind == "crlf":
		return begun + " and no line's end"
	case kind == "delim":
		return fmt.Sprintf("%s and no delimiter 0x%s", begun, strings.ToLower(of))
	case kind == "frame":
		_, end, _ := strings.Cut(of, ":")
		return fmt.Sprintf("%s and not the 0x%s that ends it", begun, strings.ToLower(end))
	case kind == "mllp":
		return begun + " and not the 0x1c0d that ends it"
	case kind == "stx":
		return begun + " and not the 0x03 that ends it"
	case kind == "octets":
		return lacksOfCount(came, ' ', "space", 0)
	case kind == "netstring":
		return lacksOfCount(came, ':', "colon", 1)
	case kind == "http":
		return begun + httpNeeds(came)
	case kind == "close":
		return begun + " and no end of file"
	case strings.HasPrefix(kind, "length"):
		if length, err := parseLength(name); err == nil {
			return lacksOfLength(came, length.(parley.Length))
		}
	}
	return begun + ", which is no whole " + name + " reply"
}

func lacksOfLength(came []byte, l parley.Length) string {
	if len(came) < l.Bytes {
		return fmt.Sprintf("%d of the %d bytes of its length came", len(came), l.Bytes)
	}
	n := uint64(0)
	for i := range l.Bytes {
		if l.Little {
			i = l.Bytes - 1 - i
		}
		n = n<<8 | uint64(came[i])
	}
	if l.Inclusive {
		n -= min(n, uint64(l.Bytes))
	}
	return fmt.Sprintf("%d of its %d bytes came", len(came)-l.Bytes, n)
}

// lacksOfCount: behind is the byte between the digits of the length and the body, and tail how
// many bytes follow that.
func lacksOfCount(came []byte, behind byte, called string, tail int) string {
	digits, body, whole := bytes.Cut(came, []byte{behind})
	switch n, err := strconv.Atoi(string(digits)); {
	case !whole:
		return fmt.Sprintf("its length came as far as %q, and no %s", digits, called)
	case err != nil:
		return fmt.Sprintf("%q came for its length", digits)
	case tail > 0 && len(body) == n:
		return "its comma did not come"
	default:
		return fmt.Sprintf("%d of its %d bytes came", len(body), n)
	}
}

// enders are framings that may have whole messages where another has none, the surest first.
var enders = []string{"mllp", "stx", "netstring", "octets", "length", "length:2", "line", "delim:00", "delim:0d", "delim:03"}

// adviceFor names the framing in which what came would be whole.
func adviceFor(came []byte, with func(name string) string) string {
	for _, name := range enders {
		if f, err := Parse(name); err == nil && isWhole(f.Requests, came) {
			return with(name) + " would end it"
		}
	}
	return with("chunk") + " needs none"
}

func isWhole(framing parley.Framing, messages []byte) bool {
	said := 0 // an empty message is no sign
	for len(messages) > 0 {
		n, body, err := framing.Next(messages, 0, len(messages), false)
		if n == 0 || err != nil {
			return false
		}
		messages, said = messages[n:], said+len(body)
	}
	return said > 0
}
