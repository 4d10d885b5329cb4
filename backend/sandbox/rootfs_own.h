/* What the files of rootfs.h share: rootfs_content.c what an image is called and what is in it, rootfs.c the
 * unpacking. */
#ifndef INTERPFS_BACKEND_SANDBOX_ROOTFS_OWN_H
#define INTERPFS_BACKEND_SANDBOX_ROOTFS_OWN_H

#include <cjson/cJSON.h>

#include "backend/sandbox/making.h"
#include "backend/sandbox/rootfs.h"

/* Between two pieces of what takes long; context is the sandbox. -1 ECANCELED. */
int rootfs_pump(void *context, struct error *err);

/* A tar's name is that of its bytes, which are read once while it does not change (roots/stamps/); a
 * folder's that of its list of names, sizes and times. */
int rootfs_name_file(struct sandbox *s, const char *roots, const char *path, int fd, char hash[MAKING_HASH_SIZE],
		     struct error *err);
int rootfs_name_folder(struct sandbox *s, const char *path, char hash[MAKING_HASH_SIZE], struct error *err);

/* A file of a layout, to which no link leads. A blob ("sha256:HEX") is what its digest says. -1. */
int rootfs_open(int layout, const char *path, struct error *err);
int rootfs_open_blob(struct sandbox *s, int layout, const char *digest, struct error *err);
/* *json is the caller's. */
int rootfs_read_json(int fd, cJSON **json, struct error *err);
/* The manifest for this machine, the caller's, and its digest. */
int rootfs_read_layout(struct sandbox *s, int layout, char digest[72], cJSON **manifest, struct error *err);

#endif
