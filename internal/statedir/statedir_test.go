package statedir_test

import (
	"path/filepath"
	"testing"

	"github.com/parley-tcp/parley/internal/statedir"
)

func TestPath(t *testing.T) {
	state, home := t.TempDir(), t.TempDir()
	below := filepath.Join(home, ".local", "state", "parley", "history")
	for _, c := range []struct{ state, home, want string }{
		{state, home, filepath.Join(state, "parley", "history")},
		{"", home, below},
		{"state", home, below},
		{"", "", ""},
		{"", "home", ""},
	} {
		t.Setenv("XDG_STATE_HOME", c.state)
		t.Setenv("HOME", c.home)
		t.Setenv("USERPROFILE", c.home)
		got, err := statedir.Path("history")
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("with XDG_STATE_HOME=%q and HOME=%q it is %q (%v), want %q", c.state, c.home, got, err, c.want)
		}
	}
}
