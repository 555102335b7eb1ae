// load keeps a line server busy and checks every byte of every reply.
//
//	load [options] PORT
//
// It is a closed loop: each connection writes a batch of requests in one write() and,
// when all their replies are there, the next batch. A request is a numbered payload
// and LF. The right reply is "Request #N - payload ..." and LF, where N is what the
// connection's first reply said, another for every connection. A wrong reply, a lost
// connection or a standstill ends it with exit code 1 and one line on stderr.
//
// With --redis the payload is the key of a GET, in RESP, and the reply what Parley's
// mock says to it. With --sink nobody replies: the lines are sent as fast as they are
// taken, and done when the server, who has seen the end of each connection, ends it too.
// Compiled with -DTLS all of it is over TLS 1.3.
//
// After the warm-up every connection is at rest. It prints "start" and waits for a line
// on stdin, so that somebody may read the server's clocks; at the end of the window all
// are at rest again, and it prints "end" with the figures, and waits once more.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"

#ifndef PATIENCE_MS
#define PATIENCE_MS 10000 // without any progress
#endif
enum {
	OPENING = 1000, // connections without their first reply at once: far below any backlog
	SOURCES = 16,   // source addresses, 127.0.0.2 and up: each has its own ephemeral ports
	DIGITS = 16,    // of a request's number
	MAX_PREFIX = 40,
	MAX_SIZE = 32 << 20,
};

static const char usage[] =
	"usage: load [options] PORT\n"
	"  --connections C  how many at once (64)\n"
	"  --inflight P     requests in one write (1)\n"
	"  --size BYTES     of a payload (16)\n"
	"  --seconds S      the measured window (1)\n"
	"  --warmup S       before it (0.2)\n"
	"  --echo           the right reply is the request's own line\n"
	"  --idle           one exchange on each connection, print \"ready\", hold them until stdin ends\n"
	"  --accepts        connect, one exchange, close; again and again, C at a time\n"
	"  --redis          a request is a GET of the payload\n"
	"  --sink LINES     send so many lines that nobody replies to\n";

static int connections = 64, inflight = 1, size = 16, port;
static double seconds = 1, warmup = 0.2;
static int echo, idle, accepts, redis;
static int sink;           // how many lines nobody replies to

typedef struct {
	int fd;
	int id;               // the messages' name for it, from 0
	int answered;         // replies of this batch that are there
	int matched;          // bytes of the next one that are there
	int sent;             // bytes of the batch that are written
	int prefix_len;
	bool known;           // the prefix is whole
	bool closing;         // our FIN is out
	int left;             // with --sink, lines of later batches
	bool polls_out;
	uint64_t first;       // the number of the batch's first request
	int64_t began;        // when the batch was written; with --accepts when it connected
	char prefix[MAX_PREFIX]; // "Request #N - ", from the first reply
} conn;

static conn *conns;
static int epoll_fd;
static int busy;           // connections that are not at rest
static int64_t deadline;   // until then every finished batch is followed by another
static uint64_t next_request;
static char *batch;        // the requests to write; only their numbers change
static char *expected;     // the reply to come, in front of and behind its payload
static char *echoed;       // that payload; only its number changes

// What stands around a payload in its request and in its reply, and around the
// connection's number before that.
static char head[40];
static const char *tail = "\n", *opening = "Request #", *closing = " - ", *suffix = " ...\n";
static int head_len, suffix_len, request_len, batch_len;

