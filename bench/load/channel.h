// What the bytes of a connection go through: its socket or, compiled with -DTLS, OpenSSL
// over it, TLS 1.3 only. Both ends use it: load.c and servers/c-epoll.
//
// take and put are as recv and send of a socket that does not block, with an EAGAIN of
// their own. The handshake goes on in whichever of them comes first.

#ifndef CHANNEL_H
#define CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef TLS

static inline void begin_channel(int fd) { (void)fd; }
static inline void end_channel(int fd) { (void)fd; }
static inline void end_writing(int fd) { shutdown(fd, SHUT_WR); }
static inline ssize_t take(int fd, char *bytes, size_t n) { return recv(fd, bytes, n, 0); }
static inline ssize_t put(int fd, const char *bytes, size_t n) { return send(fd, bytes, n, MSG_NOSIGNAL); }

// holds_more is true if bytes were read from the socket that take has not returned: no
// event of the socket tells of them.
static inline bool holds_more(int fd) { (void)fd; return false; }

// awaits_peer is true if the last put can only go on when the peer has said something.
static inline bool awaits_peer(int fd) { (void)fd; return false; }

#else

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>

static SSL *channels[1 << 20]; // by file descriptor
static SSL_CTX *tls;

static inline void tls_failed(void) {
	ERR_print_errors_fp(stderr);
	exit(1);
}

// begin_tls is for a server if there is a certificate, else for a client, which believes
// any: what that costs is the load's.
static inline void begin_tls(const char *certificate, const char *key) {
	signal(SIGPIPE, SIG_IGN); // OpenSSL writes to a socket as to a file
	tls = SSL_CTX_new(certificate ? TLS_server_method() : TLS_client_method());
	if (!tls || !SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION))
		tls_failed();
	if (certificate && (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1 || SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1))
		tls_failed();
	// A record and its header by one read, not two.
	SSL_CTX_set_read_ahead(tls, 1);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
}

static inline void begin_channel(int fd) {
	SSL *s = SSL_new(tls);
	if (!s || !SSL_set_fd(s, fd))
		tls_failed();
	SSL_is_server(s) ? SSL_set_accept_state(s) : SSL_set_connect_state(s);
	channels[fd] = s;
}

static inline void say_end(int fd) {
	if (SSL_is_init_finished(channels[fd]) && !(SSL_get_shutdown(channels[fd]) & SSL_SENT_SHUTDOWN))
		SSL_shutdown(channels[fd]);
	ERR_clear_error(); // what is left there would be taken for the next connection's
}

static inline void end_channel(int fd) {
	say_end(fd);
	SSL_free(channels[fd]);
	channels[fd] = NULL;
}

static inline void end_writing(int fd) {
	say_end(fd);
	shutdown(fd, SHUT_WR);
}

static inline ssize_t moved(int fd, int done, size_t n) {
	if (done == 1)
		return n;
	switch (SSL_get_error(channels[fd], done)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
	case SSL_ERROR_ZERO_RETURN: return 0;
	case SSL_ERROR_SSL: errno = EPROTO;
	}
	ERR_clear_error();
	return -1;
}

static inline ssize_t take(int fd, char *bytes, size_t n) {
	size_t got = 0;
	int done = SSL_read_ex(channels[fd], bytes, n, &got);
	return moved(fd, done, got);
}

static inline ssize_t put(int fd, const char *bytes, size_t n) {
	size_t written = 0;
	int done = SSL_write_ex(channels[fd], bytes, n, &written);
	return moved(fd, done, written);
}

static inline bool holds_more(int fd) { return SSL_has_pending(channels[fd]); }
static inline bool awaits_peer(int fd) { return SSL_want_read(channels[fd]); }

#endif
#endif
