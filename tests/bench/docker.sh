#!/bin/bash
# For tests/bench/run: a Docker Engine and a mount of their own, as the tests have them (tests/engines.sh), with an
# image interpfs-bench. Prints the mount and the engine's address; both end, with all that they ran, when the
# standard input ends.
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh

exec 3>&1 >&2
start_docker
make_image interpfs-bench
mount_it
echo "$M $DOCKER_HOST" >&3
exec 3>&-
cat >/dev/null
