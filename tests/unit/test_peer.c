/* Who is let in through a port on the loopback: the owner's processes and root's, nobody who is gone. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/peer.h"

#define SOMEBODY 65534

static int listening, asking;
static struct sockaddr_in address;

static void set_up(void)
{
	socklen_t size = sizeof address;

	address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(listening, 8), 0);
	ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &size), 0);
	asking = peer_open(listening);
	ck_assert_int_ge(asking, 0);
}

static void tear_down(void)
{
	close(listening);
	close(asking);
}

/* A connection that somebody's process made and has, or has closed already; accepted. */
static int connection(uid_t whose, bool gone, pid_t *child)
{
	int told[2];
	char byte;

	ck_assert_int_eq(pipe(told), 0);
	*child = fork();
	if (!*child) {
		int fd;

		if (whose != geteuid() && setresuid(whose, whose, whose))
			_exit(1);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof address) || send(fd, "POST /", 6, 0) != 6)
			_exit(1);
		if (gone)
			close(fd);
		if (write(told[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(told[0], &byte, 1), 1);
	close(told[0]);
	close(told[1]);
	return accept(listening, NULL, NULL);
}

static bool may(uid_t owner, uid_t whose, bool gone)
{
	pid_t child;
	int fd = connection(whose, gone, &child);
	bool answer = peer_may(asking, fd, owner);

	close(fd);
	(void)kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	return answer;
}

START_TEST(who_may)
{
	ck_assert(may(geteuid(), geteuid(), false));
	if (geteuid()) {
		ck_assert(!may(SOMEBODY, geteuid(), false));
		ck_assert(!may(geteuid(), geteuid(), true));
		return;
	}
	ck_assert(may(SOMEBODY, SOMEBODY, false));
	ck_assert(may(SOMEBODY, 0, false));
	ck_assert(!may(SOMEBODY, SOMEBODY - 1, false));
	/* What was sent before the end could still be read. */
	ck_assert(!may(SOMEBODY, SOMEBODY, true));
	ck_assert(!may(SOMEBODY, SOMEBODY - 1, true));
	ck_assert(may(0, SOMEBODY, false));
}
END_TEST

START_TEST(where_the_kernel_does_not_say)
{
	int pair[2];

	ck_assert(peer_may(-1, -1, SOMEBODY));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(peer_open(pair[0]), -1); /* it knows nothing of that */
	close(pair[0]);
	close(pair[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("peer");
	TCase *t = tcase_create("peer");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, who_may);
	tcase_add_test(t, where_the_kernel_does_not_say);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
