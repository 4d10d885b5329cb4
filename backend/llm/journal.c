#include "backend/llm/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"

#define FILE_MAX ((size_t)1 << 30)

void journal_init(struct journal *j)
{
	j->seq = 0;
	memset(j->head, '0', 64);
	j->head[64] = '\0';
}

void time_text(char out[TIME_TEXT_SIZE], bool milliseconds)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(out, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	if (milliseconds)
		snprintf(out + n, TIME_TEXT_SIZE - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
	else
		snprintf(out + n, TIME_TEXT_SIZE - n, "Z");
}

int journal_line(const struct journal *j, const char *type, const char *members, struct buffer *line,
		 struct error *err)
{
	char now[TIME_TEXT_SIZE];

	time_text(now, true);
	buffer_clear(line);
	if (buffer_format(line, "{\"seq\":%llu,\"prev\":\"%s\",\"time\":\"%s\",\"type\":\"%s\"%s",
			  (unsigned long long)j->seq + 1, j->head, now, type, *members ? "," : "") < 0 ||
	    buffer_text(line, members) < 0 || buffer_text(line, "}\n") < 0)
		return error_set(err, errno, errno == EFBIG ? "an event of type %s is too long"
							    : "out of memory for an event of type %s", type);
	return 0;
}

void journal_advance(struct journal *j, const struct buffer *line)
{
	sha256_hex(line->data, line->length - 1, j->head, sizeof j->head);
	j->seq++;
}

static int cut(int folder, const char *name, size_t length, struct error *err)
{
	cleanup_close int fd = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || ftruncate(fd, (off_t)length) < 0 || fsync(fd) < 0)
		return error_errno(err, "%s: the torn last line cannot be cut", name);
	return 0;
}

int journal_load(struct journal *j, int folder, const char *name, journal_visit *visit, void *context,
		 bool *torn, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(FILE_MAX);
	size_t at = 0;

	journal_init(j);
	*torn = false;
	if (faccessat(folder, name, F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	if (file_read(folder, name, &text, err) < 0)
		return -1;
	while (at < text.length) {
		const char *line = text.data + at, *end = memchr(line, '\n', text.length - at);
		size_t n = end ? (size_t)(end - line) : 0;
		cJSON *event = end ? cJSON_ParseWithLength(line, n) : NULL;
		const cJSON *seq = cJSON_GetObjectItemCaseSensitive(event, "seq");
		const char *prev = json_string(event, "prev");
		const char *type = json_string(event, "type");
		int rc;

		if (!event && (!end || at + n + 1 == text.length)) {
			*torn = true;
			return cut(folder, name, at, err);
		}
		if (!cJSON_IsNumber(seq) || seq->valuedouble != (double)(j->seq + 1) || !type || !prev ||
		    strcmp(prev, j->head)) {
			cJSON_Delete(event);
			return error_set(err, EBADMSG, "%s: line %llu does not continue the chain", name,
					 (unsigned long long)j->seq + 1);
		}
		rc = visit(context, type, event, line, n, err);
		cJSON_Delete(event);
		if (rc < 0)
			return -1;
		sha256_hex(line, n, j->head, sizeof j->head);
		j->seq++;
		at += n + 1;
	}
	return 0;
}
