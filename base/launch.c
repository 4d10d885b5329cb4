#include "base/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>

static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int output, int errors)
{
	sigset_t none, all;
	int code;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (!(code = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0)) &&
	    !(code = posix_spawn_file_actions_adddup2(actions, output, 1)) &&
	    !(code = posix_spawn_file_actions_adddup2(actions, errors, 2)) &&
	    !(code = posix_spawn_file_actions_addclosefrom_np(actions, 3)) &&
	    !(code = posix_spawn_file_actions_addchdir_np(actions, "/")) &&
	    !(code = posix_spawnattr_setsigmask(attributes, &none)) &&
	    !(code = posix_spawnattr_setsigdefault(attributes, &all)))
		code = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
							    POSIX_SPAWN_SETSID);
	return code;
}

int launch(char *const argv[], char *const envp[], int output, int errors, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int code;

	code = posix_spawn_file_actions_init(&actions);
	if (code)
		return code;
	code = posix_spawnattr_init(&attributes);
	if (!code) {
		code = prepare(&actions, &attributes, output, errors);
		if (!code)
			code = posix_spawnp(pid, argv[0], &actions, &attributes, argv, envp);
		(void)posix_spawnattr_destroy(&attributes);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return code;
}
