//go:build unix

package main

import (
	"fmt"
	"net"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
)

// A scene is what a picture shows.
type scene struct {
	name, about string
	play        func(st *stage) ([][]uv.Cell, error)
}

var scenes = []scene{
	{"demo", "parley demo: a server's terminal and a client's, side by side", playDemo},
	{"client", "parley client: requests typed by hand, each reply with its time, and a command", playClient},
	{"server", "parley server -v: two clients talk, each reply with its time", playServer},
	{"bench", "parley bench: requests, replies and how long they took", playBench},
	{"log", "parley log --table: what was recorded, an exchange a line", playLog},
}

func playDemo(st *stage) ([][]uv.Cell, error) {
	s, err := st.start(columns, 40, "demo")
	if err != nil {
		return nil, err
	}
	if err := s.Wait(); err != nil {
		return nil, err
	}
	return shown("parley demo", s, columns, 40), nil
}

func playClient(st *stage) ([][]uv.Cell, error) {
	if _, err := st.serve("6969", "-q", "--reply", "you said {message}"); err != nil {
		return nil, err
	}
	const columns = 80
	s, err := st.start(columns, 30, "client")
	if err != nil {
		return nil, err
	}
	for _, step := range []struct {
		shows string
		times int
		typed string
	}{
		{"Enter data:", 1, "session 1 msg 1\r"},
		{"you said session 1 msg 1", 1, "/hex 68 69\r"},
		{"you said hi", 1, "\x1b[A\x1b[A\r"}, // the line before the last
		{"you said session 1 msg 1", 2, "/info\r"},
		{"retransmit", 1, "half a li"},
		{"half a li", 1, ""},
	} {
		shown := func(text string) bool { return strings.Count(text, step.shows) >= step.times }
		if err := s.Await(step.shows, shown, waiting); err != nil {
			return nil, err
		}
		if err := s.Type(step.typed); err != nil {
			return nil, err
		}
	}
	rows := shown("parley client", s, columns, 30)
	x, y, _ := s.Cursor()
	rows[y+1][x].Style.Attrs |= uv.AttrReverse
	return rows, nil
}

func playServer(st *stage) ([][]uv.Cell, error) {
	const columns = 112 // room for a reply
	command := []string{"server", "127.0.0.1:6969", "-v", "--idle-timeout", "300ms", noStderr}
	s, err := st.start(columns, 40, command...)
	if err != nil {
		return nil, err
	}
	if err := s.AwaitText("Server: started"); err != nil {
		return nil, err
	}
	idle, err := net.Dial("tcp", "127.0.0.1:6969")
	if err != nil {
		return nil, err
	}
	defer idle.Close()
	fmt.Fprintln(idle, "session 1 msg 1")
	for _, said := range []string{"session 2 msg 1", "how are you?"} {
		if err := st.run("client", "-q", "localhost:6969", said); err != nil {
			return nil, err
		}
	}
	if err := s.Await("three ends", func(text string) bool { return strings.Count(text, "Connection closed") == 3 }, waiting); err != nil {
		return nil, err
	}
	return shown("parley "+strings.Join(command, " "), s, columns, 40), nil
}

func playBench(st *stage) ([][]uv.Cell, error) {
	if _, err := st.serve("6969", "-q"); err != nil {
		return nil, err
	}
	s, err := st.start(columns, 60, "bench", "-r", "2000", "-d", "3s", "localhost:6969")
	if err != nil {
		return nil, err
	}
	if err := s.Wait(); err != nil {
		return nil, err
	}
	return shown("parley bench -r 2000 -d 3s localhost:6969", s, columns, 60), nil
}

func playLog(st *stage) ([][]uv.Cell, error) {
	server, err := st.serve("6969", "-q", "--journal", "parley.journal")
	if err != nil {
		return nil, err
	}
	for _, said := range []string{"GET /items/17", "GET /items/4711", "order 17 lamps"} {
		if err := st.run("client", "-q", "localhost:6969", said); err != nil {
			return nil, err
		}
	}
	if err := server.Type("\x03"); err != nil {
		return nil, err
	}
	if err := server.Wait(); err != nil {
		return nil, err
	}
	s, err := st.start(columns, 20, "log", "--table")
	if err != nil {
		return nil, err
	}
	if err := s.Wait(); err != nil {
		return nil, err
	}
	return shown("parley log --table", s, columns, 20), nil
}
