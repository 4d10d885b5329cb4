/* The local backend's pure parts: a bundle's text, the names of layers, a failure's sentence, what
 * is hidden of the host. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/bundle.h"
#include "backend/sandbox/layers.c"
#include "backend/sandbox/mask.h"
#include "backend/sandbox/python.h"
#include "base/file.h"

static const char *const usr[] = { "/mask:usr", "/usr", NULL };
static const struct bundle_overlay overlays[] = { { "/usr", "usr", usr } };
static const struct bundle_bind binds[] = { { "/host/libraries", "/workspace/libraries", false, false } };

static struct bundle sample(bool user)
{
	return (struct bundle){
		.box = "/state/with, and:\\/box", .guest = "/build/interpfs-guest", .hostname = "lab", .user = user,
		.ids = { .users = { .own = 1000 }, .groups = { .own = 1001 } }, .timeout = 3600, .overlays = overlays, .overlay_count = 1,
		.binds = binds, .bind_count = 1, .cgroup = "/interpfs/x", .memory = 17179869184, .cpu = 1.5,
	};
}

static cJSON *render(const struct bundle *bundle)
{
	struct error err;
	char *text = bundle_render(bundle, &err);
	cJSON *json;

	ck_assert_msg(text != NULL, "%s", text ? "" : err.text);
	json = cJSON_Parse(text);
	ck_assert_ptr_nonnull(json);
	free(text);
	return json;
}

static const cJSON *at(const cJSON *json, const char *path)
{
	char name[64];

	while (*path) {
		size_t n = strcspn(path, ".");

		snprintf(name, sizeof name, "%.*s", (int)n, path);
		json = cJSON_IsArray(json) ? cJSON_GetArrayItem(json, (int)strtol(name, NULL, 10))
					   : cJSON_GetObjectItemCaseSensitive(json, name);
		path += n + (path[n] == '.');
	}
	return json;
}

static const cJSON *mount_at(const cJSON *json, const char *destination)
{
	const cJSON *mount;

	cJSON_ArrayForEach(mount, at(json, "mounts"))
		if (!strcmp(at(mount, "destination")->valuestring, destination))
			return mount;
	return NULL;
}

static bool has_text(const cJSON *list, const char *text)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, list)
		if (cJSON_IsString(item) && !strcmp(item->valuestring, text))
			return true;
	return false;
}

START_TEST(root_has_groups_and_limits)
{
	struct bundle bundle = sample(false);
	cJSON *json = render(&bundle);

	ck_assert_str_eq(at(json, "linux.cgroupsPath")->valuestring, "/interpfs/x");
	ck_assert_double_eq(at(json, "linux.resources.memory.limit")->valuedouble, 17179869184.0);
	ck_assert_int_eq(at(json, "linux.resources.cpu.quota")->valueint, 150000);
	ck_assert(cJSON_IsFalse(at(json, "linux.resources.devices.0.allow")));
	ck_assert_ptr_null(at(json, "linux.uidMappings"));
	ck_assert_ptr_null(at(json, "process.rlimits"));
	ck_assert(has_text(at(mount_at(json, "/dev/pts"), "options"), "gid=5"));
	ck_assert(!has_text(at(mount_at(json, "/usr"), "options"), "userxattr"));
	cJSON_Delete(json);
}
END_TEST

START_TEST(a_user_has_one_id_and_no_groups)
{
	struct bundle bundle = sample(true);
	cJSON *json = render(&bundle);

	ck_assert_ptr_null(at(json, "linux.cgroupsPath"));
	ck_assert_int_eq(cJSON_GetArraySize(at(json, "linux.resources")), 0);
	ck_assert_int_eq(at(json, "linux.uidMappings.0.hostID")->valueint, 1000);
	ck_assert_int_eq(at(json, "linux.uidMappings.0.size")->valueint, 1);
	ck_assert_int_eq(at(json, "linux.gidMappings.0.hostID")->valueint, 1001);
	ck_assert_str_eq(at(json, "process.rlimits.0.type")->valuestring, "RLIMIT_NPROC");
	ck_assert(has_text(at(mount_at(json, "/usr"), "options"), "userxattr"));
	ck_assert(!has_text(at(mount_at(json, "/dev/pts"), "options"), "gid=5"));
	ck_assert_str_eq(at(mount_at(json, "/sys"), "type")->valuestring, "sysfs");
	cJSON_Delete(json);
	bundle.host_network = true;
	json = render(&bundle);
	ck_assert_str_eq(at(mount_at(json, "/sys"), "source")->valuestring, "/sys");
	ck_assert(has_text(at(mount_at(json, "/sys"), "options"), "ro"));
	cJSON_Delete(json);
}
END_TEST

START_TEST(everybody_is_confined)
{
	struct bundle bundle = sample(false);
	cJSON *json = render(&bundle);
	const cJSON *rule;
	bool mounting = false;

	ck_assert(cJSON_IsTrue(at(json, "process.noNewPrivileges")));
	ck_assert(!has_text(at(json, "process.capabilities.bounding"), "CAP_SYS_ADMIN"));
	ck_assert_int_eq(cJSON_GetArraySize(at(json, "process.capabilities.bounding")), 11);
	ck_assert_int_eq(cJSON_GetArraySize(at(json, "linux.namespaces")), 6);
	ck_assert_str_eq(at(json, "linux.namespaces.4.type")->valuestring, "cgroup");
	ck_assert(has_text(at(mount_at(json, "/usr"), "options"), "nosuid"));
	ck_assert(has_text(at(mount_at(json, "/usr"), "options"), "nodev"));
	ck_assert_ptr_null(at(json, "process.env")); /* it would be on the disk */
	cJSON_ArrayForEach(rule, at(json, "linux.seccomp.syscalls"))
		mounting = mounting || has_text(at(rule, "names"), "mount");
	ck_assert(mounting);
	ck_assert(has_text(at(mount_at(json, "/workspace/libraries"), "options"), "ro"));
	ck_assert_str_eq(at(json, "process.args.0")->valuestring, BUNDLE_GUEST);
	ck_assert_str_eq(at(json, "process.args.1")->valuestring, "3600");
	cJSON_Delete(json);
}
END_TEST

