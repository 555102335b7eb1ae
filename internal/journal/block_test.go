package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"testing"
)

// What anybody has sent is either no block, or one that is encoded as it was read, and that can be
// recorded: no number in it leads out of it.
func FuzzParseBlock(f *testing.F) {
	for i, b := range someBlocks(f) {
		if i >= 8 { // small ones, which are made smaller in little time
			break
		}
		encoded, err := b.Append([]byte("before"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded[len("before"):])
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		b, err := ParseBlock(encoded)
		if err != nil {
			if !errors.Is(err, ErrNotABlock) {
				t.Errorf("ParseBlock = %v", err)
			}
			return
		}
		n := 0
		b.each(func(id int64, session int, r *record, request, reply []byte) {
			if id <= b.From.Exchange || id > b.To.Exchange || len(request) != max(r.request, 0) || len(reply) != max(r.reply, 0) {
				t.Errorf("exchange %d of %v to %v: %+v", id, b.From, b.To, r)
			}
			r.side(request, r.requestAt, r.requestHead, r.requestTail, 0)
			n++
		})
		if n > b.Records() || b.Missing < 0 || b.Missing != b.To.Exchange-b.From.Exchange-int64(n) {
			t.Errorf("%d exchanges, %d records, %d missing", n, b.Records(), b.Missing)
		}
		for i := range b.Sessions {
			b.session(&b.Sessions[i], 1)
		}
		again, err := b.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		other, err := ParseBlock(again)
		if err != nil {
			t.Fatalf("what was encoded again is not read: %v", err)
		}
		if third, err := other.Append(nil); err != nil || !bytes.Equal(again, third) || len(other.Sessions) != len(b.Sessions) {
			t.Errorf("it is another, %v", err)
		}
	})
}

func someBlocks(t testing.TB) []*Block {
	file := filepath.Join(t.TempDir(), "j")
	mixed(t, file, 60, "web-1")
	return append(blocks(t, follow(t, file), Position{}, 500), blocks(t, follow(t, file), Position{}, 1<<20)...)
}

