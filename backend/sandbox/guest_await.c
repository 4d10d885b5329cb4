/* One request of the guest whose end is waited for, by whoever has nothing else to serve meanwhile. */
#include "backend/sandbox/guest.h"

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>

#include "base/clock.h"

static void answered(void *context, int code, int exit_, const char *text)
{
	struct guest_answer *answer = context;

	(void)exit_;
	(void)text;
	*answer = (struct guest_answer){ .ended = true, .code = code };
}

const struct guest_callbacks guest_answer_callbacks = { NULL, NULL, answered };

int guest_await(struct guest *guest, struct guest_answer *answer, int other, int timeout_ms, struct error *err)
{
	int64_t end = clock_ms() + timeout_ms;
	bool other_ended = false;

	while (!answer->ended) {
		struct pollfd p[2] = { { .fd = guest_fd(guest), .events = guest_events(guest) },
				       { .fd = other_ended ? -1 : other, .events = POLLIN } };
		int64_t left = end - clock_ms();
		siginfo_t info = { .si_pid = 0 };

		if (left <= 0)
			return error_set(err, ETIMEDOUT, "the sandbox did not answer in time");
		if (poll(p, 2, (int)left) < 0 && errno != EINTR)
			return error_errno(err, "waiting for the sandbox");
		if (p[0].revents && guest_step(guest, err))
			return -1;
		if (!p[1].revents || answer->ended)
			continue;
		other_ended = true;
		if (!waitid(P_PIDFD, (id_t)other, &info, WEXITED | WNOWAIT) &&
		    (info.si_code != CLD_EXITED || info.si_status))
			return error_set(err, EIO, "the container runtime failed");
	}
	return answer->code ? error_set(err, answer->code, "the sandbox's first process refused") : 0;
}
