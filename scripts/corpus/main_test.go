package main

import (
	"fmt"
	"testing"
)

// What reaches most is taken first, and of what that leaves nothing twice; the bounds hold with what is there.
func TestChoose(t *testing.T) {
	found := []input{
		{"small", 1, []string{"a"}},
		{"the same", 2, []string{"a", "b"}},
		{"more", 3, []string{"a", "b", "c"}},
		{"as much", 4, []string{"c", "b", "a"}},
		{"other", 5, []string{"known", "d"}},
		{"nothing", 6, []string{"known"}},
	}
	names := func(chosen []input) (names []string) {
		for _, in := range chosen {
			names = append(names, in.name)
		}
		return names
	}
	for _, c := range []struct {
		there []input
		want  string
	}{
		{nil, "[more other]"},
		{make([]input, maxFiles-1), "[more]"},
		{make([]input, maxFiles), "[]"},
		{[]input{{size: maxBytes - 6}}, "[more]"},
		{[]input{{size: maxBytes - 2}}, "[the same]"},
	} {
		if got := fmt.Sprint(names(choose(found, []string{"known"}, c.there))); got != c.want {
			t.Errorf("beside %d inputs %s are chosen, want %s", len(c.there), got, c.want)
		}
	}
}
