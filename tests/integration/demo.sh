#!/bin/bash
# The demo that fails in the middle says why, and leaves no process, no mount and no folder.
# runs: root
. "$(dirname "$0")/../functions.sh"
mkdir "$T/tmp"
TMPDIR=$T/tmp INTERPFS_RUNTIME=/no/such/runtime tools/demo >"$T/said" 2>&1 && fail "a demo without a runtime succeeded"
grep -q "sandboxes/lab/error: .*/no/such/runtime" "$T/said" || fail "why it failed: $(cat "$T/said")"
grep -q $'\033' "$T/said" && fail "escapes in a file"
same "left on the disk" "" "$(ls -A "$T/tmp")"
same "left mounted" "" "$(grep "$T/tmp" /proc/mounts)"
same "left running" "" "$(grep -la "$T/tmp/interpfs-demo" /proc/[0-9]*/cmdline 2>/dev/null)"
exit 0
