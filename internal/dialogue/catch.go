package dialogue

import (
	"regexp"
	"slices"
)

// Catcher is a regular expression of the messages that the text may stand for, with a group for each
// of its names: digits for {n} and {conn}, anything for the others. Where a name stands again anything
// does too.
func (t *Text) Catcher() *regexp.Regexp {
	pattern := []byte(`(?s)\A`)
	var seen []string
	for _, p := range t.pieces {
		pattern = append(pattern, Quote(p.literal)...)
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
	return regexp.MustCompile(string(append(pattern, `\z`...)))
}
