package main

import (
	"bytes"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/parleytest"
)

// What the server said before a request was sent is never taken for its reply.
func TestWhatCameUnaskedIsNoReply(t *testing.T) {
	echo := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil })
	var out bytes.Buffer
	talk := &talk{
		client: parley.NewClient(parleytest.Pipe(t, &parley.Server{Handler: echo}), nil),
		opt:    clientOptions{timeout: patience},
		view:   console.NewClientNarrative(&out, nil, console.Piped),
		heard:  make(chan heard, 2),
	}
	talk.heard <- heard{body: []byte("welcome")}
	go func() {
		reply, err := talk.client.Receive(t.Context())
		talk.heard <- heard{reply, err}
	}()
	if err := talk.exchange(t.Context(), []byte("hi")); err != nil {
		t.Fatal(err)
	}
	want := "Client: server message: welcome\nClient: sending [2] hi ...\nClient: server response: hi\n"
	if out.String() != want {
		t.Errorf("shown\n%swant\n%s", &out, want)
	}
}
