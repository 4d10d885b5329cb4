/* walk FOLDER FILE ROUNDS: times what shells and file managers do most, as JSON on stdout:
 * the median of ROUNDS rounds of a warm stat (us), a readdir of FOLDER with a stat of each entry
 * (ms, after the first round, which is reported apart), and open+read+close of FILE (us). */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof *v, ascending);
	return v[n / 2];
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static long walk(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	struct stat st;
	long entries = 0;

	if (!d)
		die(folder);
	while ((e = readdir(d))) {
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			die(e->d_name);
		entries++;
	}
	closedir(d);
	return entries;
}

int main(int argc, char **argv)
{
	enum { MANY = 2000 };
	int rounds = argc == 4 ? (int)strtol(argv[3], NULL, 10) : 0;
	double *stats, *walks, *reads, first, start;
	struct stat st;
	char bytes[4096];
	const char *slash = argc == 4 ? strrchr(argv[2], '/') : NULL;
	char folder[4096];
	long entries;
	int dir;

	if (rounds < 1 || !slash || (size_t)(slash - argv[2]) >= sizeof folder)
		return 64;
	/* From its own folder: the names above it are not what is compared. */
	memcpy(folder, argv[2], (size_t)(slash - argv[2]));
	folder[slash - argv[2]] = '\0';
	dir = open(folder, O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		die(folder);
	stats = calloc((size_t)rounds * 3, sizeof *stats);
	if (!stats)
		die("calloc");
	walks = stats + rounds;
	reads = walks + rounds;
	start = now();
	entries = walk(argv[1]);
	first = now() - start;
	for (int r = 0; r < rounds; r++) {
		start = now();
		(void)walk(argv[1]);
		walks[r] = (now() - start) / 1e3;

		start = now();
		for (int i = 0; i < MANY; i++)
			if (fstatat(dir, slash + 1, &st, 0) < 0)
				die(argv[2]);
		stats[r] = (now() - start) / MANY;

		start = now();
		for (int i = 0; i < MANY; i++) {
			int fd = openat(dir, slash + 1, O_RDONLY);

			if (fd < 0 || read(fd, bytes, sizeof bytes) < 0 || close(fd) < 0)
				die(argv[2]);
		}
		reads[r] = (now() - start) / MANY;
	}
	printf("{\"entries\": %ld, \"walk_first_ms\": %.2f, \"walk_ms\": %.2f, \"stat_us\": %.3f, \"open_read_close_us\": %.2f}\n",
	       entries, first / 1e3, median(walks, rounds), median(stats, rounds), median(reads, rounds));
	free(stats);
	return 0;
}
