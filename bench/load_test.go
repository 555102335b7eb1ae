package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parley-tcp/parley/bench/selfsigned"
)

// runLoad puts the load program on a server of this process.
func runLoad(t *testing.T, behaviour string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return runProgram(t, "load", func(l net.Listener) { serve(l, behaviours[behaviour]) }, args...)
}

func runProgram(t *testing.T, program string, serve func(net.Listener), args ...string) (stdout, stderr string, err error) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serve(l)
	args = append([]string{"--seconds=0.1", "--warmup=0.1", "--connections=4"}, args...)
	cmd := exec.Command(filepath.Join(programs, program), append(args, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))...)
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

func TestLoadOverTLS(t *testing.T) {
	if out, err := exec.Command("gcc", "-E", "-include", "openssl/ssl.h", "-o", "/dev/null", "-x", "c", "/dev/null").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the headers of OpenSSL are missing: %v\n%s", err, out)
		}
		t.Skipf("the headers of OpenSSL are missing: %v\n%s", err, out)
	}
	if err := compile("-DTLS", "load/load.c", "load-tls", "-lssl", "-lcrypto"); err != nil {
		t.Fatal(err)
	}
	certificate, key, err := selfsigned.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	over := func(behaviour string) func(net.Listener) {
		return func(l net.Listener) {
			serve(lineRecords{tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})}, behaviours[behaviour])
		}
	}
	for _, args := range []string{"", "--inflight=16", "--size=60000 --inflight=16", "--connections=300", "--accepts", "--accepts --connections=40 --inflight=3"} {
		out, said, err := runProgram(t, "load-tls", over("right"), strings.Fields(args)...)
		if err != nil || said != "" || !strings.HasPrefix(out, "start\nend {") {
			t.Errorf("%s: %v, %q, %q", args, err, out, said)
		}
	}
	for behaviour, says := range map[string]string{"wrong-byte": "wrong reply: got", "closed": "closed by the server", "swapped": "wrong reply: got"} {
		out, said, err := runProgram(t, "load-tls", over(behaviour), "--inflight=16")
		if err == nil || strings.Contains(out, "end ") || !strings.Contains(said, says) || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: %v, %q, %q; want one line with %q", behaviour, err, out, said, says)
		}
	}
}

// lineRecords has each line be a record of TLS: several of them come by one read.
type lineRecords struct{ net.Listener }

func (l lineRecords) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return linewise{c}, err
}

type linewise struct{ net.Conn }

func (c linewise) Write(b []byte) (written int, err error) {
	for line := range bytes.Lines(b) {
		n, err := c.Conn.Write(line)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// accepting has each connection be somebody's.
func accepting(converse func(c net.Conn, number int)) func(net.Listener) {
	return func(l net.Listener) {
		for number := 1; ; number++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				converse(c, number)
			}()
		}
	}
}

func TestLoadSpeaksRedis(t *testing.T) {
	mock := func(reply string) func(net.Listener) {
		return accepting(func(c net.Conn, number int) {
			for in := bufio.NewReader(c); ; {
				var key [16]byte
				const before = "*2\r\n$3\r\nGET\r\n$16\r\n"
				head := make([]byte, len(before))
				if _, err := io.ReadFull(in, head); err != nil || string(head) != before {
					return
				}
				io.ReadFull(in, key[:])
				if end, _ := in.ReadString('\n'); end != "\r\n" {
					return
				}
				fmt.Fprintf(c, reply, number, key)
			}
		})
	}
	const right = "+Request #%d - GET %s ...\r\n"
	for _, inflight := range []string{"1", "16"} {
		if out, said, err := runProgram(t, "load", mock(right), "--redis", "--inflight="+inflight); err != nil || said != "" || !strings.HasPrefix(out, "start\nend {") {
			t.Errorf("%s in flight: %v, %q, %q", inflight, err, out, said)
		}
	}
	for wrong, says := range map[string]string{
		"+Request #%d - SET %s ...\r\n": "wrong reply: got",
		"+Request #%d - GET %s ...\n":   "wrong reply: got",
		"Request #%d - GET %s ...\r\n":  "does not begin with",
	} {
		if _, said, err := runProgram(t, "load", mock(wrong), "--redis"); err == nil || !strings.Contains(said, says) {
			t.Errorf("%q: %v, %q, want %q", wrong, err, said, says)
		}
	}
}

func TestLoadFillsASink(t *testing.T) {
	const lines = 4 * 64 * 200
	var got atomic.Int64
	numbers := make([]atomic.Int64, lines)
	count := accepting(func(c net.Conn, _ int) {
		for in := bufio.NewScanner(c); in.Scan(); got.Add(1) {
			var number int
			fmt.Sscanf(in.Text()[:16], "%x", &number)
			numbers[number].Add(1)
		}
	})
	out, said, err := runProgram(t, "load", count, "--sink="+fmt.Sprint(lines), "--inflight=64", "--size=63")
	if err != nil || said != "" || !strings.Contains(out, fmt.Sprintf(`end {"requests":%d,`, lines)) || got.Load() != lines {
		t.Errorf("%v, %q, %q; %d lines came of %d", err, out, said, got.Load(), lines)
	}
	for i := range numbers {
		if n := numbers[i].Load(); n != 1 {
			t.Fatalf("line %d came %d times", i, n)
		}
	}

	talks := accepting(func(c net.Conn, _ int) { io.WriteString(c, "hello\n"); io.Copy(io.Discard, c) })
	if _, said, err := runProgram(t, "load", talks, "--sink=25600", "--inflight=64"); err == nil || !strings.Contains(said, "bytes that nobody asked for") {
		t.Errorf("a sink that talks: %v, %q", err, said)
	}
	leaves := accepting(func(c net.Conn, _ int) { io.ReadFull(c, make([]byte, 1000)) })
	if _, said, err := runProgram(t, "load", leaves, "--sink=2560000", "--inflight=64"); err == nil || strings.Count(said, "\n") != 1 {
		t.Errorf("a sink that leaves: %v, %q", err, said)
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
