// Package leaks has tests fail that leave a goroutine or a descriptor behind.
package leaks

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long what is about to end has for it.
const patience = 5 * time.Second

// Run runs the tests of a package, from its TestMain, and returns the exit code. It fails if
// they leave behind a goroutine of this module's, or a descriptor.
func Run(m *testing.M) (code int) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close() // the runtime's poller opens descriptors of its own, once
	}
	before := descriptors()
	code = m.Run()
	if leaked := left(before); leaked != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "FAIL: left behind by the tests:\n%s\n", leaked)
		code = 1
	}
	return code
}

// Check has a test fail that leaves behind a goroutine or a descriptor. It is called first, so
// that it looks last.
func Check(t *testing.T) {
	t.Helper()
	goroutines, open := runtime.NumGoroutine(), descriptors()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			g, d := runtime.NumGoroutine(), descriptors()
			if g <= goroutines && d <= open {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines and %d descriptors, %d and %d before the test:\n%s", g, d, goroutines, open, left(open))
				return
			}
		}
	})
}

// left waits for stragglers, then describes what is still there; open is how many descriptors
// there were before.
func left(open int) string {
	var text string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		text = strings.Join(Goroutines(), "\n\n")
		if n := descriptors(); n > open {
			text += fmt.Sprintf("\n%d descriptors, %d at the start", n, open)
		}
		if text == "" {
			return ""
		}
	}
	return text
}

// Goroutines are the stacks that have this module's code in them, the test runner's own aside.
func Goroutines() (ours []string) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		if bytes.Contains(stack, []byte("parley-tcp/parley")) && !bytes.Contains(stack, []byte("TestMain")) {
			ours = append(ours, string(stack))
		}
	}
	return ours
}

// descriptors counts them where that can be seen, on Linux.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
