package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Machines of their own: the bench, NATS and the service on one, an agent on each of two others. One of
// them is cut off in the middle: the bench goes on without it, and it stops loading by itself.
func TestAgentsInNamespaces(t *testing.T) {
	ip := func(args ...string) {
		t.Helper()
		if out, err := peer(t, "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	hub := fmt.Sprintf("parley%d", os.Getpid())
	in := func(name string, args ...string) *process {
		t.Helper()
		return start(t, peer(t, "ip", append([]string{"netns", "exec", name}, args...)...))
	}
	for _, name := range []string{hub, hub + "a1", hub + "a2"} {
		if out, err := peer(t, "ip", "netns", "add", name).CombinedOutput(); err != nil {
			skipOutsideCI(t, "no network namespace can be made: "+string(out))
		}
		t.Cleanup(func() { ip("netns", "del", name) }) // once what runs there has ended
		ip("-n", name, "link", "set", "lo", "up")
	}
	ip("-n", hub, "link", "add", "bridge", "type", "bridge")
	ip("-n", hub, "addr", "add", "10.99.0.1/24", "dev", "bridge")
	ip("-n", hub, "link", "set", "bridge", "up")
	for i := 1; i <= 2; i++ {
		name, end := fmt.Sprint(hub, "a", i), fmt.Sprint("to-a", i)
		ip("-n", hub, "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
		ip("-n", hub, "link", "set", end, "master", "bridge", "up")
		ip("-n", name, "addr", "add", fmt.Sprintf("10.99.0.1%d/24", i), "dev", "eth0")
		ip("-n", name, "link", "set", "eth0", "up")
	}
	in(hub, "nats-server", "-a", "10.99.0.1").stderr.await(t, "Server is ready")
	s := in(hub, "parley", "server", "10.99.0.1:6969")
	s.stdout.await(t, "started on port 6969")
	var agents []*process
	for i := 1; i <= 2; i++ {
		a := in(fmt.Sprint(hub, "a", i), "parley", "agent", "nats://10.99.0.1", "--node", fmt.Sprint("a", i), "--allow-target", "10.99.0.0/24:6969")
		a.stderr.await(t, "waits for work")
		agents = append(agents, a)
	}
	b := in(hub, "parley", "bench", "--agents", "2", "--nats", "nats://10.99.0.1", "-d", "1h", "--warmup", "0s", "-r", "100", "-c", "2", "10.99.0.1:6969")
	b.stderr.await(t, "s: ")
	for _, from := range []string{"10.99.0.11", "10.99.0.12"} {
		if !strings.Contains(s.stdout.String(), "Server: connection from "+from+":") {
			t.Errorf("no load came from %s", from)
		}
	}
	ip("-n", hub, "link", "set", "to-a2", "down")
	b.stderr.await(t, "agent a2 is lost: nothing was heard of it for 3s; its share is left out\n")
	agents[1].stderr.await(t, " is gone: nothing was heard of it for 3s, so this agent is free again\n")
	if code := b.stop(t, os.Interrupt); code != exitNetwork || !strings.Contains(b.stdout.String(), "Incomplete: agent a2 was lost") {
		t.Errorf("exit code %d, want %d\n%s%s", code, exitNetwork, b.stdout, b.stderr)
	}
}
