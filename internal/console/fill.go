package console

import "strings"

// Fill wraps each paragraph of a text, whose own line ends count as blanks; an empty line ends one.
func Fill(text string, width int) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = Wrap(strings.Join(strings.Fields(p), " "), width, "")
	}
	return strings.Join(paragraphs, "\n\n")
}
