package suggest

import (
	"strings"
	"testing"
)

func TestWhatIsLikeAWordIsMeant(t *testing.T) {
	known := []string{"framing", "fault", "json", "line", "lines", "max-sessions", "q"}
	for typed, want := range map[string]string{
		"framng": "framing", "farming": "framing", "framming": "framing", "FRAMING": "framing", "framimh": "framing",
		"jsno": "json", "lin": "line", "liness": "lines", "max-session": "max-sessions", "maxsesions": "max-sessions",
		"frame": "", "nope": "", "x": "", "": "", "jsonlines": "", strings.Repeat("x", 100): "",
	} {
		if got := Nearest(typed, known); got != want {
			t.Errorf("%q is taken for %q, want %q", typed, got, want)
		}
	}
	if got, want := DidYouMean("framng", "--", known), "; did you mean --framing?"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	if got := DidYouMean("nope", "--", known) + Nearest("nope", nil); got != "" {
		t.Errorf("it says %q of what is like nothing", got)
	}
}
