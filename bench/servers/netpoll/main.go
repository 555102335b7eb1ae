// netpoll: a poller that has goroutines of a pool called with what it has read.
package main

import (
	"context"
	"io"
	"log"
	"os"

	"github.com/cloudwego/netpoll"

	"github.com/parley-tcp/parley/bench/servers/line"
)

type conversationKey struct{}

func prepare(netpoll.Connection) context.Context {
	return context.WithValue(context.Background(), conversationKey{}, line.New())
}

func handle(ctx context.Context, c netpoll.Connection) error {
	in := c.Reader()
	data, err := in.Next(in.Len()) // all there is
	if err != nil {
		return err
	}
	if err := ctx.Value(conversationKey{}).(*line.Conversation).Answer(c, data); err != nil {
		c.Close()
		return err
	}
	return in.Release()
}

func main() {
	netpoll.SetLoggerOutput(io.Discard)
	l, err := netpoll.CreateListener("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	loop, err := netpoll.NewEventLoop(handle, netpoll.WithOnPrepare(prepare))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(loop.Serve(l))
}