static void die(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(1);
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// The histogram: values below 256 exactly, then 128 steps to each power of two. A step's
// middle stands for it, so that no value is off by more than 0.4 %.

static uint64_t histogram[64 * 128], recorded;
static int64_t slowest;

static int step_of(uint64_t v) {
	int shift = v < 256 ? 0 : 63 - __builtin_clzll(v) - 7;
	return shift * 128 + (int)(v >> shift);
}

static uint64_t middle_of(int step) {
	if (step < 256)
		return step;
	int shift = step / 128 - 1;
	return ((uint64_t)(step - shift * 128) << shift) + (UINT64_C(1) << shift) / 2;
}

static void record(int64_t took, int count) {
	histogram[step_of(took)] += count;
	recorded += count;
	if (took > slowest)
		slowest = took;
}

static uint64_t quantile(double q) {
	uint64_t rank = q * recorded, seen = 0;
	for (int step = 0; step < 64 * 128; step++) {
		seen += histogram[step];
		if (seen > rank && middle_of(step) < (uint64_t)slowest)
			return middle_of(step);
	}
	return slowest;
}

// Requests and replies.

static void put_number(char *payload, uint64_t number) {
	int digits = size < DIGITS ? size : DIGITS;
	for (int i = digits - 1; i >= 0; i--, number >>= 4)
		payload[i] = "0123456789abcdef"[number & 15];
}

static char *payload_of(int request) { return batch + (size_t)request * request_len + head_len; }

// lay_out writes what all requests have in common: the filler and what is around it.
static void lay_out(int request) {
	char *payload = payload_of(request);
	memcpy(payload - head_len, head, head_len);
	for (int i = 0; i < size; i++)
		payload[i] = 'a' + i % 26;
	memcpy(payload + size, tail, strlen(tail));
}

static int expect(const conn *c) {
	expected = echoed - c->prefix_len;
	memcpy(expected, c->prefix, c->prefix_len);
	put_number(echoed, c->first + c->answered);
	return c->prefix_len + size + suffix_len;
}

static void print_escaped(const char *s, int n) {
	for (int i = 0; i < n && i < 100; i++)
		fprintf(stderr, isprint((unsigned char)s[i]) ? "%c" : "\\x%02x", (unsigned char)s[i]);
}

static void wrong(const conn *c, const char *got, int n, int expected_len) {
	fprintf(stderr, "load: connection %d: wrong reply: got \"%.*s", c->id, c->matched < 100 ? c->matched : 100, expected);
	print_escaped(got, n);
	fputs("\", want \"", stderr);
	print_escaped(expected, expected_len);
	fputs("\"\n", stderr);
	exit(1);
}

// learn takes one byte of a connection's first reply, up to its number's end.
static void learn(conn *c, char byte) {
	static uint8_t given[1 << 24]; // a bit a number; numbers beyond are not compared
	c->prefix[c->prefix_len++] = byte;
	if (byte != '-' && byte != '\n' && c->prefix_len < MAX_PREFIX - 1)
		return;
	uint64_t number = strtoull(c->prefix + strlen(opening), NULL, 10);
	char right[MAX_PREFIX];
	int len = sprintf(right, "%s%" PRIu64 "%s", opening, number, closing);
	int learnt = len - strlen(closing) + strlen(" -");
	if (number == 0 || c->prefix_len != learnt || memcmp(c->prefix, right, learnt) != 0) {
		fprintf(stderr, "load: connection %d: the first reply does not begin with \"Request #N - \" but with \"", c->id);
		print_escaped(c->prefix, c->prefix_len);
		fputs("\"\n", stderr);
		exit(1);
	}
	if (number / 8 < sizeof given) {
		if (given[number / 8] & 1 << number % 8)
			die("connection %d: it has the number %" PRIu64 " of another", c->id, number);
		given[number / 8] |= 1 << number % 8;
	}
	memcpy(c->prefix, right, len);
	c->prefix_len = len;
	c->matched = learnt;
	c->known = true;
}

static void check(conn *c, const char *p, int n) {
	while (n > 0) {
		if (c->answered == c->sent / request_len)
			die("connection %d: bytes that nobody asked for", c->id);
		if (!c->known) {
			learn(c, *p++);
			n--;
			continue;
		}
		int len = expect(c);
		int part = len - c->matched < n ? len - c->matched : n;
		if (memcmp(p, expected + c->matched, part) != 0)
			wrong(c, p, n, len);
		p += part;
		n -= part;
		c->matched += part;
		if (c->matched == len) {
			c->matched = 0;
			c->answered++;
		}
	}
}

// A connection's life.

static void poll_for(conn *c, int op) {
	struct epoll_event e = {.events = EPOLLIN | (c->polls_out ? EPOLLOUT : 0), .data.ptr = c};
	if (epoll_ctl(epoll_fd, op, c->fd, &e) < 0)
		die("epoll_ctl: %m");
}

// write_batch writes what is left of the batch. While the socket has no room, or is not
// yet connected, epoll says when to go on; in a handshake read_replies does.
static void write_batch(conn *c) {
	for (int i = 0; i < inflight; i++)
		put_number(payload_of(i), c->first + i);
	ssize_t n = put(c->fd, batch + c->sent, batch_len - c->sent);
	if (n < 0 && errno != EAGAIN)
		die("connection %d: write: %m", c->id);
	if (n > 0)
		c->sent += n;
	if (c->polls_out != (c->sent < batch_len && !awaits_peer(c->fd))) {
		c->polls_out = !c->polls_out;
		poll_for(c, EPOLL_CTL_MOD);
	}
}

static void number_batch(conn *c) {
	c->first = next_request;
	next_request += inflight;
	c->sent = 0;
}

static void begin_batch(conn *c, int64_t at) {
	number_batch(c);
	c->began = at;
	c->answered = 0;
	busy++;
	write_batch(c);
}

// pour writes lines until the socket has no room, and the end behind the last.
static void pour(conn *c) {
	for (write_batch(c); c->sent == batch_len && c->left > 0; write_batch(c)) {
		number_batch(c);
		c->left -= inflight;
	}
	if (c->sent == batch_len) {
		c->closing = true;
		end_writing(c->fd);
	}
}

static void connect_conn(conn *c) {
	*c = (conn){.id = c - conns, .known = echo};
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		die("socket: %m");
	int on = 1;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	static int turn;
	struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % SOURCES)};
	if (bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0)
		die("bind: %m");
	struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
		die("connect: %m");
	poll_for(c, EPOLL_CTL_ADD);
	begin_channel(c->fd);
}

