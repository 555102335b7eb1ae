package parley_test

import (
	"bytes"
	"log"
	"net"

	"github.com/parley-tcp/parley"
)

func ExampleServer() {
	upper := func(dst []byte, req *parley.Request) ([]byte, error) {
		return append(dst, bytes.ToUpper(req.Body)...), nil
	}
	l, err := net.Listen("tcp", ":6969")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal((&parley.Server{Handler: parley.HandlerFunc(upper)}).Serve(l))
}
