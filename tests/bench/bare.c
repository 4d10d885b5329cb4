/* The yardstick of tests/bench: the least that a file system on libfuse's low level can be.
 *
 * One folder with N folders d0 … dN-1 and one file f of 16 bytes, all in memory, kernel caches
 * held for an hour, the stock single-threaded loop. Usage: bare N DIR (foreground). */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_INODE 2u
#define FIRST_FOLDER 3u
#define FOREVER 3600.0

static unsigned long folders;
static const char text[] = "0123456789abcde\n";

static void attributes(fuse_ino_t inode, struct stat *st)
{
	*st = (struct stat){ .st_ino = inode, .st_mode = S_IFDIR | 0755, .st_nlink = 2 };
	if (inode == FILE_INODE) {
		st->st_mode = S_IFREG | 0444;
		st->st_nlink = 1;
		st->st_size = sizeof text - 1;
	}
}

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .attr_timeout = FOREVER, .entry_timeout = FOREVER };

	if (parent == FUSE_ROOT_ID && !strcmp(name, "f"))
		e.ino = FILE_INODE;
	else if (parent == FUSE_ROOT_ID && name[0] == 'd')
		e.ino = FIRST_FOLDER + strtoul(name + 1, NULL, 10);
	if (!e.ino || e.ino >= FIRST_FOLDER + folders) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attributes(e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

static void getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	attributes(inode, &st);
	fuse_reply_attr(req, &st, FOREVER);
}

static void readdirplus(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	char *out = malloc(size);
	size_t used = 0;

	(void)fi;
	if (!out) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	for (unsigned long i = (unsigned long)offset; inode == FUSE_ROOT_ID && i <= folders; i++) {
		struct fuse_entry_param e = { .ino = FILE_INODE + i, .attr_timeout = FOREVER, .entry_timeout = FOREVER };
		char name[32];
		size_t n;

		(void)snprintf(name, sizeof name, i ? "d%lu" : "f", i - 1);
		attributes(e.ino, &e.attr);
		n = fuse_add_direntry_plus(req, out + used, size - used, name, &e, (off_t)(i + 1));
		if (n > size - used)
			break;
		used += n;
	}
	fuse_reply_buf(req, out, used);
	free(out);
}

static void open_file(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	if (inode != FILE_INODE) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

static void read_file(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	size_t n = sizeof text - 1;

	(void)inode;
	(void)fi;
	if ((size_t)offset >= n)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, text + offset, n - (size_t)offset < size ? n - (size_t)offset : size);
}

static const struct fuse_lowlevel_ops operations = {
	.lookup = lookup,
	.getattr = getattr,
	.readdirplus = readdirplus,
	.open = open_file,
	.read = read_file,
};

int main(int argc, char **argv)
{
	char *arguments[] = { argv[0], "-ofsname=bare", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, arguments);
	struct fuse_session *session;
	int status = 1;

	if (argc != 3)
		return 64;
	folders = strtoul(argv[1], NULL, 10);
	session = fuse_session_new(&args, &operations, sizeof operations, NULL);
	if (!session)
		return 1;
	if (!fuse_set_signal_handlers(session) && !fuse_session_mount(session, argv[2])) {
		status = fuse_session_loop(session) < 0;
		fuse_session_unmount(session);
	}
	fuse_session_destroy(session);
	return status;
}
