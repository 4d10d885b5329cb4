/* files FOLDER [forget]: lists a folder, then opens, reads and closes each of its files. Prints how many there are, their
 * bytes and the time in ms as JSON. With `forget` it has the kernel forget what it knows of their bytes, and reads nothing. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static long long read_file(int folder, const char *name, int forget)
{
	static char bytes[1 << 16];
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW);
	ssize_t n = 0;

	if (fd < 0)
		die(name);
	if (forget)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	else
		n = read(fd, bytes, sizeof bytes);
	if (n < 0 || close(fd) < 0)
		die(name);
	return n;
}

int main(int argc, char **argv)
{
	double start = now();
	long long files = 0, bytes = 0;
	struct dirent *e;
	DIR *d;

	if (argc != 2 && (argc != 3 || strcmp(argv[2], "forget") != 0))
		return 64;
	d = opendir(argv[1]);
	if (!d)
		die(argv[1]);
	for (; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			bytes += read_file(dirfd(d), e->d_name, argc == 3);
			files++;
		}
	closedir(d);
	printf("{\"files\": %lld, \"bytes\": %lld, \"ms\": %.1f}\n", files, bytes, now() - start);
	return 0;
}
