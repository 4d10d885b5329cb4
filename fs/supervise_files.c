/* The part of the supervision that only touches files, for the storage thread: it runs beside the
 * loop and shares nothing with it but the state directory. */
#include "fs/supervise.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/failpoint.h"

int supervise_want(const struct state *state, enum object_kind kind, uint64_t serial,
		   enum want_what what, struct want *want, struct error *err)
{
	cleanup_close int folder = object_open(state, kind, serial, err);
	struct want next;

	if (folder < 0 || want_read(folder, &next, err) < 0)
		return -1;
	/* A removal is final. */
	if (next.what == WANT_REMOVED && what != WANT_REMOVED)
		return error_set(err, ENOENT, "it is being removed");
	next.generation++;
	next.what = what;
	if (want_write(folder, &next, true, err) < 0)
		return -1;
	if (want)
		*want = next;
	return 0;
}

int supervise_remove(struct state *state, enum object_kind kind, const char *name, uint64_t serial,
		     struct error *err)
{
	cleanup_close int folder = object_open(state, kind, serial, err);
	struct want want;

	if (folder < 0 || want_read(folder, &want, err) < 0)
		return -1;
	if (want.generation && want.what != WANT_REMOVED &&
	    supervise_want(state, kind, serial, WANT_REMOVED, NULL, err) < 0)
		return -1;
	failpoint("remove-wanted");
	if (state_forget_name(state, kind, name, err) < 0)
		return -1;
	failpoint("remove-forgotten");
	if (want.generation)
		return 0;
	return object_delete(state, kind, serial, err);
}

void supervise_undo(struct state *state, enum object_kind kind, const char *name, uint64_t serial)
{
	struct error ignored;

	/* What even this leaves, the next mount shows as a draft. */
	(void)supervise_remove(state, kind, name, serial, &ignored);
}