// A block that leads out of itself is none.
func TestABlockThatIsNone(t *testing.T) {
	all := someBlocks(t)
	whole, err := all[len(all)-1].Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	made := func(change func(b *Block)) []byte {
		t.Helper()
		b, err := ParseBlock(whole)
		if err != nil {
			t.Fatal(err)
		}
		change(b)
		encoded, err := b.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	if b, err := ParseBlock(whole); err != nil || b.Records() < 60 || len(b.Faults)*len(b.Gaps)*len(b.Refusals)*len(b.Exchanges.Rare) == 0 {
		t.Fatalf("the whole one is %+v, %v", b, err)
	}
	for name, encoded := range map[string][]byte{
		"nothing":                 nil,
		"half":                    whole[:len(whole)/2],
		"more":                    append(bytes.Clone(whole), 0),
		"another name":            made(func(b *Block) { b.Journal = "../" + b.Journal[3:] }),
		"backward":                made(func(b *Block) { b.From, b.To = b.To, b.From }),
		"before the start":        made(func(b *Block) { b.From.Gap = -1 }),
		"a column less":           made(func(b *Block) { b.Exchanges.Took = b.Exchanges.Took[1:] }),
		"no such session":         made(func(b *Block) { b.Exchanges.Sessions[3] = len(b.Sessions) }),
		"an id twice":             made(func(b *Block) { b.Exchanges.IDs[3] = 0 }),
		"an id behind":            made(func(b *Block) { b.To.Exchange-- }),
		"ids around":              made(func(b *Block) { b.Exchanges.IDs[3] = 1<<63 - 1 }),
		"longer than there":       made(func(b *Block) { b.Exchanges.Requests[0]++ }),
		"lengths around":          made(func(b *Block) { b.Exchanges.Requests[0] = math.MaxInt; b.Exchanges.Replies[0] = math.MaxInt }),
		"more framing":            made(func(b *Block) { b.Exchanges.Parts[0] |= maxTail << requestTailAt; b.Exchanges.RequestAt[0] = 1 }),
		"linked":                  made(func(b *Block) { b.Exchanges.Parts[0] |= 1 << backAt }),
		"no such exchange":        made(func(b *Block) { b.Exchanges.Rare[0].Exchange = len(b.Exchanges.IDs) }),
		"cut less than none":      made(func(b *Block) { b.Exchanges.Rare[0].RequestCut = -1 }),
		"no such origin":          made(func(b *Block) { b.Sessions[0].Origin = len(b.Origins) + 1 }),
		"sessions in a mess":      made(func(b *Block) { b.Sessions[0].ID = b.Sessions[1].ID }),
		"less than no bytes":      made(func(b *Block) { b.Sessions[0].In = -1 }),
		"an end behind":           made(func(b *Block) { b.To.Ended = 0 }),
		"told less":               made(func(b *Block) { b.Refusals[0].Head = 1 << 30 }),
		"a refusal before":        made(func(b *Block) { b.Refusals[0].ID = b.From.Refused }),
		"a fault of nobody":       made(func(b *Block) { b.Faults[0].Session = -1 }),
		"a gap of less":           made(func(b *Block) { b.Gaps[0].Exchanges = -1 }),
		"an array without an end": bytes.Replace(whole, []byte{0xa6}, []byte{0xbf}, 1),
		"a huge array":            append([]byte{0xa1, 0x04, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, whole...),
	} {
		if b, err := ParseBlock(encoded); !errors.Is(err, ErrNotABlock) {
			t.Errorf("%s: %v, %v", name, b != nil, err)
		}
	}
	// Texts may be any bytes.
	b, err := ParseBlock(made(func(b *Block) { b.Sessions[0].TLSName = "\xff\x00" }))
	if err != nil || b.Sessions[0].TLSName != "\xff\x00" {
		t.Errorf("%v", err)
	}
}

// Whatever numbers are in a block that ParseBlock takes, it can be kept, and read: no node keeps others from being
// collected.
func TestAnyNumberCanBeKept(t *testing.T) {
	all := someBlocks(t)
	encoded, err := all[len(all)-1].Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "all")
	c, err := Collect(file, CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for n := 0; ; n++ { // the number of the block that is changed
		there := false
		for _, to := range []int64{math.MaxInt64, math.MinInt64, -1, 0, 1 << 40} {
			b, err := ParseBlock(encoded)
			if err != nil {
				t.Fatal(err)
			}
			what := change(reflect.ValueOf(b).Elem(), "Block", n, to)
			if there = what != ""; !there {
				break
			}
			b.Journal = fmt.Sprintf("%032x", taken)
			again, err := b.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, err = ParseBlock(again); err != nil {
				continue
			}
			taken++
			var hole *HoleError
			if _, err = c.Add(b, 1); errors.As(err, &hole) {
				if err = c.Skip(b.Journal, b.Node, b.From, "a test"); err == nil {
					_, err = c.Add(b, 1)
				}
			}
			if err != nil {
				t.Errorf("%s = %d: Add = %v", what, to, err)
			}
		}
		if !there {
			break
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if taken < 50 {
		t.Errorf("%d blocks were taken, want more", taken)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, err := range r.Events(t.Context(), Filter{}) {
		if err != nil {
			t.Fatalf("Events: %v", err)
		}
	}
	if _, err := r.Missing(t.Context()); err != nil {
		t.Errorf("Missing: %v", err)
	}
	if c, err = Collect(file, CollectOptions{}); err != nil {
		t.Fatalf("it is not opened again: %v", err)
	}
	c.Close()
}

// change sets the nth number in v, of slices in their last element, and returns its name; "" if there are fewer.
func change(v reflect.Value, name string, n int, to int64) string {
	find(v, name, &n, func(v reflect.Value, at string) { v.SetInt(to); name = at })
	if n >= 0 {
		return ""
	}
	return name
}

func find(v reflect.Value, name string, n *int, use func(v reflect.Value, name string)) {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		if v.CanSet() {
			if *n == 0 {
				use(v, name)
			}
			*n--
		}
	case reflect.Struct:
		for i := range v.NumField() {
			find(v.Field(i), name+"."+v.Type().Field(i).Name, n, use)
		}
	case reflect.Slice:
		if v.Len() > 0 {
			find(v.Index(v.Len()-1), name, n, use)
		}
	}
}
