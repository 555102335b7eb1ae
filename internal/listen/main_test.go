package listen

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
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
	os.Exit(leaks.Run(m))
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
