/* Unpacks a tar (ustar, GNU's long names, pax) of anybody's into a folder, of which nothing in it leads
 * out: every path is resolved with the folder as "/", names with `..` are refused, links stay what they
 * are. Devices, pipes and sockets are left out. With `whiteouts` it is a layer of an OCI image: .wh.NAME
 * removes what an earlier layer has. */
#ifndef INTERPFS_BACKEND_SANDBOX_UNTAR_H
#define INTERPFS_BACKEND_SANDBOX_UNTAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct ids;

struct untar {
	int root;              /* the folder */
	bool owners;           /* ids are kept; else everything is the caller's, and the caller's to read */
	const struct ids *ids; /* what they are on this machine; NULL: the same */
	bool of_here;          /* the archive has them as this machine does (a folder's) */
	bool whiteouts;
	uint64_t room;         /* bytes of the disk that may still be taken: EFBIG past it; counted down */
	uint64_t entries;      /* so many more of them, folders that are not named included */
	unsigned left_out;     /* counts what is no file, folder or link */
	unsigned foreign;      /* counts what belongs to an id that `ids` does not have: it becomes root's */
	/* Called now and then; -1 ends it. May be NULL. */
	int (*progress)(void *context, struct error *err);
	void *context;
};

/* Reads fd to the archive's end. EBADMSG where it is damaged or cut, EINVAL where it is refused. */
int untar(struct untar *u, int fd, struct error *err);

#endif
