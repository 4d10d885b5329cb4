/* Inboxes: every close that wrote something acts. A message of a session goes durably into its
 * folder's inbox/ and wants a run; what is meant for a running kernel is a call to its runner.
 *
 * It acts at RELEASE, which nobody waits for. FLUSH would be waited for, but is not close: the shell's
 * `exec 3>f; echo a >&3; echo b >&3` flushes after each echo, a child that inherited the descriptor flushes
 * when it ends, and what is one text would be two. The kernel queues a writer's RELEASE before its close
 * returns, so whatever it looks at next is asked for later: that waits until the runner has taken the text
 * (fs/coming.h), and `echo text >markdown; ls cells` shows the cell. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/content.h"
#include "base/file.h"
#include "base/talk.h"
#include "fs/coming.h"
#include "fs/config.h"
#include "fs/mount.h"
#include "fs/supervise.h"
#include "fs/writing.h"

static void inbox_stat(const struct node *node, struct stat *st)
{
	if (node->row->file)
		file_kinds[FILE_VALUE]->stat(node, st);
}

static int inbox_open(struct handle *h, struct error *err)
{
	if (handle_writes(h))
		return writing_open(h, err);
	return h->node.row->file ? file_kinds[FILE_VALUE]->open(h, err) : 0;
}

static void call_ended(void *context, int code, int exit, const char *text, int passed)
{
	struct object *object = context;
	struct error err;

	(void)exit;
	if (passed >= 0)
		(void)close(passed);
	if (code) {
		(void)error_set(&err, code, "%s", text && *text ? text : strerror(code));
		refuse(object, &err);
	}
	coming_text_taken(object);
	files_object_changed(object);
	coming_arrived();
	object_unpin(object);
}

static int call(const struct node *node, const char *text, size_t n)
{
	static const struct supervise_call_callbacks callbacks = { .ended = call_ended };
	struct object *object = node->object;
	const char *hash = strchr(node->row->call, '#');
	char name[128];

	if (hash)
		(void)snprintf(name, sizeof name, "%.*s%u%s", (int)(hash - node->row->call), node->row->call,
			       node->index, hash + 1);
	else
		(void)snprintf(name, sizeof name, "%s", node->row->call);
	object_pin(object);
	if (supervise_call(mount_supervisor(), object->kind, object->serial, name, text, n, &callbacks, object)) {
		coming_text(object);
		return 0;
	}
	object_unpin(object);
	return ENOMEM;
}

/* {"kind":"message","content": the text, or the content blocks that it is as JSON}. */
static cJSON *message_json(const char *text, size_t n)
{
	cJSON *blocks = content_parse(text, n), *json = cJSON_CreateObject();

	if (!blocks) {
		char *copy = strndup(text, n);
		size_t length = copy ? strlen(copy) : 0;

		if (length && copy[length - 1] == '\n')
			copy[length - 1] = '\0';
		blocks = copy ? cJSON_CreateString(copy) : NULL;
		free(copy);
	}
	if (!json || !blocks || !cJSON_AddStringToObject(json, "kind", "message") ||
	    !cJSON_AddItemToObject(json, "content", blocks)) {
		cJSON_Delete(blocks);
		cJSON_Delete(json);
		return NULL;
	}
	return json;
}

static void message_kept(void *data, int result, const struct error *error)
{
	fuse_reply_err(data, result ? error->code : 0);
}

/* A close that returns 0 is a promise: the text is on the disk before, and becomes a message when the
 * open ends, which may be later. Replies. */
static void keep(struct handle *h, fuse_req_t request)
{
	static unsigned long count;
	struct writing *w = h->data;
	cJSON *json = message_json(h->text.data, h->text.length);
	int folder = object_folder_fd(h->node.object);
	char *text = json ? cJSON_PrintUnformatted(json) : NULL;
	struct error err = { .code = text ? errno : ENOMEM };

	cJSON_Delete(json);
	if (!text || folder < 0 || file_make_folder(folder, "inbox", 0700, &err) < 0) {
		w->refused = err.code; /* nor does it become one when the open ends */
		fuse_reply_err(request, err.code);
	} else {
		if (!w->kept[0])
			(void)snprintf(w->kept, sizeof w->kept, MESSAGE_KEPT "%d-%lu", (int)getpid(), ++count);
		w->dirty = false;
		save(h->node.object, w->kept, text, strlen(text), 0600, (struct awaiting){ request, 0 }, 0);
	}
	free(text);
}

/* The final verdict about a whole text; what is refused is told. */
static int decide(const struct node *node, const char *text, size_t n)
{
	struct verdict v = { .code = 0 };
	int code;

	config_judge(node, text, n, &v);
	if (!v.code && !node->row->call && !config_exists(node->object)) {
		(void)error_set(&v.error, EINVAL, "%s: write its config first", node->row->name);
		v.code = EINVAL;
	}
	code = v.code;
	if (code)
		refuse(node->object, &v.error);
	verdict_clear(&v);
	return code;
}

void inbox_put(const struct node *node, const char *text, size_t n, fuse_req_t request)
{
	int code = 0;

	if (n && node->object && !node->object->removed && !(code = decide(node, text, n))) {
		accept_again(node->object);
		if (node->row->call)
			code = call(node, text, n);
		else if (!object_message(node->object, message_json(text, n), request ? message_kept : NULL, request))
			return;
		else
			code = ENOMEM;
	}
	if (request)
		fuse_reply_err(request, code);
}

static void inbox_flush(struct handle *h, fuse_req_t request)
{
	struct writing *w = h->data;
	int code;

	if (w->kept[0] && caller_is_killed(request))
		w->refused = EINTR; /* half a text is no message, though its first half was kept */
	if (w->refused || !w->dirty || !h->text.length || caller_group(request) != h->opener) {
		fuse_reply_err(request, w->refused);
		return;
	}
	code = decide(&h->node, h->text.data, h->text.length);
	if (caller_is_killed(request))
		code = w->refused = EINTR; /* half a text is no message */
	if (code || h->node.row->call)
		fuse_reply_err(request, code);
	else
		keep(h, request);
}

static void inbox_release(struct handle *h)
{
	struct writing *w = h->data;

	if (!w)
		return;
	if (w->kept[0] && !w->dirty && !w->refused && !h->node.object->removed) {
		accept_again(h->node.object);
		(void)object_message_kept(h->node.object, w->kept);
	} else {
		if (w->kept[0])
			(void)unlinkat(object_folder_fd(h->node.object), w->kept, 0);
		if (w->written && !w->refused)
			inbox_put(&h->node, h->text.data, h->text.length, NULL);
	}
	free(w);
	h->data = NULL;
}

static void inbox_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	file_kinds[FILE_VALUE]->read(h, request, size, offset);
}

struct kind inbox_kind = { .mode = 0600, .flushes = true, .stat = inbox_stat, .open = inbox_open,
			   .read = inbox_read, .write = writing_write, .flush = inbox_flush,
			   .truncate = writing_truncate, .release = inbox_release };
