#include "backend/sandbox/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/cgroup.h"
#include "backend/sandbox/image.h"
#include "base/cleanup.h"

#define DEADLINE_S 3600
#define QUIT_MS 5000

int build_open(struct build *b, struct sandbox *sandbox, const char *path, const char *id, const struct image *image,
	       struct error *err)
{
	*b = (struct build){ .uplink = UPLINK };
	commands_open(&b->commands, sandbox);
	b->box.folder = b->box.ctl = b->box.pidfd = -1;
	cgroup_hurry();
	b->plan.masks = &b->masks;
	if (masks_begin(&b->masks, sandbox->state->path, err) || network_choose("full", &b->network, err) ||
	    box_init(&b->box, sandbox->state->path, path, id, err))
		return -1;
	if (box_reap(&b->box, err) || box_remove(&b->box, err) || box_make(&b->box, err) ||
	    uplink_begin(&b->uplink, &b->network, image ? &image->ids : NULL, err) || box_start_uplink(&b->box, &b->uplink, err) ||
	    plan_system(&b->plan, sandbox->state, &b->box, image, "build", &b->uplink, err))
		return -1;
	b->plan.bundle.timeout = DEADLINE_S;
	return 0;
}

int build_start(struct build *b, const char *runtime, struct error *err)
{
	struct guest *guest;

	return plan_start(&b->plan, runtime, &b->uplink, 0, &guest, err) ? -1 : commands_attach(&b->commands, guest, err);
}

int build_stop(struct build *b, struct error *err)
{
	/* Killed, not asked: everything that it was to write has been written. */
	commands_detach(&b->commands);
	return box_end(&b->box, 0, err);
}

void build_close(struct build *b)
{
	struct error ignored;

	commands_close(&b->commands);
	if (b->box.path) {
		(void)box_end(&b->box, 0, &ignored);
		(void)box_reap(&b->box, &ignored);
		(void)box_remove(&b->box, &ignored);
	}
	box_free(&b->box);
	plan_free(&b->plan);
	uplink_end(&b->uplink);
	masks_end(&b->masks);
	network_free(&b->network);
}
