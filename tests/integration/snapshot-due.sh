#!/bin/bash
# also: threads
# A snapshot that became due while another one was being taken (a timeout has stopped the sandbox) is taken after that.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
mount_it
L=$M/sandboxes/lab
: >"$T/may-start" && mkdir "$L" || fail mkdir
printf 'timeout: 60\nenv: {STARTING_UNTIL: "%s"}\n' "$T/may-start" >"$L/config" && echo wait >"$L/ctl" || fail "wait: $(cat "$L/error")"
due=$S/sandboxes/$(jq .serial "$L/info.json")/due

# The snapshot's config is the sandbox's: it takes as long.
rm "$T/may-start"
echo 'snapshot first' >"$L/ctl" & taking=$!
eventually 20 sh -c "grep -q starting '$S'/snapshots/[0-9]*/status"
printf late >"$due" # as a sandbox's runner does
ask "$L/exec" 'rest stopped' >/dev/null
eventually 20 grep -qx stopped "$L/state"
same "while the first is taken" "" "$(ls "$M/snapshots")"
: >"$T/may-start"
wait $taking || fail "the first: $(cat "$L/error")"
eventually 20 test -d "$M/snapshots/late"
eventually 20 test ! -e "$due"
same "snapshots" "first late" "$(ls "$M/snapshots" | xargs)"
rmdir "$M/snapshots/first" "$M/snapshots/late" || fail "rmdir: $(cat "$M/error")"
