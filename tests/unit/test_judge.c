/* The judge: what is refused, at which line, with which sentence, and how early. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/judge.h"

/* The sentence of the final verdict, "" when the text is right. */
static const char *verdict(const struct field *fields, const char *text)
{
	static struct error err;

	err.text[0] = '\0';
	return judge(fields, text, strlen(text), true, NULL, &err) < 0 ? err.text : "";
}

static const char *early(const struct field *fields, const char *text)
{
	static struct error err;

	err.text[0] = '\0';
	return judge(fields, text, strlen(text), false, NULL, &err) < 0 ? err.text : "";
}

/* The spec's fields as JSON. The caller frees. */
static cJSON *spec_of(const struct field *fields, const char *text)
{
	cJSON *spec = NULL;
	struct error err = { .text = "" };

	ck_assert_msg(judge(fields, text, strlen(text), true, &spec, &err) == 0, "%s: %s", text, err.text);
	return spec;
}

#define refused(text, sentence) ck_assert_str_eq(verdict(sandbox_fields, text), sentence)
#define taken(text) ck_assert_str_eq(verdict(sandbox_fields, text), "")
#define refused_early(text, sentence) ck_assert_str_eq(early(sandbox_fields, text), sentence)
#define open_still(text) ck_assert_str_eq(early(sandbox_fields, text), "")

START_TEST(unknown_fields)
{
	refused("gqu: A100\n", "line 1: unknown field 'gqu'; did you mean 'gpu'?");
	refused("gpuu: A100\n", "line 1: unknown field 'gpuu'; did you mean 'gpu'?");
	refused("backend: local\n\n# a comment\npython_pakages: [numpy]\n",
		"line 4: unknown field 'python_pakages'; did you mean 'python_packages'?");
	refused("tiemout: 3\n", "line 1: unknown field 'tiemout'; did you mean 'timeout'?");
	ck_assert(strstr(verdict(sandbox_fields, "xyzzy: 1\n"), "line 1: unknown field 'xyzzy'; known are backend, image, setup, gpu, gpu_count, cpu, memory"));
	refused("{\"timeout\": 60,\n \"gqu\": 1}", "line 2: unknown field 'gqu'; did you mean 'gpu'?");
	ck_assert_str_eq(verdict(session_fields, "limits: {turn: 3}\n"),
			 "line 1: unknown field 'limits.turn'; did you mean 'turns'?");
	ck_assert_str_eq(verdict(notebook_fields, "sandbx: lab\n"), "line 1: unknown field 'sandbx'; did you mean 'sandbox'?");
}
END_TEST

START_TEST(models)
{
	taken("models:\n- google/gemma-2-9b\n- {name: gpt2, var_name: other, hidden: true, revision: refs/pr/1}\n");
	taken("models: [{name: a/b, is_peft: true, base_model: c/d}]\n");
	refused("models: [{name: a/b, is_peft: true}]\n", "line 1: models: a/b is_peft, and base_model is missing: name the model that it is an adapter of");
	refused("models: [{name: a/b, base_model: c/d}]\n", "line 1: models: a/b has a base_model and is no adapter; write is_peft: true");
	refused("models: [{var_name: m}]\n", "line 1: models.name is missing: the model, as the hub calls it");
	refused("models: [a/b/c]\n", "line 1: models: 'a/b/c' is no model of the hub; write it as google/gemma-2-9b");
	refused("models: [a--b]\n", "line 1: models: 'a--b' is no model of the hub; write it as google/gemma-2-9b");
	refused("models: ['../x']\n", "line 1: models: '../x' is no model of the hub; write it as google/gemma-2-9b");
	refused("models: [{name: a, revision: ../x}]\n", "line 1: models: '../x' is no revision; write a branch, a tag or a commit");
	refused("models: [{name: a, var_name: lambda}]\n", "line 1: models: var_name 'lambda' is no name of a variable in Python");
	refused("models: [{name: a, hiden: true}]\n", "line 1: unknown field 'models.hiden'; did you mean 'hidden'?");
	open_still("models:\n- name: a/b\n  is_peft: true\n");
}
END_TEST

