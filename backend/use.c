#include "backend/use.h"

void use_hold(struct use *use, int folder)
{
	struct talk_message message;
	struct error ignored;

	if (use->held && talk_take(&use->talk, &message, &ignored) == 0)
		return;
	use_release(use); /* its runner has gone, or refused */
	if (folder < 0 || talk_connect(&use->talk, folder, &ignored) < 0)
		return;
	use->held = true;
	if (talk_ask(&use->talk, "use", "", 0, &ignored) < 0)
		use_release(use);
}

void use_release(struct use *use)
{
	struct error ignored;

	if (!use->held)
		return;
	(void)talk_send(&use->talk, TALK_CLOSE, "", 0, &ignored);
	talk_close(&use->talk);
	use->held = false;
}
