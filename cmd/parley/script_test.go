package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/parley-tcp/parley/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	// A program built with -race waits a second before it exits; tests start many.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	testscript.Main(awayFromHome{m}, map[string]func(){"parley": main, "nats-server": natstest.Program})
}

// awayFromHome runs tests that leave nothing in the state directory of whoever runs them.
type awayFromHome struct{ *testing.M }

func (m awayFromHome) Run() int {
	dir, err := os.MkdirTemp("", "parley-state-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("XDG_STATE_HOME", dir)
	return m.M.Run()
}

// What a user types is tested as typed: testdata/script holds the terminals.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"await":   await,
			"journal": makeJournal,
			"collect": collect,
			"ports":   ports,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// await waits for the file that --addr-file names and puts the address in $addr, its
// port in $port; further ones in $addr2, $port2 and so on.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	file := ts.MkAbs(args[0])
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(file)
		if err == nil {
			for i, addr := range strings.Fields(string(text)) {
				number := ""
				if i > 0 {
					number = strconv.Itoa(i + 1)
				}
				ts.Setenv("addr"+number, addr)
				ts.Setenv("port"+number, addr[strings.LastIndex(addr, ":")+1:])
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s is not there after 10s", args[0])
		}
	}
}

var portNumber = regexp.MustCompile(`(port |localhost:|127\.0\.0\.1:|server )\d+`)

// ports makes a file of an output in which every port is PORT: ports stdout FILE.
func ports(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ports stdout|stderr|FILE NEWFILE")
	}
	text := portNumber.ReplaceAllString(ts.ReadFile(args[0]), "${1}PORT")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o666))
}