START_TEST(repositories)
{
	taken("repos: [org/repo]\n");
	taken("repos: [{url: org/repo, revision: v1.0, install: pip install -e ., dockerfile: null}]\n");
	taken("repos: [https://host:8443/a/b.git, 'git@host:a/c', 'ssh://git@host/a/d']\n");
	refused("repos: [{revision: v1}]\n", "line 1: repos.url is missing: org/repo at GitHub, https://host/path, or git@host:path");
	refused("repos: [{url: org/repo, instal: x}]\n", "line 1: unknown field 'repos.instal'; did you mean 'install'?");
	refused("repos:\n- org/repo\n- '../x'\n", "line 3: repos: '../x' goes through ..");
	refused("repos: ['-x']\n",
		"line 1: repos: '-x' is no repository; write it as org/repo, https://host/path or git@host:path");
	refused("repos: ['ext::sh -c x']\n",
		"line 1: repos: 'ext::sh -c x' is no repository; write it as org/repo, https://host/path or git@host:path");
	refused("repos: [/etc]\n",
		"line 1: repos: '/etc' is a folder of this machine, which a sandbox does not see; local_dirs brings one in");
	refused("repos: [{url: org/repo, revision: '--help'}]\n",
		"line 1: repos: '--help' is no revision; write a branch, a tag or a commit");
	refused("repos: [{url: org/repo, revision: [a]}]\n", "line 1: repos.revision must be a text, not a list");
	open_still("repos:\n- url: org/re\n");
	open_still("repos:\n- url: https:/");
}
END_TEST

START_TEST(later_fields)
{
	struct error err;

	refused("debug: true\n", "line 1: debug is not supported by this version");
	refused("timeout: 60\n\ndebug: true\n", "line 3: debug is not supported by this version");
	refused("repos: [{url: org/repo, dockerfile: Dockerfile}]\n", "line 1: repos.dockerfile is not supported by this version");
	refused("idle_timeout: 5\n", "line 1: idle_timeout is 0, or 10 seconds and more, not 5");
	refused("docker_in_docker: true\n", "line 1: docker_in_docker is not supported by this version");
	refused("backend: slurm\n", "line 1: slurm is not supported by this version");
	ck_assert_int_eq(judge(sandbox_fields, "debug: true\n", 12, true, NULL, &err), -1);
	ck_assert_int_eq(err.code, ENOTSUP);
	/* what they say is so anyway */
	taken("gpu: null\nmodels: []\nidle_timeout: 0\ndocker_in_docker: false\nsetup: []\ngpu_count: 1\n");
	taken("gpu:\n");
	refused_early("repos:\n- url: org/repo\n  dockerfile: Dockerfile\n",
		      "line 3: repos.dockerfile is not supported by this version");
	open_still("repos:\n");
	open_still("models: [\n");
	ck_assert_str_eq(verdict(session_fields, "approve: always\n"), "line 1: approve is not supported by this version");
	ck_assert_str_eq(verdict(session_fields, "provider: openai\n"), "line 1: openai is not supported by this version");
	ck_assert_str_eq(verdict(notebook_fields, "sandbox: lab\nattach: http://x\n"),
			 "line 2: attach is not supported by this version");
	ck_assert_str_eq(verdict(session_fields, "limits: {tokens: 5}\n"), "line 1: limits.tokens is not supported by this version");
}
END_TEST

