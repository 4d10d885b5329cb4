#include "base/program.h"

#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"

/* NULL when it cannot be told. *replaced: the kernel says so when another file has its name by now. */
static char *find_path(bool *replaced)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

	if (n < 0)
		return NULL;
	path[n] = '\0';
	*replaced = n > 10 && !strcmp(path + n - 10, " (deleted)");
	if (*replaced)
		path[n - 10] = '\0';
	return strdup(path);
}

char *program_path(void)
{
	bool replaced;

	return find_path(&replaced);
}

bool program_was_replaced(void)
{
	bool replaced = false;
	cleanup_free char *path = find_path(&replaced);

	return path && replaced && !access(path, X_OK);
}

/* The first of DIRECTORY/candidates that exists, else the last; %s in each is `name`. */
static char *beside(const char *const *candidates, const char *name)
{
	cleanup_free char *program = program_path();
	char *slash = program ? strrchr(program, '/') : NULL;
	char *found = NULL;

	if (!slash)
		return NULL;
	*slash = '\0';
	for (; *candidates; candidates++) {
		free(found);
		found = NULL;
		if (asprintf(&found, "%s/%s%s", program, *candidates, name) < 0)
			return NULL;
		if (!access(found, F_OK)) {
			char *real = realpath(found, NULL);

			if (real) {
				free(found);
				found = real;
			}
			break;
		}
	}
	return found;
}

char *program_guest(void)
{
	static const char *const places[] = { "", "../libexec/interpfs/", NULL };

	return beside(places, "interpfs-guest");
}

char *program_share(const char *name)
{
	static const char *const places[] = { "../share/interpfs/", "../share/", "../../share/", NULL };

	return beside(places, name);
}

char *program_find(const char *name)
{
	const char *path = getenv("PATH");

	if (!path || !*path)
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	while (*path) {
		size_t n = strcspn(path, ":");
		char *found = NULL;

		/* An empty or relative entry means the current folder: never what a daemon wants. */
		if (path[0] == '/') {
			if (asprintf(&found, "%.*s/%s", (int)n, path, name) < 0)
				return NULL;
			if (!access(found, X_OK))
				return found;
			free(found);
		}
		path += n + (path[n] == ':');
	}
	return NULL;
}

void program_keep_private(void)
{
	/* Less than any core has; and where cores go to a program, which the kernel starts whatever the
	 * limit is, this one number tells it not to (core(5); do_coredump()). */
	struct rlimit none = { 1, 1 };

	if (setrlimit(RLIMIT_CORE, &none) < 0) {
		none = (struct rlimit){ 0, 0 };
		(void)setrlimit(RLIMIT_CORE, &none);
	}
	(void)prctl(PR_SET_DUMPABLE, 0);
}

/* Whether the loader wrote into what is not writable: that is in no file. */
static bool has_text_relocations(const struct dl_phdr_info *info)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
			continue;
		for (const ElfW(Dyn) *d = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr); d->d_tag != DT_NULL; d++)
			if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL)))
				return true;
	}
	return false;
}

static int let_go(struct dl_phdr_info *info, size_t size, void *context)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)context;
	if (has_text_relocations(info))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + part->p_vaddr, end = begin + part->p_filesz;

		begin -= begin % page;
		if (part->p_type == PT_LOAD && !(part->p_flags & PF_W) && begin < end)
			(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
	}
	return 0;
}

void program_let_go_of_code(void)
{
	(void)dl_iterate_phdr(let_go, NULL);
}
