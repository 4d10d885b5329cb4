/* Commands of an interface or a repository that return when it is ready. */
#include "backend/sandbox/calls_own.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int call_take_number(const char *what, const char *text, double least, double most, double *number, struct error *err)
{
	char *end;

	*number = strtod(text, &end);
	if (end == text || *end || !isfinite(*number) || *number < least || *number > most)
		return error_set(err, EINVAL, "%s takes a number from %.0f to %.0f", what, least, most);
	return 0;
}

int call_wait(struct call *call, const void *what, const char *late, const char *seconds, struct error *err)
{
	double most;

	if (*seconds) {
		if (call_take_number("wait", seconds, 0, 1e9, &most, err) < 0)
			return -1;
		call->deadline = calls_now() + most;
	}
	call->waits = what;
	call->late = late;
	return 0;
}