START_TEST(types)
{
	refused("timeout: soon\n", "line 1: timeout must be a whole number, not 'soon'");
	refused("timeout: 3.5\n", "line 1: timeout must be a whole number, not '3.5'");
	refused("timeout: \"60\"\n", "line 1: timeout must be a whole number, not the text '60'");
	refused("timeout: [60]\n", "line 1: timeout must be a whole number, not a list");
	refused("timeout: 0\n", "line 1: timeout must be between 1 and 31536000, not 0");
	refused("timeout: -5\n", "line 1: timeout must be between 1 and 31536000, not -5");
	refused("timeout: 99999999999999999999999\n",
		"line 1: timeout must be between 1 and 31536000, not 99999999999999999999999");
	refused("cpu: nan\n", "line 1: cpu must be a number, not 'nan'");
	refused("cpu: 0x10\n", "line 1: cpu must be a number, not '0x10'");
	refused("memory: lots\n", "line 1: memory must be a size such as 16G, not 'lots'");
	refused("memory: 16Q\n", "line 1: memory must be a size such as 16G, not '16Q'");
	refused("memory: 1\n", "line 1: memory must be between 16M and 64T, not 1");
	refused("network: half\n", "line 1: network must be one of full, none, or a list such as [a, b], not 'half'");
	refused("network: {a: b}\n", "line 1: network must be one of full, none, or a list such as [a, b], not a mapping");
	refused("network:\n  - pypi.org\n  - https://pypi.org\n",
		"line 3: 'https://pypi.org' is no host; write pypi.org, *.huggingface.co, db.lab:5432 or an address");
	refused("secrets:\n  - {name: HF_TOKEN, host: hub.lab}\n", "line 2: unknown field 'secrets.host'; did you mean 'hosts'?");
	refused("secrets: [{hosts: [hub.lab]}]\n", "line 1: secrets.name is missing: the variable");
	refused("backend: lokal\n", "line 1: backend must be one of local, docker, slurm, modal, not 'lokal'");
	refused("python_packages: numpy\n", "line 1: python_packages must be a list such as [a, b], not 'numpy'");
	refused("python_packages: [numpy, [a]]\n", "line 1: each entry of python_packages must be a text, not a list");
	refused("python_packages:\n- numpy\n-\n- x\n", "line 3: each entry of python_packages must be a text, not ''");
	refused("env: [A]\n", "line 1: env must be a mapping such as {NAME: value}, not a list");
	refused("env:\n  A: [1]\n", "line 2: each value of env must be a text, not a list");
	refused("env: {A: {b: c}}\n", "line 1: each value of env must be a text, not a mapping");
	refused("env: {9A: x}\n", "line 1: '9A' is no name of a variable (letters, digits and _)");
	refused("secrets:\n  - HF_TOKEN\n  - sk-ant-1\n", "line 3: 'sk-ant-1' is no name of a secret; a value is never written here");
	refused("python_packages: [\"--index-url=http://x\"]\n", "line 1: '--index-url=http://x' is no package");
	refused("python_packages: [\"a\\nb\"]\n", "line 1: 'a b' is no package");
	taken("timeout: 60\ncpu: 0.5\nmemory: 1.5GiB\nnetwork: none\nexecution_mode: cli\nenv: {A: 1, B: }\n");
}
END_TEST

START_TEST(python_versions)
{
	taken("python_version: 3.11\n");
	taken("python_version: \"3.11\"\n");
	taken("python_version: 3.11.2\n");
	taken("python_version: 3\n");
	refused("python_version: 2.7\n", "line 1: python_version must be a version of Python 3, such as 3.11, not '2.7'");
	refused("python_version: 3.\n", "line 1: python_version must be a version of Python 3, such as 3.11, not '3.'");
	refused("python_version: 3.11; rm -rf /\n", "line 1: python_version must be a version of Python 3, such as 3.11, not '3.11; rm -rf /'");
	refused("python_version: latest\n", "line 1: python_version must be a version of Python 3, such as 3.11, not 'latest'");
	cJSON *spec = spec_of(sandbox_fields, "python_version: 3.10\n");
	ck_assert_str_eq(cJSON_GetObjectItem(spec, "python_version")->valuestring, "3.10");
	cJSON_Delete(spec);
}
END_TEST

