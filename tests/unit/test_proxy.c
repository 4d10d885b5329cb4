/* The proxy's readers: hosts, the name in a TLS hello, requests cut at every byte, secrets put in. */
#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/proxy/authority.h"
#include "backend/proxy/hello.h"
#include "backend/proxy/request.h"
#include "base/file.h"
#include "base/hosts.h"

START_TEST(hosts)
{
	static const struct { const char *pattern, *host; int port; bool listed, any; } rows[] = {
		{ "pypi.org", "pypi.org", 443, true, false },
		{ "pypi.org", "pypi.org", 80, true, false },
		{ "pypi.org", "pypi.org", 22, false, false },
		{ "PyPI.org", "pypi.org", 443, true, false },
		{ "pypi.org", "evil-pypi.org", 443, false, false },
		{ "pypi.org", "pypi.org.evil.com", 443, false, false },
		{ "pypi.org", "files.pypi.org", 443, false, false },
		{ "*.huggingface.co", "cdn.huggingface.co", 443, true, false },
		{ "*.huggingface.co", "a.b.huggingface.co", 443, true, false },
		{ "*.huggingface.co", "huggingface.co", 443, false, false },
		{ "*.huggingface.co", ".huggingface.co", 443, false, false },
		{ "*.huggingface.co", "xhuggingface.co", 443, false, false },
		{ "db.lab:5432", "db.lab", 5432, true, true },
		{ "db.lab:5432", "db.lab", 443, false, false },
		{ "10.0.0.7", "10.0.0.7", 80, true, false },
		{ "[fe80::1]:22", "fe80::1", 22, true, true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_msg(hosts_match(rows[i].pattern, rows[i].host, rows[i].port) == rows[i].listed, "row %zu", i);
		ck_assert_msg(hosts_match_port(rows[i].pattern, rows[i].host, rows[i].port) == rows[i].any, "row %zu", i);
	}
}
END_TEST

START_TEST(no_hosts)
{
	static const char *const wrong[] = { "", " ", "a b", "http://pypi.org", "pypi.org/simple", "-a.b", "a-.b", "a..b", "*", "*.",
					     "*.10.0.0.7", "a*.b", "host:", "host:0", "host:65536", "host:http", "[::1", "::1", "[pypi.org]",
					     "127.1", "127.1.", "2130706433", "0x7f.1", "0x7f000001", "10.010.0.1", "host:80:90" };
	struct error err;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		ck_assert_msg(hosts_check(wrong[i], &err) == -1 && err.code == EINVAL, "%s", wrong[i]);
}
END_TEST

START_TEST(near)
{
	static const struct { const char *address; bool near; } rows[] = {
		{ "127.0.0.1", true }, { "127.9.9.9", true }, { "0.0.0.0", true }, { "169.254.169.254", true }, { "224.0.0.1", true },
		{ "255.255.255.255", true }, { "10.0.0.1", false }, { "93.184.216.34", false }, { "::1", true }, { "::", true },
		{ "fe80::1", true }, { "ff02::1", true }, { "::ffff:127.0.0.1", true }, { "::ffff:169.254.169.254", true },
		{ "::127.0.0.1", true }, { "2606:4700::1111", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sockaddr_in four = { .sin_family = AF_INET };
		struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
		bool is_four = inet_pton(AF_INET, rows[i].address, &four.sin_addr) == 1;

		ck_assert(is_four || inet_pton(AF_INET6, rows[i].address, &six.sin6_addr) == 1);
		ck_assert_msg(hosts_is_near(is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six) == rows[i].near, "%s",
			      rows[i].address);
	}
}
END_TEST

/* ---- requests ---- */

static char pypi[] = "pypi.org", hub[] = "hub.lab", name[] = "T", placeholder[] = "interpfs-secret-T", value[] = "s3cr3t";
static char *only_pypi[] = { pypi, NULL }, *only_hub[] = { hub, NULL };
static const struct proxy_secret secrets[] = { { name, placeholder, value, only_pypi }, { name, hub, value, only_hub } };

/* What the server gets, or "!" and the refusal. The same for every way to cut the text. */
static const char *got(const char *text, bool once)
{
	static char result[8192];

	for (size_t piece = 1; piece <= strlen(text); piece++) {
		struct buffer out = BUFFER(8000);
		struct request r;
		struct error err = { .code = 0 };
		int failed = 0;
		char now[8192];

		request_open(&r, pypi, once ? 80 : 443, secrets, 2);
		r.once = once;
		for (size_t at = 0; at < strlen(text) && !failed; at += piece)
			failed = request_take(&r, text + at, strlen(text) - at < piece ? strlen(text) - at : piece, &out, &err);
		(void)snprintf(now, sizeof now, "%s%s", failed ? "!" : "", failed ? err.text : out.data ? out.data : "");
		if (piece > 1)
			ck_assert_str_eq(now, result);
		(void)memcpy(result, now, sizeof result);
		request_close(&r);
		buffer_free(&out);
	}
	return result;
}

START_TEST(passes)
{
	ck_assert_str_eq(got("GET /a HTTP/1.1\r\nHost: pypi.org\r\nX: y \r\n\r\n", false), "GET /a HTTP/1.1\r\nHost: pypi.org\r\nX: y\r\n\r\n");
	/* two requests, the second after a body */
	ck_assert_str_eq(got("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n", false),
			 "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n");
	/* chunks, their extensions and trailers dropped */
	ck_assert_str_eq(got("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;e=1\r\nab\r\n01\r\nc\r\n0\r\nT: x\r\n\r\nGET / HTTP/1.1\r\n\r\n", false),
			 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(got("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\x81raw", false), "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\x81raw");
	/* by a proxy: one request, in the server's form */
	ck_assert_str_eq(got("GET http://pypi.org/x HTTP/1.1\r\nHost: pypi.org\r\nProxy-Connection: x\r\nConnection: keep-alive\r\n\r\nGET", true),
			 "GET /x HTTP/1.1\r\nHost: pypi.org\r\nConnection: close\r\n\r\n");
	ck_assert_str_eq(got("GET http://pypi.org HTTP/1.1\r\n\r\n", true), "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
}
END_TEST

START_TEST(secrets_are_put_in)
{
	ck_assert_str_eq(got("GET /?t=interpfs-secret-T HTTP/1.1\r\nAuthorization: Bearer interpfs-secret-T\r\n\r\n", false),
			 "GET /?t=s3cr3t HTTP/1.1\r\nAuthorization: Bearer s3cr3t\r\n\r\n");
	/* "u:interpfs-secret-T", "u:s3cr3t" */
	ck_assert_str_eq(got("GET / HTTP/1.1\r\nAuthorization: Basic dTppbnRlcnBmcy1zZWNyZXQtVA==\r\n\r\n", false),
			 "GET / HTTP/1.1\r\nAuthorization: Basic dTpzM2NyM3Q=\r\n\r\n");
	/* not in bodies, where its length is said already, and not for another host's secret */
	ck_assert_str_eq(got("POST / HTTP/1.1\r\nX: hub.lab\r\nContent-Length: 17\r\n\r\ninterpfs-secret-T", false),
			 "POST / HTTP/1.1\r\nX: hub.lab\r\nContent-Length: 17\r\n\r\ninterpfs-secret-T");
}
END_TEST

START_TEST(refused)
{
	static const char *const wrong[] = {
		"\x16\x03\x01", "GET /\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno header\r\n\r\n",
		"GET / HTTP/1.1\r\n folded: x\r\n\r\n", "GET / HTTP/1.1\r\nA : b\r\n\r\n", "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n", "GET / HTTP/1.1\r\nHost: pypi.org\r\nHost: pypi.org\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: pypi.org:8443\r\n\r\n", "GET https://evil.com/ HTTP/1.1\r\nHost: pypi.org\r\n\r\n",
		"CONNECT evil.com:443 HTTP/1.1\r\nHost: pypi.org\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
		"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		ck_assert_msg(*got(wrong[i], false) == '!', "row %zu gave: %s", i, got(wrong[i], false));
}
END_TEST

START_TEST(bounded)
{
	struct buffer out = BUFFER(1 << 20);
	struct request r;
	struct error err;
	size_t n = 0;

	request_open(&r, pypi, 443, secrets, 2);
	ck_assert_int_eq(request_take(&r, "GET / HTTP/1.1\r\n", 16, &out, &err), 0);
	while (request_take(&r, "A: 1234567890\r\n", 15, &out, &err) == 0 && n < 10000)
		n++;
	ck_assert_uint_lt(n, REQUEST_HEAD_MAX / 15);
	ck_assert_int_eq(err.code, EFBIG);
	ck_assert_uint_eq(out.length, 0);
	request_close(&r);
	buffer_free(&out);
}
END_TEST

/* ---- TLS ---- */

/* A hello with these extensions, as OpenSSL writes one. */
static size_t make_hello(const char *server, uint8_t *data, size_t size)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *out = BIO_new(BIO_s_mem());
	int n;

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	if (server)
		ck_assert_int_eq(SSL_set_tlsext_host_name(ssl, server), 1);
	ck_assert_int_lt(SSL_connect(ssl), 1);
	n = BIO_read(out, data, (int)size);
	ck_assert_int_gt(n, 0);
	SSL_free(ssl);
	SSL_CTX_free(context);
	return (size_t)n;
}

START_TEST(hellos)
{
	uint8_t data[4096];
	char host[HOST_SIZE];
	size_t n = make_hello("PyPI.org", data, sizeof data);

	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(hello_read(data, i, host), HELLO_MORE);
	ck_assert_int_eq(hello_read(data, n, host), HELLO_NAMED);
	ck_assert_str_eq(host, "pypi.org");
	ck_assert_int_eq(hello_read((const uint8_t *)"SSH-2.0", 7, host), HELLO_OTHER);
	n = make_hello(NULL, data, sizeof data);
	ck_assert_int_eq(hello_read(data, n, host), HELLO_NONE);
}
END_TEST

START_TEST(authority)
{
	char folder[] = "/tmp/test_proxy.XXXXXX";
	struct buffer first = BUFFER(65536), second = BUFFER(65536);
	struct authority *a;
	struct error err;
	struct stat st;
	SSL_CTX *context;
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	fd = open(folder, O_RDONLY | O_DIRECTORY);
	ck_assert_msg(authority_make(fd, &err) == 0, "%s", err.text);
	ck_assert_int_eq(fstatat(fd, AUTHORITY_FILE, &st, 0), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(authority_certificate(fd, &first, &err), 0);
	ck_assert_ptr_null(strstr(first.data, "PRIVATE"));
	/* It stays; a damaged one is made anew. */
	ck_assert_int_eq(authority_make(fd, &err), 0);
	ck_assert_int_eq(authority_certificate(fd, &second, &err), 0);
	ck_assert_str_eq(first.data, second.data);
	ck_assert_int_eq(file_replace(fd, AUTHORITY_FILE, "torn", 4, 0600, false, &err), 0);
	ck_assert_int_eq(authority_open(&a, fd, &err), -1);
	ck_assert_int_eq(authority_make(fd, &err), 0);
	ck_assert_int_eq(authority_open(&a, fd, &err), 0);
	/* For a name, one longer than a common name may be, and an address. */
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "pypi.org",
						     "a.very.long.name.that.goes.on.and.on.until.it.is.longer.than.sixty-four.characters.org",
						     "10.0.0.7" };

		context = authority_context(a, names[i], &err);
		ck_assert_msg(context != NULL, "%s: %s", names[i], err.text);
		SSL_CTX_free(context);
	}
	authority_close(a);
	buffer_free(&first);
	buffer_free(&second);
	ck_assert_int_eq(unlinkat(fd, AUTHORITY_FILE, 0), 0);
	close(fd);
	ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("proxy");
	TCase *t = tcase_create("proxy");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, hosts);
	tcase_add_test(t, no_hosts);
	tcase_add_test(t, near);
	tcase_add_test(t, passes);
	tcase_add_test(t, secrets_are_put_in);
	tcase_add_test(t, refused);
	tcase_add_test(t, bounded);
	tcase_add_test(t, hellos);
	tcase_add_test(t, authority);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
