package dialect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"testing"

	"github.com/mediocregopher/radix/v4/resp"
	"github.com/mediocregopher/radix/v4/resp/resp3"

	"github.com/parley-tcp/parley"
)

// FuzzRedisAgainstRadix: where parley takes a message, radix, a client of redis, finds its end at the same
// byte, and what is whole to radix is not still unfinished to parley. Parley may refuse more: a client
// trusts its server, and radix looks neither at what ends a string nor at the sign of a length.
func FuzzRedisAgainstRadix(f *testing.F) {
	for _, seed := range []string{
		"*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$0\r\n\r\n*0\r\n*-1\r\n",
		"+OK\r\n-ERR no\r\n:-1\r\n$-1\r\n(12345678901234567890\r\n,1.5\r\n#t\r\n_\r\n!3\r\nERR\r\n=5\r\ntxt:a\r\n",
		"%1\r\n+a\r\n*2\r\n:1\r\n~1\r\n_\r\n>2\r\n+message\r\n$1\r\na\r\n",
		"|1\r\n+ttl\r\n:1\r\n+x\r\n*?\r\n+a\r\n%?\r\n:1\r\n:2\r\n.\r\n.\r\n",
		"*1\r\n|1\r\n+a\r\n+b\r\n+c\r\n",
		"$?\r\n;3\r\na\r\n\r\n;1\r\nb\r\n;0\r\n+x\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	// Radix makes room for what is only announced.
	announced := regexp.MustCompile(`[0-9+-]{6,}\r`)
	f.Fuzz(func(t *testing.T, stream []byte, request bool) {
		if announced.Match(stream) || bytes.Contains(stream, []byte("|?")) { // nor does it know attributes without a number
			return
		}
		for rest := stream; len(rest) > 0; {
			if request && rest[0] != '*' {
				return // a line, which only a server knows
			}
			n, words, ourErr := readRedis(rest, request)
			m, theirWords, theirErr := readRadix(rest, request)
			switch {
			case errors.Is(ourErr, parley.ErrMalformed), ourErr != nil && theirErr != nil, theirErr != nil && isOf(redisForParleyOnly, theirErr):
				return
			case ourErr != nil || theirErr != nil || n != m || words != theirWords:
				t.Fatalf("%q\nhas a message of %d bytes and %d words to parley, %v\nand of %d bytes and %d words to radix, %v", rest, n, words, ourErr, m, theirWords, theirErr)
			}
			rest = rest[n:]
		}
	})
}

// redisForParleyOnly are what radix refuses and parley takes, by what radix says of it.
var redisForParleyOnly = []difference{
	{"maybe in an attribute", "radix takes it for the value, and does not pass over the rest"},
	{`unknown type prefix "attribute"`, "an attribute may stand before each value, also in an array"},
	{"malformed boolean", "what a value says is for who reads it: a line ends where it ends"},
	{"malformed verbatim string", "the same: it is as long as it says, whatever its format"},
}

func readRedis(stream []byte, request bool) (n, words int, err error) {
	g, of := new(redisGrammar), replies
	if request {
		of = requests
	}
	n, done, err := g.parser(of).parse(stream, false)
	if err == nil && !done {
		err = io.ErrUnexpectedEOF
	}
	return n, int(g.request.command.words), err
}

func readRadix(stream []byte, request bool) (n, words int, err error) {
	unread := bytes.NewReader(stream)
	in := bufio.NewReader(unread)
	var into any
	var command [][]byte
	if request {
		into = &command
	}
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("it panics: %v", why)
		}
	}()
	err = resp3.Unmarshal(in, into, resp.NewOpts())
	switch {
	case !errors.As(err, new(resp.ErrConnUsable)):
	case stream[0] == '|':
		err = fmt.Errorf("an error, maybe in an attribute: %w", err)
	default:
		err = nil // it does not like the value, and has passed over it
	}
	return len(stream) - unread.Len() - in.Buffered(), len(command), err
}
