#!/bin/bash
# The guest as process 1 of a sandbox, under the real runtime, spoken to frame by frame.
. "$(dirname "$0")/../functions.sh"
GUEST=$(dirname "$INTERPFS")/interpfs-guest
[ -x "$GUEST" ] || fail "no $GUEST"
GUEST=$GUEST TMPDIR=$T PYTHONDONTWRITEBYTECODE=1 python3 tests/guest/test_guest.py || fail "tests/guest/test_guest.py"
