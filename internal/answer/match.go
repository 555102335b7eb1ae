package answer

import (
	"encoding/binary"
	"errors"
	"regexp"

	"github.com/parley-tcp/parley/internal/shape"
)

// A Matcher appends what of a request is to be the same in those that are answered alike.
type Matcher func(dst, request []byte) []byte

// ParseMatch reads shape, or a regular expression whose groups are to be the same. A request that
// does not match it is matched by its bytes.
func ParseMatch(s string) (Matcher, error) {
	if s == "shape" {
		return func(dst, request []byte) []byte { return shape.Append(append(dst, 's'), request) }, nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, err
	}
	if re.NumSubexp() == 0 {
		return nil, errors.New("the regular expression has no group; what stands in ( ) has to be the same, or write shape")
	}
	return func(dst, request []byte) []byte {
		found := re.FindSubmatchIndex(request)
		if found == nil {
			return append(append(dst, 'b'), request...)
		}
		dst = append(dst, 'g')
		for i := 2; i < len(found); i += 2 {
			if found[i] < 0 { // it has no part in the match
				dst = append(dst, 0)
				continue
			}
			group := request[found[i]:found[i+1]]
			dst = append(binary.AppendUvarint(append(dst, 1), uint64(len(group))), group...)
		}
		return dst
	}, nil
}
