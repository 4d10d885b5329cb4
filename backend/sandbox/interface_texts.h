/* What is told of an interface's functions, as texts:
 *
 *      library   share/library.py and a function each, with the same signature and docstring
 *      prompt    signatures and docstrings             skill    the same as a skill
 *      schema    {FN: JSON Schema of the arguments}    doc      what interface.py says of itself
 *
 * What is told comes from inside the sandbox, and the library is run in others: every word of it is
 * either checked or written as a literal. Annotations are never evaluated there, and hold no character
 * that could end them. */
#ifndef INTERPFS_BACKEND_SANDBOX_INTERFACE_TEXTS_H
#define INTERPFS_BACKEND_SANDBOX_INTERFACE_TEXTS_H

#include <cjson/cJSON.h>

#include "base/buffer.h"
#include "base/error.h"

#define INTERFACE_WORD 100u                /* the longest name of a function or a parameter */
#define INTERFACE_MODULE (INTERFACE_WORD + 8)

struct interface_texts {
	struct buffer library, prompt, skill, schema, doc;
};

/* described: what share/interface.py answers to `describe`. id: which interface it is, for callers.h.
 * library: the text of share/library.py. The texts are to be freed in any case. EPROTO: what was told
 * is not what that would tell. */
int interface_texts_make(struct interface_texts *texts, const char *name, const char *id, const char *library,
			 const cJSON *described, struct error *err);
void interface_texts_free(struct interface_texts *texts);

/* The name of the module that an interface of this name is. */
void interface_module(const char *name, char out[INTERFACE_MODULE]);

#endif