START_TEST(paths)
{
	setenv("HOME", "/home/somebody", 1);
	cJSON *spec = spec_of(sandbox_fields, "local_files: [[~/notes.txt, /workspace/notes.txt]]\nlocal_dirs:\n- [/data, /d]\n");
	const cJSON *pair = cJSON_GetObjectItem(spec, "local_files")->child;
	ck_assert_str_eq(pair->child->valuestring, "/home/somebody/notes.txt");
	ck_assert_str_eq(pair->child->next->valuestring, "/workspace/notes.txt");
	cJSON_Delete(spec);
	refused("local_files: [[notes.txt, /workspace/x]]\n",
		"line 1: local_files: 'notes.txt' is a relative path; write it from / or ~/");
	refused("local_files: [[~other/x, /workspace/x]]\n",
		"line 1: local_files: '~other/x' is a relative path; write it from / or ~/");
	refused("local_files: [[/x, workspace/x]]\n", "line 1: 'workspace/x' is no absolute path inside the sandbox");
	refused("local_files: [[/x, /]]\n", "line 1: '/' is no absolute path inside the sandbox");
	refused("local_dirs: [[/x, /a/../../etc]]\n", "line 1: '/a/../../etc' goes through ..");
	refused("local_dirs: [[/x, /proc/1]]\n", "line 1: '/proc/1' is below /proc, which is the kernel's");
	refused("local_dirs: [[/x]]\n", "line 1: each entry of local_dirs must be a pair such as [~/here, /there]");
	refused("local_dirs: [/x, /y]\n", "line 1: each entry of local_dirs must be a pair such as [~/here, /there]");
	refused("local_dirs: [[/x, /y, /z]]\n", "line 1: each entry of local_dirs must be a pair such as [~/here, /there]");
	refused("workspace: ../default\n", "line 1: '../default' is no name of an object; write its name alone");
	ck_assert_str_eq(verdict(session_fields, "replay: a/b\n"), "line 1: replay: 'a/b' is a relative path; write it from / or ~/");
	ck_assert_str_eq(verdict(session_fields, "replay: ~/run\n"), "");
	ck_assert_str_eq(verdict(session_fields, "replay: 3\n"), "");
}
END_TEST

/* bash writes a line a WRITE: each is judged as soon as it is there (K1, K23). */
static size_t line_of(const char *text, const char *field, int item)
{
	const struct fault fault = { field, item };

	return judge_line(text, strlen(text), &fault);
}

START_TEST(lines_of_fields)
{
	static const char text[] = "# one\ntimeout: 60\nsecrets:\n- A\n- B\nlocal_files: [[/a, /b],\n  [/c, /d]]\nenv: {}\n";

	ck_assert_uint_eq(line_of(text, "timeout", -1), 2);
	ck_assert_uint_eq(line_of(text, "secrets", -1), 3);
	ck_assert_uint_eq(line_of(text, "secrets", 1), 5);
	ck_assert_uint_eq(line_of(text, "secrets", 7), 3);
	ck_assert_uint_eq(line_of(text, "local_files", 1), 7);
	ck_assert_uint_eq(line_of(text, "env", 0), 8);
	ck_assert_uint_eq(line_of(text, "cpu", -1), 0);
	ck_assert_uint_eq(line_of("", "cpu", -1), 0);
	ck_assert_uint_eq(line_of("- a\n", "a", -1), 0);
	ck_assert_uint_eq(line_of("{\"a\":\n1", "a", 2), 1);
	ck_assert_uint_eq(line_of(text, NULL, -1), 0);
}
END_TEST

