#!/bin/bash
# A container of Podman that somebody else has started becomes a sandbox, is used, and is let go of as it was.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh
. tests/adopt.sh
start_podman
adopt_start
adopt_tests
