/* Parts: files that a box left to be shared, below a box's own. A snapshot of a stopped sandbox makes
 * what it has written (BOX/up) a part, and the sandbox goes on in an empty one above it; a snapshot of a
 * running one is a copy of it.
 *
 *      STATE/parts/SERIAL/X        an upper folder as bundle.h draws it, of the snapshot SERIAL
 *      STATE/parts/SERIAL/.files   the files that lie directly in its /
 *      STATE/parts/.lock           held while what stands on what is changed
 *      BOX/below, snapshots/SERIAL/below    "12 7": on what it stands, topmost first
 *
 * A part is nobody's: whatever stands on it keeps it, and when nothing does it is swept. A serial whose
 * folder is not there (yet) stands for nothing, so the box's file `below` is on the disk first and the part
 * comes by one rename(2). */
#ifndef INTERPFS_BACKEND_SANDBOX_PARTS_H
#define INTERPFS_BACKEND_SANDBOX_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/sandbox/box.h"
#include "base/error.h"
#include "fs/state.h"

#define PARTS_BELOW "below"
#define PARTS_FILES ".files"
#define PARTS_DEEP 12 /* as deep as a stopped sandbox's folder is made one by itself */
#define PARTS_MAX 24  /* as many as one mount's options hold */

struct parts {
	uint64_t serials[PARTS_MAX];
	size_t count;
	char *paths[PARTS_MAX + 1]; /* of those that are there, topmost first; NULL-terminated, owned */
};

/* Reads the file `below` of a folder; none is no parts. EBADMSG when it is damaged. */
int parts_read(struct parts *parts, const char *state, int folder, struct error *err);
/* The same with one more on top. E2BIG when there are too many. */
int parts_add(struct parts *parts, uint64_t serial, struct error *err);
int parts_write(const struct parts *parts, int folder, bool durable, struct error *err);
void parts_free(struct parts *parts);
#define cleanup_parts __attribute__((cleanup(parts_free)))

/* STATE/parts/SERIAL; owned, NULL without memory. */
char *parts_path(const char *state, uint64_t serial);

/* Held until the descriptor is closed. Makes STATE/parts. */
int parts_lock(const char *state, struct error *err);

/* What a box needs above its parts: upper folders with the modes of those below, and, where it stands
 * on them for the first time, the files of /. It does not run. */
int parts_furnish(const struct parts *parts, struct box *box, bool first, struct error *err);

/* Removes the parts on which nothing stands. */
int parts_sweep(const char *state, struct error *err);

/* The room that they take on the disk, in bytes. */
uint64_t parts_size(const struct parts *parts);

#endif
