/* An archive of anybody's: whatever is in it, nothing is read or written outside of the folder that it is
 * unpacked into, and what is unpacked can be removed. The first byte says whether it is a layer. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/untar.h"
#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int top = -1;
static struct stat outside;
static char path[] = "/tmp/interpfs-fuzz-untar.XXXXXX";

static void end(void)
{
	struct error ignored;

	(void)file_remove_tree(AT_FDCWD, path, &ignored);
}

/* DIR/in is unpacked into, DIR/out must stay as it is. */
static void begin(void)
{
	if (!mkdtemp(path) || atexit(end) || (top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 || mkdirat(top, "out", 0700) ||
	    fstatat(top, "out", &outside, 0))
		abort();
}

/* The mtimes of headers' checksums are hard to guess: each block that says ustar gets the right one. */
static void mend(uint8_t *data, size_t size)
{
	for (size_t at = 0; at + 512 <= size; at += 512) {
		unsigned sum = 0;

		if (memcmp(data + at + 257, "ustar", 5))
			continue;
		memset(data + at + 148, ' ', 8);
		for (size_t i = 0; i < 512; i++)
			sum += data[at + i];
		for (int i = 5; i >= 0; i--, sum >>= 3)
			data[at + 148 + (size_t)i] = (uint8_t)('0' + (sum & 7));
		data[at + 154] = '\0';
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct untar u = { .root = -1, .room = 1 << 20, .entries = 200 };
	struct error err;
	struct stat now;
	uint8_t *copy;
	int fd;

	if (top < 0)
		begin();
	if (!size)
		return 0;
	u.whiteouts = data[0] & 1;
	copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	mend(copy, size - 1);
	fd = memfd_create("archive", MFD_CLOEXEC);
	if (file_remove_tree(top, "in", &err) || mkdirat(top, "in", 0700) || fd < 0 || file_write_all(fd, copy, size - 1, &err) ||
	    lseek(fd, 0, SEEK_SET) < 0 || (u.root = openat(top, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		abort();
	(void)untar(&u, fd, &err);
#ifdef PLANTED
	if (u.left_out && u.entries < 198)
		__builtin_trap();
#endif
	if (fstatat(top, "out", &now, 0) || now.st_mtim.tv_nsec != outside.st_mtim.tv_nsec || now.st_nlink != outside.st_nlink)
		abort();
	(void)close(u.root);
	(void)close(fd);
	free(copy);
	return 0;
}