static void open_conn(conn *c) {
	connect_conn(c);
	begin_batch(c, now());
}

static void close_conn(conn *c) {
	end_channel(c->fd);
	close(c->fd);
}

static void rest(conn *c, int64_t at) {
	if (at < deadline)
		accepts ? open_conn(c) : begin_batch(c, at);
}

// read_replies reads once. It returns false where there is nothing more to read.
static bool read_replies(conn *c) {
	static char in[256 << 10];
	ssize_t n = take(c->fd, in, sizeof in);
	if (n < 0 && errno == EAGAIN) {
		if (c->sent < batch_len)
			write_batch(c); // the handshake is done, perhaps
		return false;
	}
	if (n < 0)
		die("connection %d: read: %m", c->id);
	if (n == 0 && !c->closing)
		die("connection %d: closed by the server", c->id);
	if (sink > 0) {
		if (n > 0)
			die("connection %d: bytes that nobody asked for", c->id);
		close_conn(c);
		busy--;
		return false;
	}
	int before = c->answered;
	check(c, in, n);
	int64_t at = now(); // the end of one batch and the beginning of the next
	if (accepts && n > 0) {
		if (c->answered == inflight) {
			c->closing = true;
			end_writing(c->fd);
		}
		return true;
	}
	if (accepts) {
		record(at - c->began, 1);
		close_conn(c);
	} else {
		record(at - c->began, c->answered - before);
		if (c->answered < inflight)
			return true;
	}
	busy--;
	rest(c, at);
	return !accepts;
}

static void handle_events(void) {
	struct epoll_event events[512];
	int n = epoll_wait(epoll_fd, events, 512, PATIENCE_MS);
	if (n < 0 && errno != EINTR)
		die("epoll_wait: %m");
	if (n == 0)
		die("no progress in %d s; %d connections wait", PATIENCE_MS / 1000, busy);
	for (int i = 0; i < n; i++) {
		conn *c = events[i].data.ptr;
		if (events[i].events & EPOLLOUT)
			sink > 0 ? pour(c) : write_batch(c);
		if (events[i].events & ~EPOLLOUT)
			while (read_replies(c) && holds_more(c->fd))
				;
	}
}

// open_all leaves every connection at rest after one exchange. Only a reply shows that
// the server has accepted.
static void open_all(void) {
	for (int opened = 0; opened < connections || busy > 0; handle_events())
		while (opened < connections && busy < OPENING)
			open_conn(&conns[opened++]);
}

