package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// cpuTime is what a process and all its threads have used, user and system, from the
// kernel's own accounting, in nanoseconds.
func cpuTime(pid int) (time.Duration, error) {
	clock := uintptr(^pid)<<3 | 2 // CPUCLOCK_SCHED of the whole process; see clock_getcpuclockid(3)
	var t syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("cpu clock of process %d: %w", pid, errno)
	}
	return time.Duration(t.Nano()), nil
}

// groupCPUTime is that of a process, of the others in its group and of the children
// that they have waited for. The last are counted in hundredths of a second.
func groupCPUTime(leader int) (time.Duration, error) {
	total, err := cpuTime(leader)
	if err != nil {
		return 0, err
	}
	for _, p := range group(leader) {
		total += p.waitedFor
		if p.pid != leader {
			t, _ := cpuTime(p.pid) // it may have ended since
			total += t
		}
	}
	return total, nil
}

// machineTime is what all programs, and other guests of a virtual machine's host, have
// used of all cores, in hundredths of a second. Interrupts are left out: they are nobody's.
func machineTime() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, wait, irq, softirq, stolen int64
	_, err = fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &stolen)
	return time.Duration(user+nice+system+stolen) * time.Second / 100, err
}

// A process is a line of /proc/PID/stat.
type process struct {
	pid, group int
	waitedFor  time.Duration // the CPU time of its ended children
}

// group lists the processes of a group.
func group(leader int) []process {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	var found []process
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		if p, err := parseStat(string(stat)); err == nil && p.group == leader {
			found = append(found, p)
		}
	}
	return found
}

func parseStat(stat string) (process, error) {
	// The name, in parentheses, may hold anything.
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return process{}, errors.New("no name")
	}
	fields := strings.Fields(stat[end+1:]) // from the third of proc_pid_stat(5)
	if len(fields) < 15 {
		return process{}, errors.New("too few fields")
	}
	var p process
	var user, system int64
	var errs [4]error
	p.pid, errs[0] = strconv.Atoi(strings.TrimSpace(stat[:open]))
	p.group, errs[1] = strconv.Atoi(fields[5-3])
	user, errs[2] = strconv.ParseInt(fields[16-3], 10, 64)
	system, errs[3] = strconv.ParseInt(fields[17-3], 10, 64)
	p.waitedFor = time.Duration(user+system) * time.Second / 100
	return p, errors.Join(errs[:]...)
}

// residentMemory is what a process holds in memory, in bytes.
func residentMemory(pid int) (float64, error) {
	value, err := statusField(pid, "VmRSS")
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseFloat(strings.TrimSuffix(value, " kB"), 64)
	return kib * 1024, err
}

func statusField(pid int, name string) (string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(status) {
		if value, ok := strings.CutPrefix(string(line), name+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("process %d has no %s", pid, name)
}
