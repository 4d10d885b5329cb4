/* What must be there before a turn's first request: the provider, the notebook or sandbox that the
 * agent works in, its tools, and, once for ever, the system prompt. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/llm/session.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define DOCUMENT_LIMIT (4u << 20)
#define TOOLS_SECONDS 60 /* until the tool server has answered */
#define LOOK_MS 50       /* between two looks at something that starts */

static uint64_t serial_of(const cJSON *reference)
{
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(reference, "serial");

	return cJSON_IsNumber(serial) && serial->valuedouble >= 1 ? (uint64_t)serial->valuedouble : 0;
}

static const cJSON *reference(struct session *s, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(runner_references(s->runner), name);
}

/* The first line of a file of that object, "" when there is none. */
static void first_line(int folder, const char *name, char *out, size_t size)
{
	cleanup_buffer struct buffer text = BUFFER(8192);
	struct error ignored;

	out[0] = '\0';
	if (file_read(folder, name, &text, &ignored) == 0 && text.data)
		snprintf(out, size, "%.*s", (int)strcspn(text.data, "\n"), text.data);
}

/* Waits until the notebook or sandbox can be used. 1: it can; 0: halted; -1: it cannot, why says. */
static int await(struct session *s, enum object_kind kind, const char *noun, struct error *why,
		 struct error *err)
{
	uint64_t serial = serial_of(reference(s, noun));
	const char *name = json_word(reference(s, noun), "name");
	char failure[512];
	bool shown = false;

	for (;;) {
		cleanup_close int folder = object_open(runner_state(s->runner), kind, serial, why);
		struct status status;

		if (folder < 0)
			return error_set(why, ENOENT, "%s %s is gone", noun, name);
		if (status_read(folder, &status, why) < 0)
			return error_wrap(why, "%s %s", noun, name);
		if (!strcmp(status.state, "ready") || !strcmp(status.state, "idle") || !strcmp(status.state, "busy"))
			return 1;
		if (status_resting(kind, status.state) && strcmp(status.state, "draft") != 0) {
			first_line(folder, "failure", failure, sizeof failure);
			return error_set(why, ENOTCONN, "%s %s: %s%s%s", noun, name,
					 *failure ? failure : "it is ", *failure ? "" : status.state,
					 *failure ? "" : "; write start to its ctl");
		}
		if (!shown && runner_set_state(s->runner, "waiting", err) < 0)
			return -2;
		shown = true;
		if (session_next(s, LOOK_MS, err) < 0)
			return -2;
		if (session_halted(s))
			return 0;
	}
}

/* What its tools are of: the reference of that name. */
static const char *place_noun(struct session *s)
{
	static const char *const nouns[] = { "notebook", "interface" };

	for (size_t i = 0; i < sizeof nouns / sizeof *nouns; i++)
		if (serial_of(reference(s, nouns[i])))
			return nouns[i];
	return "sandbox";
}

int session_client(struct session *s, struct error *why, struct error *err)
{
	const char *noun = place_noun(s);
	const cJSON *place = reference(s, noun), *number = cJSON_GetObjectItemCaseSensitive(place, "number");
	enum object_kind kind = strcmp(noun, "notebook") ? OBJECT_SANDBOX : OBJECT_NOTEBOOK;
	char below[32] = "";
	cleanup_free char *program = program_path(), *folder = NULL;
	double until = clock_seconds() + TOOLS_SECONDS;

	if (!serial_of(place) || (s->client && !s->client_gone))
		return 0;
	if (s->client) {
		runner_unwatch(s->runner, client_fd(s->client));
		client_close(s->client, 0);
		s->client = NULL;
	}
	s->client_gone = false;
	if (!strcmp(noun, "interface"))
		(void)snprintf(below, sizeof below, "/interfaces/%u", cJSON_IsNumber(number) ? (unsigned)number->valuedouble : 0);
	if (!program || asprintf(&folder, "%s/%s/%llu%s", runner_state(s->runner)->path, object_folder[kind],
				 (unsigned long long)serial_of(place), below) < 0) {
		folder = NULL;
		return error_memory(err), -2;
	}
	/* All of what programs print: what the model does not get is kept for it (calls.c). */
	const char *const argv[] = { program, "mcp", "--text", "4194304", folder, NULL };
	struct client_server server = { .name = noun, .argv = argv };

	if (client_start(&s->client, &server, why) < 0) {
		s->client = NULL;
		return error_wrap(why, "tools");
	}
	if (runner_watch(s->runner, client_fd(s->client), 1 /* POLLIN */, err) < 0)
		return -2;
	while (!client_ready(s->client)) {
		if (s->client_gone) {
			*why = s->client_error;
			return error_wrap(why, "tools");
		}
		if (clock_seconds() > until)
			return error_set(why, ETIMEDOUT, "tools: the server did not answer for %d s", TOOLS_SECONDS);
		if (session_next(s, 1000, err) < 0)
			return -2;
		if (session_halted(s))
			return 0;
	}
	return 0;
}

