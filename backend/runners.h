/* Which story a kind of object has. */
#ifndef INTERPFS_BACKEND_RUNNERS_H
#define INTERPFS_BACKEND_RUNNERS_H

#include "backend/runner.h"

runner_story sandbox_story, workspace_story, notebook_story, session_story, snapshot_story;

runner_story *runner_story_of(enum object_kind kind);

#endif
