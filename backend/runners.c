/* `interpfs runner STATE KIND SERIAL`: the table from kinds to stories. */
#include "backend/runners.h"

#include <stdlib.h>

#include "backend/selftest.h"
#include "commands.h"

static runner_story *const stories[OBJECT_KINDS] = {
	[OBJECT_SANDBOX] = sandbox_story,
	[OBJECT_WORKSPACE] = workspace_story,
	[OBJECT_NOTEBOOK] = notebook_story,
	[OBJECT_SESSION] = session_story,
	[OBJECT_SNAPSHOT] = snapshot_story,
};

runner_story *runner_story_of(enum object_kind kind)
{
#ifdef INTERPFS_FAILPOINTS
	if (getenv("INTERPFS_SELFTEST"))
		return selftest_story;
#endif
	return stories[kind];
}

int command_runner(int argc, char **argv)
{
	return runner_main(argc, argv);
}
