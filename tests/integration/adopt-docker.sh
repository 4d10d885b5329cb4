#!/bin/bash
# A container of Docker that somebody else has started becomes a sandbox, is used, and is let go of as it was;
# what cannot be adopted is refused and says why; a runner that is killed while it adopts leaves nothing.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh
. tests/adopt.sh
start_docker
adopt_start
adopt_refusals
adopt_tests
adopt_kinds
adopt_steps
