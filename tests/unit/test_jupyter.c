/* Jupyter Server's states, with a guest and a runner that are stand-ins and a clock of its own: what
 * has the socket inside may be anything, and may be silent. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/runner.h"
#include "backend/sandbox/guest.h"

static int test_folder(struct runner *r);
static const char *test_path(struct runner *r);
static int test_watch(struct runner *r, int fd, short events, struct error *err);
static void test_unwatch(struct runner *r, int fd);
static const cJSON *test_fields(struct runner *r);
static int test_set_value(struct runner *r, const char *path, const void *data, size_t n, mode_t mode, struct error *err);
static int test_append(struct runner *r, const char *path, const void *data, size_t n, struct error *err);
static void test_log(struct runner *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int test_send(struct conversation *c, int channel, const void *data, size_t n, int passed);
static struct guest_operation *test_connect(struct guest *g, const char *address, const struct guest_callbacks *cb,
					    void *context, struct error *err);
static struct guest_operation *test_exec(struct guest *g, const struct guest_command *command,
					 const struct guest_callbacks *cb, void *context, struct error *err);
static void test_forget(struct guest_operation *operation);
static void test_signal(struct guest_operation *operation, int signal);
static void test_consumed(struct guest_operation *operation, size_t n) { (void)operation; (void)n; }
static int test_guest_fd(const struct guest *g) { (void)g; return 0; }
static short test_guest_events(const struct guest *g) { (void)g; return POLLIN; }

#define runner_folder test_folder
#define runner_folder_path test_path
#define runner_fields test_fields
#define runner_watch test_watch
#define runner_unwatch test_unwatch
#define runner_set_value test_set_value
#define runner_append test_append
#define runner_log test_log
#define conversation_send test_send
#define guest_connect test_connect
#define guest_exec test_exec
#define guest_forget test_forget
#define guest_signal test_signal
#define guest_consumed test_consumed
#define guest_fd test_guest_fd
#define guest_events test_guest_events
#include "backend/sandbox/calls_jupyter.c"

/* ---- the runner ---- */

static char folder[] = "/tmp/test_jupyter.XXXXXX";
static int folder_fd;
static double now;
static short watched[64];

static cJSON *fields;

static const cJSON *test_fields(struct runner *r) { (void)r; return fields; }
static int test_folder(struct runner *r) { (void)r; return folder_fd; }
static const char *test_path(struct runner *r) { (void)r; return folder; }

static int test_watch(struct runner *r, int fd, short events, struct error *err)
{
	(void)r;
	(void)err;
	watched[fd] = events;
	return 0;
}

static void test_unwatch(struct runner *r, int fd) { (void)r; watched[fd] = 0; }

static int test_set_value(struct runner *r, const char *path, const void *data, size_t n, mode_t mode, struct error *err)
{
	(void)r;
	ck_assert_uint_eq(mode, 0600); /* it has the token in it */
	return file_replace(folder_fd, path, data, n, mode, false, err);
}

static int test_append(struct runner *r, const char *path, const void *data, size_t n, struct error *err)
{
	(void)r; (void)path; (void)data; (void)n; (void)err;
	return 0;
}

static void test_log(struct runner *r, const char *format, ...) { (void)r; (void)format; }

static int test_send(struct conversation *c, int channel, const void *data, size_t n, int passed)
{
	(void)c; (void)channel; (void)data; (void)n; (void)passed;
	return 0;
}

double calls_now(void) { return now; }
void calls_set_timer(struct calls *calls) { (void)calls; }
char **calls_environment(struct calls *calls, const cJSON *extra) { (void)calls; (void)extra; return calloc(1, sizeof(char *)); }
void calls_free_environment(char **environment) { free(environment); }

static int ended_code;
static char ended_text[ERROR_TEXT_SIZE];

void call_end(struct call *call, int code, int status, const char *text)
{
	(void)status;
	ended_code = code;
	(void)snprintf(ended_text, sizeof ended_text, "%s", text);
	call->calls->list = NULL;
}

/* ---- the relay: there is none ---- */

int relay_open(struct relay **relay, struct runner *runner, const char *inside, const char *name, int *port,
	       struct error *err)
{
	(void)relay; (void)runner; (void)inside; (void)name; (void)port; (void)err;
	return 0;
}

void relay_attach(struct relay *relay, struct guest *guest) { (void)relay; (void)guest; }
void relay_close(struct relay *relay) { (void)relay; }
bool relay_descriptor(struct relay *relay, int fd, short revents) { (void)relay; (void)fd; (void)revents; return false; }

/* ---- the guest ---- */

static struct operation {
	const struct guest_callbacks *callbacks;
	void *context;
	bool forgotten;
	int signalled;
} connecting, server;
static int connects;
static char page[64]; /* that the server was told to open */

static struct guest_operation *test_connect(struct guest *g, const char *address, const struct guest_callbacks *cb,
					    void *context, struct error *err)
{
	(void)g;
	(void)address;
	(void)err;
	connecting = (struct operation){ .callbacks = cb, .context = context };
	connects++;
	return (struct guest_operation *)&connecting;
}

static struct guest_operation *test_exec(struct guest *g, const struct guest_command *command,
					 const struct guest_callbacks *cb, void *context, struct error *err)
{
	(void)g;
	(void)err;
	page[0] = '\0';
	for (const char *const *a = command->argv; *a; a++) {
		ck_assert_ptr_null(strstr(*a, ((struct calls *)context)->jupyter.token)); /* others could read it */
		if (strstr(*a, "default_url="))
			(void)snprintf(page, sizeof page, "%s", strchr(*a, '=') + 1);
	}
	server = (struct operation){ .callbacks = cb, .context = context };
	return (struct guest_operation *)&server;
}

