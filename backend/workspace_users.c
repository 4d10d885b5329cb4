#include "backend/workspace_users.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define SPEC_MAX (4u << 20)
#define ANSWER_MAX (4u << 20)
#define HELD_MAX 65536u
#define NAMES_SHOWN 8

int workspace_put_word(struct buffer *out, const char *word)
{
	for (; *word; word++) {
		unsigned char c = (unsigned char)*word;

		if ((c <= ' ' || c == 127 ? buffer_format(out, "\\x%02x", c) : buffer_append(out, word, 1)) < 0)
			return -1;
	}
	return 0;
}

int workspace_put_sentence(struct buffer *out, const char *text)
{
	for (; *text; text++)
		if (buffer_append(out, (unsigned char)*text < ' ' || *text == 127 ? " " : text, 1) < 0)
			return -1;
	return 0;
}

/* ---- who ---- */

struct search {
	struct runner *runner;
	enum object_kind kind;
	int (*found)(void *context, const char *name, int folder);
	void *context;
};

/* Whether it lives and its config in force names this workspace. */
static bool uses(const struct search *s, int folder)
{
	cleanup_buffer struct buffer text = BUFFER(SPEC_MAX);
	cleanup_json cJSON *spec = NULL;
	const cJSON *serial;
	struct status status;
	struct error ignored;

	if (status_read(folder, &status, &ignored) || status_resting(s->kind, status.state) ||
	    file_read(folder, "spec.json", &text, &ignored))
		return false;
	spec = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	serial = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(spec, "references"), "workspace"), "serial");
	return cJSON_IsNumber(serial) && (uint64_t)serial->valuedouble == runner_serial(s->runner);
}

static int look_at(void *context, const char *name, uint64_t serial)
{
	const struct search *s = context;
	struct error ignored;
	cleanup_close int folder = object_open(runner_state(s->runner), s->kind, serial, &ignored);

	return folder >= 0 && uses(s, folder) ? s->found(s->context, name, folder) : 0;
}

static int each_user(struct runner *r, enum object_kind kind, int (*found)(void *context, const char *name, int folder),
		     void *context, struct error *err)
{
	struct search s = { .runner = r, .kind = kind, .found = found, .context = context };

	return state_each_name(runner_state(r), kind, look_at, &s, err);
}

/* ---- sandboxes ---- */

struct asking {
	struct runner *runner;
	struct workspace_user *users;
};

static void fail_user(struct workspace_user *u, const struct error *err)
{
	/* One that has ended installs it at its next start. */
	u->state = err->code == ENOTCONN || err->code == ECANCELED ? USER_GONE : USER_FAILED;
	memcpy(u->why, err->text, sizeof u->why);
}

static int ask(void *context, const char *name, int folder)
{
	struct asking *a = context;
	struct workspace_user *u = calloc(1, sizeof *u);
	struct error err;

	if (!u || !(u->name = strdup(name))) {
		free(u);
		return 1;
	}
	u->answer = BUFFER(ANSWER_MAX);
	u->talk = (struct talk){ .fd = -1, .passed = -1 };
	u->next = a->users;
	a->users = u;
	if (talk_connect(&u->talk, folder, &err) || talk_ask(&u->talk, "libraries", "", 0, &err) ||
	    runner_watch(a->runner, u->talk.fd, POLLIN, &err))
		u->state = USER_LOST; /* its runner begins, or has died and another one will */
	return 0;
}

int workspace_users_ask(struct runner *r, struct workspace_user **users, struct error *err)
{
	struct asking a = { .runner = r };
	int result = each_user(r, OBJECT_SANDBOX, ask, &a, err);

	*users = a.users;
	return result > 0 ? error_memory(err) : result;
}

static void hang_up(struct runner *r, struct workspace_user *u)
{
	struct error ignored;

	if (u->talk.fd < 0)
		return;
	runner_unwatch(r, u->talk.fd);
	if (u->state == USER_ASKED)
		(void)talk_send(&u->talk, TALK_CLOSE, NULL, 0, &ignored);
	talk_close(&u->talk);
}

void workspace_users_free(struct runner *r, struct workspace_user *users)
{
	for (struct workspace_user *u = users, *next; u; u = next) {
		next = u->next;
		hang_up(r, u);
		buffer_free(&u->answer);
		cJSON_Delete(u->result);
		free(u->name);
		free(u);
	}
}

static void take_end(struct workspace_user *u, const struct talk_message *m)
{
	struct error err;

	u->state = USER_DONE;
	if (m->code) {
		(void)error_set(&err, m->code, "%s", m->text);
		fail_user(u, &err);
	} else if (!(u->result = cJSON_ParseWithLength(u->answer.data ? u->answer.data : "", u->answer.length))) {
		(void)error_set(&err, EPROTO, "its runner's answer is damaged");
		fail_user(u, &err);
	}
}

