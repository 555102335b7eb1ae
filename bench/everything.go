package main

import (
	"context"
	"strings"

	"github.com/parley-tcp/parley/bench/selfsigned"
)

// A comparison is what is measured in the same rounds: rows of a table for each workload.
type comparison struct {
	title     string
	reference string // the row to which the ratios in its tables are
	servers   []server
	workloads []workload
	rounds    int // are enough, if not 0
	note      string
}

// What is close gets all rounds; of what is not, these few say enough.
const fewRounds = 5

var (
	one  = workload{name: "64x1", connections: 64, inflight: 1, size: payload}
	many = workload{name: "64x16", connections: 64, inflight: 16, size: payload}
	bulk = workload{name: "bulk", connections: 16, inflight: 16, size: 4095}

	silent  = workload{name: "idle", connections: 8000, inflight: 1, size: payload, before: 2000} // two descriptors each
	accepts = workload{name: "accepts", connections: acceptsAtOnce, inflight: 1, size: payload}
	sink    = workload{name: "sink", connections: 8, inflight: 64, size: 63, lines: 8 * 64 * 600}
	framed  = workload{name: "64x16", connections: 64, inflight: 16, size: 35}
)

const (
	backend   = "DIR/c-epoll PORT"
	tap       = "DIR/parley tap 127.0.0.1:PORT 127.0.0.1:BACK --max-sessions 9000 "
	haproxy   = "/usr/sbin/haproxy -db -q -f DIR/config-PORT"
	nginx     = "/usr/sbin/nginx -e DIR/error-PORT -c DIR/config-PORT"
	withTLS   = " --tls-cert DIR/cert.pem --tls-key DIR/key.pem"
	buildTLS  = "gcc -O2 -DTLS -o DIR/c-epoll-tls servers/c-epoll/server.c -lssl -lcrypto"
	openSSL   = "c-epoll-openssl"
	redisMock = runParley + "loops -q -f redis"
)

const haproxyConfig = `
global
	nbthread 1
	maxconn 9000
defaults
	mode tcp
	timeout connect 5s
	timeout client 1m
	timeout server 1m
listen bench
	bind 127.0.0.1:PORT OPTIONS
	server behind 127.0.0.1:BACK
`

const nginxConfig = `
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid DIR/pid-PORT;
events { worker_connections 4096; }
stream {
	server {
		listen 127.0.0.1:PORT ssl;
		ssl_certificate DIR/cert.pem;
		ssl_certificate_key DIR/key.pem;
		ssl_protocols TLSv1.3;
		proxy_pass 127.0.0.1:BACK;
	}
}
`

const rsyslogConfig = `
module(load="imtcp")
template(name="raw" type="string" string="%rawmsg%\n")
input(type="imtcp" address="127.0.0.1" port="PORT" supportOctetCountedFraming="off")
action(type="omfile" file="DIR/sink-PORT" template="raw")
`

func withOptions(config, options string) string {
	return strings.ReplaceAll(config, " OPTIONS", options)
}

// named are some of the servers that are compared without anything turned on.
func named(names ...string) []server {
	var found []server
	for _, name := range names {
		for _, s := range servers {
			if s.name == name {
				found = append(found, s)
			}
		}
	}
	return found
}

// passing is a server that passes all on to the one behind it, which counts for nothing.
func passing(name, behind, run string) server {
	return server{name: name, build: buildParley, run: run, behind: behind}
}

