#!/bin/bash
# A notebook's runner against kernels, Jupyter Servers and connections that do what they should not:
# stand-ins for the sandbox's runner and the server, so neither a mount nor a sandbox is needed.
. "$(dirname "$0")/../functions.sh"
INTERPFS=$INTERPFS TMPDIR=$T python3 -W ignore -B tests/notebook/test_hostile.py || fail "tests/notebook/test_hostile.py"
