#!/bin/bash
# Podman behind the same API: the list that every engine runs.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh

start_podman
container_tests
