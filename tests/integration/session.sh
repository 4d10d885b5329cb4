#!/bin/bash
# The agent loop as a process, against the strict Messages API and stand-ins for notebooks and sandboxes: faults of the
# API, limits, interrupts, crashes at every failpoint, replay.
. "$(dirname "$0")/../functions.sh"
INTERPFS=$INTERPFS TMPDIR=$T python3 -W ignore -B tests/session/test_session.py || fail "tests/session/test_session.py"
