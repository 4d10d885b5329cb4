#include "base/cellstatus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

size_t cellstatus_format(char line[CELLSTATUS_LINE], const char *state, long count, double seconds)
{
	char number[24] = "-", duration[24] = "-";
	int n;

	if (count >= 0)
		(void)snprintf(number, sizeof number, "%ld", count);
	if (seconds >= 0)
		(void)snprintf(duration, sizeof duration, "%.3f", seconds < 1e15 ? seconds : 1e15);
	n = snprintf(line, CELLSTATUS_LINE, "%.11s %s %s\n", state, number, duration);
	return n < 0 ? 0 : (size_t)n;
}

void cellstatus_parse(const char *data, size_t n, struct cellstatus *status)
{
	const char *end = n ? memrchr(data, '\n', n) : NULL, *begin, *p;

	*status = (struct cellstatus){ { "" } };
	if (!end)
		return;
	begin = memrchr(data, '\n', (size_t)(end - data));
	p = begin ? begin + 1 : data;
	for (size_t i = 0; i < CELLSTATUS_WORDS && p < end; i++) {
		const char *blank = memchr(p, ' ', (size_t)(end - p));
		size_t length = (size_t)((blank ? blank : end) - p);

		if (length < sizeof status->word[i] && !(length == 1 && *p == '-'))
			memcpy(status->word[i], p, length);
		p += length + 1;
	}
}

int cellstatus_read(int folder, const char *path, struct cellstatus *status, struct error *err)
{
	cleanup_close int fd = openat(folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char tail[2 * CELLSTATUS_LINE];
	struct stat st;
	ssize_t n = 0;

	cellstatus_parse("", 0, status);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "%s", path);
	if (fstat(fd, &st) < 0)
		return error_errno(err, "%s", path);
	n = pread(fd, tail, sizeof tail, st.st_size > (off_t)sizeof tail ? st.st_size - (off_t)sizeof tail : 0);
	if (n < 0)
		return error_errno(err, "%s", path);
	cellstatus_parse(tail, (size_t)n, status);
	return 0;
}
