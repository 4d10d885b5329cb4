/* A queue and a thread. */
#include "fs/storage.h"

#include <pthread.h>
#include <stdbool.h>

static struct {
	pthread_t thread;
	bool running;
	unsigned long submitted;           /* by the loop, ever */
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	bool busy;                         /* under lock */
	struct storage_job *first, **last; /* under lock */
	bool stop;                         /* under lock */
} storage = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER,
	      .idle = PTHREAD_COND_INITIALIZER };

static void finished(struct loop_post *post)
{
	struct storage_job *job = post->data;

	job->done(job);
}

static void *work(void *unused)
{
	(void)unused;
	for (;;) {
		struct storage_job *job;

		pthread_mutex_lock(&storage.lock);
		storage.busy = false;
		if (!storage.first)
			pthread_cond_signal(&storage.idle);
		while (!storage.first && !storage.stop)
			pthread_cond_wait(&storage.wake, &storage.lock);
		job = storage.first;
		if (job && !(storage.first = job->next))
			storage.last = &storage.first;
		storage.busy = job != NULL;
		pthread_mutex_unlock(&storage.lock);
		if (!job)
			return NULL;
		job->result = job->work(job, &job->error);
		job->post = (struct loop_post){ .call = finished, .data = job };
		loop_post(&job->post);
	}
}

int storage_start(struct error *err)
{
	int code;

	storage.last = &storage.first;
	storage.stop = false;
	code = pthread_create(&storage.thread, NULL, work, NULL);
	if (code)
		return error_set(err, code, "the storage thread could not be made");
	storage.running = true;
	return 0;
}

void storage_submit(struct storage_job *job)
{
	job->next = NULL;
	storage.submitted++;
	pthread_mutex_lock(&storage.lock);
	*storage.last = job;
	storage.last = &job->next;
	pthread_cond_signal(&storage.wake);
	pthread_mutex_unlock(&storage.lock);
}

/* Waits until everything submitted is done, and calls done of it. */
static void drain(void)
{
	pthread_mutex_lock(&storage.lock);
	while (storage.running && (storage.first || storage.busy))
		pthread_cond_wait(&storage.idle, &storage.lock);
	pthread_mutex_unlock(&storage.lock);
	loop_take_posts();
}

void storage_stop(void)
{
	unsigned long submitted;

	if (!storage.running)
		return;
	do { /* what is done may ask for more */
		submitted = storage.submitted;
		drain();
	} while (submitted != storage.submitted);
	pthread_mutex_lock(&storage.lock);
	storage.stop = true;
	pthread_cond_signal(&storage.wake);
	pthread_mutex_unlock(&storage.lock);
	pthread_join(storage.thread, NULL);
	storage.running = false;
	loop_take_posts();
}
