package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// A server is one row of every table. In its commands DIR is the temporary directory,
// PORT the port of the run, and BACK that of what is behind it.
type server struct {
	name   string
	build  string   // makes it; nothing to make if empty
	run    string   // listens on 127.0.0.1:PORT until SIGTERM
	config string   // is written to DIR/config-PORT before it is run
	only   []string // the workloads it can do, all if nil
	echo   bool     // sends the line back as it came, with no number
	log    bool     // its standard output goes to a file
	forks  bool     // it is several processes, such as one for each connection
	tls    bool     // the conversation is over TLS
	redis  bool     // requests are commands of redis
	mute   bool     // says nothing
	keeps  bool     // what comes, in DIR/sink-PORT
	record bool     // what comes, in a journal, DIR/journal-PORT

	behind string // a server that it passes all on to, which listens on BACK
	whole  bool   // what the one behind it uses counts as well
}

const (
	goBuild     = "go build -buildvcs=false -o DIR/"
	buildParley = "go -C .. build -buildvcs=false -o DIR/parley ./cmd/parley"
	runParley   = "DIR/parley server --max-sessions 20000 127.0.0.1:PORT --engine "
)

// reference is the server to which all ratios are.
const reference = "c-epoll"

var servers = []server{
	{name: reference, build: "gcc -O2 -o DIR/c-epoll servers/c-epoll/server.c", run: "DIR/c-epoll PORT"},
	{name: "c-io_uring", build: "gcc -O2 -o DIR/c-io_uring servers/c-io_uring/server.c -luring", run: "DIR/c-io_uring PORT"},
	{name: "net", build: goBuild + "net ./servers/net", run: "DIR/net PORT"},
	{name: "gnet", build: goBuild + "gnet ./servers/gnet", run: "DIR/gnet PORT"},
	{name: "nbio", build: goBuild + "nbio ./servers/nbio", run: "DIR/nbio PORT"},
	{name: "netpoll", build: goBuild + "netpoll ./servers/netpoll", run: "DIR/netpoll PORT"},
	{name: "fortio", build: goBuild + "fortio ./servers/fortio", run: "DIR/fortio PORT", echo: true},
	{name: "node", run: "node servers/node/server.js PORT"},
	{name: "node-log", run: "node servers/node/server.js PORT --log", log: true},
	{name: "socat", run: "socat -t 10 TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=4096 EXEC:cat",
		only: []string{"64x1", "accepts"}, echo: true, forks: true},
	{name: "ncat", run: "ncat -lk -m 10000 127.0.0.1 PORT -e /bin/cat",
		only: []string{"64x1", "accepts"}, echo: true, forks: true},
	{name: "parley", build: buildParley, run: runParley + "loops -q"},
	{name: "parley-narrative", build: buildParley, run: runParley + "loops", log: true},
	{name: "parley-journal", build: buildParley, run: runParley + "loops -q --journal DIR/journal-PORT", only: []string{"64x1", "64x16"}},
	{name: "parley-journal-sync", build: buildParley, run: runParley + "loops -q --journal DIR/journal-PORT --journal-sync", only: []string{"64x1", "64x16"}},
	{name: "parley-metrics", build: buildParley, run: runParley + "loops -q --admin unix:DIR/admin-PORT", only: []string{"64x1", "64x16"}},
	{name: "parley-json", build: buildParley, run: runParley + "loops --json", log: true},
	{name: "parley-goroutines", build: buildParley, run: runParley + "goroutines -q"},
	{name: "parley-goroutines-narrative", build: buildParley, run: runParley + "goroutines", log: true},
	{name: "parley-goroutines-json", build: buildParley, run: runParley + "goroutines --json", log: true},
}

func (s *server) can(w workload) bool { return s.only == nil || slices.Contains(s.only, w.name) }

// selectServers finds servers by their names, all of them if there are none. The
// reference is always among them: without it there is nothing to compare with.
func selectServers(names string) ([]server, error) {
	if names == "" {
		return servers, nil
	}
	wanted := strings.Split(names, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(servers, func(s server) bool { return s.name == name }) {
			return nil, fmt.Errorf("no server %q; there are %s", name, strings.Join(namesOf(servers), ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(servers), func(s server) bool {
		return s.name != reference && !slices.Contains(wanted, s.name)
	}), nil
}

func namesOf(list []server) []string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.name
	}
	return names
}

// buildLoad makes the load program, without which there is no benchmark.
func (b *bench) buildLoad(ctx context.Context) error {
	return b.build(ctx, "gcc -O2 -Wall -Wextra -o DIR/load load/load.c")
}

const buildLoadTLS = "gcc -O2 -Wall -Wextra -DTLS -o DIR/load-tls load/load.c -lssl -lcrypto"

// buildAll makes every server's program, each only once, and the load program that speaks
// TLS for those who do. It returns the servers that it could not make.
func (b *bench) buildAll(ctx context.Context, chosen []server) (failed map[string]error, err error) {
	failed = make(map[string]error)
	for _, s := range chosen {
		err := b.buildOnce(ctx, s.build)
		if s.tls && err == nil {
			err = b.buildOnce(ctx, buildLoadTLS)
		}
		if err == nil {
			_, err = exec.LookPath(b.command(s.run, 0, 0)[0])
		}
		if err != nil {
			failed[s.name] = err
		}
	}
	return failed, ctx.Err()
}

func (b *bench) buildOnce(ctx context.Context, command string) error {
	if command == "" {
		return nil
	}
	err, done := b.built[command]
	if !done {
		err = b.build(ctx, command)
		b.built[command] = err
	}
	return err
}

func (b *bench) build(ctx context.Context, command string) error {
	argv := b.command(command, 0, 0)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as Parley ships
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %s", argv[0], reason(out, err))
	}
	return nil
}

// command splits a command into its words and fills in what changes.
func (b *bench) command(text string, port, back int) []string {
	argv := strings.Fields(text)
	for i, word := range argv {
		argv[i] = b.fillIn(word, port, back)
	}
	return argv
}

func (b *bench) fillIn(text string, port, back int) string {
	return strings.NewReplacer("DIR", b.dir, "PORT", fmt.Sprint(port), "BACK", fmt.Sprint(back)).Replace(text)
}

// reason is one line on why a program ended: of what it said the first line that names
// an error, or else the first, or else its exit.
func reason(said []byte, exit error) string {
	var first string
	for line := range strings.Lines(string(bytes.TrimSpace(said))) {
		line = strings.TrimSpace(line)
		if strings.Contains(strings.ToLower(line), "error") {
			return line
		}
		if first == "" && !strings.HasPrefix(line, "#") { // go build's "# package"
			first = line
		}
	}
	switch {
	case first != "":
		return first
	case exit != nil:
		return exit.Error()
	}
	return "exit status 0"
}
