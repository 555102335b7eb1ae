// nbio: pollers that call back with what they have read.
package main

import (
	"log"
	"os"
	"runtime"

	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"

	"github.com/parley-tcp/parley/bench/servers/line"
)

func main() {
	logging.SetLevel(logging.LevelNone)
	engine := nbio.NewEngine(nbio.Config{
		Network: "tcp",
		Addrs:   []string{"127.0.0.1:" + os.Args[1]},
		NPoller: runtime.NumCPU(), // a quarter by default
	})
	engine.OnOpen(func(c *nbio.Conn) { c.SetSession(line.New()) })
	engine.OnData(func(c *nbio.Conn, data []byte) {
		if err := c.Session().(*line.Conversation).Answer(c, data); err != nil {
			c.Close()
		}
	})
	if err := engine.Start(); err != nil {
		log.Fatal(err)
	}
	select {}
}