START_TEST(line_by_line)
{
	refused_early("gqu: A100\n", "line 1: unknown field 'gqu'; did you mean 'gpu'?");
	open_still("gqu: A100");
	refused_early("backend: local\ngqu: A100\ngpu: A100\n", "line 2: unknown field 'gqu'; did you mean 'gpu'?");
	refused_early("gqu A100\n", "line 1: 'gqu A100' is no field; a field is written as 'name: value'");
	refused_early("timeout: soon\n", "line 1: timeout must be a whole number, not 'soon'");
	refused_early("timeout: 60\ntimeout: 70\n", "line 2: 'timeout' is given twice");
	refused_early("python_packages:\n- numpy\n- --user\n", "line 3: '--user' is no package");
	refused_early("python_packages: [numpy,\n  --user,\n", "line 2: '--user' is no package");
	refused_early("env: &a {}\n", "line 1: anchors and aliases (& and *) are not taken; quote the text if it is one");
	refused_early("workspace: b: c\n", "line 1: mapping values are not allowed in this context");
	/* what can become right */
	open_still("timeout:\n");
	open_still("timeout:\n  60\n");
	open_still("python_packages:\n");
	open_still("python_packages:\n-\n");
	open_still("python_packages: [numpy,\n");
	open_still("python_packages: [\"num\n");
	open_still("{\n");
	open_still("{\"timeout\": 60,\n");
	open_still("{\"timeout\":\n");
	open_still("env: {A: \"two\n  lines\n");
	open_still("env:\n  A: |\n    text\n");
	open_still("local_dirs:\n- - /x\n");
	open_still("local_dirs: [[/x,\n");
	open_still("memory: |\n");
	open_still("# nothing yet\n");
	open_still("---\n");
	open_still("%YAML 1.1\n");
	open_still("limits");
	open_still("env: {A: \xc3");
	ck_assert_str_eq(early(session_fields, "limits:\n  turns:\n"), "");
	ck_assert_str_eq(early(session_fields, "limits:\n  turns: 0\n"),
			 "line 2: limits.turns must be between 1 and 1000000000, not 0");
	ck_assert_str_eq(early(notebook_fields, "# sandbox comes\n"), "");
	/* a right text is right at every byte of it */
	const char *whole = "# a comment\nbackend: local\npython_packages:\n- numpy\n- \"torch>=2\"\nenv:\n  A: 'x'\n  B: |\n    text\n"
			    "local_dirs: [[/x,\n /y]]\ntimeout:\n  60\nnetwork: none # why\n";
	struct error err = { .text = "" };
	for (size_t n = 0; n <= strlen(whole); n++)
		ck_assert_msg(judge(sandbox_fields, whole, n, false, NULL, &err) == 0, "at byte %zu: %s", n, err.text);
	taken(whole);
}
END_TEST

/* A sentence that ends in the fields that there are. */
static const char *with_all_fields(const char *begin)
{
	static char text[ERROR_TEXT_SIZE];
	size_t n = (size_t)snprintf(text, sizeof text, "%s", begin);

	for (const struct field *f = sandbox_fields; f->name; f++)
		if (!f->later)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", f == sandbox_fields ? "" : ", ", f->name);
	return text;
}

START_TEST(ends)
{
	refused("python_packages: [numpy,\n", "line 1: the list that begins here is not closed");
	refused("timeout: \"6\n", "line 1: the quote that begins here is not closed");
	refused("timeout: 60\ngqu\n", "line 2: a field is written as 'name: value'");
	refused("{\"timeout\": 6\n", "line 1: the mapping that begins here is not closed");
	refused("- a\n- b\n", "line 1: a list is no field; a field is written as 'name: value'");
	refused("a: b\n---\nc: d\n", with_all_fields("line 1: unknown field 'a'; known are "));
	refused("timeout: 6\n---\ntimeout: 7\n", "line 2: one document (---) is enough");
	refused("timeout: !!int 6\n", "line 1: tags (!) are not taken; quote the text if it is one");
	refused("? [a]\n: b\n", "line 1: the name of a field is a word, not a list or a mapping");
	refused("timeout: 6\n\ttabs: 1\n", "line 2: a tab cannot indent YAML; use spaces");
	refused("\ttimeout: 6\n", "line 1: a tab cannot indent YAML; use spaces");
	refused("env:\n\tA: b\n", "line 2: a tab cannot indent YAML; use spaces");
	refused("env:\n  A: ü\n\tC: d\n", "line 3: a tab cannot indent YAML; use spaces");
	refused("env:\n  A: @b\n", "line 2: a value cannot begin with this character (@, ` or %); put it into quotes");
	refused("timeout:\tsoon\n", "line 1: timeout must be a whole number, not 'soon'");
	refused("env: {A: 1, A: 2}\n", "line 1: 'A' is given twice");
	ck_assert_str_eq(verdict(notebook_fields, "{}\n"), "line 1: sandbox is missing: name the sandbox in which the notebook runs");
	ck_assert_str_eq(verdict(notebook_fields, "sandbox:\n"), "line 1: sandbox is missing: name the sandbox in which the notebook runs");
	/* nothing written starts nothing */
	const char *const empty[] = { "", "\n", "# only a comment\n", "---\n", "~\n" };
	for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
		cJSON *spec = spec_of(notebook_fields, empty[i]);
		ck_assert_msg(spec == NULL, "'%s' is no document", empty[i]);
	}
}
END_TEST

