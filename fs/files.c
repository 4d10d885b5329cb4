/* Handles, parked requests, refusals, saves: what every kind of file uses. */
#include "fs/files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/named.h"

#define HANDLES_MAX 65536u

static struct {
	struct handle **table; /* by number - 1 */
	uint32_t size, hint;
	struct handle *first;
} open_files;

static struct kind directory_kind = { .mode = 0755 }, link_kind = { .mode = 0777 }, tree_kind = { .mode = 0755 };

struct kind *const file_kinds[] = {
	[FILE_DIRECTORY] = &directory_kind,
	[FILE_VALUE] = &value_kind,
	[FILE_DOCUMENT] = &document_kind,
	[FILE_INBOX] = &inbox_kind,
	[FILE_NEW] = &new_kind,
	[FILE_CTL] = &ctl_kind,
	[FILE_LOG] = &log_kind,
	[FILE_CALL] = &call_kind,
	[FILE_TREE] = &tree_kind,
	[FILE_LINK] = &link_kind,
	[FILE_HOLD] = &hold_kind,
};

/* What a kind does not say. */

static void stat_nothing(const struct node *node, struct stat *st)
{
	(void)node;
	st->st_size = 0;
}

static int open_nothing(struct handle *h, struct error *err)
{
	(void)h;
	(void)err;
	return 0;
}

static void read_text(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	size_t n = (size_t)offset < h->text.length ? h->text.length - (size_t)offset : 0;

	fuse_reply_buf(request, n ? h->text.data + offset : NULL, n < size ? n : size);
}

static void write_refused(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	(void)h;
	(void)data;
	(void)n;
	(void)offset;
	fuse_reply_err(request, EACCES);
}

static void reply_well(struct handle *h, fuse_req_t request)
{
	(void)h;
	fuse_reply_err(request, 0);
}

static int truncate_nothing(struct handle *h, off_t size)
{
	(void)h;
	(void)size;
	return 0;
}

static unsigned poll_always(struct handle *h)
{
	(void)h;
	return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
}

static void nothing(struct handle *h)
{
	(void)h;
}

static void fill(struct kind *kind)
{
#define DEFAULT(member, value) if (!kind->member) kind->member = value
	DEFAULT(stat, stat_nothing);
	DEFAULT(open, open_nothing);
	DEFAULT(read, read_text);
	DEFAULT(write, write_refused);
	DEFAULT(flush, reply_well);
	DEFAULT(sync, reply_well);
	DEFAULT(truncate, truncate_nothing);
	DEFAULT(poll, poll_always);
	DEFAULT(changed, nothing);
	DEFAULT(release, nothing);
#undef DEFAULT
}

void files_open(void)
{
	for (size_t i = 0; i < sizeof file_kinds / sizeof *file_kinds; i++)
		fill(file_kinds[i]);
	fill(&follow_kind);
	fill(&scratch_kind);
}

/* Handles */

static int number_of_its_own(struct handle *h)
{
	uint32_t i;

	for (i = open_files.hint; i < open_files.size && open_files.table[i]; i++)
		;
	if (i == open_files.size) {
		uint32_t size = open_files.size ? 2 * open_files.size : 64;
		struct handle **table;

		if (size > HANDLES_MAX)
			return -1;
		table = realloc(open_files.table, size * sizeof *table);
		if (!table)
			return -1;
		memset(table + open_files.size, 0, (size - open_files.size) * sizeof *table);
		open_files.table = table;
		open_files.size = size;
	}
	open_files.table[i] = h;
	open_files.hint = i + 1;
	h->number = i + 1;
	return 0;
}

struct handle *handle_make(const struct kind *kind, const struct node *node, int flags, fuse_req_t request)
{
	struct handle *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	*h = (struct handle){ .kind = kind, .node = *node, .flags = flags, .fd = -1, .text = BUFFER(DOCUMENT_MAX) };
	if (number_of_its_own(h) < 0) {
		free(h);
		return NULL;
	}
	if (handle_writes(h))
		h->opener = caller_group(request);
	object_pin(node->object);
	h->next = open_files.first;
	h->link = &open_files.first;
	if (h->next)
		h->next->link = &h->next;
	open_files.first = h;
	return h;
}

struct handle *handle_of(uint64_t number)
{
	return number && number <= open_files.size ? open_files.table[number - 1] : NULL;
}

struct handle *handle_first(void)
{
	return open_files.first;
}

bool handle_writes(const struct handle *h)
{
	return (h->flags & O_ACCMODE) != O_RDONLY;
}

void handle_free(struct handle *h)
{
	while (h->parked)
		fuse_reply_err(unpark(h->parked), EINTR);
	if (h->poll)
		fuse_pollhandle_destroy(h->poll);
	if (h->fd >= 0)
		(void)close(h->fd);
	if (h->named)
		named_close(h->named);
	*h->link = h->next;
	if (h->next)
		h->next->link = h->link;
	open_files.table[h->number - 1] = NULL;
	if (h->number - 1 < open_files.hint)
		open_files.hint = h->number - 1;
	object_unpin(h->node.object);
	buffer_free(&h->text);
	free(h);
}

