/* What this version is called: by `interpfs --version`, and to the other end of the Model Context Protocol. */
#ifndef INTERPFS_BASE_VERSION_H
#define INTERPFS_BASE_VERSION_H

#define INTERPFS_VERSION "1"

#endif
