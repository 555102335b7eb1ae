// fortio's TCP echo server: it sends back the bytes as they come and looks at no line.
package main

import (
	"os"

	"fortio.org/fortio/fnet"
	"fortio.org/log"
)

func main() {
	log.SetLogLevelQuiet(log.Critical)
	const silent = "" // a name would be announced
	if fnet.TCPEchoServer(silent, "127.0.0.1:"+os.Args[1]) == nil {
		os.Exit(1) // it has said why
	}
	select {}
}
