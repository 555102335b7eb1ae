package journal

import (
	"fmt"
	"testing"
)

// Who asks again for a session is told of what came since, and only of what is still there.
func TestTrailGoesOn(t *testing.T) {
	w := story(t)
	r := w.open()
	trail := &Trail{Session: 1}
	ask := func(most int, want string) {
		t.Helper()
		_, exchanges, err := r.Session(t.Context(), trail, most)
		got := ""
		for _, x := range exchanges {
			got += fmt.Sprintf("%d:%s ", x.ID, x.Request)
		}
		if got != want || err != nil {
			t.Errorf("exchanges %q, %v; want %q", got, err, want)
		}
	}
	ask(3, "1:one 3:two 4:three ")
	w.exchange(said(5, 2, 9, at(60), 0, []byte("another's"), nil))
	w.exchange(said(6, 1, 4, at(70), 0, []byte("four"), nil))
	ask(3, "3:two 4:three 6:four ")
	ask(3, "3:two 4:three 6:four ")
	w.exec("DELETE FROM exchanges WHERE id < 4")
	ask(3, "4:three 6:four ")
	// It does not look at what it has gone through.
	w.exec("UPDATE exchanges SET session = 1, sum = NULL")
	ask(0, "4:three 6:four ")
}
