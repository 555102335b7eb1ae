package secure

import (
	"os"
	"strings"
	"sync"
	"testing"
)

var manual = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile("../../docs/tls.md")
	return string(text), err
})

// inManual checks that the manual says what to do about an error.
func inManual(t *testing.T, reason string) {
	t.Helper()
	text, err := manual()
	if err != nil {
		t.Fatal(err)
	}
	if reason != "" && !strings.Contains(text, "| `"+reason+"` |") {
		t.Errorf("docs/tls.md does not name `%s`", reason)
	}
}
