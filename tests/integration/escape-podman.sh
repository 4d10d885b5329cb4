#!/bin/bash
# The same on Podman as on Docker: no attempt to get out may succeed.
# runs: root
[ -e /sys/fs/cgroup/cgroup.controllers ] || export GROUP_IS_NAMED=1 # of version 1
ENGINE_TO_TEST=start_podman exec "$(dirname "$0")/escape-docker.sh"
