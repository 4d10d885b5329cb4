/* The runner's end of the guest's stream, shared by guest.c and guest_tunnel.c. */
#ifndef INTERPFS_BACKEND_SANDBOX_GUEST_OWN_H
#define INTERPFS_BACKEND_SANDBOX_GUEST_OWN_H

#include "backend/guest/protocol.h"
#include "backend/sandbox/guest.h"
#include "base/buffer.h"
#include "base/frame.h"

#define GUEST_PASSED_MAX 64 /* descriptors that have come and whose frame has not */

struct guest_tunnel;

struct guest_operation {
	struct guest *guest;
	struct guest_operation *next;
	uint32_t stream;
	char kind;               /* of enum guest_operation_kind */
	struct guest_callbacks callbacks;
	void *context;
	struct buffer input;     /* not yet sent */
	size_t input_credit;
	bool input_closed;
	uint64_t owed;           /* bytes received whose credit has not gone back */
	uint64_t credit;         /* bytes that the guest may still send */
	bool passed;             /* at most one descriptor an operation */
	bool forgotten;
	bool leads;              /* to the root, when it ends well */
	struct guest_tunnel *tunnel; /* NULL: none */
};

struct guest {
	int fd;                  /* a socket, -1 when it is carried */
	struct guest_carrier carrier;
	int set;                 /* epoll of the carrier's descriptor and the tunnels'; -1 when it is not carried */
	unsigned carrier_interest;
	struct guest_tunnel *tunnels;
	uint32_t next_stream;
	struct buffer in, out;
	int passed[GUEST_PASSED_MAX];
	size_t passed_count;
	struct guest_operation *operations;
	dev_t root_device;       /* of the one folder that may be passed out */
	ino_t root_file;         /* 0: any may */
	int process;             /* where the link is carried: /proc/PID of the sandbox's first process; -1: no_root says why */
	char no_root[GUEST_NO_ROOT_SIZE];
	bool broken;             /* a frame could not be queued: the link cannot go on */
	bool closing;
};

/* guest.c */
struct guest_operation *guest_begin(struct guest *g, char kind, const char *argument, const struct guest_callbacks *cb,
				    void *context, struct error *err);

/* guest_root.c */
int root_pass(struct guest_operation *o); /* an errno; what nobody asked the root of ends as it does */
void root_close(struct guest *g);

/* guest_tunnel.c */
int tunnels_open(struct guest *g, struct error *err);
void tunnels_close(struct guest *g);
int tunnels_arrange(struct guest *g);     /* asks for what is waited for; -1: it cannot */
void tunnels_step(struct guest *g);
/* DIAL or ACCEPT. */
struct guest_operation *tunnel_begin(struct guest *g, char kind, const char *address, const struct guest_callbacks *cb,
				     void *context, struct error *err);
/* A frame for an operation that has a tunnel, but END. */
int tunnel_take(struct guest_operation *o, const struct frame *frame, struct error *err);
void tunnel_ended(struct guest_tunnel *tunnel); /* its operation is over */

#endif