START_TEST(bytes)
{
	struct error err;
	static char big[DOCUMENT_MAX + 1];

	memset(big, '#', sizeof big);
	ck_assert_int_eq(judge(sandbox_fields, big, sizeof big, false, NULL, &err), -1);
	ck_assert_int_eq(err.code, EFBIG);
	ck_assert_str_eq(err.text, "a document holds at most 1 MiB");
	ck_assert_int_eq(judge(sandbox_fields, big, sizeof big - 1, true, NULL, &err), 0);
	ck_assert_int_eq(judge(sandbox_fields, "cpu: 1\n\0", 8, false, NULL, &err), -1);
	ck_assert_str_eq(err.text, "line 2: a NUL character; this is no text");
	refused("env: {A: \"a\\0b\"}\n", "line 1: a value holds a NUL character");
	refused("cpu: 1\nenv: {A: \xff}\n", "line 2: not UTF-8 text");
	refused("env: {A: \xc3", "line 1: not UTF-8 text");
	refused("env: {A: \xc0\x80}\n", "line 1: not UTF-8 text");
	refused("env: {A: \xed\xa0\x80}\n", "line 1: not UTF-8 text");
	refused("env: {A: \xf4\x90\x80\x80}\n", "line 1: not UTF-8 text");
	refused("cpu: 1\nenv: {A: \x01}\n", "line 2: control characters are not allowed");
	taken("\xef\xbb\xbf" "cpu: 1\r\nenv: {A: \xc3\xa4\xf0\x9f\x98\x80}\r\n");
	/* a deep nest and a wide one end soon */
	memset(big, '[', 60000);
	ck_assert_int_eq(judge(sandbox_fields, big, 60000, true, NULL, &err), -1);
	ck_assert_str_eq(err.text, "line 1: a list is no field; a field is written as 'name: value'");
	char deep[200] = "options: ";
	memset(deep + 9, '[', 100);
	ck_assert_str_eq(verdict(session_fields, deep), "line 1: options must be a mapping such as {name: value}, not a list");
	memcpy(deep, "options: {a: ", 13);
	memset(deep + 13, '[', 100);
	ck_assert_str_eq(verdict(session_fields, deep), "line 1: nested too deeply");
	size_t n = (size_t)snprintf(big, sizeof big, "python_packages: [");
	while (n < DOCUMENT_MAX - 4)
		n += (size_t)snprintf(big + n, sizeof big - n, "a,");
	ck_assert_int_eq(judge(sandbox_fields, big, n, true, NULL, &err), -1);
	ck_assert_str_eq(err.text, "line 1: too many values");
}
END_TEST

