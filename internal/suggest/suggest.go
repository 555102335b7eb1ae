// Package suggest says what somebody may have meant who mistyped one word of a few.
package suggest

import (
	"cmp"
	"slices"
	"strings"
)

// Nearest is the known word that is most like the one that was typed; "" if none is like it. A word is
// if a few letters make the one of the other: one of up to five, two from there on. A letter that is
// missing, too much, another, or swapped with its neighbour counts as one, capitals as none.
func Nearest(typed string, known []string) string {
	most := 1
	if len(typed) > 5 {
		most = 2
	}
	typed = strings.ToLower(typed)
	if len(typed) < 2 || len(typed) > 64 || len(known) == 0 {
		return "" // too little to go by, or no slip of the fingers
	}
	away := func(word string) int { return distance(typed, strings.ToLower(word)) }
	nearest := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(away(a), away(b)) })
	if away(nearest) > most {
		return ""
	}
	return nearest
}

// DidYouMean is "; did you mean WORD?", with what stands before such a word, or "" if no known word is
// like the typed one.
func DidYouMean(typed, before string, known []string) string {
	if word := Nearest(typed, known); word != "" {
		return "; did you mean " + before + word + "?"
	}
	return ""
}

// distance is how many letters it takes to make b of a, by the restricted distance of Damerau and
// Levenshtein.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			other := 1
			if a[i-1] == b[j-1] {
				other = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+other)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
