package secure

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// No test may leave a goroutine or a descriptor behind.
func TestMain(m *testing.M) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close() // the runtime's poller opens descriptors of its own, once
	}
	before := openDescriptors()
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); code == 0; time.Sleep(time.Millisecond) {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		ours := bytes.Count(buf, []byte("parley/internal/secure.")) - bytes.Count(buf, []byte("parley/internal/secure.TestMain"))
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
