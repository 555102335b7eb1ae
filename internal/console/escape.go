// Package console writes what a person or a script reads: the narrative of a server
// and of a client, events as JSON lines, and diagnostics. Three rules hold for all of
// it: no byte of a peer reaches the output unescaped, one event is one line, and a
// reader that does not keep up never holds a session back.
package console

import (
	"encoding/base64"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// maxShown is how much of a payload the narrative shows, in bytes.
const maxShown = 4 << 10

const hexDigits = "0123456789abcdef"

// AppendEscaped appends p with everything that is not printable UTF-8 as \xNN, and
// \t \r \n by name. A backslash is not doubled: JSON is the exact record.
func AppendEscaped(dst, p []byte) []byte {
	for len(p) > 0 {
		if n := plainASCII(p); n > 0 {
			dst = append(dst, p[:n]...)
			p = p[n:]
			continue
		}
		r, n := utf8.DecodeRune(p)
		switch {
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case printable(r, n):
			dst = append(dst, p[:n]...)
		default:
			for _, b := range p[:n] {
				dst = append(dst, '\\', 'x', hexDigits[b>>4], hexDigits[b&15])
			}
		}
		p = p[n:]
	}
	return dst
}

// AppendPayload appends p escaped and, past 4 KiB, cut: …(65536 bytes).
func AppendPayload(dst, p []byte) []byte { return appendShown(dst, p, uint64(len(p))) }

// appendShown is AppendPayload for the beginning of a message that is whole bytes long.
func appendShown(dst, p []byte, whole uint64) []byte {
	if whole <= maxShown && whole == uint64(len(p)) {
		return AppendEscaped(dst, p)
	}
	cut := min(maxShown, len(p))
	for cut < len(p) && cut > maxShown-utf8.UTFMax && !utf8.RuneStart(p[cut]) {
		cut--
	}
	dst = append(AppendEscaped(dst, p[:cut]), "…("...)
	dst = strconv.AppendUint(dst, whole, 10)
	return append(dst, " bytes)"...)
}

// AppendBrief appends p escaped and, past width characters, cut.
func AppendBrief(dst, p []byte, width int) []byte {
	most := width * utf8.UTFMax
	escaped := []rune(string(AppendEscaped(nil, p[:min(len(p), most)])))
	if len(escaped) <= width && len(p) <= most {
		return append(dst, string(escaped)...)
	}
	return append(append(dst, string(escaped[:min(len(escaped), width-1)])...), "…"...)
}

// escapeFrom escapes what stands at dst[from:]. An address is plain text as a rule,
// but a Unix socket's path is for its owner to choose.
func escapeFrom(dst []byte, from int) []byte {
	if plainASCII(dst[from:]) == len(dst)-from {
		return dst
	}
	return AppendEscaped(dst[:from], []byte(string(dst[from:])))
}

// plainASCII counts the printable ASCII bytes at the start of p.
func plainASCII(p []byte) int {
	for i, b := range p {
		if b < ' ' || b > '~' {
			return i
		}
	}
	return len(p)
}

// printable says whether a rune that took n bytes may reach a terminal: a graphic
// one, which leaves out controls, bidirectional and other formatting, and the line
// and paragraph separators.
func printable(r rune, n int) bool {
	return unicode.IsGraphic(r) && (r != utf8.RuneError || n > 1)
}

func allPrintable(p []byte) bool {
	for len(p) > 0 {
		if n := plainASCII(p); n > 0 {
			p = p[n:]
			continue
		}
		r, n := utf8.DecodeRune(p)
		if !printable(r, n) {
			return false
		}
		p = p[n:]
	}
	return true
}

// appendJSONString appends p as a JSON string. encoding/json will not do: it lets C1
// controls, DEL and bidirectional controls through.
func appendJSONString[S string | []byte](dst []byte, text S) []byte {
	p := []byte(text)
	dst = append(dst, '"')
	for len(p) > 0 {
		if n := plainJSON(p); n > 0 {
			dst = append(dst, p[:n]...)
			p = p[n:]
			continue
		}
		r, n := utf8.DecodeRune(p)
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case printable(r, n):
			dst = append(dst, p[:n]...)
		case r > 0xffff:
			r -= 0x10000
			dst = appendUnit(appendUnit(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			dst = appendUnit(dst, r)
		}
		p = p[n:]
	}
	return append(dst, '"')
}

// plainJSON counts the bytes at the start of p that stand for themselves in JSON.
func plainJSON(p []byte) int {
	for i, b := range p {
		if b < ' ' || b > '~' || b == '"' || b == '\\' {
			return i
		}
	}
	return len(p)
}

func appendUnit(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// appendPayloadField appends the message's length and bytes, which survive exactly.
func appendPayloadField(dst, p []byte) []byte {
	dst = append(dst, `,"bytes":`...)
	dst = strconv.AppendInt(dst, int64(len(p)), 10)
	return appendBytes(dst, "payload", p)
}

// appendBytes appends bytes that survive exactly: as text if they are printable UTF-8.
func appendBytes(dst []byte, name string, p []byte) []byte {
	dst = append(append(dst, `,"`...), name...)
	if plainJSON(p) == len(p) { // as most are: looked through once
		return append(append(append(dst, `":"`...), p...), '"')
	}
	if allPrintable(p) {
		return appendJSONString(append(dst, `":`...), p)
	}
	dst = append(dst, `_base64":"`...)
	return append(base64.StdEncoding.AppendEncode(dst, p), '"')
}
