/* A pool of one thread, whose jobs are posted back to the loop. */
#include "fs/storage.h"

#include <stdlib.h>

#include "fs/loop.h"
#include "fs/pool.h"

struct task {
	struct pool_job job;
	struct loop_post post;
	int (*work)(void *data, struct error *err);
	void (*finish)(void *data, int result, const struct error *error);
	void *data;
	int result;
	struct error error; /* when result is not 0 */
};

static struct pool thread = POOL(1);
static unsigned long unfinished; /* tasks whose finish is to come */

static void finish(struct loop_post *post)
{
	struct task *task = post->data;

	unfinished--;
	task->finish(task->data, task->result, &task->error);
	free(task);
}

static void run(struct pool_job *job)
{
	struct task *task = (struct task *)job;

	task->result = task->work(task->data, &task->error);
	loop_post(&task->post);
}

int storage_start(struct error *err)
{
	return pool_start(&thread, err);
}

int in_storage(int (*work)(void *data, struct error *err),
	       void (*finished)(void *data, int result, const struct error *error), void *data)
{
	struct task *task = calloc(1, sizeof *task);

	if (!task)
		return -1;
	*task = (struct task){ .job = { .run = run }, .post = { .call = finish, .data = task }, .work = work,
			       .finish = finished, .data = data };
	unfinished++;
	pool_submit(&thread, &task->job);
	return 0;
}

void storage_stop(void)
{
	do { /* what is done may ask for more */
		pool_stop(&thread);
		loop_take_posts();
	} while (unfinished);
}
