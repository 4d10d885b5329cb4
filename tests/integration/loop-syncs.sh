#!/bin/bash
# runs: root
# The loop itself never has the disk sync anything, whatever is asked of it: strace counts.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
mount_it
pid=$(awk '{print $1}' "$S/lock")
strace -qq -e signal=none -o "$T/syncs" -e trace=fsync,fdatasync,sync,syncfs,sync_file_range,msync -p "$pid" & tracer=$!
on_exit 'kill $tracer 2>/dev/null'
eventually 5 grep -q "^TracerPid:[[:space:]]*$tracer$" "/proc/$pid/status"

mkdir "$M/sandboxes/a" "$M/workspaces/w"
echo 'timeout: 600' >"$M/sandboxes/a/config"
echo wait >"$M/sandboxes/a/ctl" || fail wait
mv "$M/sandboxes/a" "$M/sandboxes/b"
sed -i 's/600/601/' "$M/sandboxes/b/config" || fail "sed -i"
fails "a wrong config" sh -c "echo 'gpuu: 1' >'$M/sandboxes/b/config'"
echo 'sandbox: b' >"$M/sessions/new"
echo hello >"$M/sessions/1/input" || fail "a message"
mv "$M/sandboxes/b/config" "$M/sandboxes/b/.old"; echo 'timeout: 602' >"$M/sandboxes/b/config"
echo 'x = 1' >"$M/workspace/libraries/x.py"; echo wait >"$M/workspace/ctl"
printf 'stop\nstart\nwait\n' >"$M/sandboxes/b/ctl" || fail "stop, start, wait"
# Its runner ends too often: the mount writes its state.
failed() { [ "$(cat "$M/sandboxes/b/state")" = failed ]; }
dies() { kill -9 "$(cut -d' ' -f1 "$S/sandboxes/$1/run/pid")" 2>/dev/null; failed; }
eventually 20 dies "$(basename "$(readlink "$S/sandboxes/names/b")")"
rmdir "$M/sessions/1" "$M/sandboxes/b" "$M/workspaces/w" || fail rmdir
eventually 5 sh -c "! ls '$S/sandboxes' | grep -q '^[0-9]'"
kill $tracer; wait $tracer 2>/dev/null
same "syncs of the loop" "" "$(cat "$T/syncs")"
exit 0