bool workspace_users_take(struct runner *r, struct workspace_user *users, int fd)
{
	struct workspace_user *u = users;
	struct talk_message m;
	struct error err;
	int got = 0;

	while (u && u->talk.fd != fd)
		u = u->next;
	if (!u)
		return false;
	while (u->state == USER_ASKED && (got = talk_take(&u->talk, &m, &err)) > 0) {
		if (m.type == TALK_DATA && m.channel == TALK_STDOUT)
			(void)buffer_append(&u->answer, m.data, m.length); /* cut, it is damaged */
		else if (m.type == TALK_END)
			take_end(u, &m);
	}
	if (u->state == USER_ASKED && got < 0)
		u->state = USER_LOST;
	if (u->state == USER_ASKED)
		return false;
	hang_up(r, u);
	return true;
}

bool workspace_users_are(const struct workspace_user *users, enum user_state state)
{
	for (; users; users = users->next)
		if (users->state == state)
			return true;
	return false;
}

/* ---- what came of it ---- */

/* What a sandbox says of an entry: NULL while it has not (it was asked for another set). */
static const cJSON *result_of(const struct workspace_user *u, const char *name, const char *kind)
{
	const cJSON *entry;

	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(u->result, "entries")) {
		const char *n = json_string(entry, "name");
		const char *k = json_string(entry, "kind");

		if (n && k && !strcmp(n, name) && !strcmp(k, kind))
			return entry;
	}
	return NULL;
}

static int put_line(struct buffer *out, const char *name, const char *kind, const char *state, const char *folder,
		    const char *where, const char *why)
{
	if (workspace_put_word(out, name) < 0 || buffer_format(out, " %s %s %s", kind, state, folder) < 0 ||
	    workspace_put_word(out, where) < 0 || (why && *why && buffer_text(out, " ") < 0) ||
	    (why && workspace_put_sentence(out, why) < 0))
		return -1;
	return buffer_text(out, "\n");
}

int workspace_users_put(const struct workspace_user *users, const char *name, const char *kind, const char *otherwise,
			struct buffer *out)
{
	bool any = false;

	for (const struct workspace_user *u = users; u; u = u->next) {
		const cJSON *entry = u->state == USER_DONE ? result_of(u, name, kind) : NULL;
		const char *why = u->state == USER_FAILED ? u->why
				: json_string(entry, "why");

		if (u->state == USER_GONE)
			continue; /* it has ended */
		any = true;
		if (put_line(out, name, kind, why ? "failed" : entry ? "installed" : "installing", "sandboxes/", u->name,
			     entry || why ? why : "its log shows how far it is") < 0)
			return -1;
	}
	return any ? 0 : put_line(out, name, kind, "waiting", "", otherwise, "for a sandbox that uses this workspace to run");
}

/* ---- kernels ---- */

static int put_names(struct buffer *out, const cJSON *names)
{
	const cJSON *name;
	int n = 0;

	cJSON_ArrayForEach(name, names) {
		if (n == NAMES_SHOWN)
			return buffer_text(out, ", …");
		if (cJSON_IsString(name) && (buffer_text(out, n++ ? ", " : ": ") < 0 || workspace_put_word(out, name->valuestring) < 0))
			return -1;
	}
	return 0;
}

static int put_held(void *context, const char *name, int folder)
{
	cleanup_buffer struct buffer text = BUFFER(HELD_MAX);
	cleanup_json cJSON *held = NULL;
	struct buffer *out = context;
	const cJSON *module;
	struct error ignored;

	if (file_read(folder, "held", &text, &ignored) || !text.length)
		return 0;
	held = cJSON_ParseWithLength(text.data, text.length);
	cJSON_ArrayForEach(module, held) {
		bool objects = cJSON_GetArraySize(module) > 0;

		if (workspace_put_word(out, module->string ? module->string : "") < 0 ||
		    buffer_text(out, " module held notebooks/") < 0 || workspace_put_word(out, name) < 0 ||
		    buffer_text(out, objects ? " its kernel still holds objects of the old one" :
				" its kernel has loaded the old one: restart it, or reload the module") < 0 ||
		    put_names(out, module) < 0 || buffer_text(out, "\n") < 0)
			return -1;
	}
	return 0;
}

int workspace_held_put(struct runner *r, struct buffer *out)
{
	struct error err;

	return each_user(r, OBJECT_NOTEBOOK, put_held, out, &err);
}
