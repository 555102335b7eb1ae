// A bare io_uring server: what all connections want is said to the kernel, and their
// news fetched, by one system call a round. Linux 6.0 or later.
//
//	server PORT
//
// A connection's receive stays armed and takes a buffer from a common ring only when
// bytes are there. It has one send under way at most; what is answered meanwhile waits.
// If too much waits, the receive is cancelled until all has gone out.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define SUFFIX " ...\n"

enum {
	MAX_FILES = 1 << 16,
	MAX_LINE = (64 << 10) + 1, // without its LF, with a CR
	MAX_WAITING = 256 << 10,
	MAX_PREFIX = sizeof "Request #4294967295 - ",
	BUFFERS = 1024, // of the common ring, a power of two
	READ = 4 << 10,
};

typedef struct {
	char *partial, *sending, *waiting; // a line's beginning, replies under way, replies after them
	unsigned partial_len, sending_len, waiting_len, prefix_len;
	bool receiving, cancelled, over;
	char prefix[MAX_PREFIX];
} conn;

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char pool[BUFFERS][READ];
static conn conns[MAX_FILES]; // by the ring's own descriptor
static int listener;

static void die(const char *what, int error) {
	fprintf(stderr, "io_uring: %s: %s\n", what, strerror(error));
	exit(1);
}

static struct io_uring_sqe *next_sqe(void) {
	if (io_uring_sq_space_left(&ring) == 0)
		io_uring_submit(&ring);
	return io_uring_get_sqe(&ring);
}

// What a completion is of, in the low bits of its user_data; the connection is above.
enum { ACCEPT, RECEIVE, SEND, OTHER };

static void arm_accept(void) {
	struct io_uring_sqe *sqe = next_sqe();
	io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
	sqe->user_data = ACCEPT;
}

static void arm_receive(__u64 id) {
	struct io_uring_sqe *sqe = next_sqe();
	io_uring_prep_recv_multishot(sqe, id, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->user_data = id << 2 | RECEIVE;
	conns[id].receiving = true;
	conns[id].cancelled = false;
}

static void cancel_receive(__u64 id) {
	struct io_uring_sqe *sqe = next_sqe();
	io_uring_prep_cancel64(sqe, id << 2 | RECEIVE, 0);
	sqe->user_data = OTHER;
	conns[id].cancelled = true;
}

static void send_waiting(__u64 id) {
	conn *c = &conns[id];
	c->sending = c->waiting;
	c->sending_len = c->waiting_len;
	c->waiting = NULL;
	c->waiting_len = 0;
	struct io_uring_sqe *sqe = next_sqe();
	io_uring_prep_send(sqe, id, c->sending, c->sending_len, MSG_WAITALL | MSG_NOSIGNAL); // a short write is gone on with
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->user_data = id << 2 | SEND;
}

static void close_conn(__u64 id) {
	free(conns[id].partial);
	struct io_uring_sqe *sqe = next_sqe();
	io_uring_prep_close_direct(sqe, id);
	sqe->user_data = OTHER;
}

// go_on begins what a connection's state allows; every completion ends in it. The
// connection is closed when nothing of it is under way, so that no completion can meet
// the next one with its descriptor.
static void go_on(__u64 id) {
	conn *c = &conns[id];
	if (c->waiting && !c->sending)
		send_waiting(id);
	if (c->receiving) {
		if ((c->over || c->waiting_len > MAX_WAITING) && !c->cancelled)
			cancel_receive(id);
	} else if (!c->sending) {
		c->over ? close_conn(id) : arm_receive(id);
	}
}

static void append(char **to, unsigned *len, const char *bytes, size_t n) {
	if (!(*to = realloc(*to, *len + n)))
		die("realloc", errno);
	memcpy(*to + *len, bytes, n);
	*len += n;
}

// answer adds the replies to all lines that are complete to those that wait.
static void answer(conn *c, const char *bytes, size_t n) {
	static char out[MAX_LINE + READ * (MAX_PREFIX + sizeof SUFFIX)]; // enough if each byte read is an LF
	char *held = c->partial, *to = out;
	if (held) {
		append(&held, &c->partial_len, bytes, n);
		bytes = held;
		n = c->partial_len;
	}
	const char *line = bytes, *end = bytes + n;
	for (const char *lf; (lf = memchr(line, '\n', end - line)) && lf - line <= MAX_LINE; line = lf + 1) {
		to = mempcpy(to, c->prefix, c->prefix_len);
		to = mempcpy(to, line, lf - line - (lf > line && lf[-1] == '\r'));
		to = mempcpy(to, SUFFIX, strlen(SUFFIX));
	}
	c->over = end - line > MAX_LINE;
	c->partial = NULL;
	c->partial_len = 0;
	if (to > out)
		append(&c->waiting, &c->waiting_len, out, to - out);
	if (line < end)
		append(&c->partial, &c->partial_len, line, end - line);
	free(held);
}

static void give_back(int buffer) {
	io_uring_buf_ring_add(buffers, pool[buffer], READ, buffer, BUFFERS - 1, 0);
	io_uring_buf_ring_advance(buffers, 1);
}

static void received(__u64 id, int res, unsigned flags) {
	conn *c = &conns[id];
	if (res == -EINVAL)
		die("receive", EINVAL);
	if (flags & IORING_CQE_F_BUFFER) {
		int buffer = flags >> IORING_CQE_BUFFER_SHIFT;
		if (res > 0 && !c->over)
			answer(c, pool[buffer], res);
		give_back(buffer);
	}
	if (!(flags & IORING_CQE_F_MORE))
		c->receiving = false;
	if (res <= 0 && res != -ENOBUFS && res != -ECANCELED)
		c->over = true;
	go_on(id);
}

static void sent(__u64 id, int res) {
	conn *c = &conns[id];
	if (res < (int)c->sending_len)
		c->over = true;
	free(c->sending);
	c->sending = NULL;
	go_on(id);
}

static void accepted(int id, unsigned flags) {
	static unsigned number;
	if (id < 0)
		die("accept", -id);
	if (!(flags & IORING_CQE_F_MORE))
		arm_accept();
	conns[id] = (conn){0};
	conns[id].prefix_len = sprintf(conns[id].prefix, "Request #%u - ", ++number);
	go_on(id);
}

static void listen_on(int port) {
	int on = 1;
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); // accepted sockets inherit it
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(listener, 4096) < 0)
		die("listen", errno);
}

