#include "backend/proxy/end.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hosts.h"

int end_wait(int fd, short events, double deadline)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		double left = deadline - clock_seconds();
		int n = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);

		if (n > 0)
			return 1;
		if ((n < 0 && errno != EINTR) || left <= 0)
			return 0;
	}
}

static ssize_t plain(struct end *end, ssize_t n, short events)
{
	if (n >= 0)
		return n;
	end->wants = events;
	return errno == EAGAIN || errno == EINTR ? END_AGAIN : END_FAILED;
}

static ssize_t secure(struct end *end, int n)
{
	if (n > 0)
		return n;
	switch (SSL_get_error(end->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		end->wants = POLLIN;
		return END_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		end->wants = POLLOUT;
		return END_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return END_FAILED;
	}
}

ssize_t end_read(struct end *end, void *data, size_t n)
{
	if (!end->ssl)
		return plain(end, recv(end->fd, data, n, MSG_DONTWAIT), POLLIN);
	ERR_clear_error();
	return secure(end, SSL_read(end->ssl, data, (int)n));
}

ssize_t end_write(struct end *end, const void *data, size_t n)
{
	if (!end->ssl)
		return plain(end, send(end->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL), POLLOUT);
	ERR_clear_error();
	return secure(end, SSL_write(end->ssl, data, (int)n));
}

void end_finish(struct end *end)
{
	if (end->ssl)
		(void)SSL_shutdown(end->ssl);
	else
		(void)shutdown(end->fd, SHUT_WR);
}

void end_close(struct end *end)
{
	SSL_free(end->ssl);
	end->ssl = NULL;
	if (end->fd >= 0)
		(void)close(end->fd);
	end->fd = -1;
}

static int set_name(SSL *ssl, const char *name)
{
	if (hosts_is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
	return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

static int refused(SSL *ssl, struct error *err)
{
	long verdict = SSL_get_verify_result(ssl);
	unsigned long code = ERR_get_error();
	char text[256] = "the connection ended in the middle";

	if (verdict != X509_V_OK)
		return error_set(err, EPROTO, "TLS: %s", X509_verify_cert_error_string(verdict));
	if (code)
		ERR_error_string_n(code, text, sizeof text);
	return error_set(err, EPROTO, "TLS: %s", text);
}

int end_secure(struct end *end, SSL_CTX *context, const char *name, double deadline, struct error *err)
{
	SSL *ssl = SSL_new(context);

	if (!ssl || SSL_set_fd(ssl, end->fd) != 1 || (name && set_name(ssl, name) != 1)) {
		SSL_free(ssl);
		return error_memory(err);
	}
	SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	end->ssl = ssl;
	for (;;) {
		ssize_t n;

		ERR_clear_error();
		n = secure(end, name ? SSL_connect(ssl) : SSL_accept(ssl));
		if (n > 0)
			return 0;
		if (n != END_AGAIN)
			return refused(ssl, err);
		if (!end_wait(end->fd, end->wants, deadline))
			return error_set(err, ETIMEDOUT, "TLS: no answer in time");
	}
}