func comparisons() []comparison {
	narrative := passing("parley-tap-narrative", backend, tap)
	narrative.log = true
	redisTap := passing("redis", redisMock, tap+"-q -f redis")
	redisTap.redis = true
	return []comparison{
		{
			title: bare, reference: reference, workloads: []workload{one, many},
			servers: named(reference, "parley", "parley-narrative", "parley-json", "parley-journal", "parley-metrics"),
		},
		{
			title: taps, reference: "haproxy", workloads: []workload{one, many, bulk},
			note: "What is behind it is c-epoll, on the load's core; the CPU time is the proxy's alone. haproxy is in TCP mode, with one thread.\n\n",
			servers: []server{
				{name: "haproxy", run: haproxy, behind: backend, config: withOptions(haproxyConfig, "")},
				{name: "socat", run: "socat TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=4096 TCP:127.0.0.1:BACK,nodelay", behind: backend, forks: true},
				passing("parley-tap", backend, tap+"-q"),
				narrative,
				passing("parley-tap-journal", backend, tap+"-q --journal DIR/journal-PORT"),
			},
		},
		{
			title: silence, reference: "haproxy", workloads: []workload{silent},
			note: "What is behind it is c-epoll; the memory is the proxy's alone, for each of the last 6,000. Each session has said something and had its reply.\n\n",
			servers: []server{
				{name: "haproxy", run: haproxy, behind: backend, config: withOptions(haproxyConfig, "")},
				passing("parley-tap", backend, tap+"-q"),
			},
		},
		{
			title: secure, reference: openSSL, workloads: []workload{one, many, accepts},
			note: "ECDSA P-256, no session is resumed. haproxy and nginx end TLS before c-epoll, which is on their core, and whose CPU time is in theirs.\n" +
				"With a handshake for each exchange the load works harder than the servers, which are not busy.\n\n",
			servers: []server{
				{name: openSSL, build: buildTLS, run: "DIR/c-epoll-tls DIR/cert.pem DIR/key.pem PORT", tls: true},
				{name: "haproxy", run: haproxy, behind: backend, whole: true, tls: true,
					config: withOptions(haproxyConfig, " ssl crt DIR/tls.pem ssl-min-ver TLSv1.3")},
				{name: "nginx", run: nginx, behind: backend, whole: true, tls: true, forks: true, config: nginxConfig},
				{name: "parley", build: buildParley, run: runParley + "auto -q" + withTLS, tls: true},
			},
		},
		{
			title: asked, reference: "lines", workloads: []workload{framed},
			note: "A GET of 36 bytes in RESP, and a line of 36 bytes.\n\n",
			servers: []server{
				{name: "lines", build: buildParley, run: runParley + "loops -q"},
				{name: "redis", build: buildParley, run: redisMock, redis: true},
			},
		},
		{
			title: passed, reference: "lines", workloads: []workload{framed},
			note: "Behind it is Parley's server, as above; the CPU time is the tap's alone.\n\n",
			servers: []server{
				passing("lines", runParley+"loops -q", tap+"-q"),
				redisTap,
			},
		},
		{
			title: "A sink", reference: "socat", workloads: []workload{sink}, rounds: fewRounds,
			note: "The CPU time is all that the process uses until it has ended, when everything is where it keeps it: in a file, in Parley's journal, or nowhere.\n\n",
			servers: []server{
				{name: "socat", run: "socat -u TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork,backlog=4096 OPEN:DIR/sink-PORT,creat,append",
					mute: true, keeps: true, forks: true},
				{name: "rsyslogd", run: "/usr/sbin/rsyslogd -n -f DIR/config-PORT -i DIR/pid-PORT", config: rsyslogConfig, mute: true, keeps: true},
				{name: "parley", build: buildParley, run: runParley + "auto -q -f line/none", mute: true},
				{name: "parley-journal", build: buildParley, run: runParley + "auto -q -f line/none --journal DIR/journal-PORT", mute: true, record: true},
			},
		},
	}
}

// everything measures what people turn on beside those who do the same, and says of each
// mark whether it is held.
func (b *bench) everything(ctx context.Context, rounds int) (report string, failed bool, err error) {
	if _, _, err := selfsigned.Write(b.dir); err != nil {
		return "", false, err
	}
	var all []table
	var out strings.Builder
	for _, c := range comparisons() {
		broken, err := b.buildAll(ctx, c.servers)
		if err != nil {
			return "", false, err
		}
		tables, err := b.compare(ctx, c.servers, c.reference, c.workloads, c.enough(rounds), broken)
		if err != nil {
			return "", false, err
		}
		for _, t := range tables {
			t.about = c.title
			all = append(all, t)
			out.WriteString(t.markdown())
		}
		out.WriteString(c.note)
	}
	pipes, err := b.pipes(ctx, min(rounds, fewRounds), pipedLines)
	if err != nil {
		return "", false, err
	}
	for _, t := range pipes {
		out.WriteString(t.markdown())
	}
	all = append(all, pipes...)
	return markTable(all) + out.String(), anyFailed(all), nil
}

// everythingUsed are the versions of the peers.
func everythingUsed() []string {
	return []string{"gcc " + version("gcc", "-dumpfullversion"), "OpenSSL " + versionIn("openssl", "version"),
		"haproxy " + versionIn("/usr/sbin/haproxy", "-v"), "nginx " + versionIn("/usr/sbin/nginx", "-v"),
		"socat " + versionIn("socat", "-V"), "rsyslog " + versionIn("/usr/sbin/rsyslogd", "-v"), "redis " + versionIn("redis-server", "--version")}
}

// enough is how many rounds a comparison gets.
func (c *comparison) enough(rounds int) int {
	if c.rounds == 0 {
		return rounds
	}
	return min(c.rounds, rounds)
}
