/* messages.jsonl: an event a line, each with its number, the time, its type and the SHA-256 of the
 * line before it (without its newline; 64 zeros in the first), so that nobody can alter a line
 * without its showing: tamper-evident, no more. Only ever appended to.
 *
 *   {"seq":2,"prev":"9f…","time":"2026-11-25T17:40:03.120Z","type":"user", … members …}
 *
 *   system     model, provider, text, tools        frozen with the first turn
 *   user       inbox, note, content                what the user said; note: interpfs itself did
 *   start      inbox                               a turn without words
 *   request    request, model, attempt, messages   about to be sent; messages: that log's size
 *   assistant  model, id, request_id, stop_reason, stop, usage, cost, calls, content
 *   aborted    model, reason, usage, cost, text    an answer that does not count
 *   retry      reason, status, attempt, delay
 *   call       call, id, name, arguments           about to be run
 *   result     call, id, is_error, seconds, content
 *   end        state, error, seconds               the turn has ended
 *
 * The conversation that a provider is sent is rebuilt from system, user, request, assistant and
 * result. `content` is always the last member: an assistant's is copied out byte for byte. */
#ifndef INTERPFS_BACKEND_LLM_JOURNAL_H
#define INTERPFS_BACKEND_LLM_JOURNAL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct journal {
	uint64_t seq;  /* lines so far */
	char head[65]; /* SHA-256 of the last line, 64 zeros before the first */
};

void journal_init(struct journal *journal);

/* Makes the next line, with its newline, in `line` (emptied first). members is JSON text without braces
 * ("\"a\":1") or "". Nothing is written; journal_advance says that it was. */
int journal_line(const struct journal *journal, const char *type, const char *members, struct buffer *line,
		 struct error *err);
void journal_advance(struct journal *journal, const struct buffer *line);

/* Called for each line (n bytes, without newline) with its type and itself parsed, both lent. */
typedef int journal_visit(void *context, const char *type, const cJSON *event, const char *line, size_t n,
			  struct error *err);

/* Reads folder/name, checks the chain and brings journal up to its end. A torn last line is cut
 * from the file and *torn set. EBADMSG when a line does not continue the chain. A file that is not
 * there is an empty one. */
int journal_load(struct journal *journal, int folder, const char *name, journal_visit *visit, void *context,
		 bool *torn, struct error *err);

/* "2026-11-25T17:40:03.120Z", or without milliseconds. */
#define TIME_TEXT_SIZE 32
void time_text(char out[TIME_TEXT_SIZE], bool milliseconds);

#endif
