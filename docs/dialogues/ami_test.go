//go:build linux

package dialogues_test

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"testing"
	"time"
)

// startManager stands in for the manager interface (AMI) of Asterisk, of which Debian 12 has no
// package. What it says is as in the documentation of AMI, version 5, for three of its actions.
func startManager(t *testing.T) string {
	return serve(t, func(conn net.Conn) {
		fmt.Fprint(conn, "Asterisk Call Manager/5.0.1\r\n")
		in, known := textproto.NewReader(bufio.NewReader(conn)), false
		for {
			action, err := in.ReadMIMEHeader()
			if err != nil {
				return
			}
			id := ""
			if value := action.Get("ActionID"); value != "" {
				id = "ActionID: " + value + "\r\n"
			}
			reply := func(response, more string) { fmt.Fprintf(conn, "Response: %s\r\n%s%s\r\n\r\n", response, id, more) }
			switch name := action.Get("Action"); {
			case name == "Login" && action.Get("Username") == "admin" && action.Get("Secret") == "secret":
				known = true
				reply("Success", "Message: Authentication accepted")
				if action.Get("Events") != "off" {
					fmt.Fprint(conn, "Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n")
				}
			case name == "Login":
				reply("Error", "Message: Authentication failed")
				return
			case !known:
				reply("Error", "Message: Permission denied")
			case name == "Ping":
				now := time.Now()
				reply("Success", fmt.Sprintf("Ping: Pong\r\nTimestamp: %d.%06d", now.Unix(), now.Nanosecond()/1000))
			case name == "Logoff":
				reply("Goodbye", "Message: Thanks for all the fish.")
				return
			default:
				reply("Error", "Message: Invalid/unknown command")
			}
		}
	})
}