START_TEST(paths_are_escaped_for_overlayfs)
{
	struct bundle bundle = sample(false);
	cJSON *json = render(&bundle);
	const cJSON *options = at(mount_at(json, "/usr"), "options");

	ck_assert(has_text(options, "lowerdir=/mask\\:usr:/usr"));
	ck_assert(has_text(options, "upperdir=/state/with\\, and\\:\\\\/box/up/usr"));
	ck_assert(has_text(options, "workdir=/state/with\\, and\\:\\\\/box/work/usr"));
	cJSON_Delete(json);
}
END_TEST

START_TEST(options_longer_than_a_page_are_refused)
{
	struct bundle bundle = sample(false);
	struct error err = { .code = 0 };
	char *box = malloc(2100);

	memset(box, 'x', 2099);
	box[0] = '/';
	box[2099] = '\0';
	bundle.box = box;
	ck_assert_ptr_null(bundle_render(&bundle, &err));
	ck_assert_int_eq(err.code, ENAMETOOLONG);
	free(box);
}
END_TEST

static void name(const char *kind, const char *version, const char *below, const char *packages, char out[LAYER_HASH_SIZE])
{
	char exe[] = "/usr/bin/python3.11", soabi[] = "cpython-311";
	struct python python = { .exe = exe, .version = (char *)(uintptr_t)version, .soabi = soabi, .mtime_ns = 5 };
	cJSON *list = cJSON_Parse(packages);
	struct error err;

	ck_assert_int_eq(layer_hash(kind, &python, below, list, out, &err), 0);
	cJSON_Delete(list);
}

START_TEST(layers_are_named_by_what_they_are_made_of)
{
	char a[LAYER_HASH_SIZE], b[LAYER_HASH_SIZE];

	name("k", "3.11.2", "x", "[\"numpy\",\"six\"]", a);
	ck_assert_uint_eq(strlen(a), LAYER_HASH_SIZE - 1);
	name("k", "3.11.2", "x", "[\"six\",\"numpy\"]", b);
	ck_assert_str_eq(a, b);
	name("k", "3.11.3", "x", "[\"six\",\"numpy\"]", b);
	ck_assert_str_ne(a, b);
	name("k", "3.11.2", "y", "[\"six\",\"numpy\"]", b);
	ck_assert_str_ne(a, b);
	name("k", "3.11.2", "x", "[\"six\",\"numpy==1\"]", b);
	ck_assert_str_ne(a, b);
	name("l", "3.11.2", "x", "[\"six\",\"numpy\"]", b);
	ck_assert_str_ne(a, b);
}
END_TEST

