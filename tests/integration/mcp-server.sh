#!/bin/bash
# The MCP server and `interpfs exec` as processes, in both eras, against stand-ins for runners.
. "$(dirname "$0")/../functions.sh"
INTERPFS=$INTERPFS TMPDIR=$T python3 -B tests/mcp/test_server.py || fail "tests/mcp/test_server.py"
