package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// programs is where the load program is.
var programs string

// The test binary is also the servers that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "procs" {
		fmt.Print(runtime.GOMAXPROCS(0))
		return
	}
	if len(os.Args) == 3 && behaviours[os.Args[1]] != nil {
		if os.Args[1] == "stubborn" {
			signal.Ignore(syscall.SIGTERM)
		}
		l, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, "Error:", err)
			os.Exit(1)
		}
		serve(l, behaviours[os.Args[1]])
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "parley-bench-test")
	if err == nil {
		defer os.RemoveAll(dir)
		programs = dir
		// Two seconds without progress will do here.
		err = compile("-DPATIENCE_MS=2000", "load/load.c", "load")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func compile(option, source, name string, libraries ...string) error {
	argv := append([]string{"-O2", "-Wall", "-Wextra", "-Werror", option, "-o", filepath.Join(programs, name), source}, libraries...)
	cmd := exec.Command("gcc", argv...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return nil
}

// A behaviour turns the right replies to the requests that came in one read into what
// is sent. Nil ends the connection. seq is the number of the first of them.
type behaviour func(replies []string, seq int) []string

// late is when the faulty ones go wrong, well after the connection was opened.
const late = 40

var behaviours = map[string]behaviour{
	"right":    func(replies []string, _ int) []string { return replies },
	"stubborn": func(replies []string, _ int) []string { return replies },
	"echo": func(replies []string, _ int) []string {
		for i, r := range replies {
			_, payload, _ := strings.Cut(r, " - ")
			replies[i] = strings.TrimSuffix(payload, " ...\n") + "\n"
		}
		return replies
	},
	"wrong-byte":   onceLate(func(r []string) []string { r[0] = r[0][:len(r[0])-8] + "!" + r[0][len(r[0])-7:]; return r }),
	"wrong-ending": onceLate(func(r []string) []string { r[0] = strings.TrimSuffix(r[0], "\n") + " "; return r }),
	"no-number": func(r []string, _ int) []string {
		r[0] = strings.Replace(r[0], "#", "", 1)
		return r
	},
	"new-number": onceLate(func(r []string) []string { r[0] = strings.Replace(r[0], "#", "#1", 1); return r }),
	"one-number": func(r []string, _ int) []string {
		for i := range r {
			_, rest, _ := strings.Cut(r[i], " - ")
			r[i] = "Request #7 - " + rest
		}
		return r
	},
	"swapped":  onceLate(func(r []string) []string { r[0], r[1] = r[1], r[0]; return r }),
	"repeated": onceLate(func(r []string) []string { return append(r, r[len(r)-1]) }),
	"dropped":  onceLate(func(r []string) []string { return r[1:] }),
	"closed":   onceLate(func(r []string) []string { return nil }),
}

func onceLate(change func([]string) []string) behaviour {
	return func(replies []string, seq int) []string {
		if seq < late || seq >= 2*late {
			return replies
		}
		return change(replies)
	}
}

func serve(l net.Listener, behave behaviour) {
	var opened atomic.Int64
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go converse(c, opened.Add(1), behave)
	}
}

func converse(c net.Conn, number int64, behave behaviour) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 64<<10)
	for seq := 0; ; {
		var replies []string
		for len(replies) == 0 || in.Buffered() > 0 {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			replies = append(replies, fmt.Sprintf("Request #%d - %s ...\n", number, strings.TrimSuffix(line, "\n")))
		}
		count := len(replies)
		replies = behave(replies, seq)
		if replies == nil {
			return
		}
		seq += count
		io.WriteString(c, strings.Join(replies, ""))
	}
}
