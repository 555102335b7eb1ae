package answer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

const (
	// MostTold is how many different requests without an answer are told of.
	MostTold = 20

	maxKinds = 10000 // that are counted apart
	maxKind  = 256   // bytes of their words
)

// unanswered are the requests that nobody had an answer for.
type unanswered struct {
	words   dialect.Words // nil if a message is its words
	tell    func(s *parley.Session, request string)
	conceal func(request []byte) []byte

	lock  sync.Mutex
	kinds map[string]int // how many of each
	total int
}

func (u *unanswered) add(req *parley.Request) {
	words := u.inWords(req)
	u.lock.Lock()
	if u.kinds == nil {
		u.kinds = make(map[string]int)
	}
	u.total++
	_, known := u.kinds[words]
	if known || len(u.kinds) < maxKinds {
		u.kinds[words]++
	}
	tell := !known && len(u.kinds) <= MostTold && u.tell != nil
	u.lock.Unlock()
	if tell {
		u.tell(req.Session, words)
	}
}

// inWords is a request as it is told: without credentials, and not all of a long one.
func (u *unanswered) inWords(req *parley.Request) string {
	body := req.Body
	if u.conceal != nil {
		body = u.conceal(body)
	}
	words := body
	switch {
	case u.words != nil:
		words = u.words.AppendRequest(nil, dialect.Message{Body: body, Secret: req.Secret})
	case req.Secret:
		return "(secret)"
	}
	if len(words) > maxKind {
		return string(words[:maxKind]) + "…"
	}
	return string(words)
}

// Unanswered says for how many requests there was no answer, and lists the different ones, the most
// frequent first, MostTold at most.
func (u *unanswered) Unanswered() (total int, list []string) {
	u.lock.Lock()
	defer u.lock.Unlock()
	type kind struct {
		words string
		count int
	}
	var kinds []kind
	for words, count := range u.kinds {
		kinds = append(kinds, kind{words, count})
	}
	slices.SortFunc(kinds, func(a, b kind) int { return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.words, b.words)) })
	counted := 0
	for _, k := range kinds[:min(len(kinds), MostTold)] {
		counted += k.count
		if k.count > 1 {
			k.words += fmt.Sprintf(" (%d times)", k.count)
		}
		list = append(list, k.words)
	}
	if counted < u.total {
		list = append(list, fmt.Sprintf("and %d more", u.total-counted))
	}
	return u.total, list
}