static int add_part(struct buffer *text, int folder, const char *name, struct error *err)
{
	cleanup_buffer struct buffer part = BUFFER(DOCUMENT_LIMIT);

	if (faccessat(folder, name, F_OK, 0) < 0)
		return 0;
	if (file_read(folder, name, &part, err) < 0)
		return -1;
	while (part.length && part.data[part.length - 1] == '\n')
		part.data[--part.length] = '\0';
	if (part.length && ((text->length && buffer_text(text, "\n\n") < 0) ||
			    buffer_append(text, part.data, part.length) < 0))
		return error_set(err, EFBIG, "the system prompt is too long");
	return 0;
}

/* preamble's parts in their order, then prompt. */
static int make_system(struct session *s, struct buffer *text, struct error *err)
{
	const cJSON *part;

	cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(s->fields, "preamble")) {
		const char *name = cJSON_GetStringValue(part);
		bool models = name && !strcmp(name, "model_info");
		uint64_t serial = serial_of(reference(s, models ? "notebook" : "workspace"));
		cleanup_close int folder = -1;

		if (!name || !serial)
			continue;
		folder = object_open(runner_state(s->runner), models ? OBJECT_NOTEBOOK : OBJECT_WORKSPACE, serial, err);
		if (folder < 0 || add_part(text, folder, models ? "model_info.md" : "docs.md", err) < 0)
			return -1;
	}
	return add_part(text, runner_folder(s->runner), "prompt", err);
}

/* Once: what never changes afterwards, so that caches and signed thinking stay valid. */
static int freeze(struct session *s, const char *model, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(3 * DOCUMENT_LIMIT);
	cJSON *event;

	if (make_system(s, &text, err) < 0)
		return -1;
	event = cJSON_CreateObject();
	cJSON_AddStringToObject(event, "provider", s->provider->name);
	cJSON_AddStringToObject(event, "model", model);
	cJSON_AddStringToObject(event, "text", text.data ? text.data : "");
	cJSON_AddItemToObject(event, "tools", s->client ? cJSON_Duplicate(client_tools(s->client), true)
							: cJSON_CreateArray());
	if (session_event(s, "system", event, err) < 0)
		return -1;
	return session_set_file(s, "system", text.data ? text.data : "", err);
}

int session_prepare(struct session *s, struct error *why, struct error *err)
{
	const char *provider, *model;
	const cJSON *usd;
	int ready = 1;

	cJSON_Delete(s->fields);
	s->fields = cJSON_Duplicate(runner_fields(s->runner), true);
	provider = json_word(s->fields, "provider");
	s->provider = provider_find(provider);
	if (!s->provider)
		return error_set(why, EINVAL, "there is no provider '%s'", provider);
	model = json_word(s->fields, "model");
	if (!*model)
		model = models_default(&s->models, provider);
	if (!model)
		model = provider;
	usd = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(s->fields, "limits"), "usd");
	if (cJSON_IsNumber(usd) && s->provider->paid && !models_priced(&s->models, model))
		return error_set(why, EINVAL, "limits: usd needs a price, and none is known for %s", model);
	if (serial_of(reference(s, "notebook")))
		ready = await(s, OBJECT_NOTEBOOK, "notebook", why, err);
	else if (serial_of(reference(s, place_noun(s))))
		ready = await(s, OBJECT_SANDBOX, place_noun(s), why, err);
	if (ready <= 0)
		return ready;
	if (s->provider->open(s->runner, s->fields, &s->models, &s->self, why) < 0) {
		s->self = NULL;
		return error_wrap(why, "provider %s", provider);
	}
	ready = session_client(s, why, err);
	if (ready < 0 || session_halted(s))
		return ready;
	if (!s->begun)
		return freeze(s, model, why);
	/* The model may be another one than before: the config may change between two turns. */
	free(s->dialogue.model);
	s->dialogue.model = strdup(model);
	return s->dialogue.model ? 0 : error_memory(why);
}

void session_release(struct session *s)
{
	if (s->self)
		s->provider->close(s->self);
	s->self = NULL;
	if (s->client) {
		runner_unwatch(s->runner, client_fd(s->client));
		client_close(s->client, 2000);
	}
	s->client = NULL;
	s->client_gone = false;
	if (s->root >= 0)
		(void)close(s->root);
	s->root = -1;
	use_release(&s->use);
}