// drive keeps all connections at work for a time and leaves them at rest.
static void drive(double duration) {
	memset(histogram, 0, sizeof histogram);
	recorded = slowest = 0;
	int64_t at = now();
	deadline = at + duration * 1e9;
	for (int i = 0; i < connections; i++)
		rest(&conns[i], now());
	while (busy > 0)
		handle_events();
}

// pour_all sends the lines of a sink, shared out over the connections.
static void pour_all(void) {
	for (int i = 0; i < connections; i++) {
		conns[i].left = sink / connections - inflight;
		number_batch(&conns[i]);
		busy++;
		pour(&conns[i]);
	}
	while (busy > 0)
		handle_events();
}

static void wait_for_line(void) {
	for (int byte = 0; byte != '\n' && byte != EOF;)
		byte = getchar();
}

static void parse(int argc, char **argv) {
	static const struct option options[] = {
		{"connections", required_argument, 0, 'c'}, {"inflight", required_argument, 0, 'p'},
		{"size", required_argument, 0, 'b'}, {"seconds", required_argument, 0, 's'},
		{"warmup", required_argument, 0, 'w'}, {"echo", no_argument, &echo, 1},
		{"idle", no_argument, &idle, 1}, {"accepts", no_argument, &accepts, 1},
		{"redis", no_argument, &redis, 1}, {"sink", required_argument, 0, 'k'}, {0},
	};
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
		switch (o) {
		case 'c': connections = atoi(optarg); break;
		case 'p': inflight = atoi(optarg); break;
		case 'b': size = atoi(optarg); break;
		case 's': seconds = atof(optarg); break;
		case 'w': warmup = atof(optarg); break;
		case 'k': sink = atoi(optarg); break;
		case '?': fputs(usage, stderr); exit(2);
		}
	if (optind == argc - 1)
		port = atoi(argv[optind]);
	if (port < 1 || port > 65535 || connections < 1 || inflight < 1 || inflight > 1024 || size < 1 || size > MAX_SIZE ||
	    (int64_t)inflight * size > 1 << 30 || (idle && accepts) || sink < 0 || sink % (connections * inflight) != 0) {
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int argc, char **argv) {
	parse(argc, argv);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);

	setvbuf(stdout, NULL, _IOLBF, 0);
	epoll_fd = epoll_create1(0);
	conns = calloc(connections, sizeof *conns);
	if (redis) {
		sprintf(head, "*2\r\n$3\r\nGET\r\n$%d\r\n", size);
		tail = "\r\n";
		opening = "+Request #";
		closing = " - GET ";
		suffix = " ...\r\n";
	}
	if (echo)
		suffix = "\n";
	head_len = strlen(head);
	suffix_len = strlen(suffix);
	request_len = head_len + size + strlen(tail);
	batch_len = inflight * request_len;
	batch = malloc(batch_len);
	char *room = malloc(MAX_PREFIX + size + suffix_len);
	if (epoll_fd < 0 || !conns || !batch || !room)
		die("cannot begin: %m");
	for (int i = 0; i < connections; i++)
		conns[i].id = i;
	for (int i = 0; i < inflight; i++)
		lay_out(i);
	echoed = room + MAX_PREFIX;
	memcpy(echoed, payload_of(0), size);
	memcpy(echoed + size, suffix, suffix_len);
#ifdef TLS
	begin_tls(NULL, NULL);
#endif

	for (int i = 0; sink > 0 && i < connections; i++)
		connect_conn(&conns[i]);
	if (sink == 0 && !accepts)
		open_all();
	if (idle) {
		puts("ready");
		while (getchar() != EOF)
			;
		return 0;
	}
	if (sink == 0)
		drive(warmup);
	puts("start");
	wait_for_line();
	int64_t start = now();
	if (sink > 0) {
		pour_all();
		recorded = sink;
	} else {
		drive(seconds);
	}
	double took = (now() - start) / 1e9;
	printf("end {\"requests\":%" PRIu64 ",\"seconds\":%.9f,\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64 ",\"p999_ns\":%" PRIu64 ",\"max_ns\":%" PRId64 "}\n",
		recorded, took, quantile(0.5), quantile(0.99), quantile(0.999), slowest);
	wait_for_line();
	return 0;
}
