package listen

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// contender is the variable that makes the test's program a process that opens a way and says
// what came of it.
const contender = "PARLEY_TEST_CONTENDER"

// No test may leave a goroutine or a descriptor behind.
func TestMain(m *testing.M) {
	if path := os.Getenv(contender); path != "" {
		contend(path)
		return
	}
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close() // the runtime's poller opens descriptors of its own, once
	}
	before := openDescriptors()
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); code == 0; time.Sleep(time.Millisecond) {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		ours := bytes.Count(buf, []byte("parley/internal/listen.")) - bytes.Count(buf, []byte("parley/internal/listen.TestMain"))
		if ours == 0 && openDescriptors() <= before {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "FAIL: left behind by the tests: %d descriptors, %d before, and\n%s\n", openDescriptors(), before, buf)
			code = 1
		}
	}
	os.Exit(code)
}

// openDescriptors counts them where that can be seen, on Linux.
func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// contend is the process: once descriptor 3 ends it opens a Unix socket, says what came of
// that, and keeps it until its standard input ends.
func contend(path string) {
	fmt.Println("ready")
	io.Copy(io.Discard, os.NewFile(3, "start"))
	open, err := Open(context.Background(), []Way{{Network: "unix", Path: path}}, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("listening")
	io.Copy(io.Discard, os.Stdin)
	open[0].Net.Close()
	open[0].Close()
}
