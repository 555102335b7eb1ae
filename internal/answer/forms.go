package answer

import (
	"bytes"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// forms are the ways in which a request may be written in a dialogue: its bytes; of a protocol also
// without the ends of its lines, as plain lines, and in words.
func forms(f *dialect.Framing, body []byte) [][]byte {
	all := [][]byte{body}
	if _, is := f.Requests.(parley.Protocol); !is {
		return all
	}
	trimmed := trimEnd(body)
	lines := bytes.ReplaceAll(trimmed, []byte("\r\n"), []byte("\n"))
	all = append(all, trimmed, lines)
	if f.Name == "smtp" { // the message behind DATA, with the dots that its lines had
		for _, one := range [][]byte{trimmed, lines} {
			plain := bytes.ReplaceAll(one, []byte("\n.."), []byte("\n."))
			if bytes.HasPrefix(plain, []byte("..")) {
				plain = plain[1:]
			}
			all = append(all, plain, trimEnd(bytes.TrimSuffix(plain, []byte("."))))
		}
	}
	if f.Name == "http" {
		head, content, _ := bytes.Cut(body, []byte("\r\n\r\n"))
		line, _, _ := bytes.Cut(head, []byte("\r\n"))
		words := line[:max(0, bytes.LastIndexByte(line, ' '))]
		all = append(all, words)
		if len(content) > 0 {
			all = append(all, append(append(bytes.Clone(words), ' '), content...))
		}
		return all
	}
	if f.Words != nil {
		all = append(all, f.Words.AppendRequest(nil, dialect.Message{Body: body}))
	}
	return all
}

// trimEnd takes the end of a line off.
func trimEnd(message []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(message, []byte("\n")), []byte("\r"))
}
