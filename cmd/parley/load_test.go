package main

import (
	"strings"
	"syscall"
	"testing"
)

// A benchmark that is interrupted prints what it has measured, and its exit code is that
// of the verdict so far.
func TestInterruptedBenchReports(t *testing.T) {
	t.Parallel()                                        // it waits most of the time
	srv := startServer(t, "-q", "--fault", "delay=5ms") // or a closed loop would be as fast as it can
	for _, args := range [][]string{{}, {"--rate", "100"}, {"--connect-each"}} {
		bench := start(t, program(t, append([]string{"bench", "-d", "1h", "--warmup", "0s", "-c", "4", srv.addr}, args...)...))
		bench.stderr.await(t, "1s: ")
		if code := bench.stop(t, syscall.SIGINT); code != 0 {
			t.Errorf("%v: exit code %d, want 0", args, code)
		}
		out := bench.stdout.String()
		if !strings.Contains(out, ", interrupted\n") || !strings.Contains(out, "service") || strings.Contains(out, "missing") {
			t.Errorf("%v: the report is\n%s", args, out)
		}
	}
	// One whose replies are wrong has that verdict.
	bench := start(t, program(t, "bench", "-d", "1h", "--warmup", "0s", "--expect", "nothing like it", srv.addr))
	bench.stderr.await(t, "1s: ")
	if code := bench.stop(t, syscall.SIGINT); code != exitMismatch {
		t.Errorf("exit code %d, want %d", code, exitMismatch)
	}
	// One that has counted nothing has none, and is no success.
	for _, args := range [][]string{{"--warmup", "1h"}, {"--compare", "--warmup", "1h", srv.addr}, {"--slo", "p99=1s", "--warmup", "1h"}} {
		bench := start(t, program(t, append([]string{"bench", "-d", "1h", srv.addr}, args...)...))
		bench.stderr.await(t, "warm-up")
		if code := bench.stop(t, syscall.SIGINT); code != exitNetwork {
			t.Errorf("%v: exit code %d, want %d", args, code, exitNetwork)
		}
		if told := bench.stdout.String() + bench.stderr.String(); !strings.Contains(told, "interrupted before") {
			t.Errorf("%v: it does not say why:\n%s", args, told)
		}
	}
}
