#include "backend/sandbox/numbers.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"

int numbers_give(int folder, const char *name, unsigned long number, struct error *err)
{
	char path[NAME_MAX + 8], target[32];

	if ((size_t)snprintf(path, sizeof path, "names/%s", name) >= sizeof path)
		return error_set(err, ENAMETOOLONG, "%.64s…: the name is too long", name);
	(void)snprintf(target, sizeof target, "%lu", number);
	if (file_make_folder(folder, "names", 0700, err) || file_make_folder(folder, target, 0755, err))
		return -1;
	(void)snprintf(target, sizeof target, "../%lu", number);
	return symlinkat(target, folder, path) && errno != EEXIST ? error_errno(err, "%s", name) : 0;
}
