// A bare single-threaded epoll server: the least that this conversation can cost, which
// all others are compared to.
//
//	server PORT
//	server CERTIFICATE KEY PORT        compiled with -DTLS
//
// A connection is not read while bytes wait to be sent to it: so a peer that does not
// read has to wait, and at the end of file nothing is owed. What outlasts a round, a
// partial line or unsent replies, has memory of its own; an idle connection has none.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../load/channel.h"

#define SUFFIX " ...\n"

enum {
	MAX_FILES = 1 << 20,
	MAX_LINE = (64 << 10) + 1, // without its LF, with a CR
	READ = 64 << 10,
	MAX_PREFIX = sizeof "Request #4294967295 - ",
};

typedef struct {
	char *partial, *unsent;
	unsigned partial_len, unsent_len, prefix_len;
	char prefix[MAX_PREFIX];
} conn;

static conn conns[MAX_FILES]; // by file descriptor; takes no memory before it is touched
static int epoll_fd, listener;
static char in[MAX_LINE + READ]; // a partial line and what is read to it
static char out[MAX_LINE + READ * (MAX_PREFIX + sizeof SUFFIX)]; // enough if each byte read is an LF

static void die(const char *what) {
	perror(what);
	exit(1);
}

static void wait_for(unsigned events, int op, int fd) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	if (epoll_ctl(epoll_fd, op, fd, &e) < 0)
		die("epoll_ctl");
}

static char *keep(const char *bytes, size_t n) {
	char *kept = malloc(n);
	if (!kept)
		die("malloc");
	return memcpy(kept, bytes, n);
}

static void close_conn(int fd) {
	free(conns[fd].partial);
	free(conns[fd].unsent);
	end_channel(fd);
	close(fd);
}

// send_out sends what there is room for and keeps the rest.
static int send_out(int fd, const char *bytes, size_t len) {
	conn *c = &conns[fd];
	ssize_t n = put(fd, bytes, len);
	if (n < 0 && errno != EAGAIN)
		return -1;
	if (n > 0) {
		bytes += n;
		len -= n;
	}
	char *before = c->unsent;
	c->unsent = len > 0 ? keep(bytes, len) : NULL;
	c->unsent_len = len;
	if (!before != !c->unsent)
		wait_for(c->unsent ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD, fd);
	free(before);
	return 0;
}

// answer reads once and answers all lines that are complete by one send. It returns 1, 0
// if there was nothing to read, and -1 at the end.
static int answer(int fd) {
	conn *c = &conns[fd];
	size_t held = 0;
	if (c->partial) {
		held = c->partial_len;
		memcpy(in, c->partial, held);
	}
	ssize_t n = take(fd, in + held, READ);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return -1;
	free(c->partial);
	c->partial = NULL;

	char *line = in, *end = in + held + n, *to = out;
	for (char *lf; (lf = memchr(line, '\n', end - line)) && lf - line <= MAX_LINE; line = lf + 1) {
		to = mempcpy(to, c->prefix, c->prefix_len);
		to = mempcpy(to, line, lf - line - (lf > line && lf[-1] == '\r'));
		to = mempcpy(to, SUFFIX, strlen(SUFFIX));
	}
	if ((to > out && send_out(fd, out, to - out) < 0) || end - line > MAX_LINE)
		return -1;
	if (line < end) {
		c->partial_len = end - line;
		c->partial = keep(line, end - line);
	}
	return 1;
}

// serve does what an event asks for.
static int serve(int fd) {
	conn *c = &conns[fd];
	if (c->unsent) {
		if (send_out(fd, c->unsent, c->unsent_len) < 0)
			return -1;
		if (c->unsent || !holds_more(fd))
			return 0;
	}
	int done;
	do
		done = answer(fd);
	while (done > 0 && !c->unsent && holds_more(fd));
	return done;
}

static void accept_all(void) {
	static unsigned accepted;
	for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
		conns[fd] = (conn){0};
		begin_channel(fd);
		conns[fd].prefix_len = sprintf(conns[fd].prefix, "Request #%u - ", ++accepted);
		wait_for(EPOLLIN, EPOLL_CTL_ADD, fd);
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		die("accept");
}

static void begin(int port) {
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max < MAX_FILES ? files.rlim_max : MAX_FILES;
	setrlimit(RLIMIT_NOFILE, &files);
	epoll_fd = epoll_create1(0);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (epoll_fd < 0 || listener < 0)
		die("cannot begin");

	int on = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); // accepted sockets inherit it
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(listener, 4096) < 0)
		die("listen");
	wait_for(EPOLLIN, EPOLL_CTL_ADD, listener);
}

int main(int argc, char **argv) {
#ifdef TLS
	if (argc != 4)
		return 2;
	begin_tls(argv[1], argv[2]);
#endif
	begin(argc > 1 ? atoi(argv[argc - 1]) : 0);
	for (;;) {
		static struct epoll_event events[1024];
		int n = epoll_wait(epoll_fd, events, 1024, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener)
				accept_all();
			else if (serve(fd) < 0)
				close_conn(fd);
		}
	}
}
