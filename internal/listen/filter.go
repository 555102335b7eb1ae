package listen

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
)

// A Filter says who may connect, by two lists of addresses: those in deny may not; of the others
// all may if there is no list of whom to allow, and those in it if there is one. How long a
// prefix is makes no difference. A nil Filter lets everybody in.
type Filter struct {
	allow, deny []string // as they were given
	rules       atomic.Pointer[rules]
}

type rules struct {
	allow, deny *prefixes // allow is nil if all may connect that are not in deny
}

// NewFilter makes one of lists of addresses, such as 10.0.0.5, 10.0.0.0/8, or @FILE for the
// addresses in a file: one a line, with # before a comment.
func NewFilter(allow, deny []string) (*Filter, error) {
	f := &Filter{allow: allow, deny: deny}
	return f, f.Reload()
}

// CheckAddresses says what is wrong with an item of such a list; it does not look into files.
func CheckAddresses(item string) error {
	if file, isFile := strings.CutPrefix(item, "@"); isFile {
		if file == "" {
			return errors.New("behind the @ stands the name of a file with addresses, one a line")
		}
		return nil
	}
	_, err := parsePrefix(item)
	return err
}

// Allows reports whether a peer of that address may connect.
func (f *Filter) Allows(ip netip.Addr) bool {
	if f == nil {
		return true
	}
	r := f.rules.Load()
	return !r.deny.has(ip) && (r.allow == nil || r.allow.has(ip))
}

// HasFiles reports whether there is anything to reload.
func (f *Filter) HasFiles() bool {
	if f == nil {
		return false
	}
	for _, item := range append(f.allow[:len(f.allow):len(f.allow)], f.deny...) {
		if strings.HasPrefix(item, "@") {
			return true
		}
	}
	return false
}

// Reload reads all files anew. If one of them cannot be read, or a line of it, all stays as it
// is and the error says which. Connections that are open are not asked about again.
func (f *Filter) Reload() error {
	deny, err := readList(f.deny)
	if err != nil {
		return fmt.Errorf("--deny %w", err)
	}
	allow, err := readList(f.allow)
	if err != nil {
		return fmt.Errorf("--allow %w", err)
	}
	if len(f.allow) == 0 {
		allow = nil
	} else if len(allow.all) == 0 {
		return fmt.Errorf("--allow %s: no address in it, so nobody could connect", strings.Join(f.allow, ","))
	}
	f.rules.Store(&rules{allow, deny})
	return nil
}

func readList(items []string) (*prefixes, error) {
	list := newPrefixes()
	for _, item := range items {
		if name, isFile := strings.CutPrefix(item, "@"); isFile {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", item, errors.Unwrap(err)) // without the name again
			}
			if number, err := list.addLines(string(text)); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, number, err)
			}
			continue
		}
		prefix, err := parsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", item, err)
		}
		list.add(prefix)
	}
	return list, nil
}

// addLines adds the addresses of a file. If there is an error, it is about the line of that number.
func (p *prefixes) addLines(text string) (number int, err error) {
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		prefix, err := parsePrefix(line)
		if err != nil {
			return number, fmt.Errorf("%q: %w", line, err)
		}
		p.add(prefix)
	}
	return number, nil
}
