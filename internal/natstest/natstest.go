// Package natstest runs NATS with JetStream for tests: each server is a process, the test binary itself, so
// that it can be killed.
package natstest

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// variable has the options of the server that a process is to be.
const variable = "PARLEY_TEST_NATS_SERVER"

// Main is called first by TestMain: a process that is to be a server is one, and does not return.
func Main() {
	text := os.Getenv(variable)
	if text == "" {
		return
	}
	var o node
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	opts, err := o.options()
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if o.Log != "" {
		s.ConfigureLogger()
	}
	s.Start()
	s.WaitForShutdown()
	os.Exit(0)
}

// A node is what a server's process needs to know.
type node struct {
	Name, Host    string
	Port, Cluster int
	Routes        []string
	Dir, Log      string
	Conf          string // lines of a configuration file, which come first
}

func (o *node) options() (*server.Options, error) {
	opts := new(server.Options)
	if o.Conf != "" {
		file := filepath.Join(o.Dir, "nats.conf")
		if err := os.WriteFile(file, []byte(o.Conf), 0o600); err != nil {
			return nil, err
		}
		var err error
		if opts, err = server.ProcessConfigFile(file); err != nil {
			return nil, err
		}
	}
	opts.ServerName, opts.Host, opts.Port = o.Name, o.Host, o.Port
	opts.JetStream, opts.StoreDir = true, o.Dir
	opts.NoSigs, opts.NoLog, opts.LogFile = true, o.Log == "", o.Log
	if len(o.Routes) > 0 {
		opts.Cluster = server.ClusterOpts{Name: "test", Host: o.Host, Port: o.Cluster, PoolSize: -1}
		for _, r := range o.Routes {
			u, err := url.Parse(r)
			if err != nil {
				return nil, err
			}
			opts.Routes = append(opts.Routes, u)
		}
	}
	return opts, nil
}

// A Cluster is one server, or several.
type Cluster struct {
	t     testing.TB
	nodes []node
	procs []*exec.Cmd

	Wrap func(i int, cmd *exec.Cmd) *exec.Cmd // how a server's process is started elsewhere, such as in a network namespace; as it is if nil
}

// patience bounds every wait; only a failing test uses it up.
const patience = 60 * time.Second

// New describes n servers on ports of 127.0.0.1 that are free, with lines of a configuration file if there are
// to be users or TLS. Start starts them.
func New(t testing.TB, n int, conf string) *Cluster {
	t.Helper()
	ports := freePorts(t, 2*n)
	hosts := make([]string, n)
	for i := range hosts {
		hosts[i] = "127.0.0.1"
	}
	return describe(t, hosts, ports[:n], ports[n:], conf)
}

// At describes a server at each host, on the ports that NATS has.
func At(t testing.TB, hosts ...string) *Cluster {
	t.Helper()
	ports, routes := make([]int, len(hosts)), make([]int, len(hosts))
	for i := range hosts {
		ports[i], routes[i] = 4222, 6222
	}
	return describe(t, hosts, ports, routes, "")
}

func describe(t testing.TB, hosts []string, ports, cluster []int, conf string) *Cluster {
	c := &Cluster{t: t, procs: make([]*exec.Cmd, len(hosts))}
	var routes []string
	for i, host := range hosts {
		routes = append(routes, fmt.Sprintf("nats://%s:%d", host, cluster[i]))
	}
	if len(hosts) == 1 {
		routes = nil
	}
	dir := t.TempDir()
	for i, host := range hosts {
		name := fmt.Sprintf("n%d", i+1)
		o := node{Name: name, Host: host, Port: ports[i], Cluster: cluster[i], Routes: routes, Dir: filepath.Join(dir, name), Conf: conf}
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if logs := os.Getenv("PARLEY_TEST_NATS_LOGS"); logs != "" {
			o.Log = filepath.Join(logs, name+".log")
		}
		c.nodes = append(c.nodes, o)
	}
	t.Cleanup(c.Kill)
	return c
}

func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// URL has all servers.
func (c *Cluster) URL() string {
	var hosts []string
	for _, o := range c.nodes {
		hosts = append(hosts, fmt.Sprintf("%s:%d", o.Host, o.Port))
	}
	return "nats://" + strings.Join(hosts, ",")
}

// Start starts those servers that do not run, and waits until JetStream answers.
func (c *Cluster) Start() *Cluster {
	c.t.Helper()
	for i := range c.nodes {
		if c.procs[i] == nil {
			c.StartNode(i)
		}
	}
	return c
}

// StartNode starts one server.
func (c *Cluster) StartNode(i int) {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := json.Marshal(c.nodes[i])
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), variable+"="+string(text))
	cmd.Stderr = os.Stderr
	if c.Wrap != nil {
		cmd = c.Wrap(i, cmd)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.procs[i] = cmd
}

// Kill kills all servers.
func (c *Cluster) Kill() {
	for i := range c.procs {
		c.KillNode(i)
	}
}

// KillNode kills a server, if it runs.
func (c *Cluster) KillNode(i int) {
	if p := c.procs[i]; p != nil {
		p.Process.Kill()
		p.Wait()
		c.procs[i] = nil
	}
}

// Wipe removes what the servers have stored.
func (c *Cluster) Wipe() {
	for _, o := range c.nodes {
		os.RemoveAll(filepath.Join(o.Dir, "jetstream"))
	}
}

// Connect connects to the servers and waits until JetStream answers.
func (c *Cluster) Connect(opts ...nats.Option) jetstream.JetStream {
	c.t.Helper()
	nc, err := nats.Connect(c.URL(), append(opts, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Second))
	if err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err = js.AccountInfo(c.t.Context()); err == nil {
			return js
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("JetStream does not answer after %v: %v", patience, err)
		}
	}
}

// Program is the main function of nats-server, with its own flags: for what a user types.
func Program() {
	flags := flag.NewFlagSet("nats-server", flag.ExitOnError)
	opts, err := server.ConfigureOptions(flags, os.Args[1:], server.PrintServerAndExit, flags.Usage, server.PrintTLSHelpAndDie)
	if err == nil {
		var s *server.Server
		if s, err = server.NewServer(opts); err == nil {
			s.ConfigureLogger()
			s.Start()
			s.WaitForShutdown()
			return
		}
	}
	fmt.Fprintln(os.Stderr, "nats-server:", err)
	os.Exit(1)
}
