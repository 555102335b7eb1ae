package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runLoad puts the load program on a server of this process.
func runLoad(t *testing.T, behaviour string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serve(l, behaviours[behaviour])
	args = append([]string{"--seconds=0.1", "--warmup=0.1", "--connections=4"}, args...)
	cmd := exec.Command(filepath.Join(programs, "load"), append(args, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

func TestLoadAcceptsRightReplies(t *testing.T) {
	for _, args := range []string{
		"", "--inflight=16", "--size=1 --inflight=16", "--size=15", "--size=61440", "--size=60000 --inflight=16",
		"--connections=1500", "--accepts", "--accepts --connections=40 --inflight=3",
	} {
		for _, kind := range []string{"right", "echo"} {
			all := strings.Fields(args)
			if kind == "echo" {
				all = append(all, "--echo")
			}
			out, said, err := runLoad(t, kind, all...)
			if err != nil || said != "" {
				t.Errorf("%s %s: %v, %s", kind, args, err, said)
				continue
			}
			figures, ok := strings.CutPrefix(out, "start\nend ")
			if !ok {
				t.Errorf("%s %s: stdout %q", kind, args, out)
				continue
			}
			var found struct {
				Requests, Seconds float64
				P50               float64 `json:"p50_ns"`
				P99               float64 `json:"p99_ns"`
				P999              float64 `json:"p999_ns"`
				Max               float64 `json:"max_ns"`
			}
			if err := json.Unmarshal([]byte(figures), &found); err != nil {
				t.Fatal(err)
			}
			if found.Requests < 10 || found.Seconds < 0.1 || found.P50 <= 0 ||
				found.P50 > found.P99 || found.P99 > found.P999 || found.P999 > found.Max || found.Max > 2e9 {
				t.Errorf("%s %s: %+v", kind, args, found)
			}
		}
	}
}

func TestLoadHoldsIdleConnections(t *testing.T) {
	out, said, err := runLoad(t, "right", "--idle", "--connections=2000")
	if err != nil || said != "" || out != "ready\n" {
		t.Errorf("load --idle = %q, %q, %v; want only ready", out, said, err)
	}
}

func TestLoadRefusesWrongReplies(t *testing.T) {
	for _, test := range []struct{ behaviour, args, says string }{
		{"wrong-byte", "", "wrong reply: got"},
		{"wrong-byte", "--size=61440", "wrong reply: got"},
		{"wrong-ending", "", "wrong reply: got"},
		{"wrong-ending", "--echo", "wrong reply: got"},
		{"right", "--echo", "wrong reply: got"},
		{"echo", "", "does not begin with"},
		{"no-number", "", "does not begin with"},
		{"new-number", "", "wrong reply: got"},
		{"one-number", "", "it has the number 7 of another"},
		{"swapped", "--inflight=16", "wrong reply: got"},
		{"repeated", "", "bytes that nobody asked for"},
		{"repeated", "--inflight=16", "bytes that nobody asked for"},
		{"dropped", "", "no progress in 2 s"},
		{"dropped", "--inflight=16", "wrong reply: got"},
		{"closed", "", "closed by the server"},
	} {
		t.Run(test.behaviour+test.args, func(t *testing.T) {
			t.Parallel()
			out, said, err := runLoad(t, test.behaviour, strings.Fields(test.args)...)
			if err == nil || strings.Contains(out, "end ") {
				t.Errorf("load passed: %s", out)
			}
			if !strings.Contains(said, test.says) || strings.Count(said, "\n") != 1 {
				t.Errorf("stderr %q, want one line with %q", said, test.says)
			}
		})
	}
}

func TestLoadSaysThatNobodyListens(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(programs, "load"), fmt.Sprint(port)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Connection refused") {
		t.Errorf("load = %q, %v; want it refused", out, err)
	}
}

// The histogram is tested by a C program that includes load.c.
func TestHistogramIsWithinOnePercent(t *testing.T) {
	if err := compile("-Iload", "load/testdata/histogram.c", "histogram"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(programs, "histogram"))
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}
