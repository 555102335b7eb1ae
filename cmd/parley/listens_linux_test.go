package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
)

const showsListening = true

// listensAt says whether a socket listens at a TCP port (proc_net_tcp of the kernel: 0A is LISTEN).
func listensAt(t *testing.T, port string) bool {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	listening := regexp.MustCompile(fmt.Sprintf(`: \S+:%04X \S+ 0A `, number))
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		sockets, err := os.ReadFile(table)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if listening.Match(sockets) {
			return true
		}
	}
	return false
}
