package dialogue

import (
	"regexp"
	"slices"
	"unicode/utf8"
)

// A Catcher finds what the names of a text stand for in a message.
type Catcher struct {
	// expression is of runes, where the text and its messages are of bytes: each of these is the rune of its number.
	expression *regexp.Regexp
}

// Catcher is that of the messages that the text may stand for: digits for {n} and {conn}, anything for the others.
// Where a name stands again anything does too.
func (t *Text) Catcher() *Catcher {
	pattern := []byte(`(?s)\A`)
	var seen []string
	for _, p := range t.pieces {
		pattern = append(pattern, regexp.QuoteMeta(string(widened(p.literal)))...)
		if p.name == "" {
			continue
		}
		group := "(?P<" + p.name + ">"
		if slices.Contains(seen, p.name) {
			group = "(?:"
		}
		seen = append(seen, p.name)
		if p.name == "n" || p.name == "conn" {
			pattern = append(pattern, group+`[0-9]+)`...)
		} else {
			pattern = append(pattern, group+`.*?)`...)
		}
	}
	return &Catcher{regexp.MustCompile(string(append(pattern, `\z`...)))}
}

// Catch is what the names stand for in a message, nil if the text cannot stand for it. The bytes are the caller's.
func (c *Catcher) Catch(message []byte) Values {
	found := c.expression.FindSubmatch(widened(message))
	if found == nil {
		return nil
	}
	v := Values{}
	for i, name := range c.expression.SubexpNames() {
		if name != "" {
			v[name] = narrowed(found[i])
		}
	}
	return v
}

// widened has the rune of its number for each byte.
func widened(p []byte) []byte {
	wide := make([]byte, 0, len(p)+8)
	for _, b := range p {
		wide = utf8.AppendRune(wide, rune(b))
	}
	return wide
}

// narrowed is what was widened.
func narrowed(wide []byte) []byte {
	p := make([]byte, 0, len(wide))
	for _, r := range string(wide) {
		p = append(p, byte(r))
	}
	return p
}
