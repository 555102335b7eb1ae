package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/natstest"
)

// whileTalking does something while every node is talked to all the time.
func (f *manyNodes) whileTalking(do func()) {
	f.t.Helper()
	done := make(chan struct{})
	var talking sync.WaitGroup
	talking.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				f.talk(1, 20)
			}
		}
	})
	do()
	close(done)
	talking.Wait()
}

// Each fault of the list leaves the journal of all nodes equal to theirs together.
func TestSoakJournalsAreCollectedThroughEachFault(t *testing.T) {
	soak(t)
	for _, c := range []struct {
		name string
		do   func(f *manyNodes)
	}{
		{"a shipper is killed ten times", func(f *manyNodes) {
			for range 10 {
				f.nodes[1].kill()
				f.nodes[1].start()
			}
		}},
		{"the collector is killed ten times", func(f *manyNodes) {
			for range 10 {
				f.killCollector()
				f.collect()
			}
		}},
		{"each server of NATS is killed in turn", func(f *manyNodes) {
			for i := range 3 {
				f.nats.KillNode(i)
				time.Sleep(5 * time.Second)
				f.nats.Start().Connect()
			}
		}},
		{"all of NATS is killed, and has its files", func(f *manyNodes) {
			f.nats.Kill()
			time.Sleep(time.Second)
			f.nats.Start().Connect()
		}},
		{"all of NATS is killed, and has lost its files, three times", func(f *manyNodes) {
			for range 3 {
				f.nats.Kill()
				f.nats.Wipe()
				f.nats.Start().Connect()
				time.Sleep(2 * time.Second)
			}
		}},
		{"the stream is deleted", func(f *manyNodes) {
			if err := f.nats.Connect().DeleteStream(t.Context(), "PARLEY"); err != nil {
				t.Error(err)
			}
		}},
		{"the collector comes late, to a stream that has lost all", func(f *manyNodes) {
			f.killCollector()
			os.Remove(f.all)
			if s, err := f.nats.Connect().Stream(t.Context(), "PARLEY"); err != nil {
				t.Error(err)
			} else if err := s.Purge(t.Context()); err != nil {
				t.Error(err)
			}
			f.collect()
		}},
		{"all at once", func(f *manyNodes) {
			f.nats.Kill()
			f.killCollector()
			f.nodes[1].kill()
			f.nats.Wipe()
			time.Sleep(time.Second)
			f.nodes[1].start()
			f.collect()
			f.nats.Start().Connect()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nats := natstest.New(t, 3, "").Start()
			nats.Connect()
			f := startNodes(t, nats, 2)
			f.collect()
			f.talk(2, 20)
			f.whileTalking(func() {
				c.do(f)
				time.Sleep(time.Second)
			})
			f.ends()
		})
	}
}

// NATS is away for the whole run: nobody waits for it, and what was recorded is shipped by the next run.
func TestSoakNATSIsAwayForTheWholeRun(t *testing.T) {
	soak(t)
	f := startNodes(t, natstest.New(t, 3, ""), 2)
	f.talk(20, 50)
	for _, n := range f.nodes {
		n.kill()
	}
	f.nats.Start().Connect()
	for _, n := range f.nodes {
		n.start()
	}
	f.ends()
}

// A minute without one of NATS' servers, and one without all of them: their links are down, nobody is told.
func TestSoakPartitionOfAMinute(t *testing.T) {
	soak(t)
	if os.Getuid() != 0 {
		skipOutsideCI(t, "only root can make networks")
	}
	bridge := fmt.Sprintf("pb%d", os.Getpid()%100000)
	ip := func(args ...string) {
		t.Helper()
		if out, err := peer(t, "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	hosts := []string{"10.213.77.1", "10.213.77.2", "10.213.77.3"}
	links := make([]string, len(hosts))
	ip("link", "add", bridge, "type", "bridge")
	t.Cleanup(func() { ip("link", "del", bridge) })
	ip("addr", "add", "10.213.77.254/24", "dev", bridge)
	ip("link", "set", bridge, "up")
	space := func(i int) string { return fmt.Sprintf("%s-%d", bridge, i) }
	for i, host := range hosts {
		links[i] = fmt.Sprintf("%sv%d", bridge, i)
		ip("netns", "add", space(i))
		t.Cleanup(func() { ip("netns", "del", space(i)) })
		ip("link", "add", links[i], "type", "veth", "peer", "name", "eth0", "netns", space(i))
		ip("link", "set", links[i], "master", bridge, "up")
		ip("-n", space(i), "addr", "add", host+"/24", "dev", "eth0")
		ip("-n", space(i), "link", "set", "eth0", "up")
		ip("-n", space(i), "link", "set", "lo", "up")
	}
	nats := natstest.At(t, hosts...)
	nats.Wrap = func(i int, cmd *exec.Cmd) *exec.Cmd {
		inside := exec.Command("ip", "netns", "exec", space(i), cmd.Path)
		inside.Env, inside.Stderr = cmd.Env, cmd.Stderr
		return inside
	}
	nats.Start().Connect()
	f := startNodes(t, nats, 2)
	f.collect()
	f.talk(2, 20)
	f.whileTalking(func() {
		for _, cut := range [][]string{links[:1], links} {
			for _, link := range cut {
				ip("link", "set", link, "down")
			}
			time.Sleep(time.Minute)
			for _, link := range cut {
				ip("link", "set", link, "up")
			}
			time.Sleep(20 * time.Second)
		}
	})
	f.ends()
}

// soak skips what is only run by make soak.
func soak(t *testing.T) {
	t.Helper()
	if os.Getenv("PARLEY_SOAK") == "" {
		t.Skip("make soak runs it")
	}
}
