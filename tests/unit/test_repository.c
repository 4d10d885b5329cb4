/* Repositories as a config names them: where they are cloned from, what they are called, and what is none. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/repository.h"

static void is(const char *text, const char *url, const char *name, const char *host, int port, bool web)
{
	struct repository r;
	const char *wrong = repository_read(&r, text);

	ck_assert_msg(!wrong, "%s %s", text, wrong);
	ck_assert_str_eq(r.url, url);
	ck_assert_str_eq(r.name, name);
	ck_assert_str_eq(r.host, host);
	ck_assert_int_eq(r.port, port);
	ck_assert_int_eq(r.web, web);
}

static void is_none(const char *text, const char *why)
{
	struct repository r;
	const char *wrong = repository_read(&r, text);

	ck_assert_msg(wrong, "%s was taken", text);
	ck_assert_msg(strstr(wrong, why), "%s: '%s', not '%s'", text, wrong, why);
}

START_TEST(taken)
{
	is("org/repo", "https://github.com/org/repo", "repo", "github.com", 443, true);
	is("my-org/re.po_2.git", "https://github.com/my-org/re.po_2.git", "re.po_2", "github.com", 443, true);
	is("https://host/a/b.git", "https://host/a/b.git", "b", "host", 443, true);
	is("https://host:8443/b/", "https://host:8443/b/", "b", "host", 8443, true);
	is("http://127.0.0.1:80/a/b%20c/d", "http://127.0.0.1:80/a/b%20c/d", "d", "127.0.0.1", 80, true);
	is("https://[::1]:99/a", "https://[::1]:99/a", "a", "::1", 99, true);
	is("ssh://git@host:2222/~me/a", "ssh://git@host:2222/~me/a", "a", "host", 2222, false);
	is("ssh://host/a", "ssh://host/a", "a", "host", 22, false);
	is("git://host/a.git", "git://host/a.git", "a", "host", 9418, false);
	is("git@host:org/a.git", "git@host:org/a.git", "a", "host", 22, false);
}
END_TEST

START_TEST(refused)
{
	static const char *const none[] = {
		"", "repo", "org/", "/", "org/a/b", "-x", "--upload-pack=x", "ext::sh -c id", "ext::sh", "fd::3", "a b/c", "org/re\npo",
		"https://", "https://host", "https://host/", "https:///a", "https://-host/a", "ssh://-oProxyCommand=x/a", "ssh://-x@host/a",
		"git@-host:a", "-x@host:a", "git@host:", "git@host:-a", "host:a", "https://host/.git", "org/$(id)", "org/`id`", "\xc3\xa4/b",
	};
	char text[2 * REPOSITORY_URL_SIZE] = "https://host/";

	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		is_none(none[i], *none[i] == '/' ? "is a folder of this machine" : "");
	is_none("/etc/passwd", "is a folder of this machine");
	is_none("~/project", "is a folder of this machine");
	is_none("./project", "is a folder of this machine");
	is_none("file:///etc", "is a folder of this machine");
	is_none("../x", "goes through ..");
	is_none("org/..", "goes through ..");
	is_none("https://host/a/../b", "goes through ..");
	is_none("https://host/..", "goes through ..");
	is_none("ftp://host/a", "is none that can be cloned");
	is_none("http::https://host/a", "is none that can be cloned");
	is_none("https://me@host/a", "holds a name or a password");
	is_none("https://me:word@host/a", "holds a name or a password");
	is_none("ssh://me:word@host/a", "is no repository");
	is_none("org/.hidden", "has a name that no folder");
	is_none("https://host/-a", "has a name that no folder");
	is_none("https://host/a%2fb", "has a name that no folder");
	is_none("org/libraries", "is the workspace's own");
	memset(text + strlen(text), 'a', REPOSITORY_NAME_SIZE);
	is_none(text, "is no repository");
	memset(text + strlen("https://host/"), 'a', sizeof text - strlen("https://host/") - 1);
	is_none(text, "is no repository");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("repository");
	TCase *t = tcase_create("repository");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, t);
	tcase_add_test(t, taken);
	tcase_add_test(t, refused);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
