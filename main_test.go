package parley_test

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

// No test may leave a goroutine or a descriptor behind.
func TestMain(m *testing.M) {
	if process := strings.Fields(os.Getenv(processEnv)); len(process) > 0 {
		processes[process[0]](process[1:])
		return
	}
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close() // the runtime's poller opens descriptors of its own, once
	}
	before := openDescriptors()
	code := m.Run()
	if leaked := leaks(before); leaked != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "FAIL: left behind by the tests:\n%s\n", leaked)
		code = 1
	}
	os.Exit(code)
}

// noLeaks checks that a test leaves behind no goroutine and no descriptor. It is
// called first, so that its check runs last.
func noLeaks(t *testing.T) {
	t.Helper()
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			g, d := runtime.NumGoroutine(), openDescriptors()
			if g <= goroutines && d <= descriptors {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines and %d descriptors, %d and %d before the test:\n%s", g, d, goroutines, descriptors, leaks(descriptors))
				return
			}
		}
	})
}

// leaks waits for stragglers, then describes what is still there.
func leaks(descriptors int) string {
	var text string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		text = strings.Join(ourGoroutines(), "\n\n")
		if n := openDescriptors(); n > descriptors {
			text += fmt.Sprintf("\n%d descriptors, %d at the start", n, descriptors)
		}
		if text == "" {
			return ""
		}
	}
	return text
}

// ourGoroutines returns the stacks that have this module's code in them, the test
// runner's own aside.
func ourGoroutines() (ours []string) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		if bytes.Contains(stack, []byte("parley-tcp/parley")) && !bytes.Contains(stack, []byte("TestMain")) {
			ours = append(ours, string(stack))
		}
	}
	return ours
}

// openDescriptors counts them where that can be seen, on Linux.
func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
