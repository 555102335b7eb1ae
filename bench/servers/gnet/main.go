// gnet: event loops that call back with what they have read.
package main

import (
	"log"
	"os"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"

	"github.com/parley-tcp/parley/bench/servers/line"
)

type server struct{ gnet.BuiltinEventEngine }

func (*server) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	c.SetContext(line.New())
	return nil, gnet.None
}

func (*server) OnTraffic(c gnet.Conn) gnet.Action {
	data, _ := c.Next(-1) // all there is
	if err := c.Context().(*line.Conversation).Answer(c, data); err != nil {
		return gnet.Close
	}
	return gnet.None
}

func main() {
	silent := zap.NewNop().Sugar()
	err := gnet.Run(&server{}, "tcp://127.0.0.1:"+os.Args[1], gnet.WithMulticore(true), gnet.WithLogger(silent))
	log.Fatal(err)
}
