//go:build !386 && !arm

package crashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// A file is what it is for who reads it now, and what of that was synced.
type file struct {
	id        uint64
	now, kept content
	unsynced  map[int64]bool // the pages that were changed since
	syncs     int
}

func newFile(id uint64) *file {
	return &file{id: id, now: content{pages: make(map[int64]*page)}, kept: content{pages: make(map[int64]*page)}, unsynced: make(map[int64]bool)}
}

const pageSize = 4096

// A page is never changed: who writes to it makes another one.
type page [pageSize]byte

// A content is of pages; those that were never written are holes. Behind its size there is nothing but zeros.
type content struct {
	size  int64
	pages map[int64]*page
}

func (c *content) clone() content { return content{c.size, maps.Clone(c.pages)} }

func (f *file) write(data []byte, at int64) {
	for len(data) > 0 {
		number := at / pageSize
		p := f.now.copyOf(number)
		n := copy(p[at%pageSize:], data)
		f.now.pages[number], f.unsynced[number] = p, true
		data, at = data[n:], at+int64(n)
	}
	f.now.size = max(f.now.size, at)
}

func (c *content) copyOf(number int64) *page {
	p := new(page)
	if was := c.pages[number]; was != nil {
		*p = *was
	}
	return p
}

func (f *file) truncate(size int64) {
	for number := range f.now.pages {
		if (number+1)*pageSize > size {
			f.unsynced[number] = true
		}
	}
	f.now.truncate(size)
}

func (c *content) truncate(size int64) {
	if last := size / pageSize; c.pages[last] != nil {
		p := c.copyOf(last)
		clear(p[size%pageSize:])
		c.pages[last] = p
	}
	maps.DeleteFunc(c.pages, func(number int64, _ *page) bool { return number*pageSize >= size })
	c.size = size
}

// read reads up to the end of the file.
func (c *content) read(into []byte, at int64) []byte {
	into = into[:max(0, min(int64(len(into)), c.size-at))]
	for rest := into; len(rest) > 0; {
		n := min(len(rest), int(pageSize-at%pageSize))
		if p := c.pages[at/pageSize]; p != nil {
			copy(rest[:n], p[at%pageSize:])
		} else {
			clear(rest[:n])
		}
		rest, at = rest[n:], at+int64(n)
	}
	return into
}

// next is where the next hole is, or else the next page; the end of the file is a hole.
func (c *content) next(hole bool, at int64) int64 {
	for ; at < c.size; at = (at/pageSize + 1) * pageSize {
		if (c.pages[at/pageSize] == nil) == hole {
			return at
		}
	}
	return c.size
}

func (f *file) sync() {
	for number := range f.unsynced {
		f.kept.take(number, &f.now)
	}
	f.kept.size = f.now.size
	clear(f.unsynced)
	f.syncs++
}

// take has a page be as it is in another content.
func (c *content) take(number int64, of *content) {
	if p := of.pages[number]; p != nil {
		c.pages[number] = p
	} else {
		delete(c.pages, number)
	}
}

// left is what a power cut leaves.
func (f *file) left(fate Fate, rnd *rand.Rand) content {
	switch {
	case fate == There, fate == SomeFiles && rnd.IntN(2) == 0:
		return f.now.clone()
	case fate != SomePages:
		return f.kept.clone()
	}
	c := f.kept.clone()
	there := 1 + rnd.IntN(8) // of eight
	for _, number := range slices.Sorted(maps.Keys(f.unsynced)) {
		if rnd.IntN(8) < there {
			c.take(number, &f.now)
		}
	}
	c.truncate([...]int64{f.kept.size, f.now.size}[rnd.IntN(2)])
	return c
}