static void must(const char *what, int result) {
	if (result < 0)
		die(what, -result);
}

static void open_ring(void) {
	unsigned always = IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN;
	struct io_uring_params newer = {.cq_entries = 16384, .flags = always | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
	struct io_uring_params older = {.cq_entries = 16384, .flags = always}; // Linux 6.0
	int err = io_uring_queue_init_params(4096, &ring, &newer);
	must("not available here", err == -EINVAL ? io_uring_queue_init_params(4096, &ring, &older) : err);
	io_uring_register_ring_fd(&ring);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	must("descriptors", io_uring_register_files_sparse(&ring, files.rlim_max < MAX_FILES ? files.rlim_max : MAX_FILES));

	if (!(buffers = aligned_alloc(4096, BUFFERS * sizeof(struct io_uring_buf))))
		die("aligned_alloc", errno);
	struct io_uring_buf_reg reg = {.ring_addr = (__u64)buffers, .ring_entries = BUFFERS};
	must("buffers", io_uring_register_buf_ring(&ring, &reg, 0));
	io_uring_buf_ring_init(buffers);
	for (int b = 0; b < BUFFERS; b++)
		give_back(b);
}

int main(int argc, char **argv) {
	open_ring();
	listen_on(argc > 1 ? atoi(argv[1]) : 0);
	arm_accept();
	for (;;) {
		int err = io_uring_submit_and_wait(&ring, 1);
		if (err != -EINTR)
			must("wait", err);
		struct io_uring_cqe *cqe;
		unsigned head, done = 0;
		io_uring_for_each_cqe(&ring, head, cqe) {
			switch (cqe->user_data & 3) {
			case ACCEPT: accepted(cqe->res, cqe->flags); break;
			case RECEIVE: received(cqe->user_data >> 2, cqe->res, cqe->flags); break;
			case SEND: sent(cqe->user_data >> 2, cqe->res); break;
			}
			done++;
		}
		io_uring_cq_advance(&ring, done);
	}
}
