package console

import "testing"

func TestParagraphsAreFilled(t *testing.T) {
	if got, want := Fill("one  two\nthree\n\nfour five\n", 10), "one two\nthree\n\nfour five"; got != want {
		t.Errorf("paragraphs are\n%s\nwant\n%s", got, want)
	}
}
