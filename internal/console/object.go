package console

import (
	"bytes"
	"strconv"
	"time"
)

// An Object is an event in JSON, on one line, put together field by field.
type Object struct{ buf []byte }

// NewObject begins with what each event has.
func NewObject(event string, at time.Time, node string) *Object {
	o := &Object{appendTime(append(append(append([]byte(nil), `{"event":"`...), event...), '"'), at)}
	o.Text("node", node)
	return o
}

// Text adds a string, and nothing if it is empty.
func (o *Object) Text(name, value string) {
	if value != "" {
		o.name(name)
		o.buf = appendJSONString(o.buf, value)
	}
}

// Texts adds strings, as a list, also an empty one.
func (o *Object) Texts(name string, values []string) {
	o.name(name)
	o.buf = append(o.buf, '[')
	for i, value := range values {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = appendJSONString(o.buf, value)
	}
	o.buf = append(o.buf, ']')
}

// Number adds a number.
func (o *Object) Number(name string, n int64) {
	o.name(name)
	o.buf = strconv.AppendInt(o.buf, n, 10)
}

// Truth adds true or false.
func (o *Object) Truth(name string, so bool) {
	o.name(name)
	o.buf = strconv.AppendBool(o.buf, so)
}

// Payload adds a message: its length and its bytes, which survive exactly.
func (o *Object) Payload(p []byte) { o.buf = appendPayloadField(o.buf, p) }

// Objects adds a list of n objects, each put together field by field.
func (o *Object) Objects(name string, n int, each func(i int, item *Object)) {
	o.name(name)
	o.buf = append(o.buf, '[')
	for i := range n {
		item := new(Object)
		each(i, item)
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = append(append(append(o.buf, '{'), bytes.TrimPrefix(item.buf, []byte(","))...), '}')
	}
	o.buf = append(o.buf, ']')
}

// Line returns it all, with a newline.
func (o *Object) Line() []byte { return append(o.buf, "}\n"...) }

func (o *Object) name(name string) {
	o.buf = append(append(append(o.buf, `,"`...), name...), `":`...)
}
