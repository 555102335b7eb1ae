package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testBench runs this binary as the server.
func testBench(t *testing.T) (*bench, func(behaviour string) server) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(programs+"/load", dir+"/load"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, dir+"/self"); err != nil {
		t.Fatal(err)
	}
	return &bench{dir: dir, seconds: 0.1, warmup: 0.1, cores: apart, built: make(map[string]error)}, func(behaviour string) server {
		return server{name: behaviour, run: "DIR/self " + behaviour + " PORT"}
	}
}

func TestMeasure(t *testing.T) {
	b, run := testBench(t)
	busy := workload{name: "4x1", connections: 4, inflight: 1, size: payload}
	s, err := b.measure(t.Context(), run("right"), busy)
	if err != nil {
		t.Fatal(err)
	}
	if s.cpu < 100 || s.cpu > 1e6 || s.rate < 100 || s.p50 <= 0 || s.memory < 0.5 {
		t.Errorf("a busy server gives %+v", s)
	}
	if on := s.cpu * s.rate / 1e9; on > 1.05 {
		t.Errorf("it used %.2f cores of one", on)
	}

	idle := workload{name: "idle", connections: 1000, inflight: 1, size: payload, before: 200}
	if s, err = b.measure(t.Context(), run("right"), idle); err != nil {
		t.Fatal(err)
	}
	// The test's server holds a reader of 64 KiB for each.
	if s.perConnection < 10 || s.perConnection > 300 { // more under the race detector
		t.Errorf("an idle connection takes %.1f KiB", s.perConnection)
	}

	accepts := workload{name: "accepts", connections: 4, inflight: 1, size: payload}
	if s, err = b.measure(t.Context(), run("right"), accepts); err != nil || s.rate < 100 {
		t.Errorf("accepts give %+v, %v", s, err)
	}
}

func TestMeasureSaysWhatFailed(t *testing.T) {
	b, run := testBench(t)
	for _, test := range []struct {
		server server
		want   string
	}{
		{run("wrong-byte"), "wrong reply"},
		{run("closed"), "closed by the server"},
		{server{run: "ls /nowhere/PORT"}, "the server ended: ls: cannot access"},
		{server{run: "true PORT"}, "the server ended: exit status 0"},
	} {
		_, err := b.measure(t.Context(), test.server, workload{name: "4x1", connections: 4, inflight: 1, size: payload})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.server.run, err, test.want)
		}
	}
	if left, _ := os.ReadDir(b.dir); len(left) != 2 {
		t.Errorf("files are left: %v", left)
	}
}

func TestStopEndsAServerThatWillNot(t *testing.T) {
	b, run := testBench(t)
	p, err := b.start(t.Context(), run("stubborn"))
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	if err := syscall.Kill(p.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the server is still there: %v", err)
	}
}

func TestGoTakesOneProcessorOnOneCore(t *testing.T) {
	b, _ := testBench(t)
	for list, want := range map[string]string{"0": "1", "0-1": "2"} {
		cmd := exec.Command("taskset", "-c", list, b.dir+"/self", "procs", "0")
		cmd.Env = plainEnvironment()
		if out, err := cmd.Output(); err != nil || string(out) != want {
			t.Errorf("GOMAXPROCS on cores %s = %s, %v; want %s", list, out, err, want)
		}
	}
}

func TestCPUTimeIsTheKernels(t *testing.T) {
	const burn = `i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done`
	for name, test := range map[string]struct {
		script string
		read   func(int) (time.Duration, error)
		within time.Duration
	}{
		"alone":  {burn + "; echo done; read end", cpuTime, 2 * time.Millisecond},
		"ended":  {"(" + burn + ") & (" + burn + ") & wait; echo done; read end", groupCPUTime, 25 * time.Millisecond},
		"living": {"(" + burn + "; echo done; read end); :", groupCPUTime, 25 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", test.script)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			stdin, _ := cmd.StdinPipe()
			stdout, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			io.ReadFull(stdout, make([]byte, len("done\n")))
			got, err := test.read(cmd.Process.Pid)
			if err != nil {
				t.Error(err)
			}
			stdin.Close()
			cmd.Wait()
			want := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			if want < 20*time.Millisecond {
				t.Fatalf("the script took only %v", want)
			}
			if off := (want - got).Abs(); off > test.within {
				t.Errorf("CPU time %v, in the end %v", got, want)
			}
		})
	}
}

func TestDisturbanceIsWhatOthersUse(t *testing.T) {
	b, run := testBench(t)
	b.seconds = 0.5
	other := exec.Command("sh", "-c", "while :; do :; done")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	if _, err := b.measure(t.Context(), run("right"), workload{name: "4x1", connections: 4, inflight: 1, size: payload}); err != nil {
		t.Fatal(err)
	}
	if d := b.disturbance() * float64(runtime.NumCPU()); d < 0.2 {
		t.Errorf("another program uses %.2f cores, want a third or more", d)
	}
}

func TestParseStat(t *testing.T) {
	p, err := parseStat("42 (a) b (c)) S 1 40 40 0 -1 4194304 90 0 0 0 5 6 70 8 20 0 1 0 12")
	if want := (process{pid: 42, group: 40, waitedFor: 780 * time.Millisecond}); err != nil || p != want {
		t.Errorf("parseStat = %+v, %v; want %+v", p, err, want)
	}
	for _, bad := range []string{"", "42", "42 (x) S 1", "x (x) S 1 40 40 0 -1 4194304 90 0 0 0 5 6 70 8 20"} {
		if p, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", bad, p)
		}
	}
}
