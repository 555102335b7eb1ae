package journal

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Nodes are the names of the machines on which the sessions were recorded, each once, in the order in
// which they came. What an older parley has written does not say.
func (r *Reader) Nodes(ctx context.Context) ([]string, error) {
	return r.namedByOrigins(ctx, func(a *About) string { return a.Node })
}

// Roles are the roles of those who recorded them, in the same way.
func (r *Reader) Roles(ctx context.Context) ([]string, error) {
	return r.namedByOrigins(ctx, func(a *About) string { return a.Role })
}

func (r *Reader) namedByOrigins(ctx context.Context, name func(*About) string) (names []string, err error) {
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		names = nil
		if r.version.Load() < 3 {
			return nil
		}
		var row originRow
		return r.walk(ctx, tx, walk{table: "origins", columns: originColumns, from: 1, to: math.MaxInt64}, &row, func() bool {
			if about := row.about(r); about != nil && name(about) != "" && !slices.Contains(names, name(about)) {
				names = append(names, name(about))
			}
			return true
		})
	})
	return names, err
}

// Name is what people call the session, such as web-2/17: its number at each of its starts, behind its
// node. Without a node it is the number.
func (s *Session) Name() string { return NameOf(s.Node, s.Number) }

// NameOf is the name of a node's session of that number.
func NameOf(node string, number uint64) string {
	if node == "" {
		return strconv.FormatUint(number, 10)
	}
	return node + "/" + strconv.FormatUint(number, 10)
}

// ParseName reads the name of a session: 17, #17, or web-2/17. ok is false if it is none.
func ParseName(name string) (node string, number uint64, ok bool) {
	node, digits := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		if node, digits = name[:i], name[i+1:]; node == "" {
			return "", 0, false
		}
	}
	number, err := strconv.ParseUint(strings.TrimPrefix(digits, "#"), 10, 63)
	return node, number, err == nil && number > 0
}
