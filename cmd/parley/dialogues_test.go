package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// The terminals that docs/dialogues.md shows are run, and print what it says.
func TestTerminalsOfDialogues(t *testing.T) {
	manual, err := os.ReadFile("../../docs/dialogues.md")
	if err != nil {
		t.Fatal(err)
	}
	terminals := strings.Split(string(manual), "\n<!-- run -->\n")[1:]
	if len(terminals) < 3 {
		t.Fatalf("docs/dialogues.md has %d terminals", len(terminals))
	}
	for i, text := range terminals {
		t.Run(strconv.Itoa(i+1), func(t *testing.T) {
			t.Parallel()
			runTranscript(t, text)
		})
	}
}
