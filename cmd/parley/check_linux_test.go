package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A host that swallows packets, beside one that lives: in a network of its own, where
// 192.0.2.2 is a neighbour at the other end of a cable that ends nowhere.
func TestCheckIntoABlackHole(t *testing.T) {
	inside := blackHole(t, "192.0.2.2 hole\n192.0.2.2 both\n192.0.2.1 both\n")
	s := start(t, inside("parley", "server", "192.0.2.1:7000"))
	s.stdout.await(t, "started")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"hole:7000", "hello"}, 1, "cannot connect to hole:7000 (192.0.2.2:7000): no answer within 500ms\n"},
		{[]string{"198.51.100.1:7000"}, 1, "cannot connect to 198.51.100.1:7000: network unreachable\n"},
		{[]string{"127.0.0.1:7001"}, 1, "cannot connect to 127.0.0.1:7001: connection refused; is a server listening there?\n"},
		{[]string{"both:7000", "hello"}, 0, "192.0.2.1:7000 answered: lookup TIME, connect TIME, reply TIME: Request #1 - hello ...\n"},
		{[]string{"--all", "both:7000", "hello"}, 1, "cannot connect to both:7000 (192.0.2.2:7000): no answer within 500ms\n" +
			"192.0.2.1:7000 answered: lookup TIME, connect TIME, reply TIME: Request #2 - hello ...\n"},
		{[]string{"--count", "2", "-i", "1ms", "hole:7000"}, 1, strings.Repeat("cannot connect to hole:7000 (192.0.2.2:7000): no answer within 500ms\n", 2) +
			"hole:7000: 0 of 2 held, 2 connect timeout; 100.0 % lost\n"},
	} {
		got, code := checked(t, inside("parley", append([]string{"check", "-w", "500ms"}, c.args...)...))
		if got != c.want || code != c.code {
			t.Errorf("%q: got %q and %d, want %q and %d", c.args, got, code, c.want, c.code)
		}
	}
	got := run(t, inside("parley", "client", "-q", "both:7000", "hello"), "")
	if want := "Request #3 - hello ...\n"; got != want {
		t.Errorf("the client got %q, want %q", got, want)
	}
}

// blackHole makes a network namespace with these hosts in it until the test ends, and
// returns how to run a command there.
func blackHole(t *testing.T, hosts string) func(name string, args ...string) *exec.Cmd {
	t.Helper()
	name := fmt.Sprintf("parley-%d", os.Getpid())
	if out, err := peer(t, "ip", "netns", "add", name).CombinedOutput(); err != nil {
		skipOutsideCI(t, "no network namespace can be made: "+string(out))
	}
	t.Cleanup(func() {
		run(t, peer(t, "ip", "netns", "del", name), "")
		os.RemoveAll("/etc/netns/" + name)
		os.Remove("/etc/netns") // if nobody else has one
	})
	for _, args := range []string{
		"link set lo up",
		"link add near type veth peer name far",
		"addr add 192.0.2.1/24 dev near",
		"link set near up",
		"link set far up",
		"neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 nud permanent dev near",
	} {
		run(t, peer(t, "ip", append([]string{"-n", name}, strings.Fields(args)...)...), "")
	}
	if err := os.MkdirAll("/etc/netns/"+name, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/etc/netns/"+name+"/hosts", []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	return func(command string, args ...string) *exec.Cmd {
		cmd := peer(t, "ip", append([]string{"netns", "exec", name, command}, args...)...)
		cmd.Env = append(os.Environ(), "GODEBUG=netdns=go") // keeps the order of the hosts file
		return cmd
	}
}

// build makes the program as it is shipped: static, and without the race detector.
func build(t *testing.T, file string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-pgo=off", "-o", file, ".") // may take minutes
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	run(t, cmd, "")
}

// A container of the program alone checks itself: no shell, no hosts, no other file.
func TestCheckInAScratchImage(t *testing.T) {
	if os.Getuid() != 0 {
		skipOutsideCI(t, "only root may change the root directory")
	}
	root := t.TempDir()
	build(t, root+"/parley")
	inside := func(args ...string) *exec.Cmd {
		cmd := program(t, args...)
		cmd.Path, cmd.Dir, cmd.Env = "/parley", "/", []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		return cmd
	}
	s := start(t, inside("server", "127.0.0.1:0", "--addr-file", "/addr"))
	_, port, _ := net.SplitHostPort(awaitAddr(t, filepath.Join(root, "addr")))
	if got, code := checked(t, inside("check", "-q", port, "hello", "--expect", "^Request #1 - hello ")); got != "" || code != 0 {
		t.Errorf("got %q and %d, want nothing and 0", got, code)
	}
	s.stop(t, os.Interrupt)
	if got, code := checked(t, inside("check", "-q", port)); got != "" || code != 1 {
		t.Errorf("once it is down: got %q and %d, want nothing and 1", got, code)
	}
}