static void test_forget(struct guest_operation *o) { ((struct operation *)o)->forgotten = true; }
static void test_signal(struct guest_operation *o, int signal) { ((struct operation *)o)->signalled = signal; }

/* ---- both ---- */

static struct calls calls;
static struct call call;
static int ours = -1;

static void set_up(void)
{
	memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	now = 1000;
	connects = 0;
	ended_code = -1;
	calls = (struct calls){ .guest = (struct guest *)folder, .list = &call };
	call = (struct call){ .calls = &calls, .jupyter = true };
	jupyter_open(&calls);
}

static void tear_down(void)
{
	struct error err;

	jupyter_detach(&calls);
	jupyter_close(&calls);
	close(folder_fd);
	if (ours >= 0)
		close(ours);
	ours = -1;
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, folder, &err), 0);
}

static void start(void)
{
	char python[] = "python";
	const struct sandbox_jupyter made = { python, NULL, NULL };

	ck_assert(calls_want_jupyter(&calls));
	calls_jupyter(&calls, &made, NULL);
	ck_assert_int_eq(calls.jupyter.state, JUPYTER_STARTING);
}

static void pass(double seconds)
{
	for (double end = now + seconds; now < end; now += 0.5)
		jupyter_timer(&calls);
}

static void connect_it(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ours = ends[1];
	connecting.callbacks->passed(connecting.context, ends[0]);
	connecting.callbacks->ended(connecting.context, 0, 0, "");
}

START_TEST(it_answers)
{
	char asked[512];
	ssize_t n;

	start();
	pass(1);
	connect_it();
	n = recv(ours, asked, sizeof asked - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	asked[n] = '\0';
	ck_assert_ptr_nonnull(strstr(asked, calls.jupyter.token));
	ck_assert_int_eq(send(ours, "HTTP/1.1 200 OK\r\n", 17, 0), 17);
	ck_assert(jupyter_descriptor(&calls, calls.jupyter.probe, POLLIN));
	ck_assert_int_eq(calls.jupyter.state, JUPYTER_RUNNING);
	ck_assert_int_eq(ended_code, 0);
	ck_assert_double_eq(jupyter_due(&calls), 0);
}
END_TEST

/* It takes the connection and says nothing; or half a word. */
START_TEST(it_is_silent)
{
	start();
	pass(1);
	connect_it();
	if (_i) {
		ck_assert_int_eq(send(ours, "HTTP", 4, 0), 4);
		ck_assert(jupyter_descriptor(&calls, calls.jupyter.probe, POLLIN));
	}
	pass(50);
	ck_assert_int_eq(ended_code, -1);
	pass(20);
	ck_assert_int_eq(ended_code, ETIMEDOUT);
	ck_assert_int_eq(server.signalled, 9);
	ck_assert_int_eq(calls.jupyter.probe, -1);
	ck_assert_int_eq(calls.jupyter.state, JUPYTER_NONE);
}
END_TEST

/* The guest never says whether it could connect. */
START_TEST(nobody_connects)
{
	start();
	pass(70);
	ck_assert_int_eq(connects, 1);
	ck_assert(connecting.forgotten);
	ck_assert_int_eq(ended_code, ETIMEDOUT);
}
END_TEST

/* An earlier runner's server: another one is started when it does not answer. */
START_TEST(an_earlier_one_is_silent)
{
	calls.jupyter.state = JUPYTER_UNKNOWN;
	memset(calls.jupyter.token, 'a', JUPYTER_TOKEN_SIZE - 1);
	jupyter_asked(&calls);
	connect_it();
	ck_assert(!calls_want_jupyter(&calls));
	pass(70);
	ck_assert(calls_want_jupyter(&calls));
}
END_TEST

START_TEST(it_ends_while_it_is_asked)
{
	start();
	pass(1);
	server.callbacks->ended(server.context, 0, 1, "");
	ck_assert_int_eq(ended_code, EIO);
	connecting.callbacks->ended(connecting.context, ECONNREFUSED, 0, "");
	pass(70);
	ck_assert_int_eq(connects, 1);
	ck_assert_int_eq(ended_code, EIO);
}
END_TEST

START_TEST(its_page)
{
	static const struct {
		const char *packages, *page;
	} cases[] = {
		{ "[\"jupyter_server\",\"ipykernel\"]", "" },
		{ "[\"ipykernel\",\"JupyterLab==4.2\"]", "/lab" },
		{ "[\"notebook>=7\",\"ipykernel\"]", "/tree" },
		{ "[\"notebook\",\"jupyterlab\"]", "/lab" },
		{ "[\"notebook_shim\",\"jupyterlab-git\",\"nbclassic.x\"]", "" },
	};
	const struct sandbox_jupyter made = { (char *)"/python", NULL, NULL };
	struct error err;

	memcpy(calls.jupyter.token, "token", sizeof "token");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		fields = cJSON_CreateObject();
		cJSON_AddItemToObject(fields, "notebook_packages", cJSON_Parse(cases[i].packages));
		launch(&calls, &made, &err);
		ck_assert_str_eq(page, cases[i].page);
		cJSON_Delete(fields);
		fields = NULL;
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("jupyter");
	TCase *t = tcase_create("jupyter");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, it_answers);
	tcase_add_loop_test(t, it_is_silent, 0, 2);
	tcase_add_test(t, nobody_connects);
	tcase_add_test(t, an_earlier_one_is_silent);
	tcase_add_test(t, it_ends_while_it_is_asked);
	tcase_add_test(t, its_page);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