bool handle_caches(const struct handle *h)
{
	return h->kind == &value_kind && h->node.row->own && h->node.row->bit && h->node.object && !h->named;
}

void handle_reply(struct handle *h, struct fuse_file_info *fi)
{
	struct object *object = h->node.object;

	fi->fh = h->number;
	fi->direct_io = 1;
	if (handle_caches(h)) {
		fi->direct_io = 0;
		fi->keep_cache = object->cached >> h->node.row->bit & 1;
		object->cached |= UINT64_C(1) << h->node.row->bit;
	}
	fi->noflush = !h->kind->flushes || !handle_writes(h);
}

static void tell(struct handle *h)
{
	h->kind->changed(h);
	if (h->poll && h->kind->poll(h) & POLLIN) {
		struct fuse_pollhandle *poll = h->poll;

		h->poll = NULL;
		(void)fuse_lowlevel_notify_poll(poll);
		fuse_pollhandle_destroy(poll);
	}
}

void files_changed(const struct node *node)
{
	for (struct handle *h = open_files.first, *next; h; h = next) {
		next = h->next;
		if (h->node.row == node->row && h->node.object == node->object && h->node.index == node->index)
			tell(h);
	}
}

void files_object_changed(struct object *object)
{
	tree_changed(object, "status");
	for (struct handle *h = open_files.first, *next; h; h = next) {
		next = h->next;
		if (h->node.object == object)
			tell(h);
	}
}

/* Parked requests */

static fuse_req_t take_out(struct parked *p)
{
	fuse_req_t request = p->request;

	loop_clear_timer(&p->timer);
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	p->request = NULL;
	return request;
}

static void interrupted(fuse_req_t request, void *data)
{
	struct parked *p = data;

	(void)take_out(p);
	fuse_reply_err(request, EINTR);
	if (p->expired)
		p->expired(p);
	free(p);
}

static void time_is_up(struct loop_timer *timer)
{
	struct parked *p = timer->data;
	fuse_req_t request = take_out(p);

	fuse_req_interrupt_func(request, NULL, NULL);
	p->request = request;
	p->expired(p);
	free(p);
}

struct parked *park(fuse_req_t request, struct handle *h, size_t size, int64_t deadline_ms,
		    void (*expired)(struct parked *parked), void *data)
{
	struct parked *p = malloc(sizeof *p), **last = &h->parked;
	bool gone;

	if (!p) {
		fuse_reply_err(request, ENOMEM);
		return NULL;
	}
	*p = (struct parked){ .request = request, .handle = h, .size = size, .expired = expired, .data = data };
	while (*last)
		last = &(*last)->next;
	p->link = last;
	*last = p;
	p->timer = (struct loop_timer){ .fire = time_is_up, .data = p };
	if (deadline_ms >= 0)
		loop_set_timer(&p->timer, deadline_ms);
	gone = fuse_req_interrupted(request);
	fuse_req_interrupt_func(request, interrupted, p); /* calls at once when it is */
	return gone ? NULL : p;
}

fuse_req_t unpark(struct parked *p)
{
	fuse_req_t request = take_out(p);

	fuse_req_interrupt_func(request, NULL, NULL);
	free(p);
	return request;
}

/* Callers */

int caller_group(fuse_req_t request)
{
	int thread = fuse_req_ctx(request)->pid, group = thread;
	cleanup_file FILE *status = NULL;
	char path[64], line[256];

	(void)snprintf(path, sizeof path, "/proc/%d/status", thread);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof line, status))
		if (!strncmp(line, "Tgid:", 5)) {
			group = (int)strtol(line + 5, NULL, 10);
			break;
		}
	return group;
}

bool caller_is_killed(fuse_req_t request)
{
	cleanup_file FILE *file = NULL;
	char path[64], line[1024], *field;
	unsigned long flags = 0, code = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)fuse_req_ctx(request)->pid);
	file = fopen(path, "re");
	if (!file || !fgets(line, sizeof line, file) || !(field = strrchr(line, ')')))
		return false;
	/* behind the name: field 3 state … 9 flags … 52 exit_code */
	for (int n = 2; (field = strchr(field, ' ')); n++) {
		field++;
		if (n + 1 == 9)
			flags = strtoul(field, NULL, 10);
		else if (n + 1 == 52)
			code = strtoul(field, NULL, 10);
	}
	return (flags & 0x4) /* PF_EXITING */ && (code & 0x7f);
}

/* Refusals */

static char *root_unstored;

const char *refusal_unstored(const struct object *object)
{
	return object ? object->unstored : root_unstored;
}

void refuse(struct object *object, const struct error *refusal)
{
	const char *path = object ? "refusal" : "error";
	int folder = object ? object_folder_fd(object) : objects_state()->fd;
	char line[ERROR_TEXT_SIZE + 2], **unstored = object ? &object->unstored : &root_unstored;
	struct error err;
	int n = snprintf(line, sizeof line, "%s\n", refusal->text);

	if (object) {
		object->call_refused = false;
		(void)clock_gettime(CLOCK_REALTIME, &object->told);
	}
	free(*unstored);
	*unstored = NULL;
	/* What a full disk does not take is told until the mount ends. */
	if (folder < 0 || n <= 0 || file_replace(folder, path, line, (size_t)n, 0600, false, &err) < 0)
		*unstored = strdup(line);
	tree_changed(object, path);
}

