/* Requests to Jupyter Server: what it is sent, which answers are taken, and which are not. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/kernel/rest.h"

static char folder[64];
static struct sockaddr_un name;
static int listener;
static struct rest *h;
static struct error err;

static void set_up(void)
{
	snprintf(folder, sizeof folder, "/tmp/interpfs-test-rest.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	name = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(name.sun_path, sizeof name.sun_path, "%s/sock", folder);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	h = rest_new(&err);
	ck_assert_ptr_nonnull(h);
}

static void tear_down(void)
{
	rest_free(h);
	close(listener);
	unlink(name.sun_path);
	rmdir(folder);
}

static int begin(const char *body)
{
	ck_assert_msg(rest_start(h, name.sun_path, "secret", body ? "POST" : "GET", "/api/sessions", body, &err) == 0, "%s", err.text);
	return accept(listener, NULL, NULL);
}

static int service(void)
{
	struct pollfd p = { .fd = rest_fd(h), .events = rest_events(h) };

	ck_assert_int_ge(poll(&p, 1, rest_timeout(h)), 0);
	return rest_service(h, &err);
}

static void say(int server, const char *text)
{
	ck_assert_int_eq(send(server, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

START_TEST(a_request)
{
	int server = begin("{\"a\":1}");
	char got[1024];
	ssize_t n;

	ck_assert_int_eq(rest_service(h, &err), 0);
	ck_assert_int_eq(rest_events(h), POLLIN);
	n = recv(server, got, sizeof got - 1, 0);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert_str_eq(got, "POST /api/sessions HTTP/1.0\r\nHost: localhost\r\nAuthorization: token secret\r\n"
			      "Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}");
	/* The length says where it ends: the server may keep the connection. */
	say(server, "HTTP/1.1 201 Created\r\nServer: T\r\ncontent-LENGTH:  7 \r\n\r\n{\"b\"");
	ck_assert_int_eq(service(), 0);
	say(server, ":2}");
	ck_assert_int_eq(service(), 1);
	ck_assert_int_eq(rest_status(h), 201);
	ck_assert_int_eq(json_integer(json_get(rest_body(h), "b"), 0), 2);
	ck_assert_int_eq(rest_fd(h), -1);
	ck_assert_int_eq(rest_timeout(h), -1);
	close(server);
}
END_TEST

START_TEST(up_to_the_end)
{
	int server = begin(NULL);

	say(server, "HTTP/1.0 404 Not Found\r\n\r\n{\"message\":");
	ck_assert_int_eq(service(), 0);
	say(server, "\"none\"}");
	close(server);
	while (rest_fd(h) >= 0)
		ck_assert_msg(service() >= 0, "%s", err.text);
	ck_assert_int_eq(rest_status(h), 404);
	ck_assert(json_is(json_get(rest_body(h), "message"), "none"));
}
END_TEST

START_TEST(no_server)
{
	int server = begin(NULL);

	close(server); /* it has taken the connection and ends */
	ck_assert_int_eq(service(), -1);
	ck_assert_int_eq(err.code, ECONNREFUSED);
	ck_assert_int_eq(rest_service(h, &err), -1);
	ck_assert_int_eq(err.code, EINVAL);
	close(listener);
	listener = -1;
	ck_assert_int_eq(rest_start(h, name.sun_path, "t", "GET", "/", NULL, &err), -1);
	ck_assert_int_eq(err.code, ECONNREFUSED);
	unlink(name.sun_path);
	ck_assert_int_eq(rest_start(h, name.sun_path, "t", "GET", "/", NULL, &err), -1);
	ck_assert_int_eq(err.code, ECONNREFUSED);
	ck_assert_int_eq(rest_fd(h), -1);
}
END_TEST

/* As many as may be wait to be taken already: it waits its turn. */
START_TEST(full_queue)
{
	int waiting[16], n = 0, server;

	do {
		waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	} while (connect(waiting[n++], (struct sockaddr *)&name, sizeof name) == 0 && n < 16);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(rest_start(h, name.sun_path, "t", "GET", "/", NULL, &err), 0);
	ck_assert_int_eq(rest_fd(h), -1);
	ck_assert_int_ge(rest_timeout(h), 0);
	ck_assert_int_eq(rest_service(h, &err), 0);
	for (int i = 0; i < n - 1; i++)
		close(accept(listener, NULL, NULL));
	ck_assert_int_eq(rest_service(h, &err), 0);
	ck_assert_int_ge(rest_fd(h), 0);
	server = accept(listener, NULL, NULL);
	say(server, "HTTP/1.1 204 No Content\r\n\r\n");
	ck_assert_int_eq(service(), 1);
	ck_assert_int_eq(rest_status(h), 204);
	close(server);
	while (n)
		close(waiting[--n]);
}
END_TEST

