package parley

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestMemoryOfTheSystem(t *testing.T) {
	const none = math.MaxInt64
	for _, c := range []struct {
		name            string
		files           map[string]string
		cgroup, machine int64
	}{
		{"nothing is known", nil, none, none},
		{"machine", map[string]string{"proc/meminfo": "MemTotal:       24684092 kB\nMemFree: 1 kB\n"}, none, 24684092 << 10},
		{"version 2", map[string]string{
			"proc/self/cgroup":                                     "0::/system.slice/parley.service\n",
			"sys/fs/cgroup/system.slice/memory.max":                "max\n",
			"sys/fs/cgroup/system.slice/parley.service/memory.max": "134217728\n"}, 128 << 20, none},
		{"version 2, a group around it has less", map[string]string{
			"proc/self/cgroup":                       "0::/pod/container\n",
			"sys/fs/cgroup/pod/memory.max":           "1000\n",
			"sys/fs/cgroup/pod/container/memory.max": "2000\n"}, 1000, none},
		{"version 2, inside a container", map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "3000\n"}, 3000, none},
		{"version 2, no limit", map[string]string{
			"proc/self/cgroup":                    "0::/user.slice\n",
			"sys/fs/cgroup/user.slice/memory.max": "max\n"}, none, none},
		{"version 1", map[string]string{
			"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "4000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            "9223372036854771712\n"}, 4000, none},
		{"version 1, the path is the host's", map[string]string{
			"proc/self/cgroup":                           "4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n"}, 5000, none},
		{"no such lines", map[string]string{"proc/self/cgroup": "what\n:\n", "proc/meminfo": "MemTotal: many\n"}, none, none},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if cgroup, machine := cgroupMemory(root), machineMemory(root); cgroup != c.cgroup || machine != c.machine {
			t.Errorf("%s: %d and %d bytes, want %d and %d", c.name, cgroup, machine, c.cgroup, c.machine)
		}
	}
}

func TestDefaultMaxHeldIsAQuarterOfTheLimit(t *testing.T) {
	if got, want := DefaultMaxHeld(), systemMemory()/4; got != want || want < 1<<20 || want > 1<<50 {
		t.Errorf("DefaultMaxHeld = %d with %d bytes of memory", got, systemMemory())
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(400 << 20)) // GOMEMLIMIT=400MiB
	if got := DefaultMaxHeld(); got != 100<<20 {
		t.Errorf("DefaultMaxHeld = %d with a limit of 400 MiB, want a quarter", got)
	}
}
