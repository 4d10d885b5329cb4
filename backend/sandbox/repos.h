/* Repositories: what `repos` of a sandbox's config names, cloned to /workspace/NAME once the sandbox is ready,
 * where its `install` is then run. What fails is the repository's state: the sandbox goes on.
 *
 *      waiting ──> cloning ──> waiting ──> installing ──> ready          all are cloned at once; installs are run
 *                     └───────────────────────┴─────────> failed         one after another, in the config's order
 *
 *      STATE/sandboxes/7/repos/names/NAME -> ../N     how the tree calls it
 *      STATE/sandboxes/7/repos/N/url path revision state error log
 *      STATE/sandboxes/7/repos/begun                  "GENERATION HASH": the start and the list that they are of
 *
 * What is ready stays so at the next start; what failed or was interrupted is tried again, also by `retry`. In a sandbox that
 * begins from a snapshot the clone itself tells what was done with it (share/repo.sh). */
#ifndef INTERPFS_BACKEND_SANDBOX_REPOS_H
#define INTERPFS_BACKEND_SANDBOX_REPOS_H

#include "base/error.h"

struct call;
struct calls;
struct repos;

/* With the guest: tells what there is. NULL: nothing. */
struct repos *repos_open(struct calls *calls);
/* The sandbox is ready. Again: nothing happens. */
void repos_begin(struct repos *repos);
/* Begins what a command asks for: "repository N wait [SECONDS]", "repository N retry". It may end it. -1: err is its
 * end. repos may be NULL. */
int repos_begin_command(struct repos *repos, struct call *call, struct error *err);
/* Before the guest is detached. What is under way waits for the next start, or the next runner. */
void repos_close(struct repos *repos);

#endif
