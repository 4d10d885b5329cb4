#!/bin/bash
# The Docker Engine as it is: the list that every engine runs.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh

start_docker
container_tests