START_TEST(options_are_no_requirements)
{
	char exe[] = "/p", text[] = "3", out[LAYER_HASH_SIZE];
	struct python python = { .exe = exe, .version = text, .soabi = text };
	cJSON *list = cJSON_Parse("[\"--index-url=http://evil\"]");
	struct error err;

	ck_assert_int_eq(layer_hash("k", &python, "", list, out, &err), -1);
	ck_assert_int_eq(err.code, EINVAL);
	cJSON_Delete(list);
}
END_TEST

static const struct { const char *printed, *sentence; } failures[] = {
	{ "Collecting x\nERROR: Could not find a version that satisfies the requirement x (from versions: none)\n"
	  "ERROR: No matching distribution found for x\n", "ERROR: No matching distribution found for x" },
	{ "a\nERROR: first\nb\n", "ERROR: first" },
	{ "  \xc3\x97 No solution found when resolving dependencies:\n  \xe2\x95\xb0\xe2\x94\x80\xe2\x96\xb6 Because x\n      y\n",
	  "\xc3\x97 No solution found when resolving dependencies: Because x" },
	{ "Using Python\nerror: No solution found when resolving dependencies\n  cause: Because x was not found\n  cause: y\n",
	  "error: No solution found when resolving dependencies: Because x was not found" },
	{ "error: a\n  cause: ", "error: a: " },
	{ "error: Failed to fetch\n", "error: Failed to fetch" },
	{ "something\nlast words\n\n", "last words" },
	{ "", "the package manager failed without a word" },
};

START_TEST(a_failure_is_one_sentence)
{
	char out[128];

	commands_failure(failures[_i].printed, out, sizeof out);
	ck_assert_str_eq(out, failures[_i].sentence);
}
END_TEST

START_TEST(versions_fit_by_their_parts)
{
	ck_assert(python_version_fits("3.11.2", "3"));
	ck_assert(python_version_fits("3.11.2", "3.11"));
	ck_assert(python_version_fits("3.11.2", "3.11.2"));
	ck_assert(!python_version_fits("3.11.2", "3.1"));
	ck_assert(!python_version_fits("3.11.2", "3.11.20"));
}
END_TEST

static char top[] = "/tmp/interpfs-bundle-XXXXXX";

static void put(int dir, const char *path, mode_t mode)
{
	struct error err;

	ck_assert_int_eq(file_replace(dir, path, "x", 1, 0644, false, &err), 0);
	ck_assert_int_eq(fchmodat(dir, path, mode, 0), 0);
}

static bool listed(const struct buffer *list, const char *text)
{
	for (const char *p = list->data; p && p < list->data + list->length; p += strlen(p) + 1)
		if (!strcmp(p, text))
			return true;
	return false;
}

START_TEST(private_files_are_found_and_hidden)
{
	cleanup_buffer struct buffer list = BUFFER(65536), again = BUFFER(65536);
	char host[64], into[64], cache[64];
	struct error err;
	struct stat st;
	int dir;

	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(host, sizeof host, "%s/host", top);
	snprintf(into, sizeof into, "%s/mask", top);
	snprintf(cache, sizeof cache, "%s/cache", top);
	ck_assert_int_eq(file_make_folders(AT_FDCWD, host, 0755, &err), 0);
	dir = file_open_folder(AT_FDCWD, host, &err);
	ck_assert_int_eq(file_make_folders(dir, "open/deep", 0755, &err), 0);
	ck_assert_int_eq(file_make_folders(dir, "closed/deep", 0755, &err), 0);
	put(dir, "open/deep/public", 0644);
	put(dir, "open/deep/secret", 0640);
	put(dir, "closed/deep/public", 0644);
	ck_assert_int_eq(fchmodat(dir, "closed", 0700, 0), 0);
	ck_assert_int_eq(mask_find_cached(host, "", NULL, cache, &list, &err), 0);
	ck_assert(listed(&list, "open/deep/secret"));
	ck_assert(listed(&list, "closed"));
	ck_assert(!listed(&list, "open/deep/public"));
	ck_assert(!listed(&list, "closed/deep"));

	ck_assert_int_eq(mask_make(host, &list, into, &err), 0);
	ck_assert_int_eq(fstatat(AT_FDCWD, into, &st, 0), 0);
	close(dir);
	dir = file_open_folder(AT_FDCWD, into, &err);
	ck_assert_int_eq(fstatat(dir, "open/deep/secret", &st, AT_SYMLINK_NOFOLLOW), 0);
	ck_assert(S_ISCHR(st.st_mode) && st.st_rdev == 0);
	ck_assert_int_eq(fstatat(dir, "closed", &st, AT_SYMLINK_NOFOLLOW), 0);
	ck_assert(S_ISCHR(st.st_mode));
	ck_assert_int_ne(fstatat(dir, "open/deep/public", &st, AT_SYMLINK_NOFOLLOW), 0);
	close(dir);

	/* What is made later is found although the list is kept. */
	dir = file_open_folder(AT_FDCWD, host, &err);
	put(dir, "open/deep/later", 0600);
	ck_assert_int_eq(mask_find_cached(host, "p/", NULL, cache, &again, &err), 0);
	ck_assert(listed(&again, "p/open/deep/later"));
	close(dir);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, top, &err), 0);
}
END_TEST

