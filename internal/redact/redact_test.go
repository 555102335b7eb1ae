package redact

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

func rules(t testing.TB, all ...string) (list Rules) {
	t.Helper()
	for _, s := range all {
		r, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func TestReplace(t *testing.T) {
	for _, c := range []struct {
		rules    []string
		in, want string
	}{
		{[]string{`secret`}, "a secret, secret b", "a [redacted], [redacted] b"},
		{[]string{`secret`}, "nothing", "nothing"},
		{[]string{`pass=(\w)\w*=>pass=$1***`}, "pass=hunter2 x", "pass=h*** x"},
		{[]string{`(?P<k>user|pass)=\S+=>${k}=-`}, "user=a pass=b", "user=- pass=-"},
		{[]string{`cost=>$$1`}, "cost", "$1"},
		{[]string{`a=>=>b`}, "a=>", "b"},
		{[]string{`x=>`}, "axb", "ab"},
		{[]string{`x=>`}, "x", ""},
		{[]string{`a=>b`, `b=>c`}, "ab", "cc"},
		{[]string{`[^ -~]+=>?`}, "a\xff\x00b", "a?b"},
		{[]string{`(?s)k.*`}, "a\nk\x00\r\n", "a\n[redacted]"},
	} {
		in := []byte(c.in)
		got, any := rules(t, c.rules...).Replace(in)
		if string(got) != c.want || any != (c.in != c.want) || string(in) != c.in || got == nil {
			t.Errorf("%q of %q: %q, %v; want %q", c.rules, c.in, got, any, c.want)
		}
	}
}

func TestWrongRules(t *testing.T) {
	for in, want := range map[string]string{
		"":               "the regular expression is empty; say what is to be concealed",
		"=>x":            "the regular expression is empty; say what is to be concealed",
		"(":              "regular expression `(`: missing closing ): `(`",
		"a*":             "regular expression `a*` may match no bytes at all; have it match something, with + instead of *",
		"a=>$1":          "`$1` names a group 1, which `a` does not have; ${1} is its first, and $$ a dollar",
		"(a)=>$1x":       "`$1x` names a group 1x, which `(a)` does not have; ${1} is its first, and $$ a dollar",
		"(a)=>${2}":      "`${2}` names a group 2, which `(a)` does not have; ${1} is its first, and $$ a dollar",
		"(?P<n>a)=>${m}": "`${m}` names a group m, which `(?P<n>a)` does not have; ${1} is its first, and $$ a dollar",
		"a=>5 $":         "a $ in `5 $` has no group behind it; write $$ for a dollar",
	} {
		if _, err := Parse(in); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	for _, in := range []string{"a|b*", `\bx?\b|c`, "^", "(a?)(b|$)", "a{0,3}", "(a*)+", `\b`} {
		if _, err := Parse(in); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
	for _, in := range []string{"a+b*", `\bx\b`, "(?i)a{2,}", ".", "[a-z]", "(a|bc)x?", "^a$", "(a)=>${1}x", "(?P<n>a)=>$n", "a=>$0", "(a)=>$1", "a=>$$", "a=>$$1"} {
		if _, err := Parse(in); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// A teller is an observer with all that one may have.
type teller struct {
	told    []parley.Event
	forked  int
	flushed int
}

func (l *teller) Observe(e *parley.Event)          { l.told = append(l.told, *e) }
func (l *teller) Wants(kind parley.EventKind) bool { return kind == parley.Received }
func (l *teller) Fork() parley.Observer            { l.forked++; return l }
func (l *teller) Flush()                           { l.flushed++ }

// What an observer is told of has no secret, and the event that others see has it still. What it wants
// and how it is driven stays its own.
func TestObserver(t *testing.T) {
	next := new(teller)
	o := rules(t, "secret=>-").Observer(next)
	failed := errors.New("want ok, got secret")
	e := parley.Event{Kind: parley.Refused, Time: time.Unix(1, 0), Body: []byte("a secret"), Cut: 3, Raw: parley.Raw{Bytes: []byte("[a secret]\n"), Body: 1}, Err: failed}
	before := e
	o.Observe(&e)
	got := next.told[0]
	if string(got.Body) != "a -" || got.Whole != 8 || got.Cut != 3 || string(got.Raw.Bytes) != "[a -]\n" || got.Err.Error() != "want ok, got -" || !errors.Is(got.Err, failed) {
		t.Errorf("told %+v", got)
	}
	if !reflect.DeepEqual(e, before) || string(e.Body) != "a secret" {
		t.Errorf("the event itself is changed: %+v", e)
	}
	plain := parley.Event{Kind: parley.Received, Body: []byte("open"), Err: failed}
	plain.Err = uncomparable{[]string{"x"}}
	o.Observe(&plain)
	if got := next.told[1]; string(got.Body) != "open" || got.Whole != 0 {
		t.Errorf("told %+v", got)
	}
	if w := o.(interface{ Wants(parley.EventKind) bool }); !w.Wants(parley.Received) || w.Wants(parley.Closed) {
		t.Error("it wants something else")
	}
	fork := o.(interface{ Fork() parley.Observer }).Fork()
	fork.Observe(&e)
	fork.(interface{ Flush() }).Flush()
	if next.forked != 1 || next.flushed != 1 || string(next.told[2].Body) != "a -" {
		t.Errorf("forked %d, flushed %d, told %+v", next.forked, next.flushed, next.told[2])
	}
	if nobody := rules(t, "x").Observer(nil); nobody != nil {
		t.Error("nobody is somebody")
	}
	if same := Rules(nil).Observer(next); same != parley.Observer(next) {
		t.Error("without rules there is something between")
	}
}

type uncomparable struct{ texts []string }

func (u uncomparable) Error() string { return u.texts[0] }

type keeper struct{ batch []parley.Exchange }

func (k *keeper) Pass(_ *parley.Session, batch []parley.Exchange) bool {
	k.batch = batch
	return false
}

// A gate is asked about messages without secrets, of which the raw ones have their framing and their
// places; what the owner of the batch is about to write is as it was.
func TestGate(t *testing.T) {
	k := new(keeper)
	g := rules(t, "secret=>-").Gate(k)
	reply := []byte("{secret}")
	batch := []parley.Exchange{
		{Seq: 1, Request: []byte("open"), RawRequest: parley.Raw{Bytes: []byte("open\n"), At: 5}},
		{Seq: 2, Request: []byte("my secret"), RawRequest: parley.Raw{Bytes: []byte("my secret\r\n"), At: 10, Cut: 4}, RequestCut: 2,
			Reply: reply[1:7], RawReply: parley.Raw{Bytes: reply, Body: 1, At: 7}},
		{RawRequest: parley.Raw{Bytes: []byte("secret rest"), At: 30}},
		{Seq: 3, Request: []byte("secret"), RawRequest: parley.Raw{Bytes: []byte("other"), At: 50}},
	}
	if g.Pass(nil, batch) {
		t.Error("it does not hold what the other does")
	}
	want := []parley.Exchange{
		batch[0],
		{Seq: 2, Request: []byte("my -"), RequestWhole: 9, RawRequest: parley.Raw{Bytes: []byte("my -\r\n"), At: 10, Cut: 4}, RequestCut: 2,
			Reply: []byte("-"), ReplyWhole: 6, RawReply: parley.Raw{Bytes: []byte("{-}"), Body: 1, At: 7}},
		{RequestWhole: 11, RawRequest: parley.Raw{Bytes: []byte("- rest"), At: 30}},
		{Seq: 3, Request: []byte("-"), RequestWhole: 6},
	}
	if !reflect.DeepEqual(k.batch, want) {
		t.Errorf("asked about\n%+v\nwant\n%+v", k.batch, want)
	}
	if string(batch[1].Reply) != "secret" || string(reply) != "{secret}" || batch[1].RequestWhole != 0 {
		t.Errorf("what is written is %q", reply)
	}
	g.Pass(nil, batch[:1])
	if &k.batch[0] != &batch[0] {
		t.Error("a batch without secrets is copied")
	}
}

// Nothing of what is concealed is left, and nothing else is.
func FuzzReplace(f *testing.F) {
	f.Add([]byte("a secret b"), "secret")
	f.Add([]byte("*1\r\n$6\r\nsecret\r\n"), "[a-z]+=>x")
	f.Add([]byte("\xff\xfe"), `(.)=>$1$1`)
	f.Fuzz(func(t *testing.T, message []byte, rule string) {
		r, err := Parse(rule)
		if err != nil {
			return
		}
		before := bytes.Clone(message)
		got, any := Rules{r}.Replace(message)
		if !bytes.Equal(message, before) {
			t.Fatalf("%q became %q", before, message)
		}
		if !any && !bytes.Equal(got, message) || any && got == nil {
			t.Fatalf("%q, %v", got, any)
		}
		raw := parley.Raw{Bytes: append(append([]byte("<"), message...), '>'), Body: 1, At: 9}
		x, is := Rules{r}.Exchange(parley.Exchange{Request: raw.Bytes[1 : 1+len(message)], RawRequest: raw})
		if is != any || string(x.RawRequest.Bytes) != "<"+string(got)+">" || !bytes.Equal(x.Request, got) || any && x.RequestWhole != len(message) && len(message) > 0 {
			t.Fatalf("%+v", x)
		}
	})
}

// Of a message that is not whole nothing is told: what is to be concealed may have begun.
func TestUnfinishedIsConcealed(t *testing.T) {
	var told parley.Event
	o := rules(t, `key=\d{4}`).Observer(parley.ObserverFunc(func(e *parley.Event) { told = *e }))
	o.Observe(&parley.Event{Kind: parley.Unfinished, Body: []byte("key=12")})
	if string(told.Body) != Concealed || told.Whole != len("key=12") {
		t.Errorf("told %q, of %d bytes", told.Body, told.Whole)
	}
	if o.Observe(&parley.Event{Kind: parley.Unfinished}); told.Body != nil {
		t.Errorf("told %q of nothing", told.Body)
	}
}
