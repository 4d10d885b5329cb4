/* `image` of a config on the backend local: a system of this machine's disk in place of the host's own.
 *
 *      a folder                      a root, as debootstrap makes one
 *      a folder with `oci-layout`    an OCI image's layout, as skopeo and buildah write it
 *      a .tar, perhaps compressed    of either, or what `docker save` writes
 *
 * It is unpacked once for all sandboxes that name the same, and never changed by one:
 *
 *      STATE/roots/HASH/root/        its /, what lies below every sandbox's own files
 *      STATE/roots/HASH/config.json  {"env": [NAME=VALUE]} of an OCI image
 *      STATE/roots/HASH/pythons.json the interpreters that are in it, once one was looked for
 *      STATE/roots/HASH/ids          whose files are whose (ids.h), of an ordinary user who has a range of ids
 *      STATE/roots/stamps/HASH       "HASH": the content of a file that has not changed since
 *      STATE/roots/.making-HASH      while it is unpacked
 *
 * HASH is that of its content: an OCI image's manifest, a tar's bytes, a folder's list of names, sizes and
 * times. Nothing in an archive leads out of it (untar.h); devices are left out; it may not unpack to more
 * than the disk has room for. Of an ordinary user who has subordinate ids, users and groups are of those; of
 * one who has none all files are the user's, who is root inside. */
#ifndef INTERPFS_BACKEND_SANDBOX_ROOTFS_H
#define INTERPFS_BACKEND_SANDBOX_ROOTFS_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/image.h"
#include "base/error.h"

/* Fills in image->base where the config names one. `kept` is the sandbox's folder in which it is
 * remembered: it stays on the same system whatever happens to the file. ECANCELED. */
int rootfs_find(struct sandbox *s, int kept, struct image *image, struct error *err);

#endif