/* Sandboxes that start at once: none fails, and none gets half a list. */
START_TEST(many_look_for_private_files)
{
	char place[] = "/tmp/test_bundle.XXXXXX", host[64], cache[64];
	struct error err;
	pid_t children[6];
	int dir, status;

	ck_assert_ptr_nonnull(mkdtemp(place));
	(void)snprintf(host, sizeof host, "%s/host", place);
	(void)snprintf(cache, sizeof cache, "%s/cache", place);
	ck_assert_int_eq(file_make_folder(AT_FDCWD, host, 0755, &err), 0);
	dir = file_open_folder(AT_FDCWD, host, &err);
	for (int i = 0; i < 200; i++) {
		char name[32];

		(void)snprintf(name, sizeof name, "secret-%d", i);
		put(dir, name, 0600);
	}
	close(dir);
	for (size_t i = 0; i < 6; i++) {
		children[i] = fork();
		for (int turn = 0; !children[i] && turn < 100; turn++) {
			struct buffer list = BUFFER(1 << 20);

			(void)unlink(cache);
			if (mask_find_cached(host, "", NULL, cache, &list, &err) < 0 || !listed(&list, "secret-0") ||
			    !listed(&list, "secret-199"))
				_exit(1);
			buffer_free(&list);
		}
		if (!children[i])
			_exit(0);
	}
	for (size_t i = 0; i < 6; i++) {
		ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, place, &err), 0);
}
END_TEST

/* What a package's own programs leave where the host then writes. */
START_TEST(a_kernel_is_written_through_no_link)
{
	char place[] = "/tmp/test_bundle.XXXXXX", victim[64], path[96];
	cleanup_buffer struct buffer text = BUFFER(8192);
	struct error err;
	int dir;

	ck_assert_ptr_nonnull(mkdtemp(place));
	(void)snprintf(victim, sizeof victim, "%s/victim", place);
	(void)snprintf(path, sizeof path, "%s/made", place);
	ck_assert_int_eq(file_make_folders(AT_FDCWD, victim, 0755, &err) | file_make_folders(AT_FDCWD, path, 0755, &err), 0);
	dir = file_open_folder(AT_FDCWD, path, &err);
	ck_assert_int_eq(symlinkat(victim, dir, "data"), 0);
	ck_assert_int_eq(symlinkat(victim, dir, "launch.py"), 0);
	ck_assert_int_eq(symlinkat(victim, dir, "serve.py"), 0);
	ck_assert_int_eq(mkfifoat(dir, ".launch.py~", 0600), 0);
	ck_assert_msg(write_kernel(path, "/opt/x", "/opt/python", &err) == 0, "%s", err.text);
	ck_assert_int_eq(file_read(dir, "data/kernels/python3/kernel.json", &text, &err), 0);
	ck_assert_ptr_nonnull(strstr(text.data, "/opt/x/launch.py"));
	ck_assert_int_eq(rmdir(victim), 0); /* nothing was put there */
	close(dir);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, place, &err), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bundle");
	TCase *tests = tcase_create("local");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tests, 240);
	tcase_add_test(tests, root_has_groups_and_limits);
	tcase_add_test(tests, a_user_has_one_id_and_no_groups);
	tcase_add_test(tests, everybody_is_confined);
	tcase_add_test(tests, paths_are_escaped_for_overlayfs);
	tcase_add_test(tests, options_longer_than_a_page_are_refused);
	tcase_add_test(tests, layers_are_named_by_what_they_are_made_of);
	tcase_add_test(tests, options_are_no_requirements);
	tcase_add_loop_test(tests, a_failure_is_one_sentence, 0, (int)(sizeof failures / sizeof *failures));
	tcase_add_test(tests, versions_fit_by_their_parts);
	tcase_add_test(tests, private_files_are_found_and_hidden);
	tcase_add_test(tests, many_look_for_private_files);
	tcase_add_test(tests, a_kernel_is_written_through_no_link);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
