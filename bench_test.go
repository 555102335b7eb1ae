package parley_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// BenchmarkIdleSession reports what an idle session on a socket takes up: heap and
// goroutine stack, its client's end of the connection included.
func BenchmarkIdleSession(b *testing.B) {
	addr := parleytest.Start(b, &parley.Server{Handler: echo})
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const sessions = 2000
	for b.Loop() {
		before := used()
		var conns []net.Conn
		for range sessions {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			io.WriteString(c, "x\n")
			io.ReadFull(c, make([]byte, 2))
			conns = append(conns, c)
		}
		b.ReportMetric(float64(used()-before)/sessions, "B/session")
		for _, c := range conns {
			c.Close()
		}
	}
}

func BenchmarkTCP1(b *testing.B) { benchmarkTCP(b, 1) }

func BenchmarkTCP16(b *testing.B) { benchmarkTCP(b, 16) }

func benchmarkTCP(b *testing.B, pipelined int) {
	c, err := net.Dial("tcp", parleytest.Start(b, &parley.Server{Handler: echo}))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	text := bytes.Repeat([]byte("session 1 msg 1\n"), pipelined)
	buf := make([]byte, len(text))
	b.ReportAllocs()
	for b.Loop() {
		c.Write(text)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pipelined), "ns/request")
}

// BenchmarkLockstepBeside reports how long one peer waits for each of its replies while
// others send as many requests as their sockets take and read what comes. Server, the
// others, and the one are a process each, which share the machine's CPUs.
func BenchmarkLockstepBeside(b *testing.B) {
	for _, engine := range engines {
		for _, others := range []int{0, 8, 32, 50} {
			b.Run(fmt.Sprintf("%s/%d", engine, others), func(b *testing.B) {
				addr := startProcess(b, "serve", engine.String())
				if others > 0 {
					startProcess(b, "pipeline", addr, strconv.Itoa(others))
				}
				c, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				text, buf := []byte("session 1 msg 1\n"), make([]byte, 16)
				var took []time.Duration
				for b.Loop() {
					start := time.Now()
					c.Write(text)
					if _, err := io.ReadFull(c, buf); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(start))
				}
				slices.Sort(took)
				b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
				b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
			})
		}
	}
}

// processes are what a copy of this program does instead of running tests. Each prints a line
// when it is ready.
var processes = map[string]func(args []string){
	"serve": func(args []string) {
		srv := &parley.Server{Handler: echo, Engine: engines[slices.IndexFunc(engines, func(e parley.Engine) bool { return e.String() == args[0] })]}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		fmt.Println(l.Addr())
		srv.Serve(l)
	},
	"pipeline": func(args []string) {
		peers, _ := strconv.Atoi(args[1])
		text := bytes.Repeat([]byte("session 1 msg 1\n"), 4096)
		var begun sync.WaitGroup
		for range peers {
			c, err := net.Dial("tcp", args[0])
			if err != nil {
				panic(err)
			}
			begun.Add(1)
			go func() {
				io.CopyN(io.Discard, c, 1<<20)
				begun.Done()
				io.Copy(io.Discard, c)
			}()
			go func() {
				for {
					c.Write(text)
				}
			}()
		}
		begun.Wait()
		fmt.Println("ready")
		select {}
	},
}

const processEnv = "PARLEY_TEST_PROCESS"

// startProcess runs one of the processes until the test ends, and returns the line that it
// prints.
func startProcess(tb testing.TB, args ...string) string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processEnv+"="+strings.Join(args, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(line)
}