/* What it is given a piece at a time means the same as all at once. */
START_TEST(answers)
{
#define HEAD "HTTP/1.1 200 OK\r\n"
	static const struct {
		const char *text;
		int result; /* at the end: a status, or minus an errno */
		const char *body;
	} cases[] = {
		{ HEAD "\r\n", 200, "" },
		{ HEAD "\r\nabc", 200, "abc" },
		{ HEAD "A: b\r\nContent-Length: 2\r\nC: d\r\n\r\nabc", 200, "ab" },
		{ HEAD "Content-Length:0\r\n\r\n", 200, "" },
		{ HEAD "Content-Length-X: 9\r\nX: Content-Length: 8\r\n\r\nabc", 200, "abc" },
		{ "HTTP/1.0 500\r\nServer: x\r\n\r\nabc", 500, "abc" },
		{ "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", 204, "" },
		{ "", -ECONNREFUSED, NULL },
		{ "HTTP/1.1 2", -ECONNREFUSED, NULL },
		{ HEAD "Content-Length: 4\r\n\r\nabc", -ECONNREFUSED, NULL },
		{ HEAD "Content-Length: -1\r\n\r\nabc", -EPROTO, NULL },
		{ HEAD "Content-Length: 1x\r\n\r\nabc", -EPROTO, NULL },
		{ HEAD "Content-Length:\r\n\r\nabc", -EPROTO, NULL },
		{ HEAD "Content-Length: 4194305\r\n\r\nabc", -EPROTO, NULL },
		{ HEAD "Content-Length: 99999999999999999999\r\n\r\nabc", -EPROTO, NULL },
		{ HEAD "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", -EPROTO, NULL },
		{ "HTTP/1.1 100 Continue\r\n\r\n", -EPROTO, NULL },
		{ "HTTP/1.1 2xx Fine\r\n\r\n", -EPROTO, NULL },
		{ "HTTP/1.1 2000 Fine\r\n\r\n", -EPROTO, NULL },
		{ "SSH-2.0-OpenSSH_9.2p1\r\n\r\n", -EPROTO, NULL },
		{ "\r\n\r\n", -EPROTO, NULL },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		size_t n = strlen(cases[i].text);
		struct rest_answer answer;
		int result = 0;

		for (size_t k = 0; k <= n && !result; k++)
			result = rest_parse(cases[i].text, k, k == n, &answer, &err);
		result = result > 0 ? (int)answer.status : -err.code;
		ck_assert_msg(result == cases[i].result, "%s: %d, not %d", cases[i].text, result, cases[i].result);
		if (result > 0) {
			ck_assert_uint_eq(answer.body.length, strlen(cases[i].body));
			ck_assert_mem_eq(answer.body.data, cases[i].body, answer.body.length);
		}
	}
}
END_TEST

/* A server that never stops is left. */
START_TEST(without_end)
{
	static const char *const beginnings[] = { "HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\n\r\n" };
	static char zeros[1 << 16];

	memset(zeros, '0', sizeof zeros);
	for (size_t i = 0; i < 2; i++) {
		int server = begin(NULL), result = 0;

		say(server, beginnings[i]);
		for (int k = 0; k < 200 && !result; k++) {
			(void)send(server, zeros, sizeof zeros, MSG_NOSIGNAL | MSG_DONTWAIT);
			result = rest_service(h, &err);
		}
		ck_assert_int_eq(result, -1);
		ck_assert_int_eq(err.code, EPROTO);
		close(server);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rest");
	TCase *t = tcase_create("rest");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, a_request);
	tcase_add_test(t, up_to_the_end);
	tcase_add_test(t, no_server);
	tcase_add_test(t, full_queue);
	tcase_add_test(t, answers);
	tcase_add_test(t, without_end);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
