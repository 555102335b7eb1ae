package console

import (
	"strconv"
	"strings"
	"unicode"
)

// inMarkdown keeps what a cell says from being read as Markdown or HTML. It leaves alone what
// the narrative itself is made of.
var inMarkdown = strings.NewReplacer(`\`, `\\`, "|", `\|`, "&", "&amp;", "<", "&lt;", "`", "\\`",
	"*", `\*`, "_", `\_`, "~", `\~`, "](", `]\(`, "][", `]\[`)

// AppendMarkdownHead appends the first two lines of a Markdown table.
func AppendMarkdownHead(dst []byte, titles ...string) []byte {
	dst = append(append(append(dst, "| "...), strings.Join(titles, " | ")...), " |\n|"...)
	return append(append(dst, strings.Repeat("---|", len(titles))...), '\n')
}

// AppendMarkdownRow appends a row of so many columns with a text in one of them.
func AppendMarkdownRow(dst []byte, columns, column int, text string) []byte {
	dst = append(dst, '|')
	text = inMarkdown.Replace(strings.TrimRight(text, " "))
	for i := range columns {
		if i == column && text != "" {
			dst = append(append(dst, ' '), text...)
		}
		dst = append(dst, " |"...)
	}
	return append(dst, '\n')
}

// AppendMermaid appends text as a Mermaid diagram takes it: what might be its syntax, or HTML,
// is a character's number.
func AppendMermaid(dst []byte, text string) []byte {
	for i, r := range text {
		safe := r == ' ' || unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(".,-+=/?![]()", r)
		if safe && !strings.HasPrefix(strings.ToLower(text[i:]), "end") { // a keyword of Mermaid's
			dst = append(dst, string(r)...)
			continue
		}
		dst = strconv.AppendInt(append(dst, '#'), int64(r), 10)
		dst = append(dst, ';')
	}
	return dst
}
