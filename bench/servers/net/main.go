// The standard library: a goroutine for each connection.
package main

import (
	"log"
	"net"
	"os"

	"github.com/parley-tcp/parley/bench/servers/line"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(c, line.New())
	}
}

func serve(c net.Conn, conversation *line.Conversation) {
	defer c.Close()
	in := make([]byte, 4<<10) // as in a bufio.Reader
	for {
		n, err := c.Read(in)
		if err != nil {
			return
		}
		if err := conversation.Answer(c, in[:n]); err != nil {
			return
		}
	}
}
