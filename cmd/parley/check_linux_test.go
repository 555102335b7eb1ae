package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
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
