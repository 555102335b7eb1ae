package parley

import (
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// systemMemory is how many bytes the process may use: the machine's memory, or less if a
// control group says so.
func systemMemory() int64 {
	root := os.DirFS("/")
	return min(cgroupMemory(root), machineMemory(root))
}

// machineMemory is what proc(5) says.
func machineMemory(root fs.FS) int64 {
	text, _ := fs.ReadFile(root, "proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemTotal:" {
			if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return math.MaxInt64
}

// cgroupMemory is the smallest limit of the control groups that the process is in, and of
// those around them; see cgroups(7). Inside a container the path may be one of the host's:
// what is there of it counts.
func cgroupMemory(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // hierarchy:controllers:path
		if len(fields) < 3 {
			continue
		}
		top, file := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[0] == "0": // version 2
		case strings.Contains(","+fields[1]+",", ",memory,"):
			top, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for group := path.Join("/", fields[2]); ; group = path.Dir(group) {
			text, _ := fs.ReadFile(root, path.Join(top, group, file))
			if bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // else it is "max"
				limit = min(limit, bytes)
			}
			if group == "/" {
				break
			}
		}
	}
	return limit
}