START_TEST(defaults)
{
	cJSON *spec = spec_of(sandbox_fields, "memory: 2G\nenv: {PORT: 8000, YES: yes}\ntimeout:\n");

	ck_assert_str_eq(cJSON_GetObjectItem(spec, "backend")->valuestring, "local");
	ck_assert(cJSON_GetObjectItem(spec, "timeout")->valuedouble == 3600);
	ck_assert(cJSON_GetObjectItem(spec, "memory")->valuedouble == 2147483648.0);
	ck_assert_str_eq(cJSON_GetObjectItem(cJSON_GetObjectItem(spec, "env"), "PORT")->valuestring, "8000");
	ck_assert_str_eq(cJSON_GetObjectItem(cJSON_GetObjectItem(spec, "env"), "YES")->valuestring, "yes");
	ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(spec, "notebook_packages")), 2);
	ck_assert(cJSON_IsNull(cJSON_GetObjectItem(spec, "python_version")));
	ck_assert(cJSON_IsArray(cJSON_GetObjectItem(spec, "python_packages")));
	size_t fields = 0;
	while (sandbox_fields[fields].name)
		fields++;
	ck_assert_int_eq(cJSON_GetArraySize(spec), (int)fields);
	cJSON_Delete(spec);
	spec = spec_of(session_fields, "options: {temperature: 0.5, stop: [a], x: {y: true, z: ~}}\nlimits: {usd: 2}\n");
	char *text = cJSON_PrintUnformatted(cJSON_GetObjectItem(spec, "options"));
	ck_assert_str_eq(text, "{\"temperature\":0.5,\"stop\":[\"a\"],\"x\":{\"y\":true,\"z\":null}}");
	free(text);
	ck_assert(cJSON_GetObjectItem(cJSON_GetObjectItem(spec, "limits"), "usd")->valuedouble == 2);
	ck_assert(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetObjectItem(spec, "limits"), "turns")));
	cJSON_Delete(spec);
	/* JSON is YAML */
	spec = spec_of(sandbox_fields, "{\n\t\"python_packages\": [\"numpy\"],\n\t\"timeout\": 60\n}\n");
	ck_assert(cJSON_GetObjectItem(spec, "timeout")->valuedouble == 60);
	cJSON_Delete(spec);
}
END_TEST

START_TEST(frozen)
{
	cJSON *a = spec_of(sandbox_fields, "timeout: 60\n"), *b = spec_of(sandbox_fields, "timeout: 90\n");
	cJSON *c = spec_of(sandbox_fields, "timeout: 90\npython_packages: [x]\n");

	ck_assert_ptr_null(judge_frozen(sandbox_fields, a, a));
	ck_assert_ptr_null(judge_frozen(sandbox_fields, a, b));
	ck_assert_str_eq(judge_frozen(sandbox_fields, b, c), "python_packages");
	cJSON_Delete(a);
	cJSON_Delete(b);
	cJSON_Delete(c);
}
END_TEST

/* Every default of every table is itself acceptable, and every row says what it is. */
static void check_table(const struct field *fields)
{
	for (const struct field *f = fields; f->name; f++) {
		cJSON *value = f->fallback ? cJSON_Parse(f->fallback) : NULL;

		ck_assert_msg(value || !f->fallback, "%s: '%s' is no JSON", f->name, f->fallback);
		ck_assert_msg(f->help && *f->help, "%s has no help", f->name);
		ck_assert_msg(f->type != FIELD_CHOICE || f->choices, "%s has no choices", f->name);
		cJSON_Delete(value);
		if (f->fields)
			check_table(f->fields);
	}
}

START_TEST(tables)
{
	check_table(sandbox_fields);
	check_table(notebook_fields);
	check_table(session_fields);
	check_table(workspace_fields);
}
END_TEST

START_TEST(nearest)
{
	const char *const known[] = { "start", "stop", "restart", "wait" };

	ck_assert_str_eq(judge_nearest("strat", known, 4), "start");
	ck_assert_str_eq(judge_nearest("wiat", known, 4), "wait");
	ck_assert_ptr_null(judge_nearest("xyzzy", known, 4));
	ck_assert_ptr_null(judge_nearest("", known, 4));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("judge");
	TCase *t = tcase_create("judge");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, unknown_fields);
	tcase_add_test(t, models);
	tcase_add_test(t, repositories);
	tcase_add_test(t, later_fields);
	tcase_add_test(t, types);
	tcase_add_test(t, python_versions);
	tcase_add_test(t, paths);
	tcase_add_test(t, lines_of_fields);
	tcase_add_test(t, line_by_line);
	tcase_add_test(t, ends);
	tcase_add_test(t, bytes);
	tcase_add_test(t, defaults);
	tcase_add_test(t, frozen);
	tcase_add_test(t, tables);
	tcase_add_test(t, nearest);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
