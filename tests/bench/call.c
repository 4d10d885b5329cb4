/* call ROUNDS FILE REQUEST: opens a call file, writes the request, reads the answer to its end;
 * ROUNDS times. Prints the answers' total bytes and the times in ms (p10, p50, p90) as JSON. */
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

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static char answer[1 << 17];
	int rounds = argc == 4 ? (int)strtol(argv[1], NULL, 10) : 0;
	double *times;
	long long bytes = 0;

	if (rounds < 1)
		return 64;
	times = calloc((size_t)rounds, sizeof *times);
	if (!times)
		return 1;
	for (int i = 0; i < rounds; i++) {
		double start = now();
		int fd = open(argv[2], O_RDWR);
		ssize_t n;

		if (fd < 0 || write(fd, argv[3], strlen(argv[3])) < 0) {
			perror(argv[2]);
			return 1;
		}
		while ((n = read(fd, answer, sizeof answer)) > 0)
			bytes += n;
		if (n < 0 || close(fd) < 0) {
			perror(argv[2]);
			return 1;
		}
		times[i] = now() - start;
	}
	qsort(times, (size_t)rounds, sizeof *times, ascending);
	printf("{\"rounds\": %d, \"bytes\": %lld, \"p10_ms\": %.3f, \"p50_ms\": %.3f, \"p90_ms\": %.3f}\n", rounds,
	       bytes, times[rounds / 10], times[rounds / 2], times[rounds * 9 / 10]);
	free(times);
	return 0;
}