void accept_again(struct object *object)
{
	const char *path = object ? "refusal" : "error";
	int folder = object ? object_folder_fd(object) : objects_state()->fd;
	char **unstored = object ? &object->unstored : &root_unstored;
	bool told = *unstored != NULL;

	if (object)
		object->call_refused = false;
	free(*unstored);
	*unstored = NULL;
	/* Looked at first: even a removal of nothing waits for a disk that is busy. */
	if ((folder < 0 || faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || unlinkat(folder, path, 0) < 0) && !told)
		return;
	if (object)
		(void)clock_gettime(CLOCK_REALTIME, &object->told);
	tree_changed(object, path);
}

/* Files on the disk */

int node_read(const struct node *node, struct buffer *out, struct error *err)
{
	int folder = tree_folder(node);
	const char *coming;
	char path[512];
	size_t n;

	if (save_is_coming(node, &coming, &n))
		return buffer_append(out, coming, n) < 0 ? error_memory(err) : 0;
	if (folder < 0 || tree_path(node, path, sizeof path) < 0)
		return error_errno(err, "%s", node->row->name);
	if (file_read(folder, path, out, err) < 0 && err->code != ENOENT)
		return -1;
	return 0;
}

struct saving {
	struct awaiting awaiting;
	struct object *object;
	int folder, verdict;
	mode_t mode;
	char *text;
	size_t length;
	char path[512];
	struct saving *next; /* of those that nobody waits for, the newest first */
};

static struct saving *unawaited;

static void forget_saving(struct saving *s)
{
	for (struct saving **at = &unawaited; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			return;
		}
}

bool save_is_coming(const struct node *node, const char **text, size_t *n)
{
	char path[512];

	if (!unawaited || tree_path(node, path, sizeof path) < 0)
		return false;
	for (const struct saving *s = unawaited; s; s = s->next)
		if (s->object == node->object && !strcmp(s->path, path)) {
			*text = s->text;
			*n = s->length;
			return true;
		}
	return false;
}

static int save_work(void *data, struct error *err)
{
	struct saving *s = data;

	return file_replace(s->folder, s->path, s->text, s->length, s->mode, true, err);
}

static void save_finish(void *data, int result, const struct error *error)
{
	struct saving *s = data;

	forget_saving(s);
	if (result)
		refuse(s->object, error);
	tree_changed(s->object, s->path);
	if (s->awaiting.truncated && !result && !s->verdict)
		reply_attributes(s->awaiting.request, s->awaiting.truncated, NULL);
	else if (s->awaiting.request)
		fuse_reply_err(s->awaiting.request, result ? error->code : s->verdict);
	object_unpin(s->object);
	(void)close(s->folder);
	free(s->text);
	free(s);
}

void save(struct object *object, const char *path, const char *text, size_t n, mode_t mode,
	  struct awaiting awaiting, int verdict)
{
	int folder = object ? object_folder_fd(object) : objects_state()->fd, code = errno;
	struct saving *s = calloc(1, sizeof *s);

	if (s)
		*s = (struct saving){ .awaiting = awaiting, .object = object, .verdict = verdict, .mode = mode,
				      .length = n, .text = malloc(n + 1), .folder = -1 };
	if (s && s->text && folder >= 0) {
		memcpy(s->text, n ? text : "", n);
		(void)snprintf(s->path, sizeof s->path, "%s", path);
		s->folder = fcntl(folder, F_DUPFD_CLOEXEC, 0);
		code = errno;
		object_pin(object);
		if (s->folder >= 0 && !in_storage(save_work, save_finish, s)) {
			if (!awaiting.request) {
				s->next = unawaited;
				unawaited = s;
				tree_changed(object, path);
			}
			return;
		}
		object_unpin(object);
		if (s->folder >= 0)
			(void)close(s->folder);
	}
	if (awaiting.request)
		fuse_reply_err(awaiting.request, s && s->text ? code : ENOMEM);
	if (s)
		free(s->text);
	free(s);
}

struct task {
	struct storage_job job;
	int (*work)(void *data, struct error *err);
	void (*finish)(void *data, int result, const struct error *error);
	void *data;
};

static int task_work(struct storage_job *job, struct error *err)
{
	struct task *task = job->data;

	return task->work(task->data, err);
}

static void task_done(struct storage_job *job)
{
	struct task *task = job->data;

	task->finish(task->data, job->result, &job->error);
	free(task);
}

int in_storage(int (*work)(void *data, struct error *err),
	       void (*finish)(void *data, int result, const struct error *error), void *data)
{
	struct task *task = calloc(1, sizeof *task);

	if (!task)
		return -1;
	*task = (struct task){ { .work = task_work, .done = task_done, .data = task }, work, finish, data };
	storage_submit(&task->job);
	return 0;
}
