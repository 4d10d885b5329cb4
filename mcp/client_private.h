/* What the two halves of the MCP client share: client.c (bytes, calls) and client_handshake.c
 * (initialize, server/discover, tools/list). */
#ifndef INTERPFS_MCP_CLIENT_PRIVATE_H
#define INTERPFS_MCP_CLIENT_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "mcp/client.h"
#include "mcp/jsonrpc.h"
#include "mcp/process.h"

#define CLIENT_TAIL_MAX 4096u

enum phase { INITIALIZING, DISCOVERING, LISTING, READY, ENDED };

struct pending {
	struct pending *next;
	uint64_t id;
	struct client_callbacks callbacks;
	void *context;
};

struct client {
	char *name;
	struct process process;
	int epoll;
	bool writing;          /* epoll watches the server's stdin */
	enum phase phase;
	bool modern;           /* every request carries _meta */
	uint64_t next_id;
	uint64_t waiting_for;  /* the id of the phase's own request */
	int pages;
	char *cursor;          /* of the page before */
	cJSON *tools;
	char *instructions;
	struct pending *calls;
	struct jsonrpc_reader reader;
	struct buffer out;
	struct buffer tail;    /* raw bytes of standard error */
	struct buffer words;   /* the same, cleaned */
	struct error end;      /* of ENDED */
};

/* Adds what 2026-07-28 wants in each request's params. false: no memory. */
bool client_add_meta(cJSON *params);
int client_send_initialize(struct client *c, struct error *err);
/* The answer to one of the handshake's own requests (waiting_for). */
int client_advance(struct client *c, const struct jsonrpc_message *m, struct error *err);

#endif
